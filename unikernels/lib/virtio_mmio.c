/* SPDX-License-Identifier: Apache-2.0 */
/* virtio_mmio.c: virtio 1.x, section 4.2.  The command line says where the devices are, as Linux's
 * virtio_mmio.device=SIZE@ADDRESS:LINE; QEMU's microvm adds these words itself. */
#include "cmdline.h"
#include "cpu.h"
#include "interrupts.h"
#include "virtio.h"

#define MAGIC	   0x74726976 /* "virt" */
#define VERSION	   2
#define WORD_BYTES 48

#define REGISTER_MAGIC		 0x000
#define REGISTER_VERSION	 0x004
#define REGISTER_ID		 0x008
#define REGISTER_OFFERED	 0x010
#define REGISTER_OFFERED_SELECT	 0x014
#define REGISTER_ACCEPTED	 0x020
#define REGISTER_ACCEPTED_SELECT 0x024
#define REGISTER_QUEUE		 0x030
#define REGISTER_QUEUE_MAX	 0x034
#define REGISTER_QUEUE_SIZE	 0x038
#define REGISTER_QUEUE_READY	 0x044
#define REGISTER_KICK		 0x050
#define REGISTER_PENDING	 0x060
#define REGISTER_ACKNOWLEDGE	 0x064
#define REGISTER_STATUS		 0x070
#define REGISTER_DESC		 0x080
#define REGISTER_AVAIL		 0x090
#define REGISTER_USED		 0x0a0
#define REGISTER_CONFIG		 0x100

static void set_status(struct virtio_device *device, u8 status)
{
	write_mmio32(device->common + REGISTER_STATUS, status);
}

static u8 status(struct virtio_device *device)
{
	return (u8)read_mmio32(device->common + REGISTER_STATUS);
}

static u64 offered_features(struct virtio_device *device)
{
	u64 features = 0;

	for (u32 half = 0; half < 2; half++) {
		write_mmio32(device->common + REGISTER_OFFERED_SELECT, half);
		features |= (u64)read_mmio32(device->common + REGISTER_OFFERED) << 32 * half;
	}
	return features;
}

static void accept_features(struct virtio_device *device, u64 features)
{
	for (u32 half = 0; half < 2; half++) {
		write_mmio32(device->common + REGISTER_ACCEPTED_SELECT, half);
		write_mmio32(device->common + REGISTER_ACCEPTED, (u32)(features >> 32 * half));
	}
}

static u16 max_size(struct virtio_device *device, u16 queue)
{
	write_mmio32(device->common + REGISTER_QUEUE, queue);
	return (u16)read_mmio32(device->common + REGISTER_QUEUE_MAX);
}

static void write_address(struct virtio_device *device, u32 where, volatile void *what)
{
	write_mmio32(device->common + where, (u32)(u64)what);
	write_mmio32(device->common + where + 4, (u32)((u64)what >> 32));
}

static void enable_queue(struct virtio_device *device, u16 queue, const struct vring *ring)
{
	write_mmio32(device->common + REGISTER_QUEUE, queue);
	write_mmio32(device->common + REGISTER_QUEUE_SIZE, ring->size);
	write_address(device, REGISTER_DESC, ring->memory->desc);
	write_address(device, REGISTER_AVAIL, &ring->memory->avail);
	write_address(device, REGISTER_USED, &ring->memory->used);
	write_mmio32(device->common + REGISTER_QUEUE_READY, 1);
}

static void kick(struct virtio_device *device, u16 queue)
{
	write_mmio32(device->common + REGISTER_KICK, queue);
}

static void acknowledge(struct virtio_device *device)
{
	u32 pending = read_mmio32(device->common + REGISTER_PENDING);

	if (pending)
		write_mmio32(device->common + REGISTER_ACKNOWLEDGE, pending);
}

static const struct virtio_transport mmio = {
	.set_status = set_status,
	.status = status,
	.offered_features = offered_features,
	.accept_features = accept_features,
	.max_size = max_size,
	.enable_queue = enable_queue,
	.kick = kick,
	.acknowledge = acknowledge,
};

/* SIZE@ADDRESS:LINE */
static bool parse_place(const char *text, u64 *address, u64 *line)
{
	while (*text && *text != '@')
		text++;
	if (!*text)
		return false;
	size_t length = parse_number(++text, address);
	if (!length || text[length] != ':')
		return false;
	return parse_number(text + length + 1, line) != 0;
}

void find_mmio_devices(struct virtio_devices *found, const char *words)
{
	char place[WORD_BYTES];
	u64 address, line;

	for (int k = 0; option(words, "virtio_mmio.device", k, place, sizeof(place)); k++) {
		if (found->count == VIRTIO_MAX_DEVICES || !parse_place(place, &address, &line))
			continue;
		if (read_mmio32(address + REGISTER_MAGIC) != MAGIC ||
		    read_mmio32(address + REGISTER_VERSION) != VERSION)
			continue;
		u32 id = read_mmio32(address + REGISTER_ID);
		if (!id)
			continue;
		found->devices[found->count++] = (struct virtio_device){
			.transport = &mmio,
			.id = id,
			.common = address,
			.config = address + REGISTER_CONFIG,
		};
		enable_line((u32)line);
	}
}
