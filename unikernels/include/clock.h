/* SPDX-License-Identifier: Apache-2.0 */
/* clock.h: nanoseconds since the guest began. */
#ifndef CLOCK_H
#define CLOCK_H

#include "types.h"

void start_clock(void);
u64 now_ns(void);

/* Whether we run under KVM, that is, whether a hypercall reaches the host. */
bool under_kvm(void);

#endif /* CLOCK_H */
