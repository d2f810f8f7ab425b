// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* scanning_entry.bcc.c: a ring is entered into the books at its first kick.  The loader appends it
 * to scanning_look.bcc.c. */

static inline struct ring_cell *ring_at(u64 ctx)
{
	u32 *known = ring_by_kick.lookup(&ctx);
	return known ? rings.lookup(known) : 0;
}

/* A VMM that stops and continues its devices gives the same ring a new eventfd. */
static inline struct ring_cell *renew_ring(u64 ctx, const struct vm_cell *vm, u64 identity,
					   u32 *slot)
{
	for (int i = 0; i < MAX_RINGS_PER_VM; i++) {
		*slot = (u32)vm->rings[i] - 1;
		struct ring_cell *r = vm->rings[i] ? rings.lookup(slot) : 0;
		if (r && r->identity == identity)
			return move_kick(r, *slot, ctx) ? 0 : r;
	}
	return 0;
}

static inline struct ring_cell *new_ring(u64 ctx, struct vm_cell *vm, u32 *slot)
{
	struct ring_cell *r = rings.lookup(slot);
	if (!r)
		return 0;
	__builtin_memset(r, 0, sizeof(*r));
	if (move_kick(r, *slot, ctx)) {
		drop(DROP_MAP);
		return 0;
	}
	u32 i = vm->nr_rings; /* he who enters a ring is alone: see take_slot() */
	vm->nr_rings = i + 1;
	if (i < MAX_RINGS_PER_VM)
		vm->rings[i] = *slot + 1;
	else
		drop(DROP_RING_LIST);
	return r;
}

static inline struct ring_cell *renewed_or_new(u64 ctx, struct vm_cell *vm, u64 identity,
					       u32 *unused, u32 *slot)
{
	struct ring_cell *r = renew_ring(ctx, vm, identity, slot);

	if (r)
		return r;
	if (take_slot(free_rings.pop(slot) != 0, POOL_RINGS, MAX_RINGS, unused, slot)) {
		drop(DROP_RING_SLOT);
		return 0;
	}
	return new_ring(ctx, vm, slot);
}

/* The slot of a ring, taken at its first kick; the next kick tries again.  `identity` is what stays
 * of a ring while its eventfds come and go: its vq, or its doorbell. */
static inline struct ring_cell *enter_ring(u64 ctx, u32 vm_slot, u64 identity, u32 *slot)
{
	struct vm_cell *vm = vms.lookup(&vm_slot);
	struct ring_cell *r = 0;
	u32 unused = 0;

	if (!vm || unused_rings.pop(&unused))
		return 0;
	struct ring_cell *holder = ring_at(ctx);
	if (!holder || holder->vm != vm_slot || holder->identity != identity ||
	    holder->eventfd_id != u32_at(ctx + AT(eventfd_ctx, id))) /* else another was first */
		r = renewed_or_new(ctx, vm, identity, &unused, slot);
	if (r) {
		r->vm = vm_slot;
		r->identity = identity;
		r->since_ns = 0;
		r->flags = RING_SERVES_KICK;
	}
	unused_rings.push(&unused, BPF_ANY);
	return r;
}

#ifdef AT_vhost_virtqueue_dev
static inline void enter_vhost_ring(u64 vq, u32 index, u32 count, u32 vm)
{
	u64 ctx = kick_ctx_of(vq);
	u32 slot = 0;

	if (!ctx)
		return;
	struct ring_cell *r = enter_ring(ctx, vm, vq, &slot);
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
static inline int enter_waiting_vhost(u64 ctx, u32 vm)
{
	u64 head = ctx + AT(eventfd_ctx, wqh) + AT(wait_queue_head, head);
	u64 at = u64_at(head + AT(list_head, next));

	for (int i = 0; i < MAX_WAITERS && at && at != head; i++) {
		if (enter_vhost(at - AT(wait_queue_entry, entry), ctx, vm))
			return 1;
		at = u64_at(at + AT(list_head, next));
	}
	return 0;
}

static inline void enter_user_ring(u64 ctx, u32 vm, u64 doorbell)
{
	u32 slot = 0;
	struct ring_cell *r = enter_ring(ctx, vm, doorbell, &slot);

	if (!r)
		return;
	r->kind = RING_USER;
	raise(NOTE_RING, 0, vm, slot, 0);
}

/* Is it still this ring's eventfd, and not another one at the same address? */
static inline int holds(const struct ring_cell *r, u64 ctx, u32 vm, u64 doorbell)
{
	if (r->vm != vm)
		return 0;
#ifdef AT_vhost_virtqueue_dev
	if (r->kind == RING_VHOST)
		return kick_ctx_of(r->vq) == ctx;
#endif
	return r->identity == doorbell && r->eventfd_id == u32_at(ctx + AT(eventfd_ctx, id));
}

static inline struct ring_cell *find_ring(u64 ctx, u32 vm, u64 doorbell, u64 late_ns)
{
	struct ring_cell *r = ring_at(ctx);
	int held = r && holds(r, ctx, vm, doorbell);

	/* a ring that the VMM served may be vhost's by now, at the same address and doorbell, and
	 * vhost does not take the count of its eventfd */
	if (held && (r->kind == RING_VHOST || r->since_ns >= late_ns))
		return r;
	if (enter_waiting_vhost(ctx, vm)) {
		if (held)
			r->since_ns = 0;
	} else if (!held) {
		enter_user_ring(ctx, vm, doorbell);
	}
	r = ring_at(ctx);
	return r && holds(r, ctx, vm, doorbell) ? r : 0;
}
