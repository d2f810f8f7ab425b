/* SPDX-License-Identifier: Apache-2.0 */
/* hypercall.h: one exit to KVM, with a number and up to four words. */
#ifndef HYPERCALL_H
#define HYPERCALL_H

#include "types.h"

u64 hypercall(u64 number, u64 a0, u64 a1, u64 a2, u64 a3);

#endif /* HYPERCALL_H */
