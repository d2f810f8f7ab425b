/* SPDX-License-Identifier: Apache-2.0 */
#include "hypercall.h"

#include "cpu.h"

#define AUTHENTIC_AMD 0x68747541 /* the first letters of what the CPU is called */
#define HYGON_GENUINE 0x6f677948

/* KVM would rewrite the other maker's instruction by the guest's own page tables, in which no code
 * can be written: it has to be the right one. */
static bool says_vmmcall(void)
{
	static enum { UNKNOWN, VMCALL, VMMCALL } instruction;

	if (instruction == UNKNOWN) {
		u32 maker = cpuid(0).b;
		bool amd = maker == AUTHENTIC_AMD || maker == HYGON_GENUINE;
		instruction = amd ? VMMCALL : VMCALL;
	}
	return instruction == VMMCALL;
}

u64 hypercall(u64 number, u64 a0, u64 a1, u64 a2, u64 a3)
{
	u64 answer;

	if (says_vmmcall())
		__asm__ volatile("vmmcall"
				 : "=a"(answer)
				 : "a"(number), "b"(a0), "c"(a1), "d"(a2), "S"(a3)
				 : "memory");
	else
		__asm__ volatile("vmcall"
				 : "=a"(answer)
				 : "a"(number), "b"(a0), "c"(a1), "d"(a2), "S"(a3)
				 : "memory");
	return answer;
}
