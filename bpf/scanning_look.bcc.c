// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* scanning_look.bcc.c: what a ring's back end holds of it, and whether it paid.  The loader appends
 * it to scanning.bcc.c, for BCC rewrites only the one text that it is given. */

/* The ring has this eventfd now.  Whoever had one at this address is without: memory of an eventfd
 * that is freed is the next one's, and a VMM that stops and continues frees many at once. */
static inline int move_kick(struct ring_cell *r, u32 slot, u64 ctx)
{
	u64 old = r->kick_ctx;
	u32 *at = ring_by_kick.lookup(&ctx);
	struct ring_cell *loser = at && *at != slot ? rings.lookup(at) : 0;

	if (loser && loser->kick_ctx == ctx) {
		loser->kick_ctx = 0;
		loser->since_ns = 0;
	}
	if (ring_by_kick.update(&ctx, &slot))
		return -1;
	r->kick_ctx = ctx;
	r->eventfd_id = u32_at(ctx + AT(eventfd_ctx, id));
	at = ring_by_kick.lookup(&old);
	if (old != ctx && at && *at == slot)
		ring_by_kick.delete(&old);
	return 0;
}

#ifdef AT_vhost_virtqueue_dev
static inline u64 worker_task(u64 worker)
{
	u64 task = 0;
#ifdef AT_vhost_worker_kthread_task
	/* "vhost: Reintroduce kthread API and add mode selection" (in v6.17): either may be NULL */
	task = u64_at(worker + AT(vhost_worker, kthread_task));
#endif
#ifdef AT_vhost_worker_vtsk
	if (!task)
		task = u64_at(u64_at(worker + AT(vhost_worker, vtsk)) + AT(vhost_task, task));
#endif
	return task;
}

/* The thread that serves a ring. */
static inline u64 vq_task(u64 vq)
{
#ifdef AT_vhost_virtqueue_worker
	/* commit 228a27cf78af ("vhost: Allow worker switching while work is queueing") (in v6.5) */
	return worker_task(u64_at(vq + AT(vhost_virtqueue, worker)));
#elif defined(AT_vhost_worker_vtsk)
	/* commit 6e890c5d5021 ("vhost: use vhost_tasks for worker threads") (in v6.4) */
	return worker_task(u64_at(u64_at(vq + AT(vhost_virtqueue, dev)) + AT(vhost_dev, worker)));
#else
	return u64_at(u64_at(vq + AT(vhost_virtqueue, dev)) + AT(vhost_dev, worker));
#endif
}

static inline u64 kick_ctx_of(u64 vq)
{
	return u64_at(u64_at(vq + AT(vhost_virtqueue, kick)) + AT(file, private_data));
}

static inline u64 run_delay(u64 vq)
{
	return u64_at(vq_task(vq) + AT(task_struct, sched_info) + AT(sched_info, run_delay));
}

/* What vhost holds of the ring: it changes when the guest's driver starts again. */
static inline void look_at_vq(struct ring_cell *r)
{
	u64 vq = r->vq, features = u64_at(vq + AT(vhost_virtqueue, acked_features));
	u8 flags = r->flags & (RING_SERVES_KICK | RING_UNKICKED);

	if (features & 1ULL << VIRTIO_F_EVENT_IDX)
		flags |= RING_EVENT_IDX;
	if (features & 1ULL << VIRTIO_F_RING_PACKED)
		flags |= RING_PACKED;
	if (u64_at(vq + AT(vhost_virtqueue, private_data)))
		flags |= RING_LIVE;
	r->flags = flags;
	r->num = u32_at(vq + AT(vhost_virtqueue, num));
	r->avail_addr = u64_at(vq + AT(vhost_virtqueue, avail));
	r->used_addr = u64_at(vq + AT(vhost_virtqueue, used));
	r->last_avail = u16_at(vq + AT(vhost_virtqueue, last_avail_idx));
	r->last_used = u16_at(vq + AT(vhost_virtqueue, last_used_idx));
}

/* Entries offered at the last kick and not yet taken.  The indices wrap; and the back end may be
 * ahead of that kick, for a busy guest offers more without another one. */
static inline u16 outstanding(const struct ring_cell *r)
{
	u16 entries = r->avail - r->last_avail;
	return entries <= r->num ? entries : 0;
}

