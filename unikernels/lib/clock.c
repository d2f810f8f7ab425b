/* SPDX-License-Identifier: Apache-2.0 */
/* clock.c: KVM's paravirtual clock (Documentation/virt/kvm/x86/msr.rst), elsewhere the TSC, whose
 * rate is measured against the LAPIC's timer. */
#include "clock.h"

#include "cpu.h"
#include "interrupts.h"

#define CPUID_HYPERVISOR	 0x40000000
#define CPUID_KVM_FEATURES	 0x40000001
#define KVM_FEATURE_CLOCKSOURCE2 (1 << 3)
#define MSR_KVM_SYSTEM_TIME_NEW	 0x4b564d01
#define MEASURED_NS		 1000000

/* struct pvclock_vcpu_time_info */
static volatile struct {
	u32 version, pad0;
	u64 tsc, system_ns;
	u32 tsc_to_ns_mul;
	signed char tsc_shift;
	u8 flags, pad[2];
} pvclock ALIGNED(64);

static bool kvm, kvm_clock;
static u64 first_tsc;
static u64 ns_per_tick_32; /* times 2^32 */

static u64 scale(u64 value, u32 factor)
{
	return (value >> 32) * factor + (((value & 0xffffffff) * factor) >> 32);
}

static u64 pvclock_ns(void)
{
	u32 version;
	u64 ns;

	do {
		version = pvclock.version;
		order_loads();
		u64 ticks = read_tsc() - pvclock.tsc;
		ticks = pvclock.tsc_shift < 0 ? ticks >> -pvclock.tsc_shift
					      : ticks << pvclock.tsc_shift;
		ns = pvclock.system_ns + scale(ticks, pvclock.tsc_to_ns_mul);
		order_loads();
	} while (version & 1 || version != pvclock.version);
	return ns;
}

static void measure_tsc(void)
{
	start_timer(~0u);
	u32 began = timer_count(), now;
	u64 tsc = read_tsc();

	do
		now = timer_count();
	while (began - now < MEASURED_NS);
	ns_per_tick_32 = ((u64)(began - now) << 32) / (read_tsc() - tsc);
	start_timer(0);
}

void start_clock(void)
{
	struct cpuid who = cpuid(CPUID_HYPERVISOR);

	kvm = who.b == 0x4b4d564b && who.c == 0x564b4d56 && who.d == 0x4d; /* KVMKVMKVM */
	kvm_clock = kvm && cpuid(CPUID_KVM_FEATURES).a & KVM_FEATURE_CLOCKSOURCE2;
	if (kvm_clock)
		write_msr(MSR_KVM_SYSTEM_TIME_NEW, (u64)&pvclock | 1);
	else
		measure_tsc();
	first_tsc = read_tsc();
}

u64 now_ns(void)
{
	if (kvm_clock)
		return pvclock_ns();
	u64 ticks = read_tsc() - first_tsc;
	return (ticks >> 32) * ns_per_tick_32 + (((ticks & 0xffffffff) * ns_per_tick_32) >> 32);
}

bool under_kvm(void)
{
	return kvm;
}
