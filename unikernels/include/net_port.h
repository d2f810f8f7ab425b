/* SPDX-License-Identifier: Apache-2.0 */
/* net_port.h: a virtio-net device that receives and sends frames; each is one part of a service.
 *
 * Frames keep the device's header in front (virtio 1.x, section 5.1.6), so that checksums and
 * segments that were left to do are left to the next one. */
#ifndef NET_PORT_H
#define NET_PORT_H

#include "beat.h"
#include "frames.h"
#include "salvage.h"
#include "virtio.h"

#define VIRTIO_NET_HEADER_BYTES 12
#define ETHERNET_HEADER_BYTES	14
#define RECEIVE_BATCH		64

struct net_port {
	const char *name;
	struct virtio_device *device;
	struct part *part;
	struct pool *pool;
	struct vring receive, send;
	struct vring_memory *receive_memory, *send_memory;
	struct hand hand;
	struct frame_queue waiting; /* to be sent */
	u8 mac[6];
	u16 seen_used, seen_taken; /* of the receiving ring, when the part's books were kept last */
	u16 reserve;		   /* buffers that are not for receiving */
	bool hangs;		   /* a fault was ordered: it does nothing */
	u64 received, sent, dropped_full, dropped_malformed, resets;
};

/* False: the device is not fit for it. */
bool port_start(struct net_port *port);

/* Resets the device and starts it anew: what it has received goes to `keep`, what it has not sent
 * is sent again, before all that waits.  A part that hung goes on. */
bool port_reset(struct net_port *port, void (*keep)(struct net_port *port, u16 frame));

/* Frames that were taken before it was started: to be sent first, in this order. */
void port_adopt(struct net_port *port, const u16 *frames, u16 count);

/* The device has another queue of the host's behind it: it is to look whether there is something.
 */
void port_wake(struct net_port *port);

/* The next frame that was received, NO_BUFFER: none.  Malformed ones are counted and dropped.
 * It is in the port's hand until somebody else's. */
u16 port_receive(struct net_port *port);
void port_passed_on(struct net_port *port);

/* Takes a frame to send; one that finds no room is counted and dropped. */
void port_send(struct net_port *port, u16 frame);

/* Gives the device what waits, as far as it has room, takes back what it has sent, and gives it
 * buffers to receive into.  True: something was done. */
bool port_work(struct net_port *port);

/* Brings the part's books up to date with what the device has received, also while it hangs. */
void port_keep_books(struct net_port *port);

/* Asks to be woken by the next frame; true if there is work already. */
bool port_ask_wake(struct net_port *port);

#endif /* NET_PORT_H */
