/* SPDX-License-Identifier: Apache-2.0 */
#include "rules.h"

/* Of Linux 6.1: struct tick_device begins with a pointer to the CPU's clock_event_device, in which
 * next_event follows three pointers; struct kvm_steal_time is in
 * arch/x86/include/uapi/asm/kvm_para.h. */
#define NEXT_EVENT    24
#define STEAL_VERSION 8
#define PREEMPTED     16
#define NEVER	      0x7fffffffffffffffull /* KTIME_MAX */
#define NOT_PANICKED  0xffffffffu	    /* PANIC_CPU_INVALID */

/* A split ring with EVENT_IDX (virtio 1.2, section 2.7). */
#define RING_MAX	  32768
#define INDEX		  2
#define RING_ENTRY	  4
#define USED_BYTES(size)  (6 + 8 * (u64)(size))
#define AVAIL_BYTES(size) (6 + 2 * (u64)(size))

static bool is_inside(const struct target *target, u64 place, u64 bytes, u64 aligned)
{
	return !(place % aligned) && place < target->size && bytes <= target->size - place;
}

static u64 read_u64(const struct target *target, u64 place)
{
	return *(const volatile u64 *)(target->bytes + place);
}

static u32 read_u32(const struct target *target, u64 place)
{
	return *(const volatile u32 *)(target->bytes + place);
}

static u16 read_u16(const struct target *target, u64 place)
{
	return *(const volatile u16 *)(target->bytes + place);
}

struct vcpu_words {
	u64 event; /* when its timer is due */
	u64 steal; /* how long it has waited for a CPU of the host's, by when it last got one */
	u32 version;
	bool preempted; /* it waits again */
};

/* False: its variables are not where they should be. */
static bool read_vcpu(const struct watch *watch, u32 cpu, struct vcpu_words *words)
{
	const struct target *target = &watch->target;
	const struct cpus *cpus = &watch->cpus;
	u64 own = read_u64(target, cpus->offsets + 8ull * cpu) - target->direct_map;
	u64 device = own + cpus->tick_device, steal = own + cpus->steal_time;

	if (!is_inside(target, device, 8, 8) || !is_inside(target, steal, PREEMPTED + 1, 8))
		return false;
	device = read_u64(target, device) - target->direct_map;
	if (!is_inside(target, device, NEXT_EVENT + 8, 8))
		return false;
	*words = (struct vcpu_words){
		.event = read_u64(target, device + NEXT_EVENT),
		.steal = read_u64(target, steal),
		.version = read_u32(target, steal + STEAL_VERSION),
		.preempted = target->bytes[steal + PREEMPTED],
	};
	return true;
}

/* -- what is to be watched ------------------------------------------------------------------- */

bool watch_clock(struct watch *watch, u64 place)
{
	if (!place || !is_inside(&watch->target, place, 8, 8))
		return false;
	watch->clock = place;
	watch->clock_known = watch->clock_seen = false;
	return true;
}

bool watch_panic(struct watch *watch, u64 place)
{
	if (!place || !is_inside(&watch->target, place, 4, 4))
		return false;
	watch->panic = place;
	watch->said_panic = false;
	return true;
}

bool watch_cpus(struct watch *watch, const struct cpus *cpus, u64 direct_map)
{
	if (!cpus->count || cpus->count > MAX_CPUS ||
	    !is_inside(&watch->target, cpus->offsets, 8ull * cpus->count, 8))
		return false;
	watch->cpus = *cpus;
	watch->target.direct_map = direct_map;
	for (u32 k = 0; k < cpus->count; k++) {
		struct vcpu_words words;
		if (!read_vcpu(watch, k, &words)) {
			watch->cpus.count = 0;
			return false;
		}
		watch->cpu[k] = (struct cpu_watch){ 0 };
	}
	return true;
}

bool watch_ring(struct watch *watch, u32 which, u16 size, u64 avail, u64 used, u8 owed)
{
	if (which >= MAX_RINGS || !size || size > RING_MAX || size & (size - 1) || !owed ||
	    owed > OWED_BY_BOTH || !is_inside(&watch->target, avail, AVAIL_BYTES(size), 2) ||
	    !is_inside(&watch->target, used, USED_BYTES(size), 4))
		return false;
	watch->rings[which] = (struct ring_watch){
		.avail = avail,
		.used = used,
		.size = size,
		.owed = owed,
	};
	if (watch->nr_rings <= which)
		watch->nr_rings = which + 1;
	return true;
}

void forget(struct watch *watch)
{
	watch->clock_known = watch->clock_seen = watch->said_panic = watch->said_all = false;
	watch->failing = false;
	watch->still_ns = 0;
	for (u32 k = 0; k < watch->cpus.count; k++)
		watch->cpu[k] = (struct cpu_watch){ 0 };
	for (u32 k = 0; k < NR_FINDINGS; k++)
		watch->worst_ns[k] = 0;
	for (u32 k = 0; k < watch->nr_rings; k++) {
		struct ring_watch *ring = &watch->rings[k];
		ring->unserved_ns = ring->untaken_ns = 0;
		ring->said_unserved = ring->said_untaken = false;
	}
}

/* -- one look -------------------------------------------------------------------------------- */

/* Whether the debt is late, and was not said to be. */
static bool is_new(struct watch *watch, enum finding finding, u64 since_ns, bool *said)
{
	if (since_ns > watch->worst_ns[finding])
		watch->worst_ns[finding] = since_ns;
	if (since_ns < watch->limit_ns[finding] || *said)
		return false;
	*said = true;
	return true;
}

