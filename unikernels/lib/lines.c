/* SPDX-License-Identifier: Apache-2.0 */
#include "control.h"

bool lines_take(struct lines *lines, u8 byte)
{
	if (byte == '\r')
		return false;
	if (byte != '\n') {
		if (lines->length == ABI_CONTROL_LINE_BYTES)
			lines->too_long = true;
		else
			lines->text[lines->length++] = (char)byte;
		return false;
	}
	bool whole = !lines->too_long;
	lines->refused += !whole;
	lines->text[lines->length] = 0;
	lines->length = 0;
	lines->too_long = false;
	return whole;
}
