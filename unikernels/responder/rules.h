/* SPDX-License-Identifier: Apache-2.0 */
/* rules.h: what the memory of a Linux guest tells of it and of its back ends.
 *
 * Nothing is written to it, and nothing that stands in it is believed: each address that is told
 * or read is checked against its size.  No hardware in it, so that tests and fuzzers run it on the
 * host.
 *
 * Limits are of time in which the debtor could have acted: who looks late was kept from a CPU, and
 * the debtor may have been, too; of a vCPU KVM says how long. */
#ifndef RULES_H
#define RULES_H

#include "types.h"

#define MAX_CPUS  64
#define MAX_RINGS 64

/* Who owes something on a ring; a ring to receive by is full of requests that nobody owes. */
#define OWED_BY_BACKEND 1
#define OWED_BY_GUEST	2
#define OWED_BY_BOTH	3

struct target {
	const volatile u8 *bytes;
	u64 size;
	u64 direct_map; /* where Linux has all of it, by its own addresses: page_offset_base */
};

struct ring_watch {
	u64 avail, used; /* places */
	u16 size;
	u8 owed;
	u16 last_avail, last_used, last_taken;
	u64 unserved_ns, untaken_ns; /* without progress */
	bool said_unserved, said_untaken;
};

struct cpu_watch {
	u64 event, steal;
	u32 version;
	u64 late_ns; /* since its timer was due */
	bool said;
};

struct cpus {
	u32 count;
	u64 offsets;	 /* the place of __per_cpu_offset */
	u64 tick_device; /* offsets of variables that each CPU has */
	u64 steal_time;
};

enum finding {
	FOUND_PANIC,
	FOUND_ALL,     /* a timer is overdue, and no CPU takes ticks */
	FOUND_VCPU,    /* its timer is overdue, other CPUs take ticks */
	FOUND_BACKEND, /* does not serve what it was given */
	FOUND_GUEST,   /* does not take what it was called for */
	FOUND_WELL,    /* of what was said, nothing is so any more */
	NR_FINDINGS,
};

struct watch {
	struct target target;
	u64 limit_ns[NR_FINDINGS], worst_ns[NR_FINDINGS]; /* worst: the longest debt so far */
	u64 period_ns, looked_ns, gap_ns;		  /* gap: what the last period counts for */
	u64 clock, panic; /* the places of last_jiffies_update and panic_cpu, 0: untold */
	struct cpus cpus;
	struct cpu_watch cpu[MAX_CPUS];
	struct ring_watch rings[MAX_RINGS];
	u32 nr_rings;
	u64 last_clock;
	u64 still_ns; /* since it moved */
	u64 ahead_ns; /* the guest's clock, less ours */
	bool clock_known, clock_seen, said_panic, said_all, failing;
	u64 looks, refused; /* refused: addresses that lie nowhere */
};

/* False: it lies outside, and is not watched. */
bool watch_clock(struct watch *watch, u64 place);
bool watch_panic(struct watch *watch, u64 place);
bool watch_cpus(struct watch *watch, const struct cpus *cpus, u64 direct_map);
bool watch_ring(struct watch *watch, u32 which, u16 size, u64 avail, u64 used, u8 owed);

/* The guest stood still for a reason: what was seen before is worth nothing. */
void forget(struct watch *watch);

/* Says each finding once, and again only after it was well; `value` is of a timer for
 * how many ns it is overdue, of a ring how many requests wait, of a panic the CPU. */
void look(struct watch *watch, u64 now, void (*say)(enum finding finding, u32 which, u64 value));

#endif /* RULES_H */
