/* SPDX-License-Identifier: Apache-2.0 */
/* blk_device.h: a virtio-blk disk (virtio 1.x, section 5.2), requests in any number at a time. */
#ifndef BLK_DEVICE_H
#define BLK_DEVICE_H

#include "virtio.h"

#define BLK_REQUESTS 64
#define BLK_SEGMENTS 12 /* of data, in one request */

enum blk_kind {
	BLK_READ = 0,
	BLK_WRITE = 1,
	BLK_FLUSH = 4,
};

struct blk_device {
	struct virtio_device *device;
	struct vring ring;
	u64 sectors;
	bool read_only, flushes;
	u64 free; /* one bit for each request */
};

/* False: the device is not fit for it. */
bool blk_start(struct blk_device *blk, struct virtio_device *device);

/* Asks for a transfer; `request` says in blk_take() which one was done.  False: no room now. */
bool blk_ask(struct blk_device *blk, enum blk_kind kind, u64 sector, const struct segment *data,
	     u16 count, u32 *request);
void blk_kick(struct blk_device *blk);

/* The next request that was done, and whether it was done well. */
bool blk_take(struct blk_device *blk, u32 *request, bool *good);

/* The requests that were not done, of a disk that was reset, in their order, BLK_REQUESTS at most;
 * they may be asked again. */
u16 blk_withdraw(struct blk_device *blk, u32 *requests);

#endif /* BLK_DEVICE_H */
