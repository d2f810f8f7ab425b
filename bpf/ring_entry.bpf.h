/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* ring_entry.bpf.h: a ring is entered into the books at its first kick. */
#ifndef OBSERVER_RING_ENTRY_BPF_H
#define OBSERVER_RING_ENTRY_BPF_H

#include "vhost.bpf.h"

#define MAX_SIBLINGS 8 /* rings of one vhost device that its first kick makes known */

SHARED_HASH(ring_by_kick, u64, u32, MAX_RINGS);
SLOT_QUEUE(free_rings, MAX_RINGS);

static u32 eventfd_id(u64 ctx)
{
	return BPF_CORE_READ((struct eventfd_ctx *)ctx, id);
}

/* The ring has this eventfd now.  Whoever had one at this address is without: memory of an eventfd
 * that is freed is the next one's, and a VMM that stops and continues frees many at once. */
static int move_kick(struct ring_cell *r, u32 slot, u64 ctx)
{
	u64 old = r->kick_ctx;
	u32 *at = bpf_map_lookup_elem(&ring_by_kick, &ctx);
	struct ring_cell *loser = at && *at != slot ? bpf_map_lookup_elem(&rings, at) : 0;

	/* two vCPUs may enter a ring at once, and one is first */
	if (loser && loser->vm == r->vm && loser->identity == r->identity &&
	    loser->eventfd_id == eventfd_id(ctx))
		return -1;
	if (loser && loser->kick_ctx == ctx) {
		loser->kick_ctx = 0;
		loser->since_ns = 0;
	}
	if (bpf_map_update_elem(&ring_by_kick, &ctx, &slot, at ? BPF_EXIST : BPF_NOEXIST))
		return -1;
	r->kick_ctx = ctx;
	r->eventfd_id = eventfd_id(ctx);
	at = bpf_map_lookup_elem(&ring_by_kick, &old);
	if (old != ctx && at && *at == slot)
		bpf_map_delete_elem(&ring_by_kick, &old);
	return 0;
}

/* A VMM that stops and continues its devices gives the same ring a new eventfd. */
static struct ring_cell *renew_ring(u64 ctx, struct vm_cell *vm, u64 identity, u32 *slot)
{
	for (int i = 0; i < MAX_RINGS_PER_VM; i++) {
		*slot = (u32)vm->rings[i] - 1;
		struct ring_cell *r = vm->rings[i] ? bpf_map_lookup_elem(&rings, slot) : 0;
		if (r && r->identity == identity)
			return move_kick(r, *slot, ctx) ? 0 : r;
	}
	return 0;
}

static struct ring_cell *new_ring(u64 ctx, struct vm_cell *vm, u32 vm_slot, u64 identity, u32 *slot)
{
	if (take_slot(&free_rings, POOL_RINGS, MAX_RINGS, slot)) {
		drop(DROP_RING_SLOT);
		return 0;
	}
	struct ring_cell *r = bpf_map_lookup_elem(&rings, slot);
	if (!r)
		return 0;
	__builtin_memset(r, 0, sizeof(*r));
	r->vm = vm_slot;
	r->identity = identity;
	if (move_kick(r, *slot, ctx)) {
		bpf_map_push_elem(&free_rings, slot, BPF_ANY);
		return 0;
	}
	u32 i = __sync_fetch_and_add(&vm->nr_rings, 1);
	if (i < MAX_RINGS_PER_VM)
		vm->rings[i] = *slot + 1;
	else
		drop(DROP_RING_LIST);
	return r;
}

/* `identity` is what stays of a ring while its eventfds come and go: its vq, or its doorbell. */
static struct ring_cell *enter_ring(u64 ctx, u32 vm_slot, u64 identity, u32 *slot)
{
	struct vm_cell *vm = bpf_map_lookup_elem(&vms, &vm_slot);
	if (!vm)
		return 0;
	struct ring_cell *r = renew_ring(ctx, vm, identity, slot);
	if (!r)
		r = new_ring(ctx, vm, vm_slot, identity, slot);
	if (!r)
		return 0;
	r->since_ns = 0;
	r->flags = RING_SERVES_KICK;
	return r;
}

static void note_ring(struct ring_cell *r, u32 slot)
{
	struct vm_cell *vm = bpf_map_lookup_elem(&vms, &r->vm);
	struct suspicion s = {
		.now_ns = bpf_ktime_get_ns(),
		.kind = NOTE_RING,
		.tgid = vm ? vm->tgid : 0,
		.vm = r->vm,
		.slot = slot,
	};
	raise(&s, BPF_RB_FORCE_WAKEUP);
}

static void enter_vhost_ring(struct vhost_virtqueue *vq, u32 index, u32 count, u32 vm)
{
	u64 ctx = kick_ctx_of(vq);
	u32 *known = bpf_map_lookup_elem(&ring_by_kick, &ctx), slot;
	struct ring_cell *holder = known ? bpf_map_lookup_elem(&rings, known) : 0;

	if (!ctx || (holder && holder->vq == (u64)vq))
		return;
	struct ring_cell *r = enter_ring(ctx, vm, (u64)vq, &slot);
	if (!r)
		return;
	r->vq = (u64)vq;
	r->index = index;
	r->device = (u64)BPF_CORE_READ(vq, dev);
	r->worker_tid = worker_tid(vq);
	/* net and vsock have two rings, and the first only offers buffers */
	if (count == 2 && index == 0)
		r->flags = 0;
	look_at_vq(r, vq);
	r->kind = RING_VHOST;
	note_ring(r, slot);
}

