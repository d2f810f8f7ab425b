/* SPDX-License-Identifier: Apache-2.0 */
/* tiny_vmm.h: what lies where in the guest's memory, and what the VMM and its guest share. */
#ifndef TINY_VMM_H
#define TINY_VMM_H

#define DOORBELLS 0x500 /* ports, one for each ring */

#define GDT	     0x0
#define IDT	     0x100
#define TO_KICK	     0x400 /* one bit for each ring that the guest is to kick */
#define PV_EOI	     0x500 /* a word for each vCPU, see MSR_KVM_PV_EOI_EN of KVM */
#define CODE	     0x1000
#define STACKS	     0x2000
#define MEMORY_BYTES 0x3000

#define TIMER 0x40 /* interrupt vectors */
#define CALL  0x41

#endif /* TINY_VMM_H */
