/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* vcpus.bpf.h: the vCPUs' cells, which is whose, and why one left its guest. */
#ifndef OBSERVER_VCPUS_BPF_H
#define OBSERVER_VCPUS_BPF_H

#include "books.bpf.h"
#include "core_fixes.h"
#include "exit_reasons.h"

SHARED_ARRAY(vcpus, struct vcpu_cell, MAX_VCPUS, BPF_F_MMAPABLE);
SHARED_HASH(vcpu_by_tid, u32, u32, MAX_VCPUS);

static __always_inline u32 exit_reason(struct kvm_vcpu *vcpu, u32 isa)
{
	u32 code = 0;

	/* a vCPU is the first member of its vendor's struct: BUILD_BUG_ON in svm.c and vmx.c */
	if (isa == ISA_SVM && bpf_core_type_exists(struct vcpu_svm))
		return BPF_CORE_READ((struct vcpu_svm *)vcpu, vmcb, control.exit_code);
	if (isa == ISA_VMX)
		return vmx_exit_reason(vcpu);
	return code;
}

#endif /* OBSERVER_VCPUS_BPF_H */
