/* SPDX-License-Identifier: Apache-2.0 */
#include "net_port.h"

#include "cpu.h"

#define NET_F_CSUM	 0
#define NET_F_GUEST_CSUM 1
#define NET_F_MAC	 5
#define NET_F_GUEST_TSO4 7
#define NET_F_GUEST_TSO6 8
#define NET_F_HOST_TSO4	 11
#define NET_F_HOST_TSO6	 12
#define NET_F_MRG_RXBUF	 15
#define BIT(feature)	 (1ull << (feature))
#define NET_OFFLOADS                                                                               \
	(BIT(NET_F_CSUM) | BIT(NET_F_GUEST_CSUM) | BIT(NET_F_GUEST_TSO4) | BIT(NET_F_GUEST_TSO6) | \
	 BIT(NET_F_HOST_TSO4) | BIT(NET_F_HOST_TSO6))

#define QUEUE_RECEIVE 0
#define QUEUE_SEND    1

#define HEADER_F_DATA_VALID 2
#define SPARE_BUFFERS	    64 /* what waits here leaves so many to the other direction */

struct header {
	u8 flags, gso_type;
	u16 header_length, gso_size, checksum_start, checksum_offset;
	u16 nr_buffers;
};

static void refill(struct net_port *port)
{
	while (port->receive.nr_free && port->pool->nr_free > port->reserve) {
		u16 buffer = pool_take(port->pool);
		struct segment segment = { (u64)buffer_bytes(port->pool, buffer), BUFFER_BYTES };
		if (!vring_offer(&port->receive, &segment, 1, 0, buffer)) {
			pool_give(port->pool, buffer);
			break;
		}
	}
	virtio_kick(port->device, QUEUE_RECEIVE, &port->receive);
}

static void add_rings(struct net_port *port)
{
	virtio_add_ring(port->device, QUEUE_RECEIVE, &port->receive, port->receive_memory);
	virtio_add_ring(port->device, QUEUE_SEND, &port->send, port->send_memory);
	vring_ask_no_wake(&port->send);
	port_passed_on(port);
}

bool port_start(struct net_port *port)
{
	if (!virtio_begin(port->device, BIT(NET_F_MRG_RXBUF), NET_OFFLOADS | BIT(NET_F_MAC)))
		return false;
	for (u32 k = 0; k < sizeof(port->mac); k++)
		port->mac[k] = ((volatile u8 *)port->device->config)[k];
	add_rings(port);
	virtio_ready(port->device);
	refill(port);
	return true;
}

static void reclaim(struct net_port *port)
{
	u32 frame, written;

	while (vring_take(&port->send, &frame, &written)) {
		pool_give(port->pool, (u16)frame);
		port->sent++;
	}
}

/* A frame that came in several buffers says so in its header; they follow in the ring, each full
 * but the last. */
static u16 gather(struct net_port *port, u16 first)
{
	const struct header *header = (const struct header *)buffer_bytes(port->pool, first);
	u16 last = first, count = header->nr_buffers;
	u32 next, written;

	for (u16 k = 1; k < count; k++) {
		if (k == FRAME_BUFFERS || port->pool->buffers[last].length != BUFFER_BYTES ||
		    !vring_take(&port->receive, &next, &written))
			goto malformed;
		port->pool->buffers[next].length = (u16)written;
		port->pool->buffers[last].next = (u16)next;
		last = (u16)next;
	}
	if (!count || !port->pool->buffers[last].length)
		goto malformed;
	return first;
malformed:
	port->dropped_malformed++;
	pool_give(port->pool, first);
	return NO_BUFFER;
}

/* What its header says only to the one who receives. */
static void make_ready_to_send(struct net_port *port, u16 frame)
{
	struct header *header = (struct header *)buffer_bytes(port->pool, frame);

	header->flags &= (u8)~HEADER_F_DATA_VALID;
	header->nr_buffers = 0;
}

/* From here on the frame is found in the hand, no longer in the ring: its header may change. */
static void take_in_hand(struct net_port *port, u16 frame)
{
	port->hand.end = port->receive.taken;
	order_stores();
	port->hand.frame = frame;
	order_stores();
	make_ready_to_send(port, frame);
}

void port_passed_on(struct net_port *port)
{
	port->hand.done = port->receive.taken;
	order_stores();
	port->hand.frame = NO_BUFFER;
}

