/* SPDX-License-Identifier: Apache-2.0 */
/* hypercall.h: one exit to KVM, with a number and up to four words. */
#ifndef HYPERCALL_H
#define HYPERCALL_H

#include "types.h"

/* vmmcall is AMD's; KVM rewrites it to vmcall where the CPU is Intel's, so the page must be one
 * that the host may write: it is, the guest's own page tables do not bind it. */
static inline u64 hypercall(u64 number, u64 a0, u64 a1, u64 a2, u64 a3)
{
	u64 answer;

	__asm__ volatile("vmmcall"
			 : "=a"(answer)
			 : "a"(number), "b"(a0), "c"(a1), "d"(a2), "S"(a3)
			 : "memory");
	return answer;
}

#endif /* HYPERCALL_H */
