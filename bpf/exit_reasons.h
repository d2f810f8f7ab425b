/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* exit_reasons.h: which VM exits do not prove that the guest runs on.
 *
 * Numbers are those of the kernel's arch/x86/include/uapi/asm/svm.h and vmx.h; a test holds them
 * against both. PAUSE is among them: a vCPU that spins for a lock which never comes makes nothing
 * else. */
#ifndef OBSERVER_EXIT_REASONS_H
#define OBSERVER_EXIT_REASONS_H

#define ISA_VMX 1 /* KVM_ISA_VMX in arch/x86/kvm/trace.h */
#define ISA_SVM 2

#define SVM_EXIT_INTR	  0x060
#define SVM_EXIT_NMI	  0x061
#define SVM_EXIT_SMI	  0x062
#define SVM_EXIT_INIT	  0x063
#define SVM_EXIT_VINTR	  0x064
#define SVM_EXIT_PAUSE	  0x077
#define SVM_EXIT_HLT	  0x078
#define SVM_EXIT_SHUTDOWN 0x07f

#define EXIT_REASON_EXCEPTION_NMI      0
#define EXIT_REASON_EXTERNAL_INTERRUPT 1
#define EXIT_REASON_TRIPLE_FAULT       2
#define EXIT_REASON_INIT_SIGNAL	       3
#define EXIT_REASON_INTERRUPT_WINDOW   7
#define EXIT_REASON_NMI_WINDOW	       8
#define EXIT_REASON_HLT		       12
#define EXIT_REASON_PAUSE_INSTRUCTION  40
#define EXIT_REASON_PREEMPTION_TIMER   52
#define EXIT_REASON_NOTIFY	       75

static __inline int exit_is_halt(unsigned int isa, unsigned int reason)
{
	return isa == ISA_SVM ? reason == SVM_EXIT_HLT : (reason & 0xffff) == EXIT_REASON_HLT;
}

/* The guest can run no more: its VMM ends, or resets it. */
static __inline int exit_is_triple_fault(unsigned int isa, unsigned int reason)
{
	return isa == ISA_SVM ? reason == SVM_EXIT_SHUTDOWN
			      : (reason & 0xffff) == EXIT_REASON_TRIPLE_FAULT;
}

static __inline int exit_made_by_host(unsigned int isa, unsigned int reason)
{
	if (isa == ISA_SVM)
		return (reason >= SVM_EXIT_INTR && reason <= SVM_EXIT_VINTR) ||
		       reason == SVM_EXIT_PAUSE;
	switch (reason & 0xffff) {
	case EXIT_REASON_EXCEPTION_NMI:
	case EXIT_REASON_EXTERNAL_INTERRUPT:
	case EXIT_REASON_INIT_SIGNAL:
	case EXIT_REASON_INTERRUPT_WINDOW:
	case EXIT_REASON_NMI_WINDOW:
	case EXIT_REASON_PAUSE_INSTRUCTION:
	case EXIT_REASON_PREEMPTION_TIMER:
	case EXIT_REASON_NOTIFY:
		return 1;
	}
	return 0;
}

#endif /* OBSERVER_EXIT_REASONS_H */
