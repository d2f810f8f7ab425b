/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* ends.bpf.h: exits after which a guest may never run again: a triple fault, and a halt with its
 * interrupts off, which an NMI or a reset alone ends. */
#ifndef OBSERVER_ENDS_BPF_H
#define OBSERVER_ENDS_BPF_H

#include "vcpus.bpf.h"

#define X86_EFLAGS_FIXED 0x002 /* always set: 0 is no flags at all */
#define X86_EFLAGS_IF	 0x200
#define END_EVERY_NS	 (100 * MS) /* one vCPU can halt so and be sent NMIs by another, for ever */

/* Where an exit met the guest: interrupts off tells a lock-up from a tickless loop.  Of a guest
 * whose state is encrypted nobody can tell. */
static __always_inline void note_place(struct kvm_vcpu *vcpu, struct vcpu_cell *c, u32 isa)
{
	if (isa != ISA_SVM || !bpf_core_type_exists(struct vcpu_svm) ||
	    (bpf_core_field_exists(vcpu->arch.guest_state_protected) &&
	     BPF_CORE_READ(vcpu, arch.guest_state_protected)))
		return;
	struct vmcb *vmcb = BPF_CORE_READ((struct vcpu_svm *)vcpu, vmcb);
	c->rip = BPF_CORE_READ(vmcb, save.rip);
	c->rflags = BPF_CORE_READ(vmcb, save.rflags);
}

static void suspect_end(u32 kind, u32 slot, const struct vcpu_cell *c, u64 now)
{
	struct vm_cell *vm = bpf_map_lookup_elem(&vms, &c->vm);
	struct suspicion s = {
		.now_ns = now,
		.since_ns = now,
		.kind = kind,
		.tgid = vm ? vm->tgid : 0,
		.vm = c->vm,
		.slot = slot,
	};
	raise(&s, BPF_RB_FORCE_WAKEUP);
}

/* Of a vCPU that has just halted, and whose place was noted: whether it sleeps for ever, as far as
 * its own interrupts go.  Its VM may have other vCPUs, user space looks at all of them. */
static __always_inline bool halts_for_good(u32 slot, struct vcpu_cell *c, u64 now)
{
	if (!(c->rflags & X86_EFLAGS_FIXED) || c->rflags & X86_EFLAGS_IF)
		return false;
	if (age_of(c->ended_ns, now) >= END_EVERY_NS) {
		c->ended_ns = now;
		suspect_end(SUSPECT_HALTED, slot, c, now);
	}
	return true;
}

#endif /* OBSERVER_ENDS_BPF_H */
