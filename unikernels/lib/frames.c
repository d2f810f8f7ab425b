/* SPDX-License-Identifier: Apache-2.0 */
#include "frames.h"

#include "cpu.h"

void pool_init(struct pool *pool, void *bytes, size_t room)
{
	pool_adopt(pool, bytes, room, NULL, NULL);
}

void pool_adopt(struct pool *pool, void *bytes, size_t room, const bool *taken,
		const struct buffer *found)
{
	size_t count = room / BUFFER_BYTES;

	pool->bytes = bytes;
	pool->nr_buffers = (u16)(count < MAX_BUFFERS ? count : MAX_BUFFERS);
	pool->nr_free = 0;
	pool->first_free = NO_BUFFER;
	for (u16 k = pool->nr_buffers; k--;) {
		if (taken && taken[k]) {
			pool->buffers[k] = found[k];
			continue;
		}
		pool->buffers[k] = (struct buffer){ .next = pool->first_free };
		pool->first_free = k;
		pool->nr_free++;
	}
}

u16 pool_take(struct pool *pool)
{
	u16 buffer = pool->first_free;

	if (buffer == NO_BUFFER)
		return NO_BUFFER;
	pool->first_free = pool->buffers[buffer].next;
	pool->nr_free--;
	pool->buffers[buffer] = (struct buffer){ .next = NO_BUFFER };
	return buffer;
}

void pool_give(struct pool *pool, u16 first)
{
	while (first != NO_BUFFER) {
		u16 next = pool->buffers[first].next;
		pool->buffers[first].next = pool->first_free;
		pool->first_free = first;
		pool->nr_free++;
		first = next;
	}
}

u32 frame_bytes(const struct pool *pool, u16 frame)
{
	u32 bytes = 0;

	for (; frame != NO_BUFFER; frame = pool->buffers[frame].next)
		bytes += pool->buffers[frame].length;
	return bytes;
}

bool frame_resize(struct pool *pool, u16 frame, u32 bytes)
{
	for (u16 at = frame;; at = pool->buffers[at].next) {
		u32 here = bytes < BUFFER_BYTES ? bytes : BUFFER_BYTES;
		pool->buffers[at].length = (u16)here;
		bytes -= here;
		if (!bytes) {
			pool_give(pool, pool->buffers[at].next);
			pool->buffers[at].next = NO_BUFFER;
			return true;
		}
		if (pool->buffers[at].next == NO_BUFFER) {
			u16 more = pool_take(pool);
			if (more == NO_BUFFER)
				return false;
			pool->buffers[at].next = more;
		}
	}
}

bool queue_put(struct frame_queue *queue, u16 frame)
{
	if (queue_length(queue) >= QUEUE_FRAMES)
		return false;
	queue->frames[queue->tail % ARRAY_SIZE(queue->frames)] = frame;
	order_stores(); /* who finds us dead believes the counts */
	queue->tail++;
	return true;
}

void queue_put_back(struct frame_queue *queue, u16 frame)
{
	queue->frames[(queue->head - 1) % ARRAY_SIZE(queue->frames)] = frame;
	order_stores();
	queue->head--;
}

u16 queue_first(const struct frame_queue *queue)
{
	if (!queue_length(queue))
		return NO_BUFFER;
	return queue->frames[queue->head % ARRAY_SIZE(queue->frames)];
}

void queue_drop_first(struct frame_queue *queue)
{
	queue->head++;
}
