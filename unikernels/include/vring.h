/* SPDX-License-Identifier: Apache-2.0 */
/* vring.h: a split virtqueue with EVENT_IDX (virtio 1.x, section 2.7), the driver's side.
 *
 * The other side is not trusted: nothing that it can write is used as an index before it was
 * checked, and nothing of ours is read back from memory that it can write.  No hardware in it, so
 * that fuzzers run it on the host. */
#ifndef VRING_H
#define VRING_H

#include "types.h"

#define VRING_MAX	 256
#define VRING_DESC_NEXT	 1
#define VRING_DESC_WRITE 2
#define VRING_NO_HEAD	 0xffff
#define VRING_ALIGN	 4096

struct vring_desc {
	u64 address;
	u32 length;
	u16 flags, next;
};

struct vring_avail {
	u16 flags, index;
	u16 ring[VRING_MAX + 1]; /* behind the ring's last entry: used_event */
};

struct vring_used {
	u16 flags, index;
	struct {
		u32 head, length;
	} ring[VRING_MAX + 1]; /* behind the ring's last entry: avail_event */
};

/* What both sides see. */
struct vring_memory {
	struct vring_desc desc[VRING_MAX];
	struct vring_avail avail;
	u8 pad[VRING_ALIGN - sizeof(struct vring_avail) % VRING_ALIGN];
	struct vring_used used;
} ALIGNED(VRING_ALIGN);

struct vring {
	volatile struct vring_memory *memory;
	u16 size;
	u16 nr_free, first_free;
	u16 offered, kicked;  /* the index of avail, and what it was at the last kick */
	u16 taken;	      /* how far the index of used was consumed */
	u16 in_flight;	      /* chains */
	u16 heads[VRING_MAX]; /* what we wrote into avail */
	u16 place[VRING_MAX]; /* of the chain with this head: `offered` when it was */
	u16 next[VRING_MAX];  /* our own links, of free and of offered descriptors */
	u16 chain[VRING_MAX]; /* descriptors of the chain with this head; 0: not offered */
	u32 room[VRING_MAX];  /* bytes that the other side may write into it */
	u32 cookie[VRING_MAX];
	u64 lies; /* what the other side said and cannot be */
};

struct segment {
	u64 address;
	u32 length;
};

void vring_init(struct vring *ring, volatile struct vring_memory *memory, u16 size);

/* Offers a chain: the first `to_read` segments are for the other side to read, the rest for it to
 * write.  False: no room; nothing was done. */
bool vring_offer(struct vring *ring, const struct segment *segments, u16 count, u16 to_read,
		 u32 cookie);

/* Takes back a chain that was used: its cookie, and how many bytes were written, never more than
 * there was room for. */
bool vring_take(struct vring *ring, u32 *cookie, u32 *written);

/* Takes back all that was offered and not used, of a device that is at rest: the cookies in the
 * order in which they were offered, as many as there are chains, `size` at most. */
u16 vring_withdraw(struct vring *ring, u32 *cookies);

/* Whether the other side is to be told of what was offered since it was last told. */
bool vring_wants_kick(struct vring *ring);

/* Asks to be woken when something is used; true if something is already. */
bool vring_ask_wake(struct vring *ring);
void vring_ask_no_wake(struct vring *ring);

/* How far the other side says it is; for books, not to be used as an index. */
u16 vring_used_index(const struct vring *ring);

#endif /* VRING_H */
