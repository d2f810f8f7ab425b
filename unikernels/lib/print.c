/* SPDX-License-Identifier: Apache-2.0 */
#include "print.h"

struct text {
	char *to;
	size_t room, length;
};

static void put(struct text *t, char c)
{
	if (t->length + 1 < t->room)
		t->to[t->length] = c;
	t->length++;
}

static void put_text(struct text *t, const char *text)
{
	for (; *text; text++)
		put(t, *text);
}

static void put_number(struct text *t, u64 value, unsigned int base)
{
	char digits[20];
	int count = 0;

	do {
		digits[count++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (count)
		put(t, digits[--count]);
}

static void put_signed(struct text *t, int value)
{
	if (value < 0)
		put(t, '-');
	put_number(t, value < 0 ? -(u64)value : (u64)value, 10);
}

size_t format_list(char *to, size_t room, const char *text, va_list values)
{
	struct text t = { to, room, 0 };

	for (; *text; text++) {
		if (*text != '%') {
			put(&t, *text);
			continue;
		}
		bool wide = text[1] == 'l';
		text += wide ? 2 : 1;
		switch (*text) {
		case 's':
			put_text(&t, va_arg(values, const char *));
			break;
		case 'c':
			put(&t, (char)va_arg(values, int));
			break;
		case 'd':
			put_signed(&t, va_arg(values, int));
			break;
		case 'u':
		case 'x':
			put_number(&t, wide ? va_arg(values, u64) : va_arg(values, u32),
				   *text == 'u' ? 10 : 16);
			break;
		case 0:
			text--; /* the text ends within a verb */
			break;
		default:
			put(&t, *text);
		}
	}
	if (room)
		to[t.length < room ? t.length : room - 1] = 0;
	return t.length;
}

size_t format(char *to, size_t room, const char *text, ...)
{
	va_list values;

	va_start(values, text);
	size_t length = format_list(to, room, text, values);
	va_end(values);
	return length;
}
