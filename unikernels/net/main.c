/* SPDX-License-Identifier: Apache-2.0 */
/* net: joins the guests' port (NetBack) and the uplink's (the NIC driver).
 *
 * Frames go from one to the other in the buffers that they came in.  While one part is down or
 * being reset the other goes on, and what it has for the first waits. */
#include "clock.h"
#include "cmdline.h"
#include "frames.h"
#include "ivshmem.h"
#include "kept.h"
#include "mac_table.h"
#include "net_port.h"
#include "panic.h"
#include "salvage.h"
#include "service.h"

#define NR_PORTS 2

/* Where the frames are: of use also to who comes after us. */
static KEPT struct pool pool;
static KEPT struct vring_memory receive_memory[NR_PORTS], send_memory[NR_PORTS];
static KEPT struct net_port ports[NR_PORTS];

static struct ivshmem other; /* the memory of the one that we stand by for, if we do */
static struct mac_table macs;
static struct salvage salvage;
static u16 salvaged[NR_PORTS][SALVAGE_FRAMES], nr_salvaged[NR_PORTS]; /* by who is to send them */
static struct service service;
static const char *const names[NR_PORTS] = {
	[ABI_NET_NIC] = "nic",
	[ABI_NET_NETBACK] = "netback",
};
static u64 filtered; /* frames for a station behind the port that they came from */

static void forward(struct net_port *from, u16 frame)
{
	u8 here = (u8)(from - ports);
	const u8 *ethernet = buffer_bytes(&pool, frame) + VIRTIO_NET_HEADER_BYTES;

	mac_learn(&macs, ethernet + MAC_BYTES, here);
	if (mac_find(&macs, ethernet) == here) {
		filtered++;
		pool_give(&pool, frame);
	} else {
		port_send(&ports[!here], frame);
	}
	port_passed_on(from);
}

static bool work(void)
{
	bool any = false;

	for (u32 k = 0; k < NR_PORTS; k++) {
		u16 frame;
		for (u32 n = 0; n < RECEIVE_BATCH; n++) {
			frame = port_receive(&ports[k]);
			if (frame == NO_BUFFER)
				break;
			forward(&ports[k], frame);
			any = true;
		}
	}
	for (u32 k = 0; k < NR_PORTS; k++)
		any |= port_work(&ports[k]);
	return any;
}

/* -- orders ---------------------------------------------------------------------------------- */

static void say_stats(void)
{
	for (u32 k = 0; k < NR_PORTS; k++) {
		const struct net_port *p = &ports[k];
		control_say(&service.control,
			    "stats %s received=%lu sent=%lu waiting=%u full=%lu malformed=%lu "
			    "lies=%lu resets=%lu",
			    p->name, p->received, p->sent, queue_length(&p->waiting),
			    p->dropped_full, p->dropped_malformed, p->receive.lies + p->send.lies,
			    p->resets);
	}
	control_say(&service.control, "stats net filtered=%lu free=%u salvaged=%u broken=%u",
		    filtered, pool.nr_free, nr_salvaged[0] + nr_salvaged[1], salvage.broken);
}

static void reset(struct net_port *port)
{
	u64 began = now_ns();

	if (!port_reset(port, forward))
		panic("%s does not start again", port->name);
	control_say(&service.control, "reset %s ns=%lu by=%s", port->name, now_ns() - began,
		    virtio_can_reset_queues(port->device) ? "queues" : "device");
}

/* Something of ours, as it lies in the memory of another one of this image. */
#define THEIRS(thing) ((const __typeof__(thing) *)(other.bytes + (u64) & (thing)))

/* A frame of theirs in buffers of ours, NO_BUFFER: there are too few. */
static u16 copy_of(u16 frame, const u8 *bytes)
{
	u16 first = NO_BUFFER, last = NO_BUFFER;

	for (; frame != NO_BUFFER; frame = salvage.found[frame].next) {
		u16 buffer = pool_take(&pool), length = salvage.found[frame].length;
		if (buffer == NO_BUFFER) {
			if (first != NO_BUFFER)
				pool_give(&pool, first);
			return NO_BUFFER;
		}
		__builtin_memcpy(buffer_bytes(&pool, buffer), bytes + (size_t)frame * BUFFER_BYTES,
				 length);
		pool.buffers[buffer].length = length;
		if (first == NO_BUFFER)
			first = buffer;
		else
			pool.buffers[last].next = buffer;
		last = buffer;
	}
	return first;
}