/* The time of a tick is written when it has come: so the guest's clock is at least that, and
 * hardly more if it was written since the last look. */
static void look_at_clock(struct watch *watch, u64 now)
{
	u64 clock = read_u64(&watch->target, watch->clock);

	watch->still_ns += watch->gap_ns;
	if (watch->clock_seen && clock != watch->last_clock) {
		watch->ahead_ns = clock - now;
		watch->clock_known = true;
		watch->still_ns = 0;
		watch->said_all = false;
	}
	watch->clock_seen = true;
	watch->last_clock = clock;
}

static void look_at_panic(struct watch *watch, void (*say)(enum finding, u32, u64))
{
	u32 cpu = read_u32(&watch->target, watch->panic);

	if (cpu != NOT_PANICKED && !watch->said_panic)
		say(FOUND_PANIC, 0, cpu);
	watch->said_panic = cpu != NOT_PANICKED;
}

/* What is wrong with the guest as a whole is said once, whatever shows it first. */
static bool guest_is_said(const struct watch *watch)
{
	for (u32 k = 0; k < watch->nr_rings; k++)
		if (watch->rings[k].said_untaken)
			return true;
	return watch->said_panic || watch->said_all;
}

/* A CPU that takes interrupts has its timer set to a time to come, or to none.  What it waited for
 * a CPU of the host's is not its own; while it waits, that is not known yet. */
static void look_at_cpu(struct watch *watch, u32 k, u64 guest_now,
			void (*say)(enum finding, u32, u64))
{
	struct cpu_watch *cpu = &watch->cpu[k];
	struct vcpu_words words;

	if (!read_vcpu(watch, k, &words)) {
		watch->refused++;
		return;
	}
	bool waits = words.preempted && words.version == cpu->version;
	u64 stolen_ns = words.steal - cpu->steal;
	u64 late_ns = cpu->late_ns + (waits ? 0 : watch->gap_ns);
	cpu->steal = words.steal;
	cpu->version = words.version;
	if (words.event >= NEVER || words.event >= guest_now || words.event != cpu->event) {
		cpu->event = words.event;
		cpu->late_ns = 0;
		cpu->said = false;
		return;
	}
	cpu->late_ns = late_ns > stolen_ns ? late_ns - stolen_ns : 0;
	if (!is_new(watch, FOUND_VCPU, cpu->late_ns, &cpu->said) || guest_is_said(watch))
		return;
	watch->said_all = watch->still_ns >= cpu->late_ns;
	say(watch->said_all ? FOUND_ALL : FOUND_VCPU, k, guest_now - words.event);
}

static void look_at_ring(struct watch *watch, u32 k, void (*say)(enum finding, u32, u64))
{
	bool said = guest_is_said(watch);
	const struct target *target = &watch->target;
	struct ring_watch *ring = &watch->rings[k];
	u16 avail = read_u16(target, ring->avail + INDEX);
	u16 used = read_u16(target, ring->used + INDEX);
	u16 taken = read_u16(target, ring->avail + RING_ENTRY + 2ull * ring->size);
	u16 asked = (u16)(avail - used), called = (u16)(used - taken);

	if (!(ring->owed & OWED_BY_BACKEND) || !asked || asked > ring->size ||
	    used != ring->last_used) {
		ring->unserved_ns = 0;
		ring->said_unserved = false;
	} else {
		ring->unserved_ns += watch->gap_ns;
		if (is_new(watch, FOUND_BACKEND, ring->unserved_ns, &ring->said_unserved))
			say(FOUND_BACKEND, k, asked);
	}
	if (!(ring->owed & OWED_BY_GUEST) || !called || called > ring->size ||
	    taken != ring->last_taken || avail != ring->last_avail) {
		ring->untaken_ns = 0;
		ring->said_untaken = false;
	} else {
		ring->untaken_ns += watch->gap_ns;
		if (is_new(watch, FOUND_GUEST, ring->untaken_ns, &ring->said_untaken) && !said)
			say(FOUND_GUEST, k, called);
	}
	ring->last_avail = avail;
	ring->last_used = used;
	ring->last_taken = taken;
}

static bool is_failing(const struct watch *watch)
{
	for (u32 k = 0; k < watch->cpus.count; k++)
		if (watch->cpu[k].said)
			return true;
	for (u32 k = 0; k < watch->nr_rings; k++)
		if (watch->rings[k].said_unserved)
			return true;
	return guest_is_said(watch);
}

void look(struct watch *watch, u64 now, void (*say)(enum finding, u32, u64))
{
	watch->looks++;
	watch->gap_ns = now - watch->looked_ns;
	if (watch->gap_ns > 2 * watch->period_ns)
		watch->gap_ns = watch->period_ns;
	watch->looked_ns = now;
	if (watch->panic)
		look_at_panic(watch, say);
	if (watch->clock)
		look_at_clock(watch, now);
	for (u32 k = 0; watch->clock_known && k < watch->cpus.count; k++)
		look_at_cpu(watch, k, now + watch->ahead_ns, say);
	for (u32 k = 0; k < watch->nr_rings; k++)
		if (watch->rings[k].size)
			look_at_ring(watch, k, say);
	bool failed = watch->failing;
	watch->failing = is_failing(watch);
	if (failed && !watch->failing)
		say(FOUND_WELL, 0, 0);
}
