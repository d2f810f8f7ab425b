/* SPDX-License-Identifier: Apache-2.0 */
/* A guest whose memory holds what it likes, and who is told any places in it. */
#include "rules.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static struct watch watch;

static void note(enum finding finding, u32 which, u64 value)
{
	(void)value;
	if (finding >= NR_FINDINGS || which >= (MAX_CPUS > MAX_RINGS ? MAX_CPUS : MAX_RINGS))
		abort();
}

static u64 next(const u8 **data, size_t *size, size_t bytes)
{
	u64 value = 0;

	if (*size < bytes)
		return 0;
	memcpy(&value, *data, bytes);
	*data += bytes;
	*size -= bytes;
	return value;
}

/* The first half is orders, the second one memory, of just its size. */
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	size_t room = size / 2, left = size - room;
	u8 *memory = malloc(room ? room : 1);
	u64 now = 0;

	memcpy(memory, data + left, room);
	watch = (struct watch){
		.target = { .bytes = memory, .size = room },
		.period_ns = 1000,
		.limit_ns = { 3000, 3000, 3000, 3000, 3000 },
	};
	while (left) {
		struct cpus cpus;
		u64 a, b, c, order = next(&data, &left, 1);
		a = next(&data, &left, 2);
		b = next(&data, &left, 2);
		c = next(&data, &left, 2);
		switch (order % 6) {
		case 0:
			watch_clock(&watch, a);
			break;
		case 1:
			watch_panic(&watch, a);
			break;
		case 2:
			cpus = (struct cpus){ (u32)(order >> 4), a, b, c };
			watch_cpus(&watch, &cpus, next(&data, &left, 8));
			break;
		case 3:
			watch_ring(&watch, (u32)c, (u16)(1u << (order >> 4)), a, b, (u8)(c >> 8));
			break;
		case 4:
			if (room)
				memory[a % room] = (u8)b;
			break;
		case 5:
			if (b == 0x7777)
				forget(&watch);
			for (u32 k = 0; k < 4; k++)
				look(&watch, now += c, note);
			break;
		}
	}
	free(memory);
	return 0;
}