/* Since when it waits in its CPU's run queue, on that queue's clock, which ticks meanwhile. */
static inline u64 waits_in_queue(u64 task)
{
	u64 info = task + AT(task_struct, thread_info);
	u64 queued = u64_at(task + AT(task_struct, sched_info) + AT(sched_info, last_queued));
	u64 queue = u64_at(PER_CPU_OFFSETS + 8 * u32_at(info + AT(thread_info, cpu))) + RUN_QUEUES;
	u64 clock = u64_at(queue + AT(rq, clock));

	if (u32_at(task + AT(task_struct, __state)) || u32_at(task + AT(task_struct, on_cpu)))
		return 0;
	return queued && clock > queued ? clock - queued : 0;
}

/* Is the ring still there?  Its device lists it; a new eventfd is taken over. */
static inline int follow_ring(struct ring_cell *r, u32 slot)
{
	u64 ctx = kick_ctx_of(r->vq);
	u64 list = u64_at(r->device + AT(vhost_dev, vqs));

	if (ctx == r->kick_ctx)
		return 1;
	if (!ctx || u64_at(list + 8 * r->index) != r->vq ||
	    u64_at(r->vq + AT(vhost_virtqueue, dev)) != r->device || move_kick(r, slot, ctx))
		return 0;
	r->since_ns = 0;
	return 1;
}

static inline void settle_vhost_ring(struct ring_cell *r, u32 slot, struct look *look, u64 now)
{
	look->known = follow_ring(r, slot);
	if (!look->known) { /* freed, or used for another ring by now */
		r->since_ns = 0;
		return;
	}
	look_at_vq(r);
	u64 call = u64_at(r->vq + AT(vhost_virtqueue, call_ctx) + AT(vhost_vring_call, ctx));
	r->call_id = call ? u32_at(call + AT(eventfd_ctx, id)) : 0;
	u64 task = vq_task(r->vq), delay = run_delay(r->vq);
	u32 state = u32_at(task + AT(task_struct, __state));
	/* amidst a batch, for which the guest does not kick: see vhost.bpf.h */
	int draining = u16_at(r->vq + AT(vhost_virtqueue, used_flags)) & VRING_USED_F_NO_NOTIFY;
	if (!(r->flags & RING_LIVE) || (!outstanding(r) && !draining)) {
		r->since_ns = 0;
	} else if (r->since_ns &&
		   (r->last_avail != r->owed_from || (draining && (r->flags & RING_UNKICKED)))) {
		/* it works: the rest is a new debt */
		r->flags &= ~RING_UNKICKED;
		r->owed_from = r->last_avail;
		r->run_delay_ns = delay;
		r->since_ns = now;
	}
	look->waited_ns = delay > r->run_delay_ns ? delay - r->run_delay_ns : 0;
	look->waited_ns += waits_in_queue(task);
	look->blocked = (state & TASK_UNINTERRUPTIBLE) && !(state & TASK_NOLOAD);
}
#endif

/* A process that serves a ring reads its kick eventfd; that it calls the guest shows that it also
 * served. */
static inline void settle_user_ring(struct ring_cell *r, struct look *look)
{
	u64 ctx = r->kick_ctx;
	u32 server = r->worker_tid;
	struct process *p = processes.lookup(&server);

	look->known = u32_at(ctx + AT(eventfd_ctx, id)) == r->eventfd_id;
	look->taken = !u64_at(ctx + AT(eventfd_ctx, count));
	look->waited_ns = 0;
	look->blocked = 0;
	if (!r->since_ns)
		return; /* a look closes debts; it opens none, e.g. since an old call */
	if (!look->known || (look->taken && (!p || p->call_ns > r->since_ns || r->hushed)))
		r->since_ns = 0;
	else if (p && p->call_ns > r->since_ns)
		r->since_ns = p->call_ns; /* one that polls serves without reading its kicks */
}

/* Close a debt that was paid, else tell why not; also user space's second look. */
int look_at_ring(struct bpf_raw_tracepoint_args *ctx)
{
	u32 slot = ctx->args[0], zero = 0;
	struct ring_cell *r = rings.lookup(&slot);
	struct look *look = looks.lookup(&zero);

	if (!r || !look)
		return 0;
	look->known = 0;
	if (r->kind == RING_USER)
		settle_user_ring(r, look);
#ifdef AT_vhost_virtqueue_dev
	if (r->kind == RING_VHOST)
		settle_vhost_ring(r, slot, look, bpf_ktime_get_ns());
#endif
	return 0;
}
