/* SPDX-License-Identifier: Apache-2.0 */
/* interrupts.h: an interrupt only wakes the loop, which looks at everything itself. */
#ifndef INTERRUPTS_H
#define INTERRUPTS_H

#include "types.h"

#define VECTOR_TIMER	0x30
#define VECTOR_DEVICE	0x31 /* the same for all: the loop asks each device */
#define VECTOR_SPURIOUS 0x3f

void start_interrupts(void);

/* Lets a line of the I/O APIC (virtio-mmio) wake the loop. */
void enable_line(u32 line);

/* Where a device writes VECTOR_DEVICE to wake the loop (MSI-X). */
u64 message_address(void);

/* How often the timer has come. */
void start_timer(u64 period_ns);

/* The LAPIC counts down from here at 1 GHz, under KVM and in QEMU alike. */
u32 timer_count(void);

#endif /* INTERRUPTS_H */
