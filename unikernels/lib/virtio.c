/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio.h"

#include "panic.h"

#define STATUS_ACKNOWLEDGE 1
#define STATUS_DRIVER	   2
#define STATUS_READY	   4
#define STATUS_FEATURES_OK 8

struct virtio_device *device_of(struct virtio_devices *found, u32 id, u32 nth)
{
	for (u32 k = 0; k < found->count; k++)
		if (found->devices[k].id == id && !nth--)
			return &found->devices[k];
	return NULL;
}

void find_devices(struct virtio_devices *found, const char *words)
{
	found->count = 0;
	find_mmio_devices(found, words);
	find_pci_devices(found, words);
}

void virtio_reset(struct virtio_device *device)
{
	device->transport->set_status(device, 0);
	while (device->transport->status(device))
		; /* each look is an exit, in which the device may come to rest */
}

bool virtio_begin(struct virtio_device *device, u64 needed, u64 wanted)
{
	const struct virtio_transport *t = device->transport;

	needed |= 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_F_RING_EVENT_IDX;
	if (t->reset_queue)
		wanted |= 1ull << VIRTIO_F_RING_RESET;
	virtio_reset(device);
	t->set_status(device, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
	device->features = t->offered_features(device) & (needed | wanted);
	t->accept_features(device, device->features);
	t->set_status(device, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
	if ((device->features & needed) == needed && t->status(device) & STATUS_FEATURES_OK)
		return true;
	virtio_reset(device);
	return false;
}

bool virtio_has(const struct virtio_device *device, u32 feature)
{
	return device->features >> feature & 1;
}

void virtio_add_ring(struct virtio_device *device, u16 queue, struct vring *ring,
		     volatile struct vring_memory *memory)
{
	u16 max = device->transport->max_size(device, queue);

	require(max && !(max & (max - 1))); /* virtio 1.x, section 2.7: a power of two */
	vring_init(ring, memory, max < VRING_MAX ? max : VRING_MAX);
	device->transport->enable_queue(device, queue, ring);
}

void virtio_ready(struct virtio_device *device)
{
	device->transport->set_status(device, STATUS_ACKNOWLEDGE | STATUS_DRIVER |
						      STATUS_FEATURES_OK | STATUS_READY);
}

bool virtio_can_reset_queues(const struct virtio_device *device)
{
	return virtio_has(device, VIRTIO_F_RING_RESET);
}

void virtio_reset_queue(struct virtio_device *device, u16 queue)
{
	device->transport->reset_queue(device, queue);
}

void virtio_kick(struct virtio_device *device, u16 queue, struct vring *ring)
{
	if (vring_wants_kick(ring))
		device->transport->kick(device, queue);
}

void virtio_kick_anyway(struct virtio_device *device, u16 queue)
{
	device->transport->kick(device, queue);
}

void acknowledge_devices(struct virtio_devices *devices)
{
	for (u32 k = 0; k < devices->count; k++)
		devices->devices[k].transport->acknowledge(&devices->devices[k]);
}
