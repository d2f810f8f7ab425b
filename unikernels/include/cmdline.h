/* SPDX-License-Identifier: Apache-2.0 */
/* cmdline.h: options such as `faults=on`, words between spaces.  Without hardware in it, so that
 * its tests run on the host. */
#ifndef CMDLINE_H
#define CMDLINE_H

#include "types.h"

/* The value of the `nth` word `KEY=VALUE`, cut at the end of `to`; false if there is none. */
bool option(const char *words, const char *key, int nth, char *to, size_t room);

/* A number in decimal or, after 0x, in hexadecimal; how many characters it has, 0: it is none. */
size_t parse_number(const char *text, u64 *value);

/* Six bytes in hexadecimal with colons between. */
bool parse_mac(const char *text, u8 *mac);

/* Whether a line is just this word. */
bool is_word(const char *line, const char *word);

u64 number_option(const char *words, const char *key, u64 otherwise);
bool is_on(const char *words, const char *key);

#endif /* CMDLINE_H */
