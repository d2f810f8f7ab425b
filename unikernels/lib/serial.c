/* SPDX-License-Identifier: Apache-2.0 */
#include "serial.h"

#include "cpu.h"
#include "print.h"

#define COM1	   0x3f8
#define LINE_BYTES 200

void serial_write(const char *text)
{
	size_t length = 0;

	while (text[length])
		length++;
	/* one exit for all of it: QEMU's port has no need to be waited for */
	outsb(COM1, text, length);
}

void print(const char *text, ...)
{
	char line[LINE_BYTES];
	va_list values;

	va_start(values, text);
	format_list(line, sizeof(line), text, values);
	va_end(values);
	serial_write(line);
	serial_write("\n");
}
