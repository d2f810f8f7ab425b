/* SPDX-License-Identifier: Apache-2.0 */
#include "vring.h"

#include "cpu.h"

void vring_init(struct vring *ring, volatile struct vring_memory *memory, u16 size)
{
	u64 lies = ring->lies;

	*ring = (struct vring){ .memory = memory, .size = size, .nr_free = size, .lies = lies };
	for (u16 k = 0; k < size; k++) {
		ring->next[k] = (u16)(k + 1);
		ring->heads[k] = VRING_NO_HEAD;
	}
	memory->avail.flags = 0;
	memory->avail.index = 0;
	memory->used.flags = 0;
	memory->used.index = 0;
	memory->avail.ring[size] = 0; /* the events: a device takes them as it finds them */
	memory->used.ring[size].head = 0;
}

static volatile u16 *used_event(struct vring *ring)
{
	return &ring->memory->avail.ring[ring->size]; /* behind the last entry */
}

static u16 avail_event(const struct vring *ring)
{
	return (u16)ring->memory->used.ring[ring->size].head; /* behind the last entry */
}

static u16 take_free(struct vring *ring)
{
	u16 k = ring->first_free;

	ring->first_free = ring->next[k];
	ring->nr_free--;
	return k;
}

bool vring_offer(struct vring *ring, const struct segment *segments, u16 count, u16 to_read,
		 u32 cookie)
{
	if (!count || ring->nr_free < count)
		return false;

	u16 head = ring->first_free;
	u32 room = 0;
	for (u16 k = 0; k < count; k++) {
		u16 at = take_free(ring);
		volatile struct vring_desc *desc = &ring->memory->desc[at];
		bool last = k + 1 == count;
		desc->address = segments[k].address;
		desc->length = segments[k].length;
		desc->flags =
			(u16)((last ? 0 : VRING_DESC_NEXT) | (k < to_read ? 0 : VRING_DESC_WRITE));
		desc->next = last ? 0 : ring->first_free;
		room += k < to_read ? 0 : segments[k].length;
	}
	ring->room[head] = room;
	ring->cookie[head] = cookie;
	ring->heads[ring->offered % ring->size] = head;
	ring->place[head] = ring->offered;
	order_stores(); /* who finds us dead takes it as offered once it has a chain */
	ring->chain[head] = count;
	ring->memory->avail.ring[ring->offered % ring->size] = head;
	ring->offered++;
	ring->in_flight++;
	order_stores();
	ring->memory->avail.index = ring->offered;
	return true;
}

/* Our own links lead through a chain: next[] of its members still does. */
static void give_back(struct vring *ring, u16 head)
{
	u16 last = head;

	for (u16 k = 1; k < ring->chain[head]; k++)
		last = ring->next[last];
	ring->next[last] = ring->first_free;
	ring->first_free = head;
	ring->nr_free = (u16)(ring->nr_free + ring->chain[head]);
	ring->chain[head] = 0;
	ring->in_flight--;
}

bool vring_take(struct vring *ring, u32 *cookie, u32 *written)
{
	while (ring->taken != ring->memory->used.index) {
		order_loads();
		u16 at = ring->taken % ring->size;
		u32 head = ring->memory->used.ring[at].head;
		u32 length = ring->memory->used.ring[at].length;
		ring->taken++;
		if (head >= ring->size || !ring->chain[head]) {
			ring->lies++;
			continue;
		}
		if (length > ring->room[head]) {
			ring->lies++;
			length = ring->room[head];
		}
		*cookie = ring->cookie[head];
		*written = length;
		give_back(ring, (u16)head);
		return true;
	}
	return false;
}

u16 vring_withdraw(struct vring *ring, u32 *cookies)
{
	u16 count = 0;

	/* one that is older than a round is the last */
	for (u16 k = ring->size; k; k--) {
		u16 place = (u16)(ring->offered - k), head = ring->heads[place % ring->size];
		/* a head may have come back since, and lead a newer chain */
		if (head == VRING_NO_HEAD || !ring->chain[head] || ring->place[head] != place)
			continue;
		cookies[count++] = ring->cookie[head];
		give_back(ring, head);
	}
	for (u16 head = 0; ring->in_flight && head < ring->size; head++) {
		if (!ring->chain[head])
			continue;
		cookies[count++] = ring->cookie[head];
		give_back(ring, head);
	}
	return count;
}

/* vring_need_event() of include/uapi/linux/virtio_ring.h: it asked for an index between the two. */
static bool passes(u16 event, u16 from, u16 to)
{
	return (u16)(to - event - 1) < (u16)(to - from);
}

bool vring_wants_kick(struct vring *ring)
{
	u16 from = ring->kicked;

	if (from == ring->offered)
		return false;
	ring->kicked = ring->offered;
	full_barrier(); /* our index before its event */
	return passes(avail_event(ring), from, ring->offered);
}

bool vring_ask_wake(struct vring *ring)
{
	*used_event(ring) = ring->taken;
	full_barrier(); /* our event before its index */
	return ring->taken != ring->memory->used.index;
}

void vring_ask_no_wake(struct vring *ring)
{
	*used_event(ring) = (u16)(ring->taken - 1); /* passed long ago, come back to last */
}

u16 vring_used_index(const struct vring *ring)
{
	return ring->memory->used.index;
}
