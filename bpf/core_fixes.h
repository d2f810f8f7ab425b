/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* core_fixes.h: where kernels differ.  Newest first; a program never tests a version. */
#ifndef OBSERVER_CORE_FIXES_H
#define OBSERVER_CORE_FIXES_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct vhost_task___task {
	struct task_struct *task;
};

struct vhost_worker___vtsk {
	struct vhost_task___task *vtsk;
};

struct vhost_worker___kthread {
	struct task_struct *kthread_task;
};

struct vhost_virtqueue___worker {
	void *worker;
};

struct vhost_dev___worker {
	void *worker;
};

struct vcpu_vt___exit_reason {
	union vmx_exit_reason exit_reason;
};

struct vcpu_vmx___vt {
	struct vcpu_vt___exit_reason vt;
};

#pragma clang attribute pop

/* Whether a word that was read in memory which may be another's by now can be an address at all.
 * To follow one that cannot is an error that the helper hides, but for a word in the hole between
 * user and kernel: where a CPU can do 5-level paging and does not, 6.1 takes that hole to be as
 * small as with it, faults, and warns (ex_handler_uaccess() of arch/x86/mm/extable.c). */
static __always_inline bool is_kernel(const void *address)
{
	return (s64)address < 0;
}

static __always_inline struct task_struct *worker_task(void *worker)
{
	struct task_struct *task = 0;

	if (!is_kernel(worker))
		return 0;
	/* "vhost: Reintroduce kthread API and add mode selection" (in v6.17, and stable): either
	 * may be NULL */
	if (bpf_core_field_exists(struct vhost_worker___kthread, kthread_task))
		task = BPF_CORE_READ((struct vhost_worker___kthread *)worker, kthread_task);
	if (!task)
		task = BPF_CORE_READ((struct vhost_worker___vtsk *)worker, vtsk, task);
	return task;
}

/* The thread that serves a ring. */
static __always_inline struct task_struct *vq_task(struct vhost_virtqueue *vq)
{
	struct vhost_dev *dev = BPF_CORE_READ(vq, dev);

	/* commit 228a27cf78af ("vhost: Allow worker switching while work is queueing"), in v6.5
	 * each ring has one */
	if (bpf_core_field_exists(struct vhost_virtqueue___worker, worker))
		return worker_task(BPF_CORE_READ((struct vhost_virtqueue___worker *)vq, worker));
	/* commit 6e890c5d5021 ("vhost: use vhost_tasks for worker threads"), in v6.4 one for the
	 * device */
	if (bpf_core_type_exists(struct vhost_worker___vtsk))
		return worker_task(BPF_CORE_READ((struct vhost_dev___worker *)dev, worker));
	return BPF_CORE_READ((struct vhost_dev___worker *)dev, worker);
}

/* The reason of the last exit of a VMX vCPU, which is the first member of its struct vcpu_vmx. */
static __always_inline u32 vmx_exit_reason(struct kvm_vcpu *vcpu)
{
	/* "KVM: VMX: Move common fields of struct vcpu_{vmx,tdx} to a struct" (in v6.16) */
	if (bpf_core_field_exists(struct vcpu_vmx___vt, vt))
		return BPF_CORE_READ((struct vcpu_vmx___vt *)vcpu, vt.exit_reason.full);
	if (bpf_core_type_exists(struct vcpu_vmx))
		return BPF_CORE_READ((struct vcpu_vmx *)vcpu, exit_reason.full);
	return 0;
}

#endif /* OBSERVER_CORE_FIXES_H */
