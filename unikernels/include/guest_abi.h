/* SPDX-License-Identifier: Apache-2.0 */
/* guest_abi.h: what a service VM and its host say to each other.
 *
 * The host's Python reads these constants from this file, its BPF includes it; whoever changes a
 * meaning raises ABI_VERSION.  Only preprocessor lines with plain numbers. */
#ifndef GUEST_ABI_H
#define GUEST_ABI_H

#define ABI_VERSION 1

/* Hypercalls that KVM does not know: they cost one exit, are answered with -KVM_ENOSYS and never
 * reach the VMM.  Arguments are in rbx, rcx, rdx, rsi. */
#define ABI_HYPERCALL_BEAT   0x50480001
#define ABI_HYPERCALL_REPORT 0x50480002
#define ABI_HYPERCALL_FAULT  0x50480003

/* BEAT, a0: what beats.  a1: the sequence number.  a2 and a3: the private and the shared index of
 * each part, 32 bits each, part 0 in the low half.  A part owes work while they differ. */
#define ABI_BEAT_SERVICE_SHIFT 0
#define ABI_BEAT_SERVICE_MASK  0xff
#define ABI_BEAT_PARTS_SHIFT   8
#define ABI_BEAT_PARTS_MASK    0xff
#define ABI_BEAT_VERSION_SHIFT 16
#define ABI_BEAT_VERSION_MASK  0xff

/* REPORT, a0: what a service says of itself. */
#define ABI_REPORT_PANIC 1
/* REPORT by a watchdog that lives in the guest.  a1: the vCPU, or service << 8 | part; a2: for how
 * many ms it has been so. */
#define ABI_REPORT_VCPU 16 /* a vCPU does not run its watchdog */
#define ABI_REPORT_DISK 17 /* the disk does not answer a read */
#define ABI_REPORT_NET	18 /* the host does not answer a ping */
#define ABI_REPORT_PART 19 /* a part of a service owes work and does none */

/* FAULT, a0: the service that breaks now, as it was told to.  For who times what comes of it. */

#define ABI_SERVICE_TEST      0
#define ABI_SERVICE_NET	      1
#define ABI_SERVICE_DISK      2
#define ABI_SERVICE_RESPONDER 3

#define ABI_MAX_PARTS	2
#define ABI_NET_NIC	0 /* the uplink's port */
#define ABI_NET_NETBACK 1 /* the guests' port */
#define ABI_DISK_DRIVER 0
#define ABI_DISK_TARGET 1

#define ABI_BEAT_PERIOD_MS 5  /* beat.ms= on the command line */
#define ABI_BEAT_VALID_MS  15 /* another sign of life is good for so long */

#define ABI_CONTROL_LINE_BYTES 120 /* the longest line on the control port, without its end */

#endif /* GUEST_ABI_H */
