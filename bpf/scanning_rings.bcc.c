// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* scanning_rings.bcc.c: the rings of the second design.  The loader appends it to scanning.bcc.c,
 * for BCC rewrites only the one text that it is given.
 *
 * As in vring.bpf.c nothing runs for a packet: a kick opens a debt, and a look closes it. */

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
	u8 flags = r->flags & RING_SERVES_KICK;

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

static inline void settle_vhost_ring(struct ring_cell *r, struct look *look, u64 now)
{
	look->known = kick_ctx_of(r->vq) == r->kick_ctx;
	if (!look->known) { /* freed, or used for another ring by now */
		r->since_ns = 0;
		return;
	}
	look_at_vq(r);
	u64 task = vq_task(r->vq), delay = run_delay(r->vq);
	u32 state = u32_at(task + AT(task_struct, __state));
	if (!(r->flags & RING_LIVE) || !outstanding(r)) {
		r->since_ns = 0;
	} else if (r->since_ns && r->last_avail != r->owed_from) {
		/* it works: the rest is a new debt */
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
		settle_vhost_ring(r, look, bpf_ktime_get_ns());
#endif
	return 0;
}

/* -- entering -------------------------------------------------------------------------------- */

static inline struct ring_cell *fill_ring(u64 ctx, u32 vm_slot, u32 *slot)
{
	struct vm_cell *vm = vms.lookup(&vm_slot);
	struct ring_cell *r = rings.lookup(slot);
	if (!vm || !r || ring_by_kick.update(&ctx, slot)) {
		drop(DROP_MAP);
		return 0;
	}
	__builtin_memset(r, 0, sizeof(*r));
	r->vm = vm_slot;
	r->kick_ctx = ctx;
	r->eventfd_id = u32_at(ctx + AT(eventfd_ctx, id));
	r->flags = RING_SERVES_KICK;
	u32 i = vm->nr_rings; /* he who enters a ring is alone: see take_slot() */
	vm->nr_rings = i + 1;
	if (i < MAX_RINGS_PER_VM)
		vm->rings[i] = *slot + 1;
	else
		drop(DROP_RING_LIST);
	return r;
}

/* The slot of a ring, taken at its first kick; the next kick tries again. */
static inline struct ring_cell *enter_ring(u64 ctx, u32 vm, u32 *slot)
{
	struct ring_cell *r = 0;
	u32 unused = 0;

	if (unused_rings.pop(&unused))
		return 0;
	if (ring_by_kick.lookup(&ctx))
		r = 0; /* another vCPU was first */
	else if (take_slot(free_rings.pop(slot) != 0, POOL_RINGS, MAX_RINGS, &unused, slot))
		drop(DROP_RING_SLOT);
	else
		r = fill_ring(ctx, vm, slot);
	unused_rings.push(&unused, BPF_ANY);
	return r;
}

#ifdef AT_vhost_virtqueue_dev
static inline void enter_vhost_ring(u64 vq, u32 index, u32 count, u32 vm)
{
	u64 ctx = kick_ctx_of(vq);
	u32 slot = 0;

	if (!ctx || ring_by_kick.lookup(&ctx))
		return;
	struct ring_cell *r = enter_ring(ctx, vm, &slot);
	if (!r)
		return;
	r->vq = vq;
	r->index = index;
	r->device = u64_at(vq + AT(vhost_virtqueue, dev));
	r->worker_tid = u32_at(vq_task(vq) + AT(task_struct, pid));
	/* net and vsock have two rings, and the first only offers buffers */
	if (count == 2 && index == 0)
		r->flags = 0;
	look_at_vq(r);
	r->kind = RING_VHOST;
	raise(NOTE_RING, 0, vm, slot, 0);
}

/* If this waiter of an eventfd is the poll of a vhost ring, its device lists that ring, and the
 * ring's kick is this eventfd: then enter all rings of the device. */
static inline int enter_vhost(u64 waiter, u64 ctx, u32 vm)
{
	u64 vq = waiter - AT(vhost_virtqueue, poll) - AT(vhost_poll, wait);
	u64 dev = u64_at(vq + AT(vhost_virtqueue, dev));
	u64 list = u64_at(dev + AT(vhost_dev, vqs));
	u32 count = u32_at(dev + AT(vhost_dev, nvqs));
	int listed = 0;

	if (!list || kick_ctx_of(vq) != ctx)
		return 0;
	for (u32 i = 0; i < MAX_SIBLINGS; i++)
		listed |= i < count && u64_at(list + 8 * i) == vq;
	for (u32 i = 0; listed && i < MAX_SIBLINGS && i < count; i++) {
		u64 other = u64_at(list + 8 * i);
		if (other)
			enter_vhost_ring(other, i, count, vm);
	}
	return listed;
}

/* An idle guest does not kick, yet its rings are there: user space names a descriptor of the VMM,
 * and one ring at a time, for 6.1's verifier gets lost in a loop.  A vhost_net and a vhost_vsock
 * begin with their vhost_dev. */
static inline void enter_file(const struct vcpu_cell *c, u64 fd, u32 index)
{
	u64 task = c->task,
	    table = u64_at(u64_at(task + AT(task_struct, files)) + AT(files_struct, fdt));

	if (u32_at(task + AT(task_struct, pid)) != c->tid ||
	    fd >= u32_at(table + AT(fdtable, max_fds)))
		return;
	u64 file = u64_at(u64_at(table + AT(fdtable, fd)) + 8 * fd);
	u64 dev = u64_at(file + AT(file, private_data));
	u32 count = u32_at(dev + AT(vhost_dev, nvqs));
	u64 vq = index < count ? u64_at(u64_at(dev + AT(vhost_dev, vqs)) + 8 * index) : 0;
	if (vq && u64_at(vq + AT(vhost_virtqueue, dev)) == dev)
		enter_vhost_ring(vq, index, count, c->vm);
}
#else
#define enter_vhost(waiter, ctx, vm) 0
#define enter_file(vcpu, fd, index)
#endif

int enter_vhost_file(struct bpf_raw_tracepoint_args *ctx)
{
	u32 slot = ctx->args[0];
	u64 fd = ctx->args[1], index = ctx->args[2];
	struct vcpu_cell *c = vcpus.lookup(&slot);
	if (c && c->tid)
		enter_file(c, fd, index);
	return 0;
}

/* Who waits for this eventfd?  A vhost ring is served by the kernel, anything else by a process. */
static inline void enter_rings(u64 ctx, u32 vm)
{
	u64 head = ctx + AT(eventfd_ctx, wqh) + AT(wait_queue_head, head);
	u64 at = u64_at(head + AT(list_head, next));
	u32 slot = 0;

	for (int i = 0; i < MAX_WAITERS && at && at != head; i++) {
		if (enter_vhost(at - AT(wait_queue_entry, entry), ctx, vm))
			return;
		at = u64_at(at + AT(list_head, next));
	}
	struct ring_cell *r = enter_ring(ctx, vm, &slot);
	if (!r)
		return;
	r->kind = RING_USER;
	raise(NOTE_RING, 0, vm, slot, 0);
}

/* -- kicks and calls ------------------------------------------------------------------------- */

/* The rings' words in the VMM's memory, in whose thread a kick is made. */
static inline void look_at_memory(struct ring_cell *r)
{
	u64 avail = r->avail_addr, used = r->used_addr;

	if (!avail || !used || (r->flags & RING_PACKED))
		return;
	if (bpf_probe_read_user(&r->avail, sizeof(u16), (void *)(avail + 2)) ||
	    bpf_probe_read_user(&r->used, sizeof(u16), (void *)(used + 2)))
		drop(DROP_READ);
	/* behind the last entry the guest writes how far it has consumed */
	if (r->flags & RING_EVENT_IDX)
		bpf_probe_read_user(&r->used_event, sizeof(u16), (void *)(avail + 4 + 2 * r->num));
}

static inline void kicked_vhost(struct ring_cell *r, u64 now)
{
#ifdef AT_vhost_virtqueue_dev
	look_at_vq(r);
	look_at_memory(r);
	if (!(r->flags & RING_SERVES_KICK) || !(r->flags & RING_LIVE) || (r->flags & RING_PACKED))
		return;
	if (!outstanding(r) || (r->since_ns && r->owed_from == r->last_avail))
		return; /* taken already, or owed already */
	r->owed_from = r->last_avail;
	r->run_delay_ns = run_delay(r->vq);
	r->since_ns = now;
#endif
}

/* This kick is not yet in the eventfd: a count of none means that all older ones were taken. */
static inline void kicked_user(struct ring_cell *r, u64 eventfd, u64 now)
{
	u32 server = r->worker_tid;
	struct process *p = processes.lookup(&server);

	if (r->hushed == HUSH_UNCALLED && p && p->call_ns > r->suspected_ns)
		r->hushed = HUSH_NOTHING; /* it does call, it was only slow */
	if (!r->since_ns || !u64_at(eventfd + AT(eventfd_ctx, count)))
		r->since_ns = now;
}

/* ioeventfd_in_range() of virt/kvm/eventfd.c: several doorbells may share an address and differ in
 * datamatch.  The other design asks the return value, for which BCC would need a second probe. */
static inline int is_meant(u64 io, u64 addr, u32 len, void *val)
{
	u32 length = u32_at(io + AT(_ioeventfd, length));
	if (u64_at(io + AT(_ioeventfd, addr)) != addr)
		return 0;
	if (!length || (length == len && u8_at(io + AT(_ioeventfd, wildcard))))
		return 1;
	if (length != len)
		return 0;
	u64 written = u64_at((u64)val), match = u64_at(io + AT(_ioeventfd, datamatch));
	return len >= sizeof(match) || !((written ^ match) << (64 - 8 * len));
}

int on_kick(struct pt_regs *ctx, void *vcpu, void *device, u64 addr, u32 len, void *val)
{
	u64 io = (u64)device - AT(_ioeventfd, dev), eventfd = u64_at(io + AT(_ioeventfd, eventfd));
	u64 now = bpf_ktime_get_ns(), kvm = u64_at((u64)vcpu + AT(kvm_vcpu, kvm));
	u32 *known = vm_by_kvm.lookup(&kvm);
	if (!known || !is_meant(io, addr, len, val))
		return 0;

	u32 vm_slot = *known;
	struct vm_cell *vm = vms.lookup(&vm_slot);
	if (!ring_by_kick.lookup(&eventfd))
		enter_rings(eventfd, vm_slot);
	known = ring_by_kick.lookup(&eventfd);
	struct ring_cell *r = known ? rings.lookup(known) : 0;
	if (!vm || !r)
		return 0;
	vm->kick_ns = now;
	vm->sign_ns = now;
	vm->hushed = 0;
	__sync_fetch_and_add(&vm->kicks, 1);
	r->kicks++;
	r->doorbell = addr;
	if (r->kind == RING_VHOST)
		kicked_vhost(r, now);
	else
		kicked_user(r, eventfd, now);
	return 0;
}

int on_call(struct pt_regs *ctx, void *wait, u32 mode, int sync, u64 key)
{
	u64 kvm = u64_at((u64)wait - AT(kvm_kernel_irqfd, wait) + AT(kvm_kernel_irqfd, kvm));
	u32 *slot = vm_by_kvm.lookup(&kvm), tgid = bpf_get_current_pid_tgid() >> 32;
	struct vm_cell *vm = slot && (key & POLLED_IN) ? vms.lookup(slot) : 0;
	struct process *caller = processes.lookup(&tgid);

	if (!vm)
		return 0;
	vm->call_ns = bpf_ktime_get_ns();
	__sync_fetch_and_add(&vm->calls, 1);
	if (caller)
		caller->call_ns = vm->call_ns;
	return 0;
}
