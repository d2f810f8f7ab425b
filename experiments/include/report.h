/* SPDX-License-Identifier: Apache-2.0 */
/* report.h: what a program in a Linux guest says to its host, and the time that it goes by.
 *
 * The hypercall is made by the program itself: the instruction leaves the guest from any privilege
 * level, KVM traces it (kvm:kvm_hypercall) and only then refuses it to user space with -EPERM
 * (kvm_emulate_hypercall in arch/x86/kvm/x86.c).  No driver and no other exit is needed. */
#ifndef REPORT_H
#define REPORT_H

#include <cpuid.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "guest_abi.h"

#define NS_PER_MS 1000000ull

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Sleeps to a moment of that clock, however often it is woken. */
static inline void sleep_until(uint64_t ns)
{
	struct timespec at = { .tv_sec = (time_t)(ns / 1000000000),
			       .tv_nsec = (long)(ns % 1000000000) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL))
		;
}

/* Each maker has an instruction of its own; KVM rewrites the other's only in writable code. */
static inline bool says_vmmcall(void)
{
	unsigned int a, b, c, d;
	char maker[12];

	__cpuid(0, a, b, c, d);
	memcpy(maker, &b, 4);
	memcpy(maker + 4, &d, 4);
	memcpy(maker + 8, &c, 4);
	return !memcmp(maker, "AuthenticAMD", 12) || !memcmp(maker, "HygonGenuine", 12);
}

/* The answer is not looked at. */
static inline void report(uint64_t what, uint64_t which, uint64_t age_ns)
{
	uint64_t number = ABI_HYPERCALL_REPORT, age_ms = age_ns / NS_PER_MS;

	if (says_vmmcall())
		__asm__ volatile("vmmcall"
				 : "+a"(number)
				 : "b"(what), "c"(which), "d"(age_ms), "S"(0)
				 : "memory");
	else
		__asm__ volatile("vmcall"
				 : "+a"(number)
				 : "b"(what), "c"(which), "d"(age_ms), "S"(0)
				 : "memory");
}

#endif /* REPORT_H */
