/* SPDX-License-Identifier: Apache-2.0 */
/* types.h: numbers of a fixed width, and the little that a freestanding guest takes from its
 * compiler.  The same header serves tests on the host. */
#ifndef TYPES_H
#define TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define PACKED		  __attribute__((packed))
#define ALIGNED(bytes)	  __attribute__((aligned(bytes)))
#define PRINTF(text)	  __attribute__((__format__(printf, text, (text) + 1)))

static inline u32 min_u32(u32 a, u32 b)
{
	return a < b ? a : b;
}

#endif /* TYPES_H */
