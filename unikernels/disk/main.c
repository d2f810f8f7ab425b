/* SPDX-License-Identifier: Apache-2.0 */
/* disk: a virtio-blk disk, served as ATA over Ethernet.
 *
 * Data go between the disk and the frame that they came in or leave in, without a copy. */
#include "aoe.h"
#include "blk_device.h"
#include "clock.h"
#include "cmdline.h"
#include "frames.h"
#include "net_port.h"
#include "panic.h"
#include "service.h"

#define STANDARD_SECTORS 2 /* in a frame of 1,500 bytes */
#define MTU_JUMBO	 9000
#define WORD_BYTES	 40
#define RESERVE		 64 /* buffers for answers that are longer than their requests */

static struct pool pool;
static struct service service;
static struct vring_memory receive_memory, send_memory;
static struct net_port port;
static struct blk_device blk;
static struct aoe_target target;
static u64 ignored, malformed, failed;
static bool driver_hangs;
static bool waits; /* what is delayed waits for what the disk works on: its debt, not ours */

/* Requests that the disk works on, and those for which it had no room. */
static struct {
	struct aoe_request request;
	u16 frame;
} asked[BLK_REQUESTS];
static struct frame_queue delayed;

static u8 *ethernet_of(u16 frame)
{
	return buffer_bytes(&pool, frame) + VIRTIO_NET_HEADER_BYTES;
}

static void send(u16 frame, u32 bytes)
{
	if (!frame_resize(&pool, frame, bytes + VIRTIO_NET_HEADER_BYTES)) {
		pool_give(&pool, frame);
		failed++;
		return;
	}
	__builtin_memset(buffer_bytes(&pool, frame), 0, VIRTIO_NET_HEADER_BYTES);
	port_send(&port, frame);
}

/* Where in a frame the sectors lie. */
static u16 data_segments(u16 frame, u32 bytes, struct segment *segments)
{
	u32 skip = VIRTIO_NET_HEADER_BYTES + AOE_ATA_BYTES;
	u16 count = 0;

	for (; frame != NO_BUFFER && bytes && count < BLK_SEGMENTS;
	     frame = pool.buffers[frame].next) {
		u32 here = min_u32(pool.buffers[frame].length - skip, bytes);
		segments[count++] =
			(struct segment){ (u64)buffer_bytes(&pool, frame) + skip, here };
		bytes -= here;
		skip = 0;
	}
	return count;
}

/* An older copy of a write, asked for again meanwhile, must not end after a newer one. */
static bool overlaps_a_write(const struct aoe_request *request)
{
	for (u32 k = 0; k < BLK_REQUESTS; k++) {
		const struct aoe_request *other = &asked[k].request;
		if (!(blk.free >> k & 1) && other->action == AOE_WRITE &&
		    other->sector < request->sector + request->nr_sectors &&
		    request->sector < other->sector + other->nr_sectors)
			return true;
	}
	return false;
}

static bool ask_disk(u16 frame, const struct aoe_request *request)
{
	struct segment segments[BLK_SEGMENTS];
	u32 bytes = request->nr_sectors * AOE_SECTOR_BYTES, number;
	enum blk_kind kind = request->action == AOE_READ    ? BLK_READ
			     : request->action == AOE_WRITE ? BLK_WRITE
							    : BLK_FLUSH;

	if (kind == BLK_READ &&
	    !frame_resize(&pool, frame, VIRTIO_NET_HEADER_BYTES + AOE_ATA_BYTES + bytes))
		return false;
	u16 count = kind == BLK_FLUSH ? 0 : data_segments(frame, bytes, segments);
	waits = (kind == BLK_WRITE && overlaps_a_write(request)) ||
		!blk_ask(&blk, kind, request->sector, segments, count, &number);
	if (waits)
		return false;
	asked[number].request = *request;
	asked[number].frame = frame;
	service.heart.parts[ABI_DISK_DRIVER].done++;
	return true;
}

