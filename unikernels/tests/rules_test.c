/* SPDX-License-Identifier: Apache-2.0 */
/* What the responder says of a guest's memory that is made up here. */
#include "report.h"
#include "rules.h"

#include <string.h>

#define MEMORY	    65536
#define MS	    1000000ull
#define LOOK_MS	    5
#define LOOKS	    20
#define SIZE	    16
#define CLOCK	    0x100
#define PANIC	    0x108
#define OFFSETS	    0x200
#define OWN(cpu)    (0x1000 * (1 + (u64)(cpu)))
#define TICK_DEVICE 0x40
#define STEAL_TIME  0x80
#define DEVICE	    0xc0
#define DIRECT_MAP  0xff11000000000000ull
#define AVAIL	    0x8000
#define USED	    0x9000
#define NEVER	    0x7fffffffffffffffull
#define AHEAD_NS    77777777ull

static u8 memory[MEMORY] __attribute__((aligned(4096)));
static struct watch watch;
static u64 now, nr_said;
static enum finding last_found;
static u64 nr_well;
static u32 last_which;

static void note(enum finding finding, u32 which, u64 value)
{
	(void)value;
	if (finding == FOUND_WELL) {
		nr_well++;
		return;
	}
	nr_said++;
	last_found = finding;
	last_which = which;
}

static void put(u64 place, u64 value, size_t bytes)
{
	memcpy(memory + place, &value, bytes);
}

static void timer(u32 cpu, u64 event)
{
	put(OWN(cpu) + DEVICE + 24, event, 8);
}

static void tick(void)
{
	put(CLOCK, now + AHEAD_NS, 8);
}

static void ring_is(u16 avail, u16 used, u16 taken)
{
	put(AVAIL + 2, avail, 2);
	put(USED + 2, used, 2);
	put(AVAIL + 4 + 2 * SIZE, taken, 2);
}

/* So many looks, between which nothing happens. */
static u64 said_in(u32 looks)
{
	u64 before = nr_said;

	for (; looks; looks--) {
		now += LOOK_MS * MS;
		look(&watch, now, note);
	}
	return nr_said - before;
}

/* A guest of two idle CPUs whose clock is known. */
static void begin(void)
{
	struct cpus cpus = { 2, OFFSETS, TICK_DEVICE, STEAL_TIME };

	memset(memory, 0, sizeof(memory));
	nr_said = nr_well = 0;
	now = 1000 * MS;
	put(PANIC, 0xffffffff, 4);
	for (u32 k = 0; k < cpus.count; k++) {
		put(OFFSETS + 8 * k, DIRECT_MAP + OWN(k), 8);
		put(OWN(k) + TICK_DEVICE, DIRECT_MAP + OWN(k) + DEVICE, 8);
		timer(k, NEVER);
	}
	watch = (struct watch){
		.target = { .bytes = memory, .size = sizeof(memory) },
		.period_ns = LOOK_MS * MS,
		.limit_ns = { [FOUND_VCPU] = LOOKS * LOOK_MS * MS,
			      [FOUND_BACKEND] = LOOKS * LOOK_MS * MS,
			      [FOUND_GUEST] = LOOKS * LOOK_MS * MS },
	};
	check("it takes what lies inside",
	      watch_clock(&watch, CLOCK) && watch_panic(&watch, PANIC) &&
		      watch_cpus(&watch, &cpus, DIRECT_MAP) &&
		      watch_ring(&watch, 0, SIZE, AVAIL, USED, OWED_BY_BOTH));
	said_in(1);
	tick();
	said_in(1);
}

