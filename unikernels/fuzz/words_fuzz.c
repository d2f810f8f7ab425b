/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a command line, and as lines on the control port. */
#include "cmdline.h"
#include "control.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	char *words = malloc(size + 1), value[16];
	struct lines lines = { 0 };
	u8 mac[6];
	u64 number;

	memcpy(words, data, size);
	words[size] = 0;
	for (int k = 0; option(words, "aoe.allow", k, value, sizeof(value)); k++)
		parse_mac(value, mac);
	number_option(words, "beat.ms", 5);
	parse_number(words, &number);
	is_on(words, "faults");
	free(words);
	for (size_t k = 0; k < size; k++)
		if (lines_take(&lines, data[k]) && strlen(lines.text) > ABI_CONTROL_LINE_BYTES)
			abort();
	return 0;
}