static struct vhost_virtqueue *vq_of(struct vhost_dev *dev, u32 index)
{
	struct vhost_virtqueue **list = BPF_CORE_READ(dev, vqs), *vq = 0;

	if (is_kernel(list))
		bpf_probe_read_kernel(&vq, sizeof(vq), list + index);
	return is_kernel(vq) && BPF_CORE_READ(vq, dev) == dev ? vq : 0;
}

static void enter_device(struct vhost_dev *dev, u32 vm)
{
	int count = BPF_CORE_READ(dev, nvqs);

	for (int i = 0; i < MAX_SIBLINGS && i < count; i++) {
		struct vhost_virtqueue *vq = vq_of(dev, i);
		if (vq)
			enter_vhost_ring(vq, i, count, vm);
	}
}

/* The device of the vhost ring whose poll this waiter of an eventfd is; 0: it is none.
 * A poll of vhost's has the queue that it waits in just before its entry; nobody else's has, so
 * that nothing else is followed.  Its device lists the ring, and its kick is this eventfd. */
static struct vhost_dev *device_of(struct wait_queue_entry *waiter, u64 ctx)
{
	struct vhost_virtqueue *vq =
		(void *)waiter - bpf_core_field_offset(struct vhost_virtqueue, poll.wait);
	struct vhost_dev *dev = BPF_CORE_READ(vq, dev);
	u64 queue = (u64)BPF_CORE_READ(vq, poll.wqh);

	if (queue != ctx + bpf_core_field_offset(struct eventfd_ctx, wqh) || !is_kernel(dev) ||
	    kick_ctx_of(vq) != ctx)
		return 0;
	int count = BPF_CORE_READ(dev, nvqs);
	bool listed = false;
	for (int i = 0; i < MAX_SIBLINGS && i < count; i++)
		listed |= vq_of(dev, i) == vq;
	return listed ? dev : 0;
}

/* Who waits for this eventfd?  A vhost ring is served by the kernel, anything else by a process. */
static struct vhost_dev *waiting_vhost(struct eventfd_ctx *ctx)
{
	struct list_head *head = (void *)ctx + bpf_core_field_offset(struct eventfd_ctx, wqh.head);
	struct list_head *at = BPF_CORE_READ(head, next);

	for (int i = 0; i < 4 && is_kernel(at) && at != head; i++) {
		struct vhost_dev *dev = device_of(
			(void *)at - bpf_core_field_offset(struct wait_queue_entry, entry),
			(u64)ctx);
		if (dev)
			return dev;
		at = BPF_CORE_READ(at, next);
	}
	return 0;
}

static void enter_user_ring(struct eventfd_ctx *ctx, u32 vm, u64 doorbell)
{
	u32 slot;
	struct ring_cell *r = enter_ring((u64)ctx, vm, doorbell, &slot);

	if (!r)
		return;
	r->kind = RING_USER;
	note_ring(r, slot);
}

/* Is it still this ring's eventfd, and not another one at the same address? */
static bool holds(const struct ring_cell *r, u64 ctx, u32 vm, u64 doorbell)
{
	if (r->vm != vm)
		return false;
	if (r->kind == RING_VHOST)
		return kick_ctx_of((void *)r->vq) == ctx;
	return r->identity == doorbell && r->eventfd_id == eventfd_id(ctx);
}

/* A ring that the VMM served may be vhost's by now, at the same address and doorbell.  It is asked
 * where it owes nothing, or has since before `late_ns`: vhost does not take the count of its
 * eventfd, so the debt would look like the VMM's for ever. */
static struct ring_cell *find_ring(struct eventfd_ctx *ctx, u32 vm, u64 doorbell, u64 late_ns,
				   u32 *slot)
{
	u64 key = (u64)ctx;
	u32 *known = bpf_map_lookup_elem(&ring_by_kick, &key);
	struct ring_cell *r = known ? bpf_map_lookup_elem(&rings, known) : 0;
	bool held = r && holds(r, key, vm, doorbell);

	if (!held || (r->kind == RING_USER && r->since_ns < late_ns)) {
		struct vhost_dev *dev = waiting_vhost(ctx);
		if (dev) {
			if (held)
				r->since_ns = 0;
			enter_device(dev, vm);
		} else if (!held) {
			enter_user_ring(ctx, vm, doorbell);
		}
		known = bpf_map_lookup_elem(&ring_by_kick, &key);
		r = known ? bpf_map_lookup_elem(&rings, known) : 0;
	}
	if (!known || !r || !holds(r, key, vm, doorbell))
		return 0;
	*slot = *known;
	return r;
}

#endif /* OBSERVER_RING_ENTRY_BPF_H */
