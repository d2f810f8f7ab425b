/* SPDX-License-Identifier: Apache-2.0 */
/* responder: watches another VM by its memory, which it can read and not write.
 *
 * Where in it things lie is told by orders; what it finds goes to the control port. */
#include "clock.h"
#include "cmdline.h"
#include "ivshmem.h"
#include "panic.h"
#include "rules.h"
#include "service.h"

#define MS	    1000000ull
#define WATCH_MS    10
#define MOST_MS	    1000
#define VCPU_MS	    400
#define RING_MS	    300
#define MAX_NUMBERS 5

static struct watch watch;
static struct service service;
static bool watching;

static const char *const names[NR_FINDINGS] = {
	[FOUND_PANIC] = "panic",     [FOUND_ALL] = "all",     [FOUND_VCPU] = "vcpu",
	[FOUND_BACKEND] = "backend", [FOUND_GUEST] = "guest", [FOUND_WELL] = "well",
};

static void say_finding(enum finding finding, u32 which, u64 value)
{
	control_say(&service.control, "found %s %u %lu", names[finding], which, value);
}

/* A timer that comes a little early is not waited for anew. */
static bool work(void)
{
	u64 now = now_ns();

	if (watching && now - watch.looked_ns >= watch.period_ns - watch.period_ns / 4)
		look(&watch, now, say_finding);
	return false;
}

static bool ask_wake(void)
{
	return false;
}

static void keep_books(void)
{
}

static void say_stats(void)
{
	control_say(&service.control, "stats responder looks=%lu refused=%lu bytes=%lu clock=%lu",
		    watch.looks, watch.refused, watch.target.size, watch.last_clock);
	control_say(&service.control, "stats worst vcpu=%lu backend=%lu guest=%lu",
		    watch.worst_ns[FOUND_VCPU], watch.worst_ns[FOUND_BACKEND],
		    watch.worst_ns[FOUND_GUEST]);
}

/* -- orders ---------------------------------------------------------------------------------- */

/* The numbers of `WORD NUMBER …`, each behind one space; false: it is another order. */
static bool numbers_of(const char *line, const char *word, u64 *numbers, u32 count)
{
	while (*word && *line == *word) {
		line++;
		word++;
	}
	if (*word)
		return false;
	for (u32 k = 0; k < count; k++) {
		size_t length = *line == ' ' ? parse_number(line + 1, &numbers[k]) : 0;
		if (!length)
			return false;
		line += 1 + length;
	}
	return !*line;
}

static bool obey_ring(const u64 *n)
{
	return n[0] < MAX_RINGS && n[1] <= 0xffff && n[4] <= OWED_BY_BOTH &&
	       watch_ring(&watch, (u32)n[0], (u16)n[1], n[2], n[3], (u8)n[4]);
}

static bool obey_cpus(const u64 *n)
{
	struct cpus cpus = {
		.count = n[0] <= MAX_CPUS ? (u32)n[0] : 0,
		.offsets = n[1],
		.tick_device = n[3],
		.steal_time = n[4],
	};

	return watch_cpus(&watch, &cpus, n[2]);
}

static bool obey(const char *line)
{
	u64 numbers[MAX_NUMBERS];

	if (numbers_of(line, "panic", numbers, 1))
		return watch_panic(&watch, numbers[0]);
	if (numbers_of(line, "clock", numbers, 1))
		return watch_clock(&watch, numbers[0]);
	if (numbers_of(line, "cpus", numbers, 5))
		return obey_cpus(numbers);
	if (numbers_of(line, "ring", numbers, 5))
		return obey_ring(numbers);
	if (is_word(line, "forget"))
		forget(&watch);
	else if (is_word(line, "watch"))
		watching = true;
	else
		return false;
	return true;
}

static bool break_part(const char *line)
{
	(void)line;
	return false;
}

/* -- life ------------------------------------------------------------------------------------ */

static void start(const char *words)
{
	struct ivshmem memory = find_ivshmem(words);
	u64 watch_ms = number_option(words, "watch.ms", WATCH_MS);

	if (!memory.bytes)
		panic("there is no memory to watch");
	if (!watch_ms || watch_ms > MOST_MS)
		panic("watch.ms is not one of 1 to %d", MOST_MS);
	watch.target = (struct target){ .bytes = memory.bytes, .size = memory.size };
	watch.period_ns = watch_ms * MS;
	watch.limit_ns[FOUND_VCPU] = number_option(words, "vcpu.ms", VCPU_MS) * MS;
	watch.limit_ns[FOUND_BACKEND] = number_option(words, "backend.ms", RING_MS) * MS;
	watch.limit_ns[FOUND_GUEST] = number_option(words, "guest.ms", RING_MS) * MS;
	/* the loop's timer; each turn of it is a sign of life, so no beat is ever needed */
	service.heart.period_ns = watch.period_ns;
	service.heart.valid_ns = 3 * watch.period_ns;
}

static struct service service = {
	.name = "responder",
	.number = ABI_SERVICE_RESPONDER,
	.nr_parts = 0,
	.start = start,
	.work = work,
	.ask_wake = ask_wake,
	.keep_books = keep_books,
	.say_stats = say_stats,
	.obey = obey,
	.break_ = break_part,
};

void guest_main(const struct boot *boot)
{
	run_service(&service, boot);
}
