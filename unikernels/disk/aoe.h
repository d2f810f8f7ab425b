/* SPDX-License-Identifier: Apache-2.0 */
/* aoe.h: ATA over Ethernet as a target sees it ("AoE Protocol Definition", S. Hopkins and
 * B. Coile).  Pure: from the bytes of a frame to what is to be done, and back. */
#ifndef AOE_H
#define AOE_H

#include "types.h"

#define AOE_MAC_BYTES	    6
#define AOE_HEADER_BYTES    24 /* Ethernet's and AoE's */
#define AOE_ATA_BYTES	    36 /* with the ATA registers; data follows */
#define AOE_CONFIG_BYTES    32 /* with the config header; a string follows */
#define AOE_MIN_FRAME_BYTES 60
#define AOE_SECTOR_BYTES    512
#define AOE_MAX_SECTORS	    17 /* in a frame of 9,000 bytes */
#define AOE_MAX_INITIATORS  8
#define AOE_IDENTIFY_BYTES  512
#define AOE_BUFFER_COUNT    64 /* requests that an initiator may have outstanding */

/* Who the target is and whom it answers. */
struct aoe_target {
	u8 mac[AOE_MAC_BYTES];
	u16 shelf;
	u8 slot;
	u64 sectors;
	bool read_only;
	u8 max_sectors; /* that a frame of this link has room for */
	u8 nr_initiators;
	u8 initiators[AOE_MAX_INITIATORS][AOE_MAC_BYTES];
};

enum aoe_action {
	AOE_IGNORE,    /* not for us, or not from one whom we answer */
	AOE_MALFORMED, /* for us, and nonsense */
	AOE_REPLY,     /* the answer is in the frame already, `reply_bytes` long */
	AOE_READ,
	AOE_WRITE,
	AOE_FLUSH,
};

struct aoe_request {
	enum aoe_action action;
	u64 sector;
	u32 nr_sectors;
	u32 reply_bytes;
};

/* Looks at a frame whose first `linear` bytes are at `frame`, `length` in all.  What can be
 * answered at once is turned into its answer in place; for that at least
 * AOE_ATA_BYTES + AOE_IDENTIFY_BYTES must have room at `frame`. */
struct aoe_request aoe_handle(const struct aoe_target *target, u8 *frame, u32 linear, u32 length);

/* Turns an ATA request into its answer, once the disk has done it.  How long the answer is. */
u32 aoe_finish(const struct aoe_target *target, u8 *frame, const struct aoe_request *request,
	       bool good);

/* A config response that nobody asked for: initiators that wait for us try again at once. */
u32 aoe_announce(const struct aoe_target *target, const u8 *to, u8 *frame);

#endif /* AOE_H */