static void ask_or_delay(u16 frame, const struct aoe_request *request)
{
	if (!driver_hangs && !queue_length(&delayed) && ask_disk(frame, request))
		return;
	if (queue_put(&delayed, frame))
		return;
	failed++;
	pool_give(&pool, frame); /* the initiator asks again */
}

static struct aoe_request look_at(u16 frame)
{
	u32 linear = pool.buffers[frame].length - VIRTIO_NET_HEADER_BYTES;
	u32 length = frame_bytes(&pool, frame) - VIRTIO_NET_HEADER_BYTES;

	return aoe_handle(&target, ethernet_of(frame), linear, length);
}

static void handle(u16 frame)
{
	struct aoe_request request = look_at(frame);

	switch (request.action) {
	case AOE_IGNORE:
	case AOE_MALFORMED:
		ignored += request.action == AOE_IGNORE;
		malformed += request.action == AOE_MALFORMED;
		pool_give(&pool, frame);
		break;
	case AOE_REPLY:
		send(frame, request.reply_bytes);
		break;
	case AOE_FLUSH:
		if (!blk.flushes) { /* what was written is on the disk already */
			send(frame, aoe_finish(&target, ethernet_of(frame), &request, true));
			break;
		}
		/* fall through */
	default:
		ask_or_delay(frame, &request);
	}
}

static bool finish_done(void)
{
	u32 number;
	bool good, any = false;

	while (blk_take(&blk, &number, &good)) {
		u16 frame = asked[number].frame;
		failed += !good;
		waits = false;
		service.heart.parts[ABI_DISK_DRIVER].done++;
		send(frame, aoe_finish(&target, ethernet_of(frame), &asked[number].request, good));
		any = true;
	}
	return any;
}

static bool ask_delayed(void)
{
	bool any = false;

	for (u16 frame; (frame = queue_first(&delayed)) != NO_BUFFER; any = true) {
		struct aoe_request request = look_at(frame);
		if (!ask_disk(frame, &request))
			break;
		queue_drop_first(&delayed);
	}
	return any;
}

static bool work_on_disk(void)
{
	if (driver_hangs)
		return false;
	bool any = finish_done();
	any |= ask_delayed();
	blk_kick(&blk);
	return any;
}

static bool work(void)
{
	bool any = false;
	u16 frame;

	for (u32 n = 0; n < RECEIVE_BATCH && (frame = port_receive(&port)) != NO_BUFFER; n++) {
		handle(frame);
		any = true;
	}
	any |= work_on_disk();
	any |= port_work(&port);
	return any;
}

/* -- resets ---------------------------------------------------------------------------------- */

static void keep(struct net_port *from, u16 frame)
{
	(void)from;
	handle(frame);
}

static void reset_target(void)
{
	u64 began = now_ns();

	if (!port_reset(&port, keep))
		panic("target does not start again");
	control_say(&service.control, "reset target ns=%lu", now_ns() - began);
}

/* It may have another size by now. */
static void know_disk(void)
{
	target.sectors = blk.sectors;
	target.read_only = blk.read_only;
}

/* What the disk had not done goes before what was delayed. */
static void reset_driver(void)
{
	u64 began = now_ns();
	u32 numbers[BLK_REQUESTS];

	virtio_reset(blk.device);
	driver_hangs = waits = false;
	finish_done();
	for (u16 count = blk_withdraw(&blk, numbers); count; count--)
		queue_put_back(&delayed, asked[numbers[count - 1]].frame);
	if (!blk_start(&blk, blk.device))
		panic("the disk does not start again");
	know_disk();
	control_say(&service.control, "reset driver ns=%lu", now_ns() - began);
}

/* -- orders ---------------------------------------------------------------------------------- */

static void say_stats(void)
{
	control_say(&service.control,
		    "stats target received=%lu sent=%lu waiting=%u full=%lu malformed=%lu lies=%lu "
		    "resets=%lu",
		    port.received, port.sent, queue_length(&port.waiting), port.dropped_full,
		    port.dropped_malformed + malformed, port.receive.lies + port.send.lies,
		    port.resets);
	control_say(&service.control, "stats driver sectors=%lu delayed=%u failed=%lu lies=%lu",
		    blk.sectors, queue_length(&delayed), failed, blk.ring.lies);
	control_say(&service.control, "stats disk ignored=%lu free=%u", ignored, pool.nr_free);
}

