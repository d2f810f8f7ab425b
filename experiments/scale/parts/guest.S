/* SPDX-License-Identifier: Apache-2.0 */
/* guest.S: a guest that halts, and drives its rings when it is told to.
 *
 * 32-bit protected mode, flat, no paging.  In: eax is the vCPU's number, esi its timer's period in
 * ticks of its local APIC, 0 for none. */
#include "tiny_vmm.h"

#define APIC		0xfee00000
#define APIC_EOI	0xb0
#define APIC_SPURIOUS	0xf0
#define APIC_TIMER	0x320
#define APIC_COUNT	0x380
#define APIC_DIVIDE	0x3e0
#define APIC_ENABLED	0x100
#define APIC_PERIODIC	0x20000
#define APIC_BY_ONE	0xb
#define MSR_KVM_PV_EOI_EN 0x4b564d04

	.section .rodata
	.code32
	.global guest_code, guest_wake, guest_end
guest_code:
	mov	$APIC, %ebp
	movl	$(APIC_ENABLED | 0xff), APIC_SPURIOUS(%ebp)
	movl	$(APIC_PERIODIC | TIMER), APIC_TIMER(%ebp)
	movl	$APIC_BY_ONE, APIC_DIVIDE(%ebp)
	mov	%esi, APIC_COUNT(%ebp)
	mov	%eax, %edi
	lea	PV_EOI + 1(,%edi,4), %eax	/* 1: enabled */
	xor	%edx, %edx
	mov	$MSR_KVM_PV_EOI_EN, %ecx
	wrmsr
wait:	cli
	test	%edi, %edi
	jnz	sleep			/* only the first vCPU drives the rings */
	xor	%eax, %eax
	xchg	%eax, TO_KICK
	mov	$DOORBELLS, %edx
kick:	test	%eax, %eax
	jz	sleep
	shr	$1, %eax
	jnc	next
	out	%al, (%dx)
next:	inc	%edx
	jmp	kick
sleep:	sti
	hlt
	jmp	wait

guest_wake:
	btrl	$0, PV_EOI(,%edi,4)	/* where KVM set it, to take it back saves an exit */
	jc	done
	movl	$0, APIC_EOI(%ebp)
done:	iret
guest_end:
	.section .note.GNU-stack, "", @progbits