u16 port_receive(struct net_port *port)
{
	u32 first, written;

	while (!port->hangs && vring_take(&port->receive, &first, &written)) {
		port->received++;
		port->pool->buffers[first].length = (u16)written;
		if (written < VIRTIO_NET_HEADER_BYTES + ETHERNET_HEADER_BYTES) {
			port->dropped_malformed++;
			pool_give(port->pool, (u16)first);
			port_passed_on(port);
			continue;
		}
		u16 frame = gather(port, (u16)first);
		if (frame != NO_BUFFER) {
			take_in_hand(port, frame);
			return frame;
		}
		port_passed_on(port);
	}
	return NO_BUFFER;
}

void port_wake(struct net_port *port)
{
	virtio_kick_anyway(port->device, QUEUE_RECEIVE);
	virtio_kick_anyway(port->device, QUEUE_SEND);
}

void port_adopt(struct net_port *port, const u16 *frames, u16 count)
{
	while (count) {
		make_ready_to_send(port, frames[--count]);
		queue_put_back(&port->waiting, frames[count]);
		port->part->given++;
	}
}

void port_send(struct net_port *port, u16 frame)
{
	bool starved = queue_length(&port->waiting) && port->pool->nr_free <= SPARE_BUFFERS;

	port->part->given++;
	if (!starved && queue_put(&port->waiting, frame))
		return;
	port->part->done++;
	port->dropped_full++;
	pool_give(port->pool, frame);
}

void port_keep_books(struct net_port *port)
{
	u16 used = vring_used_index(&port->receive), taken = port->receive.taken;

	port->part->given += (u16)(used - port->seen_used);
	port->part->done += (u16)(taken - port->seen_taken);
	port->seen_used = used;
	port->seen_taken = taken;
}

static u16 segments_of(const struct pool *pool, u16 frame, struct segment *segments)
{
	u16 count = 0;

	for (; frame != NO_BUFFER && count < FRAME_BUFFERS; frame = pool->buffers[frame].next)
		segments[count++] = (struct segment){ (u64)buffer_bytes(pool, frame),
						      pool->buffers[frame].length };
	return count;
}

static bool send_waiting(struct net_port *port)
{
	struct segment segments[FRAME_BUFFERS];
	bool any = false;

	for (u16 frame; (frame = queue_first(&port->waiting)) != NO_BUFFER; any = true) {
		u16 count = segments_of(port->pool, frame, segments);
		if (!vring_offer(&port->send, segments, count, count, frame))
			break;
		queue_drop_first(&port->waiting);
		port->part->done++;
	}
	if (any)
		virtio_kick(port->device, QUEUE_SEND, &port->send);
	return any;
}

bool port_work(struct net_port *port)
{
	if (port->hangs)
		return false;
	reclaim(port);
	bool any = send_waiting(port);
	refill(port);
	return any;
}

/* What is in a frame's chain goes back to the pool by its first buffer; those of the receiving ring
 * are single. */
static void withdraw_all(struct net_port *port)
{
	u32 cookies[VRING_MAX];
	u16 count = vring_withdraw(&port->receive, cookies);

	while (count)
		pool_give(port->pool, (u16)cookies[--count]);
	count = vring_withdraw(&port->send, cookies);
	while (count) {
		queue_put_back(&port->waiting, (u16)cookies[--count]);
		port->part->done--;
	}
}

bool port_reset(struct net_port *port, void (*keep)(struct net_port *port, u16 frame))
{
	bool alone = virtio_can_reset_queues(port->device);

	if (alone) {
		virtio_reset_queue(port->device, QUEUE_RECEIVE);
		virtio_reset_queue(port->device, QUEUE_SEND);
	} else {
		virtio_reset(port->device);
	}
	port->hangs = false;
	for (u16 frame; (frame = port_receive(port)) != NO_BUFFER;)
		keep(port, frame);
	reclaim(port);
	port_keep_books(port);
	withdraw_all(port);
	port->seen_used = port->seen_taken = 0;
	port->resets++;
	if (alone)
		add_rings(port);
	else if (!port_start(port))
		return false;
	port_work(port);
	return true;
}

bool port_ask_wake(struct net_port *port)
{
	if (port->hangs)
		return false;
	/* what waits can go on only when the device has sent something */
	bool blocked = queue_length(&port->waiting) != 0;
	if (blocked ? vring_ask_wake(&port->send) : (vring_ask_no_wake(&port->send), false))
		return true;
	return vring_ask_wake(&port->receive);
}