static void announce(void);

/* The tap that we have by now is that of who was here before. */
static void take_over(void)
{
	port_wake(&port);
	announce();
}

static bool obey(const char *line)
{
	if (is_word(line, "reset driver"))
		reset_driver();
	else if (is_word(line, "reset target"))
		reset_target();
	else if (is_word(line, "take over"))
		take_over();
	else
		return false;
	return true;
}

static bool break_part(const char *line)
{
	if (is_word(line, "fault disk-hang"))
		driver_hangs = true;
	else if (is_word(line, "fault target-hang"))
		port.hangs = true;
	else
		return false;
	return true;
}

/* -- life ------------------------------------------------------------------------------------ */

static void start_disk(void)
{
	struct virtio_device *device = device_of(&service.devices, VIRTIO_ID_BLK, 0);

	if (!device || !blk_start(&blk, device))
		panic("there is no disk that speaks virtio 1");
	if (!blk.sectors)
		panic("the disk has no sector");
}

static void start_port(void)
{
	port.name = "target";
	port.device = device_of(&service.devices, VIRTIO_ID_NET, 0);
	if (!port.device)
		panic("there is no device for the target");
	port.pool = &pool;
	port.reserve = RESERVE;
	port.part = &service.heart.parts[ABI_DISK_TARGET];
	port.receive_memory = &receive_memory;
	port.send_memory = &send_memory;
	if (!port_start(&port))
		panic("the device of the target does not offer what it needs");
}

static void configure_target(const char *words)
{
	char word[WORD_BYTES];
	u64 mtu = number_option(words, "mtu", 1500);

	target = (struct aoe_target){
		.shelf = (u16)number_option(words, "aoe.shelf", 0),
		.slot = (u8)number_option(words, "aoe.slot", 0),
		.max_sectors = mtu >= MTU_JUMBO ? AOE_MAX_SECTORS : STANDARD_SECTORS,
	};
	know_disk();
	__builtin_memcpy(target.mac, port.mac, AOE_MAC_BYTES);
	for (int k = 0; option(words, "aoe.allow", k, word, sizeof(word)); k++) {
		if (target.nr_initiators == AOE_MAX_INITIATORS)
			panic("more than %d initiators are allowed", AOE_MAX_INITIATORS);
		if (!parse_mac(word, target.initiators[target.nr_initiators++]))
			panic("aoe.allow=%s is no MAC address", word);
	}
	if (!target.nr_initiators)
		panic("aoe.allow= names no initiator");
}

static void announce(void)
{
	for (u32 k = 0; k < target.nr_initiators; k++) {
		u16 frame = pool_take(&pool);
		if (frame == NO_BUFFER)
			return;
		send(frame, aoe_announce(&target, target.initiators[k], ethernet_of(frame)));
	}
}

static void start(const char *words)
{
	start_disk();
	start_port();
	configure_target(words);
	announce();
}

/* The driver owes what it could ask the disk for and what it has not taken back, not what the disk
 * works on. */
static void keep_books(void)
{
	struct part *driver = &service.heart.parts[ABI_DISK_DRIVER];
	u16 used = vring_used_index(&blk.ring) - blk.ring.taken;

	driver->given = driver->done + (waits ? 0 : queue_length(&delayed)) + used;
	port_keep_books(&port);
}

static bool ask_wake(void)
{
	bool any = port_ask_wake(&port);

	if (!driver_hangs)
		any |= vring_ask_wake(&blk.ring);
	return any;
}

static struct service service = {
	.name = "disk",
	.number = ABI_SERVICE_DISK,
	.nr_parts = ABI_MAX_PARTS,
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
	pool_init(&pool, (void *)boot->free_start, boot->free_end - boot->free_start);
	run_service(&service, boot);
}
