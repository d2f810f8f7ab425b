/* SPDX-License-Identifier: Apache-2.0 */
/* virtio_pci.c: virtio 1.2, section 4.1, on bus 0, by MSI-X.  A device that is too small for what
 * we read is passed over. */
#include "cpu.h"
#include "interrupts.h"
#include "panic.h"
#include "pci.h"
#include "virtio.h"

#define STATUS_HAS_LIST 0x100000

#define CAPABILITY_VENDOR 0x09
#define CAPABILITY_MSIX	  0x11
#define MAX_CAPABILITIES  48 /* 4 bytes each behind the header: more is a loop */
#define MSIX_ENABLE	  0x80000000
#define MSIX_MASK_ALL	  0x40000000
#define MSIX_ENTRY_BYTES  16

#define VENDOR		   0x1af4
#define FIRST_TRANSITIONAL 0x1000
#define FIRST_MODERN	   0x1040
#define LAST_MODERN	   0x107f
#define STRUCTURE_COMMON   1
#define STRUCTURE_NOTIFY   2
#define STRUCTURE_CONFIG   4

#define CONFIG_BYTES 8 /* the most that a driver here reads of it */

#define COMMON_OFFERED_SELECT  0x00
#define COMMON_OFFERED	       0x04
#define COMMON_ACCEPTED_SELECT 0x08
#define COMMON_ACCEPTED	       0x0c
#define COMMON_CONFIG_VECTOR   0x10
#define COMMON_STATUS	       0x14
#define COMMON_QUEUE	       0x16
#define COMMON_QUEUE_SIZE      0x18
#define COMMON_QUEUE_VECTOR    0x1a
#define COMMON_QUEUE_ENABLE    0x1c
#define COMMON_QUEUE_NOTIFY    0x1e
#define COMMON_DESC	       0x20
#define COMMON_AVAIL	       0x28
#define COMMON_USED	       0x30
#define COMMON_QUEUE_RESET     0x3a
#define COMMON_BYTES	       0x3c
#define NO_VECTOR	       0xffff

static void set_status(struct virtio_device *device, u8 status)
{
	write_mmio8(device->common + COMMON_STATUS, status);
}

static u8 status(struct virtio_device *device)
{
	return read_mmio8(device->common + COMMON_STATUS);
}

static u64 offered_features(struct virtio_device *device)
{
	u64 features = 0;

	for (u32 half = 0; half < 2; half++) {
		write_mmio32(device->common + COMMON_OFFERED_SELECT, half);
		features |= (u64)read_mmio32(device->common + COMMON_OFFERED) << 32 * half;
	}
	return features;
}

static void accept_features(struct virtio_device *device, u64 features)
{
	for (u32 half = 0; half < 2; half++) {
		write_mmio32(device->common + COMMON_ACCEPTED_SELECT, half);
		write_mmio32(device->common + COMMON_ACCEPTED, (u32)(features >> 32 * half));
	}
}

static u16 max_size(struct virtio_device *device, u16 queue)
{
	write_mmio16(device->common + COMMON_QUEUE, queue);
	return read_mmio16(device->common + COMMON_QUEUE_SIZE);
}

static void write_address(struct virtio_device *device, u32 where, volatile void *what)
{
	write_mmio32(device->common + where, (u32)(u64)what);
	write_mmio32(device->common + where + 4, (u32)((u64)what >> 32));
}

/* Where a queue is kicked is the device's word: inside of the place that it named. */
static u64 doorbell_of(struct virtio_device *device)
{
	u64 offset = (u64)read_mmio16(device->common + COMMON_QUEUE_NOTIFY) * device->notify_step;

	require(offset + sizeof(u16) <= device->notify_bytes);
	return device->notify + offset;
}

static void enable_queue(struct virtio_device *device, u16 queue, const struct vring *ring)
{
	require(queue < VIRTIO_MAX_QUEUES);
	write_mmio16(device->common + COMMON_QUEUE, queue);
	write_mmio16(device->common + COMMON_QUEUE_SIZE, ring->size);
	write_mmio16(device->common + COMMON_QUEUE_VECTOR, 0);
	write_address(device, COMMON_DESC, ring->memory->desc);
	write_address(device, COMMON_AVAIL, &ring->memory->avail);
	write_address(device, COMMON_USED, &ring->memory->used);
	device->doorbells[queue] = doorbell_of(device);
	write_mmio16(device->common + COMMON_QUEUE_ENABLE, 1);
}

