/* SPDX-License-Identifier: Apache-2.0 */
/* Any frame at all, to a target that answers one initiator. */
#include "aoe.h"

#include <stdlib.h>
#include <string.h>

#define ROOM (AOE_ATA_BYTES + AOE_IDENTIFY_BYTES)

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void must(bool condition)
{
	if (!condition)
		abort();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct aoe_target target = {
		.mac = { 2, 0, 0, 0, 0, 1 },
		.shelf = 1,
		.slot = 2,
		.sectors = 1000,
		.max_sectors = AOE_MAX_SECTORS,
		.nr_initiators = 1,
	};
	/* of its own on the heap, so that a byte too far is seen */
	u8 *frame = malloc(ROOM);
	u32 linear = size < ROOM ? (u32)size : ROOM, length = (u32)size;

	memset(frame, 0, ROOM);
	memcpy(frame, data, linear);
	if (size > 6 + AOE_MAC_BYTES) /* mostly from whom we answer */
		memcpy(target.initiators[0], frame + 6, AOE_MAC_BYTES);
	target.read_only = size & 1;
	struct aoe_request request = aoe_handle(&target, frame, linear, length);
	switch (request.action) {
	case AOE_READ:
	case AOE_WRITE:
		must(request.nr_sectors && request.nr_sectors <= target.max_sectors);
		must(request.sector + request.nr_sectors <= target.sectors);
		must(request.action == AOE_READ || !target.read_only);
		/* fall through */
	case AOE_FLUSH:
		must(aoe_finish(&target, frame, &request, size & 2) >= AOE_MIN_FRAME_BYTES);
		break;
	case AOE_REPLY:
		must(request.reply_bytes >= AOE_MIN_FRAME_BYTES && request.reply_bytes <= ROOM);
		must(!memcmp(frame + 6, target.mac, AOE_MAC_BYTES));
		break;
	case AOE_IGNORE:
	case AOE_MALFORMED:
		break;
	}
	free(frame);
	return 0;
}
