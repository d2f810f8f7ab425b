/* SPDX-License-Identifier: Apache-2.0 */
#include "blk_device.h"

#define BLK_F_RO     5
#define BLK_F_FLUSH  9
#define BIT(feature) (1ull << (feature))

#define QUEUE_REQUESTS 0
#define STATUS_GOOD    0
#define STATUS_UNKNOWN 0xff

struct header {
	u32 kind, reserved;
	u64 sector;
};

static struct vring_memory memory;
static struct header headers[BLK_REQUESTS];
static volatile u8 statuses[BLK_REQUESTS];

bool blk_start(struct blk_device *blk, struct virtio_device *device)
{
	blk->device = device;
	if (!virtio_begin(device, 0, BIT(BLK_F_RO) | BIT(BLK_F_FLUSH)))
		return false;
	blk->sectors = *(volatile u64 *)device->config;
	blk->read_only = virtio_has(device, BLK_F_RO);
	blk->flushes = virtio_has(device, BLK_F_FLUSH);
	virtio_add_ring(device, QUEUE_REQUESTS, &blk->ring, &memory);
	virtio_ready(device);
	blk->free = ~0ull;
	return true;
}

bool blk_ask(struct blk_device *blk, enum blk_kind kind, u64 sector, const struct segment *data,
	     u16 count, u32 *request)
{
	struct segment segments[BLK_SEGMENTS + 2];

	if (!blk->free || count > BLK_SEGMENTS)
		return false;
	u32 k = (u32)__builtin_ctzll(blk->free);
	headers[k] = (struct header){ .kind = kind, .sector = sector };
	statuses[k] = STATUS_UNKNOWN;
	segments[0] = (struct segment){ (u64)&headers[k], sizeof(headers[k]) };
	for (u16 n = 0; n < count; n++)
		segments[n + 1] = data[n];
	segments[count + 1] = (struct segment){ (u64)&statuses[k], 1 };
	u16 to_read = kind == BLK_WRITE ? (u16)(count + 1) : 1;
	if (!vring_offer(&blk->ring, segments, (u16)(count + 2), to_read, k))
		return false;
	blk->free &= ~BIT(k);
	*request = k;
	return true;
}

void blk_kick(struct blk_device *blk)
{
	virtio_kick(blk->device, QUEUE_REQUESTS, &blk->ring);
}

bool blk_take(struct blk_device *blk, u32 *request, bool *good)
{
	u32 written;

	if (!vring_take(&blk->ring, request, &written))
		return false;
	blk->free |= BIT(*request);
	*good = statuses[*request] == STATUS_GOOD;
	return true;
}

u16 blk_withdraw(struct blk_device *blk, u32 *requests)
{
	u16 count = vring_withdraw(&blk->ring, requests);

	for (u16 k = 0; k < count; k++)
		blk->free |= BIT(requests[k]);
	return count;
}
