/* SPDX-License-Identifier: Apache-2.0 */
/* virtio.h: a virtio 1.x device, behind virtio-mmio or modern PCI. */
#ifndef VIRTIO_H
#define VIRTIO_H

#include "vring.h"

#define VIRTIO_ID_NET	  1
#define VIRTIO_ID_BLK	  2
#define VIRTIO_ID_CONSOLE 3

#define VIRTIO_F_RING_EVENT_IDX 29
#define VIRTIO_F_VERSION_1	32
#define VIRTIO_F_RING_RESET	40

#define VIRTIO_MAX_DEVICES 8
#define VIRTIO_MAX_QUEUES  2

struct virtio_device;

/* What differs between the transports. */
struct virtio_transport {
	void (*set_status)(struct virtio_device *device, u8 status);
	u8 (*status)(struct virtio_device *device);
	u64 (*offered_features)(struct virtio_device *device);
	void (*accept_features)(struct virtio_device *device, u64 features);
	u16 (*max_size)(struct virtio_device *device, u16 queue);
	void (*enable_queue)(struct virtio_device *device, u16 queue, const struct vring *ring);
	void (*reset_queue)(struct virtio_device *device, u16 queue); /* NULL: it cannot */
	void (*kick)(struct virtio_device *device, u16 queue);
	void (*acknowledge)(struct virtio_device *device);
};

struct virtio_device {
	const struct virtio_transport *transport;
	u32 id;			    /* VIRTIO_ID_*; 0: none */
	u64 common, notify, config; /* addresses of its registers */
	u32 notify_step, notify_bytes;
	u64 doorbells[VIRTIO_MAX_QUEUES];
	u64 features; /* what was accepted */
};

struct virtio_devices {
	struct virtio_device devices[VIRTIO_MAX_DEVICES];
	u32 count;
};

/* All devices there are: those that the command line names (virtio-mmio) and those on PCI. */
void find_devices(struct virtio_devices *found, const char *words);
void find_mmio_devices(struct virtio_devices *found, const char *words);
void find_pci_devices(struct virtio_devices *found, const char *words);

/* The `nth` device of a kind, NULL if there is none. */
struct virtio_device *device_of(struct virtio_devices *found, u32 id, u32 nth);

/* Resets a device and agrees on features; it must offer the `needed` ones.  False: it is not fit,
 * and is left in reset. */
bool virtio_begin(struct virtio_device *device, u64 needed, u64 wanted);
bool virtio_has(const struct virtio_device *device, u32 feature);
void virtio_add_ring(struct virtio_device *device, u16 queue, struct vring *ring,
		     volatile struct vring_memory *memory);
void virtio_ready(struct virtio_device *device);

/* The device is at rest when this returns: it uses nothing more. */
void virtio_reset(struct virtio_device *device);

/* Whether single queues can be reset while the device lives on; then as `virtio_reset`, of one. */
bool virtio_can_reset_queues(const struct virtio_device *device);
void virtio_reset_queue(struct virtio_device *device, u16 queue);

/* Lets each device's line fall, so that it can be raised again. */
void acknowledge_devices(struct virtio_devices *devices);

void virtio_kick(struct virtio_device *device, u16 queue, struct vring *ring);

/* Also where the device did not want to be told. */
void virtio_kick_anyway(struct virtio_device *device, u16 queue);

#endif /* VIRTIO_H */
