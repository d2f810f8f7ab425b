/* SPDX-License-Identifier: Apache-2.0 */
/* panic.h: the end of a guest that cannot go on. */
#ifndef PANIC_H
#define PANIC_H

#include "types.h"

_Noreturn void panic_at(const char *file, int line, const char *text, ...) PRINTF(3);

#define panic(...) panic_at(__FILE__, __LINE__, __VA_ARGS__)
#define require(condition)                                     \
	do {                                                   \
		if (!(condition))                              \
			panic("%s does not hold", #condition); \
	} while (0)

#endif /* PANIC_H */
