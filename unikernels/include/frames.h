/* SPDX-License-Identifier: Apache-2.0 */
/* frames.h: Ethernet frames in chains of buffers of one size, and queues of them.
 *
 * A frame stays where the device put it; what moves is the number of its first buffer.  No
 * hardware in it, so that fuzzers run it on the host. */
#ifndef FRAMES_H
#define FRAMES_H

#include "types.h"

#define BUFFER_BYTES  1536 /* a frame of 1,514 bytes behind its virtio header */
#define MAX_BUFFERS   9400 /* what a VM of 16 MB has room for */
#define FRAME_BUFFERS 44   /* the longest frame: 64 KB, offloaded */
#define QUEUE_FRAMES  4096
#define NO_BUFFER     0xffff

struct buffer {
	u16 next;   /* of the frame, or of the free ones; NO_BUFFER: none */
	u16 length; /* bytes in use */
};

struct pool {
	u8 *bytes;
	u16 nr_buffers, nr_free, first_free;
	struct buffer buffers[MAX_BUFFERS];
};

void pool_init(struct pool *pool, void *bytes, size_t room);

/* The same, but for the buffers that are `taken`: their chains are as in `found`. */
void pool_adopt(struct pool *pool, void *bytes, size_t room, const bool *taken,
		const struct buffer *found);
u16 pool_take(struct pool *pool);	      /* NO_BUFFER: none is left */
void pool_give(struct pool *pool, u16 first); /* a whole frame */

static inline u8 *buffer_bytes(const struct pool *pool, u16 buffer)
{
	return pool->bytes + (size_t)buffer * BUFFER_BYTES;
}

u32 frame_bytes(const struct pool *pool, u16 frame);

/* Makes a frame so long: buffers are added, or what is too much is given back.  False: none was
 * left to add. */
bool frame_resize(struct pool *pool, u16 frame, u32 bytes);

/* Frames that wait, first in, first out. */
struct frame_queue {
	u32 head, tail;		      /* counted from the start; tail - head frames wait */
	u16 frames[2 * QUEUE_FRAMES]; /* room, too, for those that come back from a ring */
};

static inline u32 queue_length(const struct frame_queue *queue)
{
	return queue->tail - queue->head;
}

/* False: it holds all it may. */
bool queue_put(struct frame_queue *queue, u16 frame);

/* Puts a frame before all others, also beyond the limit: it was in the queue before. */
void queue_put_back(struct frame_queue *queue, u16 frame);
u16 queue_first(const struct frame_queue *queue); /* NO_BUFFER: none */
void queue_drop_first(struct frame_queue *queue);

#endif /* FRAMES_H */