static void check_cpus(void)
{
	begin();
	check("an idle guest stands still for long, and well", !said_in(1000));
	timer(1, now + AHEAD_NS + 50 * MS);
	check("a timer that is not due", !said_in(9));
	check("nor is one late at once", !said_in(LOOKS - 1));
	check("when it is, nothing more moves: it is all of the guest",
	      said_in(3) == 1 && last_found == FOUND_ALL);
	check("which is said once", !said_in(1000));
	tick();
	timer(1, now + AHEAD_NS + 50 * MS);
	check("it is well again, and fails anew", said_in(10 + LOOKS + 2) == 1 && nr_well == 1);

	begin();
	timer(0, now + AHEAD_NS);
	for (u32 k = 0; k < LOOKS + 1; k++) {
		tick();
		said_in(1);
	}
	check("one CPU alone, while another one takes ticks",
	      nr_said && last_found == FOUND_VCPU && !last_which);

	begin();
	timer(0, now + AHEAD_NS);
	memory[OWN(0) + STEAL_TIME + 16] = 1;
	check("one whose CPU the host took owes nothing", !said_in(1000));
	memory[OWN(0) + STEAL_TIME + 8] = 1;
	check("nor does one that had it once in a while", !said_in(1000));
	for (u32 k = 2; k < LOOKS + 10; k++) {
		put(OWN(0) + STEAL_TIME, (u64)k / 2 * LOOK_MS * MS, 8);
		memory[OWN(0) + STEAL_TIME + 8] = (u8)k;
		said_in(1);
	}
	check("half of the time is half as late", !nr_said);
	for (u32 k = 0; k < LOOKS; k++) {
		memory[OWN(0) + STEAL_TIME + 8]++;
		said_in(1);
	}
	check("one that spins is preempted at each look, and late", nr_said == 1);
	memory[OWN(0) + STEAL_TIME + 16] = 0;
	forget(&watch);
	check("nor is its clock known after a pause", !said_in(1000));

	begin();
	put(OWN(0) + TICK_DEVICE, DIRECT_MAP + MEMORY - 24, 8);
	put(OFFSETS + 8, 0, 8);
	check("what points elsewhere is passed over", !said_in(10) && watch.refused == 20);

	begin();
	put(PANIC, 1, 4);
	check("a panic is said at once", said_in(1) == 1 && last_found == FOUND_PANIC);
	timer(0, now);
	check("and then no more of it", !said_in(1000));
}

static void check_rings(void)
{
	begin();
	ring_is(7, 3, 3);
	check("a back end that does not serve",
	      !said_in(LOOKS) && said_in(1) == 1 && last_found == FOUND_BACKEND);
	check("is said once", !said_in(1000));
	ring_is(7, 4, 4);
	check("one that does serve is well, and not late", !said_in(LOOKS - 1) && nr_well == 1);
	ring_is(7, 7, 7);
	check("and owes nothing at the end", !said_in(1000));
	ring_is(9, 9, 7);
	check("a guest that does not take",
	      !said_in(LOOKS) && said_in(1) == 1 && last_found == FOUND_GUEST);
	ring_is(9, 9, 9);
	check("and one that does", !said_in(1000));
	ring_is(9 + SIZE + 1, 9, 9);
	check("more than the ring holds is not believed", !said_in(1000));

	begin();
	check("a ring to receive by is full, and well",
	      watch_ring(&watch, 0, SIZE, AVAIL, USED, OWED_BY_GUEST));
	ring_is(SIZE, 0, 0);
	check("for ever", !said_in(1000));
}

static void check_bounds(void)
{
	struct cpus cpus = { 2, MEMORY - 8, 0, 0 };

	begin();
	check("no clock outside", !watch_clock(&watch, MEMORY) && !watch_clock(&watch, ~7ull) &&
					  !watch_clock(&watch, MEMORY - 4));
	check("no panic outside", !watch_panic(&watch, MEMORY) && !watch_panic(&watch, 0));
	check("no CPUs outside", !watch_cpus(&watch, &cpus, 0));
	cpus.count = MAX_CPUS + 1;
	check("nor too many", !watch_cpus(&watch, &cpus, 0));
	check("no ring outside",
	      !watch_ring(&watch, 0, SIZE, MEMORY - 2 * SIZE, USED, OWED_BY_BOTH) &&
		      !watch_ring(&watch, 0, SIZE, AVAIL, ~3ull, OWED_BY_BOTH) &&
		      !watch_ring(&watch, 0, SIZE, AVAIL, MEMORY - 8 * SIZE, OWED_BY_BOTH));
	check("none of an odd size, or too many",
	      !watch_ring(&watch, 0, 12, AVAIL, USED, OWED_BY_BOTH) &&
		      !watch_ring(&watch, MAX_RINGS, SIZE, AVAIL, USED, OWED_BY_BOTH));
}

int main(void)
{
	check_cpus();
	check_rings();
	check_bounds();
	return report_summary();
}
