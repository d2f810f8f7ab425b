/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of a service that wrote anywhere before it died. */
#include "salvage.h"

#include <stdlib.h>
#include <string.h>

#define BUFFERS 300
#define SIZE	256

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static struct {
	struct pool pool;
	struct vring receive, send;
	struct vring_memory received, sent;
	struct hand hand;
	struct frame_queue waiting;
	u8 bytes[BUFFERS * BUFFER_BYTES];
} dead;

static struct salvage salvage;
static u16 frames[SALVAGE_FRAMES];

static void must(bool condition)
{
	if (!condition)
		abort();
}

/* Half of the buffers wait to be received into, and some were used; others wait, or are sent. */
static void live(u8 received, u8 waiting, u8 sending)
{
	memset(&dead, 0, sizeof(dead));
	pool_init(&dead.pool, dead.bytes, sizeof(dead.bytes));
	vring_init(&dead.receive, &dead.received, SIZE);
	vring_init(&dead.send, &dead.sent, SIZE);
	dead.hand.frame = NO_BUFFER;
	for (u32 k = 0; k < BUFFERS / 2; k++) {
		u16 buffer = pool_take(&dead.pool);
		struct segment segment = { k, BUFFER_BYTES };
		vring_offer(&dead.receive, &segment, 1, 0, buffer);
		dead.bytes[buffer * BUFFER_BYTES + 10] = k % 5 ? 1 : 2;
		dead.received.used.ring[k].head = dead.received.avail.ring[k];
		dead.received.used.ring[k].length = k % 5 ? 100 : BUFFER_BYTES;
	}
	dead.received.used.index = received % (BUFFERS / 2);
	for (u32 k = 0; k < waiting % 64u; k++) {
		u16 frame = pool_take(&dead.pool);
		frame_resize(&dead.pool, frame, k % 3 ? 60 : 2000);
		queue_put(&dead.waiting, frame);
	}
	for (u32 k = 0; k < sending % 32u; k++) {
		u16 frame = pool_take(&dead.pool);
		struct segment segment = { k, 60 };
		frame_resize(&dead.pool, frame, 60);
		vring_offer(&dead.send, &segment, 1, 1, frame);
	}
}

static void check_found(const u16 *found, u16 count)
{
	static bool seen[BUFFERS];

	memset(seen, 0, sizeof(seen));
	for (u32 n = 0; n < count; n++) {
		u32 bytes = 0, parts = 0;
		for (u16 at = found[n]; at != NO_BUFFER; at = salvage.found[at].next) {
			must(at < BUFFERS && !seen[at] && salvage.taken[at]);
			must(salvage.found[at].length <= BUFFER_BYTES);
			seen[at] = true;
			bytes += salvage.found[at].length;
			parts++;
		}
		must(parts <= FRAME_BUFFERS && bytes > VRING_DESC_WRITE);
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	if (size < 3)
		return 0;
	live(data[0], data[1], data[2]);
	for (data += 3, size -= 3; size >= 5; data += 5, size -= 5) {
		u32 at = (u32)(data[0] | data[1] << 8 | data[2] << 16);
		((u8 *)&dead)[at % sizeof(dead)] = data[3];
		((u8 *)&dead)[(at + 1) % sizeof(dead)] = data[4];
	}
	struct lane lane = {
		.receive = &dead.receive,
		.received = &dead.received,
		.hand = &dead.hand,
		.waiting = &dead.waiting,
		.send = &dead.send,
		.sent = &dead.sent,
	};
	salvage_begin(&salvage, &dead.pool, dead.bytes, sizeof(dead.bytes));
	check_found(frames, salvage_lane(&salvage, &lane, frames));
	return 0;
}
