/* SPDX-License-Identifier: Apache-2.0 */
/* start.c: the one list of what starts, in order. */
#include "clock.h"
#include "cpu.h"
#include "guest.h"
#include "interrupts.h"
#include "panic.h"

#define START_MAGIC 0x336ec578 /* xen/include/public/arch-x86/hvm/start_info.h */
#define MAPPED_END  (64ull << 20)
#define LARGE_PAGE  (2ull << 20)
#define RAM	    1
#define WORDS_BYTES 2048

struct start_info {
	u32 magic, version, flags, nr_modules;
	u64 modules, words, rsdp, memory_map;
	u32 nr_memory_map, reserved;
};

struct memory_range {
	u64 start, bytes;
	u32 kind, reserved;
};

extern u8 __image_end[];
extern volatile u64 page_table[]; /* of entry.S: the first 2 MB */
extern u64 __stack_chk_guard;

static char words[WORDS_BYTES];

void start_guest(const struct start_info *info);

/* The end of the RAM that the image lies in. */
static u64 end_of_ram(const struct start_info *info)
{
	const struct memory_range *range = (const void *)info->memory_map;

	for (u32 k = 0; k < info->nr_memory_map; k++, range++)
		if (range->kind == RAM && range->start <= (u64)__image_end &&
		    range->start + range->bytes > (u64)__image_end)
			return range->start + range->bytes;
	panic("the memory map does not have the RAM that we run in");
}

/* The command line may lie in page 0, too. */
static void keep_words(const char *found)
{
	size_t length = 0;

	for (; found && found[length]; length++) {
		require(length + 1 < WORDS_BYTES);
		words[length] = found[length];
	}
}

/* From here on a null pointer ends the guest. */
static void guard_null(void)
{
	page_table[0] = 0;
	forget_page(0);
}

__attribute__((no_stack_protector)) void start_guest(const struct start_info *info)
{
	__stack_chk_guard ^= read_tsc() << 8; /* its low byte stays, so that strings end there */
	require(info->magic == START_MAGIC);
	start_interrupts();
	start_clock();

	u64 end = end_of_ram(info);
	keep_words((const char *)info->words);
	guard_null();
	struct boot boot = {
		.words = words,
		.free_start = LARGE_PAGE,
		.free_end = end < MAPPED_END ? end : MAPPED_END,
	};
	guest_main(&boot);
	panic("guest_main returned");
}
