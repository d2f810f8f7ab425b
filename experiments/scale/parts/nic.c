// SPDX-License-Identifier: Apache-2.0
/* nic.c: a NIC of two rings that vhost serves.  All its receive buffers are one, for nobody reads
 * what comes; its guest never sends. */
#include <fcntl.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "tiny_vmm.h"

static int open_tap(const char *tap)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int any = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || any < 0)
		die("/dev/net/tun");
	strncpy(request.ifr_name, tap, IFNAMSIZ - 1);
	call(fd, TUNSETIFF, &request, "TUNSETIFF");
	call(any, SIOCGIFFLAGS, &request, "SIOCGIFFLAGS");
	request.ifr_flags |= IFF_UP | IFF_NOARP;
	call(any, SIOCSIFFLAGS, &request, "SIOCSIFFLAGS");
	close(any);
	return fd;
}

static void start_ring(int vhost, unsigned index, uint64_t memory, unsigned desc, unsigned avail,
		       unsigned used, const struct ring *ring)
{
	struct vhost_vring_state number = { index, RING_ENTRIES }, base = { index, 0 };
	struct vhost_vring_file kick = { index, ring->kick }, called = { index, ring->call };
	struct vhost_vring_addr where = {
		.index = index,
		.desc_user_addr = memory + desc,
		.avail_user_addr = memory + avail,
		.used_user_addr = memory + used,
	};

	call(vhost, VHOST_SET_VRING_NUM, &number, "VHOST_SET_VRING_NUM");
	call(vhost, VHOST_SET_VRING_BASE, &base, "VHOST_SET_VRING_BASE");
	call(vhost, VHOST_SET_VRING_ADDR, &where, "VHOST_SET_VRING_ADDR");
	call(vhost, VHOST_SET_VRING_KICK, &kick, "VHOST_SET_VRING_KICK");
	call(vhost, VHOST_SET_VRING_CALL, &called, "VHOST_SET_VRING_CALL");
}

static void offer_buffers(uint8_t *memory)
{
	struct vring_desc *desc = (void *)(memory + RX_DESC);
	struct vring_avail *avail = (void *)(memory + RX_AVAIL);

	for (uint16_t i = 0; i < RING_ENTRIES; i++) {
		desc[i] = (struct vring_desc){ RX_BUFFER, 0x1000, VRING_DESC_F_WRITE, 0 };
		avail->ring[i] = i;
	}
	avail->idx = RING_ENTRIES;
}

void start_nic(const char *tap, uint8_t *memory, const struct ring *rings)
{
	uint64_t features = 1ULL << VIRTIO_F_VERSION_1, at = (uintptr_t)memory;
	union {
		struct vhost_memory head;
		uint8_t bytes[sizeof(struct vhost_memory) + sizeof(struct vhost_memory_region)];
	} table = { .head.nregions = 1 };
	int vhost = open("/dev/vhost-net", O_RDWR | O_CLOEXEC), fd = open_tap(tap);

	if (vhost < 0)
		die("/dev/vhost-net");
	offer_buffers(memory);
	table.head.regions[0] = (struct vhost_memory_region){ 0, MEMORY_BYTES, at, 0 };
	call(vhost, VHOST_SET_OWNER, 0, "VHOST_SET_OWNER");
	call(vhost, VHOST_SET_FEATURES, &features, "VHOST_SET_FEATURES");
	call(vhost, VHOST_SET_MEM_TABLE, &table, "VHOST_SET_MEM_TABLE");
	start_ring(vhost, 0, at, RX_DESC, RX_AVAIL, RX_USED, &rings[0]);
	start_ring(vhost, 1, at, TX_DESC, TX_AVAIL, TX_USED, &rings[1]);
	for (unsigned i = 0; i < 2; i++) {
		struct vhost_vring_file served = { i, fd };
		call(vhost, VHOST_NET_SET_BACKEND, &served, "VHOST_NET_SET_BACKEND");
	}
}
