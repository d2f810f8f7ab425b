/* SPDX-License-Identifier: Apache-2.0 */
#include "salvage.h"

#define SHORTEST_FRAME 26 /* the virtio header and Ethernet's */
#define HEADER_BUFFERS 10 /* where the virtio header has the number of buffers */

void salvage_begin(struct salvage *salvage, const struct pool *pool, const u8 *bytes, size_t room)
{
	size_t fit = room / BUFFER_BYTES;

	salvage->buffers = pool->buffers;
	salvage->bytes = bytes;
	salvage->nr_buffers = (u16)(fit < MAX_BUFFERS ? fit : MAX_BUFFERS);
	salvage->broken = 0;
	for (u32 k = 0; k < MAX_BUFFERS; k++)
		salvage->taken[k] = false;
}

static bool is_free(const struct salvage *salvage, u32 buffer)
{
	return buffer < salvage->nr_buffers && !salvage->taken[buffer];
}

static void add(struct salvage *salvage, u16 last, u16 buffer, u16 length)
{
	salvage->taken[buffer] = true;
	salvage->found[buffer] = (struct buffer){ .next = NO_BUFFER, .length = length };
	if (last != NO_BUFFER)
		salvage->found[last].next = buffer;
}

static void give_up(struct salvage *salvage, u16 frame)
{
	salvage->broken++;
	for (; frame != NO_BUFFER; frame = salvage->found[frame].next)
		salvage->taken[frame] = false;
}

static bool is_whole(const struct salvage *salvage, u16 frame)
{
	u32 bytes = 0;

	for (; frame != NO_BUFFER; frame = salvage->found[frame].next)
		bytes += salvage->found[frame].length;
	return bytes >= SHORTEST_FRAME;
}

/* A frame whose buffers were chained by the dead. */
static bool keep_chained(struct salvage *salvage, u32 frame)
{
	u16 last = NO_BUFFER;

	if (frame >= salvage->nr_buffers)
		salvage->broken++;
	if (!is_free(salvage, frame))
		return false; /* found further on already, or no buffer at all */
	for (u32 at = frame, k = 0; at != NO_BUFFER; at = salvage->buffers[at].next, k++) {
		if (k == FRAME_BUFFERS || !is_free(salvage, at) ||
		    salvage->buffers[at].length > BUFFER_BYTES) {
			if (last != NO_BUFFER)
				give_up(salvage, (u16)frame);
			else
				salvage->broken++;
			return false;
		}
		add(salvage, last, (u16)at, salvage->buffers[at].length);
		last = (u16)at;
	}
	if (is_whole(salvage, (u16)frame))
		return true;
	give_up(salvage, (u16)frame);
	return false;
}

/* -- what is in the sending ring ------------------------------------------------------------- */

static u16 ring_size(const struct vring *ring)
{
	return ring->size <= VRING_MAX ? ring->size : 0;
}

/* How far beyond `from` the other side went; more than a round is no answer. */
static u16 used_since(const struct vring *ring, const volatile struct vring_memory *memory,
		      u16 from)
{
	u16 count = (u16)(memory->used.index - from);

	return count <= ring_size(ring) ? count : 0;
}

static u16 salvage_sending(struct salvage *salvage, const struct lane *lane, u16 *frames)
{
	const struct vring *ring = lane->send;
	u16 size = ring_size(ring), count = 0;
	bool left[VRING_MAX];

	for (u16 head = 0; head < size; head++)
		left[head] = ring->chain[head] != 0;
	u16 news = used_since(ring, lane->sent, ring->taken);
	for (u16 k = 0; k < news; k++) {
		u32 head = lane->sent->used.ring[(u16)(ring->taken + k) % size].head;
		if (head < size)
			left[head] = false;
	}
	/* by the place at which each was offered: the one offered longest ago comes first */
	for (u16 n = 0; n < size; n++) {
		u16 first = size, oldest = 0;
		for (u16 head = 0; head < size; head++) {
			u16 age = (u16)(ring->offered - ring->place[head]);
			if (left[head] && (first == size || age > oldest)) {
				first = head;
				oldest = age;
			}
		}
		if (first == size)
			break;
		left[first] = false;
		if (keep_chained(salvage, ring->cookie[first]))
			frames[count++] = (u16)ring->cookie[first];
	}
	return count;
}

/* -- what waits ------------------------------------------------------------------------------ */

static u16 salvage_waiting(struct salvage *salvage, const struct frame_queue *waiting, u16 *frames)
{
	u32 length = waiting->tail - waiting->head;
	u16 count = 0;

	if (length > ARRAY_SIZE(waiting->frames)) {
		salvage->broken++;
		return 0;
	}
	for (u32 at = waiting->head; at != waiting->tail; at++) {
		u16 frame = waiting->frames[at % ARRAY_SIZE(waiting->frames)];
		if (count < SALVAGE_FRAMES - 2 * VRING_MAX - 1 && keep_chained(salvage, frame))
			frames[count++] = frame;
	}
	return count;
}

/* -- what was received ----------------------------------------------------------------------- */

/* The buffer that the nth entry of the used ring is about, NO_BUFFER: none that can be. */
static u16 received_buffer(const struct salvage *salvage, const struct lane *lane, u16 nth,
			   u16 *length)
{
	u16 at = nth % ring_size(lane->receive);
	u32 head = lane->received->used.ring[at].head;
	u32 bytes = lane->received->used.ring[at].length;

	if (head >= ring_size(lane->receive) || bytes > BUFFER_BYTES)
		return NO_BUFFER;
	u32 buffer = lane->receive->cookie[head];
	if (!is_free(salvage, buffer))
		return NO_BUFFER;
	*length = (u16)bytes;
	return (u16)buffer;
}

/* How many buffers the frame says that it came in. */
static u16 buffers_of(const struct salvage *salvage, u16 first)
{
	const u8 *header = salvage->bytes + (size_t)first * BUFFER_BYTES + HEADER_BUFFERS;

	return (u16)(header[0] | header[1] << 8);
}

static u16 salvage_received(struct salvage *salvage, const struct lane *lane, u16 from, u16 *frames)
{
	u16 left = used_since(lane->receive, lane->received, from), count = 0;

	while (left) {
		u16 length = 0, first = received_buffer(salvage, lane, from++, &length);
		left--;
		if (first == NO_BUFFER || length < SHORTEST_FRAME) {
			salvage->broken++;
			continue;
		}
		u16 parts = buffers_of(salvage, first), last = first;
		add(salvage, NO_BUFFER, first, length);
		bool whole = parts && parts <= FRAME_BUFFERS && parts - 1 <= left;
		for (u16 k = 1; whole && k < parts; k++) {
			u16 next = received_buffer(salvage, lane, from++, &length);
			left--;
			whole = next != NO_BUFFER && salvage->found[last].length == BUFFER_BYTES;
			if (!whole)
				break;
			add(salvage, last, next, length);
			last = next;
		}
		if (whole)
			frames[count++] = first;
		else
			give_up(salvage, first);
	}
	return count;
}

u16 salvage_lane(struct salvage *salvage, const struct lane *lane, u16 frames[SALVAGE_FRAMES])
{
	const struct hand *hand = lane->hand;
	u16 count = salvage_sending(salvage, lane, frames);

	count = (u16)(count + salvage_waiting(salvage, lane->waiting, frames + count));
	if (hand->frame != NO_BUFFER && keep_chained(salvage, hand->frame))
		frames[count++] = hand->frame;
	u16 from = hand->frame != NO_BUFFER ? hand->end : hand->done;
	return (u16)(count + salvage_received(salvage, lane, from, frames + count));
}
