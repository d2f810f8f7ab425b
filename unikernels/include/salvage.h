/* SPDX-License-Identifier: Apache-2.0 */
/* salvage.h: the frames that a service had taken and not yet passed on when it died.
 *
 * Its memory is all that is left, and is not trusted: who died may have written anywhere.  Every
 * index is checked, nothing of the dead is changed, and no frame is found twice.  No hardware in
 * it, so that fuzzers run it on the host.
 *
 * A frame may have been sent and not yet reported as sent: it is found, and sent again.  None
 * that was taken is passed over. */
#ifndef SALVAGE_H
#define SALVAGE_H

#include "frames.h"
#include "vring.h"

#define SALVAGE_FRAMES (2 * QUEUE_FRAMES)

/* The frame that is between its receiving ring and a queue.  Whoever passes frames on writes
 * `end` before `frame`, and `done` before it forgets the frame. */
struct hand {
	u16 done;  /* how far the receiving ring was passed on */
	u16 end;   /* how far it will be with this frame */
	u16 frame; /* NO_BUFFER: none */
};

/* One direction: frames come from a receiving ring, wait, and go into a sending ring. */
struct lane {
	const struct vring *receive;
	const volatile struct vring_memory *received;
	const struct hand *hand;
	const struct frame_queue *waiting;
	const struct vring *send;
	const volatile struct vring_memory *sent;
};

struct salvage {
	const struct buffer *buffers; /* the dead's */
	const u8 *bytes;
	u16 nr_buffers;
	struct buffer found[MAX_BUFFERS]; /* the chains of what was found */
	bool taken[MAX_BUFFERS];	  /* it belongs to a frame that was found */
	u32 broken;			  /* what was no whole frame */
};

void salvage_begin(struct salvage *salvage, const struct pool *pool, const u8 *bytes, size_t room);

/* Finds the frames of one direction, in the order in which they came; how many. */
u16 salvage_lane(struct salvage *salvage, const struct lane *lane, u16 frames[SALVAGE_FRAMES]);

#endif /* SALVAGE_H */