/* What the dead one had in hand goes first; its memory is never written. */
static void salvage_theirs(void)
{
	const u8 *bytes = other.bytes + (u64)pool.bytes;

	salvage_begin(&salvage, THEIRS(pool), bytes, other.size - (u64)pool.bytes);
	for (u32 k = 0; k < NR_PORTS; k++) {
		struct lane lane = {
			.receive = &THEIRS(ports)[0][!k].receive,
			.received = &THEIRS(receive_memory)[0][!k],
			.hand = &THEIRS(ports)[0][!k].hand,
			.waiting = &THEIRS(ports)[0][k].waiting,
			.send = &THEIRS(ports)[0][k].send,
			.sent = &THEIRS(send_memory)[0][k],
		};
		u16 found = salvage_lane(&salvage, &lane, salvaged[k]), count = 0;
		for (u16 n = 0; n < found; n++) {
			u16 frame = copy_of(salvaged[k][n], bytes);
			if (frame != NO_BUFFER)
				salvaged[k][count++] = frame;
			else
				salvage.broken++;
		}
		nr_salvaged[k] = count;
		port_adopt(&ports[k], salvaged[k], count);
	}
}

/* The taps that we have by now are those of who was here before. */
static void take_over(void)
{
	if (other.bytes && other.size > (u64)pool.bytes && kept_is_in(other.bytes))
		salvage_theirs();
	other.bytes = NULL;
	for (u32 k = 0; k < NR_PORTS; k++)
		port_wake(&ports[k]);
}

static bool obey(const char *line)
{
	if (is_word(line, "reset nic"))
		reset(&ports[ABI_NET_NIC]);
	else if (is_word(line, "reset netback"))
		reset(&ports[ABI_NET_NETBACK]);
	else if (is_word(line, "take over"))
		take_over();
	else
		return false;
	return true;
}

static bool break_part(const char *line)
{
	if (is_word(line, "fault nic-hang"))
		ports[ABI_NET_NIC].hangs = true;
	else if (is_word(line, "fault netback-hang"))
		ports[ABI_NET_NETBACK].hangs = true;
	else
		return false;
	return true;
}

/* -- life ------------------------------------------------------------------------------------ */

/* What the one before us had in hand, where there was one; then all is as at the first start. */
static void inherit(u8 *bytes, size_t room)
{
	bool inherits = kept_claim();

	salvage_begin(&salvage, &pool, bytes, room);
	for (u32 k = 0; k < NR_PORTS && inherits; k++) {
		struct lane lane = {
			.receive = &ports[!k].receive,
			.received = &receive_memory[!k],
			.hand = &ports[!k].hand,
			.waiting = &ports[k].waiting,
			.send = &ports[k].send,
			.sent = &send_memory[k],
		};
		nr_salvaged[k] = salvage_lane(&salvage, &lane, salvaged[k]);
	}
	pool_adopt(&pool, bytes, room, salvage.taken, salvage.found);
	for (u32 k = 0; k < NR_PORTS; k++)
		ports[k] = (struct net_port){ .name = names[k] };
}

static void start(const char *words)
{
	other = find_ivshmem(words);
	for (u32 k = 0; k < NR_PORTS; k++) {
		struct net_port *p = &ports[k];
		p->device = device_of(&service.devices, VIRTIO_ID_NET, k);
		if (!p->device)
			panic("there is no device for %s", p->name);
		p->pool = &pool;
		p->part = &service.heart.parts[k];
		p->receive_memory = &receive_memory[k];
		p->send_memory = &send_memory[k];
		if (!port_start(p))
			panic("the device of %s does not offer what it needs", p->name);
		port_adopt(p, salvaged[k], nr_salvaged[k]);
	}
	kept_is_ours();
}

static void keep_books(void)
{
	for (u32 k = 0; k < NR_PORTS; k++)
		port_keep_books(&ports[k]);
}

static bool ask_wake(void)
{
	bool any = false;

	for (u32 k = 0; k < NR_PORTS; k++)
		any |= port_ask_wake(&ports[k]);
	return any;
}

static struct service service = {
	.name = "net",
	.number = ABI_SERVICE_NET,
	.nr_parts = NR_PORTS,
	.start = start,
	.work = work,
	.ask_wake = ask_wake,
	.keep_books = keep_books,
	.say_stats = say_stats,
	.obey = obey,
	.break_ = break_part,
};

void guest_main(const struct boot *boot)
{
	inherit((u8 *)boot->free_start, boot->free_end - boot->free_start);
	run_service(&service, boot);
}
