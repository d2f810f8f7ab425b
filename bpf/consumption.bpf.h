/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* consumption.bpf.h: whether a guest consumes what it is sent, by the rings that it receives on.
 *
 * A guest that missed its call lives on, and would be called no more: with EVENT_IDX it is called
 * again when it has consumed.  Its timers, its disk, its other rings go on as before. */
#ifndef OBSERVER_CONSUMPTION_BPF_H
#define OBSERVER_CONSUMPTION_BPF_H

#include "ring_words.bpf.h"

#define READ_EVERY_NS (10 * MS)
#define LOOK_EXITS    4 /* who computes makes few, and what he consumes is his only sign */

static __always_inline bool shows_consumption(const struct ring_cell *r)
{
	u8 matter = RING_SERVES_KICK | RING_EVENT_IDX | RING_PACKED | RING_LIVE;

	return r->kind == RING_VHOST && (r->flags & matter) == (RING_EVENT_IDX | RING_LIVE);
}

/* Behind the last entry the guest writes how far it has consumed, not while it polls; then it
 * offers new buffers. */
static __always_inline bool is_consumed(struct ring_cell *r, u64 now)
{
	look_at_memory(r);
	if (r->used == r->used_event) {
		r->unconsumed_ns = 0;
		r->down = 0;
		return true;
	}
	if (!r->unconsumed_ns || r->avail != r->read_avail || r->used_event != r->read_event)
		r->unconsumed_ns = now;
	r->read_avail = r->avail;
	r->read_event = r->used_event;
	return false;
}

struct reading {
	struct vm_cell *vm;
	u64 now;
	u32 moved, unread, down;
};

static long read_ring(u32 i, void *of)
{
	struct reading *reading = of;

	if (i >= MAX_RINGS_PER_VM || !reading->vm->rings[i])
		return 1;
	u32 slot = (u32)reading->vm->rings[i] - 1;
	struct ring_cell *r = bpf_map_lookup_elem(&rings, &slot);
	if (!r || !shows_consumption(r))
		return 0;
	u16 before = r->used_event;
	if (is_consumed(r, reading->now))
		reading->moved += r->used_event != before;
	else if (r->down)
		reading->down++;
	else
		reading->unread++;
	return 0;
}

/* Only where the guest's memory is mapped: in a thread of its VMM.  Whoever is being called just
 * now leaves something in a ring too, so as long as something is there each halt looks.  Who has
 * consumed since the last look, and all that there is, has lived since the call, even if he neither
 * halts nor kicks.  A call alone tells nothing: his disk calls him too. */
static __always_inline void look_for_unconsumed(struct vm_cell *vm, bool halts, u64 now)
{
	struct reading reading = { .vm = vm, .now = now };
	u64 call = vm->call_ns;

	if (!vm->unread && call <= vm->read_ns)
		return;
	if (!(halts && vm->unread) && age_of(vm->read_ns, now) < READ_EVERY_NS)
		return;
	vm->read_ns = now;
	bpf_loop(MAX_RINGS_PER_VM, read_ring, &reading, 0); /* unrolled it is too much to verify */
	vm->unread = reading.unread;
	if (reading.unread || reading.down)
		return;
	vm->down = 0;
	if (reading.moved && call > vm->sign_ns)
		vm->sign_ns = call;
}

/* What an exit of a vCPU's own making tells of its VM. */
static __always_inline void note_signs(u32 slot, bool halts, u64 now)
{
	struct vm_cell *vm = bpf_map_lookup_elem(&vms, &slot);

	if (!vm)
		return;
	if (halts) {
		vm->sign_ns = now;
		vm->hushed = 0;
	}
	look_for_unconsumed(vm, halts, now);
}

/* Since when a ring stands over which the guest lives on; 0: none does. */
static __always_inline u64 unconsumed_since(const struct vm_cell *vm)
{
	u64 since = 0;

	for (int i = 0; i < MAX_RINGS_PER_VM; i++) {
		u32 slot = (u32)vm->rings[i] - 1;
		struct ring_cell *r = vm->rings[i] ? bpf_map_lookup_elem(&rings, &slot) : 0;

		if (r && r->unconsumed_ns && !r->down && (!since || r->unconsumed_ns < since))
			since = r->unconsumed_ns;
	}
	return since;
}

#endif /* OBSERVER_CONSUMPTION_BPF_H */
