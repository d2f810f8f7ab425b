/* SPDX-License-Identifier: Apache-2.0 */
#include "cmdline.h"

static const char *value_of(const char *word, const char *key)
{
	while (*key && *word == *key) {
		word++;
		key++;
	}
	return !*key && *word == '=' ? word + 1 : NULL;
}

static const char *next_word(const char *words)
{
	while (*words && *words != ' ')
		words++;
	while (*words == ' ')
		words++;
	return words;
}

bool option(const char *words, const char *key, int nth, char *to, size_t room)
{
	for (; *words; words = next_word(words)) {
		const char *value = value_of(words, key);
		if (!value || nth--)
			continue;
		size_t length = 0;
		while (value[length] && value[length] != ' ' && length + 1 < room) {
			to[length] = value[length];
			length++;
		}
		to[length] = 0;
		return true;
	}
	return false;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

size_t parse_number(const char *text, u64 *value)
{
	int base = text[0] == '0' && text[1] == 'x' ? 16 : 10;
	size_t start = base == 16 ? 2 : 0, length = start;

	*value = 0;
	while (digit(text[length]) < base)
		*value = *value * (u64)base + (u64)digit(text[length++]);
	return length > start ? length : 0;
}

u64 number_option(const char *words, const char *key, u64 otherwise)
{
	char text[24];
	u64 value;

	if (!option(words, key, 0, text, sizeof(text)))
		return otherwise;
	size_t length = parse_number(text, &value);
	return length && !text[length] ? value : otherwise;
}

bool is_on(const char *words, const char *key)
{
	char text[4];

	return option(words, key, 0, text, sizeof(text)) && text[0] == 'o' && text[1] == 'n' &&
	       !text[2];
}

bool parse_mac(const char *text, u8 *mac)
{
	for (int k = 0; k < 6; k++, text += 3) {
		int high = digit(text[0]), low = high < 16 ? digit(text[1]) : 16;
		if (low > 15 || text[2] != (k < 5 ? ':' : 0))
			return false;
		mac[k] = (u8)(high << 4 | low);
	}
	return true;
}

bool is_word(const char *line, const char *word)
{
	while (*word && *line == *word) {
		line++;
		word++;
	}
	return !*word && !*line;
}
