/* SPDX-License-Identifier: Apache-2.0 */
/* print.h: words for whoever reads the console. */
#ifndef PRINT_H
#define PRINT_H

#include <stdarg.h>

#include "types.h"

/* Knows %s, %c, %d, %u, %x, %lu, %lx and %%; returns the length that the whole text has, and
 * ends what fits with a 0. */
size_t format(char *to, size_t room, const char *text, ...) PRINTF(3);
size_t format_list(char *to, size_t room, const char *text, va_list values);

/* A line on the serial console; what does not fit into 200 bytes is cut. */
void print(const char *text, ...) PRINTF(1);

#endif /* PRINT_H */