static void reset_queue(struct virtio_device *device, u16 queue)
{
	write_mmio16(device->common + COMMON_QUEUE, queue);
	write_mmio16(device->common + COMMON_QUEUE_RESET, 1);
	while (read_mmio16(device->common + COMMON_QUEUE_RESET))
		; /* each look is an exit, in which the device may come to rest */
}

static void kick(struct virtio_device *device, u16 queue)
{
	write_mmio16(device->doorbells[queue], queue);
}

/* A message needs none. */
static void acknowledge(struct virtio_device *device)
{
	(void)device;
}

static const struct virtio_transport pci = {
	.set_status = set_status,
	.status = status,
	.offered_features = offered_features,
	.accept_features = accept_features,
	.max_size = max_size,
	.enable_queue = enable_queue,
	.reset_queue = reset_queue,
	.kick = kick,
	.acknowledge = acknowledge,
};

static void take_structure(struct virtio_device *device, u32 function, u32 at)
{
	u32 kind = pci_read(function, at) >> 24, bar = pci_read(function, at + 4) & 0xff;
	u32 offset = pci_read(function, at + 8), bytes = pci_read(function, at + 12);
	u64 place = pci_place_in_bar(function, bar, offset, bytes);

	/* the first that fits is the one to take (section 4.1.4.1) */
	if (kind == STRUCTURE_COMMON && bytes >= COMMON_BYTES && !device->common)
		device->common = place;
	if (kind == STRUCTURE_CONFIG && bytes >= CONFIG_BYTES && !device->config)
		device->config = place;
	if (kind == STRUCTURE_NOTIFY && place && !device->notify) {
		device->notify = place;
		device->notify_bytes = bytes;
		device->notify_step = pci_read(function, at + 16);
	}
}

/* All queues share one message; without MSI-X we would not be woken. */
static bool take_messages(u32 function, u32 at)
{
	u32 table = pci_read(function, at + 4);
	u64 entry = pci_place_in_bar(function, table & 7, table & ~7u, MSIX_ENTRY_BYTES);

	if (!entry)
		return false;
	write_mmio32(entry, (u32)message_address());
	write_mmio32(entry + 4, 0);
	write_mmio32(entry + 8, VECTOR_DEVICE);
	write_mmio32(entry + 12, 0); /* not masked */
	pci_write(function, at, (pci_read(function, at) & ~(u32)MSIX_MASK_ALL) | MSIX_ENABLE);
	return true;
}

static u32 id_of(u32 function)
{
	u32 ids = pci_read(function, PCI_IDS), device = ids >> 16;

	if ((ids & 0xffff) != VENDOR || device < FIRST_TRANSITIONAL || device > LAST_MODERN)
		return 0;
	return device >= FIRST_MODERN ? device - FIRST_MODERN
				      : pci_read(function, PCI_SUBSYSTEM) >> 16;
}

static bool take_device(struct virtio_device *device, u32 function)
{
	bool woken = false;

	*device = (struct virtio_device){ .transport = &pci, .id = id_of(function) };
	if (!device->id || !(pci_read(function, PCI_COMMAND) & STATUS_HAS_LIST))
		return false;
	pci_enable(function);
	u32 at = pci_read(function, PCI_CAPABILITIES) & 0xfc;
	for (u32 k = 0; at && k < MAX_CAPABILITIES; k++) {
		u32 head = pci_read(function, at);
		if ((head & 0xff) == CAPABILITY_VENDOR)
			take_structure(device, function, at);
		if ((head & 0xff) == CAPABILITY_MSIX)
			woken = take_messages(function, at);
		at = head >> 8 & 0xfc;
	}
	if (!woken || !device->common || !device->notify || !device->config)
		return false;
	write_mmio16(device->common + COMMON_CONFIG_VECTOR, NO_VECTOR);
	return true;
}

static void look_at(u32 function, void *into)
{
	struct virtio_devices *found = into;

	if (found->count < VIRTIO_MAX_DEVICES &&
	    take_device(&found->devices[found->count], function))
		found->count++;
}

void find_pci_devices(struct virtio_devices *found, const char *words)
{
	pci_scan(words, look_at, found);
}
