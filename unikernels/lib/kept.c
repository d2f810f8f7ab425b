/* SPDX-License-Identifier: Apache-2.0 */
#include "kept.h"

#include "cpu.h"

#define NOTE_HEADER_BYTES 16 /* an ELF note's, with its name, GNU */
#define BUILD_ID_BYTES	  20

extern const u8 __build_id[];

static KEPT volatile u8 left_by[BUILD_ID_BYTES];

bool kept_claim(void)
{
	u8 differs = 0;

	for (u32 k = 0; k < BUILD_ID_BYTES; k++) {
		differs |= left_by[k] ^ __build_id[NOTE_HEADER_BYTES + k];
		left_by[k] = 0;
	}
	order_stores();
	return !differs;
}

void kept_is_ours(void)
{
	order_stores();
	for (u32 k = 0; k < BUILD_ID_BYTES; k++)
		left_by[k] = __build_id[NOTE_HEADER_BYTES + k];
}

bool kept_is_in(const u8 *memory)
{
	const volatile u8 *there = memory + (u64)left_by;

	for (u32 k = 0; k < BUILD_ID_BYTES; k++)
		if (there[k] != __build_id[NOTE_HEADER_BYTES + k])
			return false;
	return true;
}
