// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* scanning.bcc.c: the second design.  The same cells, kept by programs that BCC compiles at run
 * time and that set no timer: user space scans the cells and lets the programs `look_at_*` read
 * what is in kernel memory of those that look late.
 *
 * BCC has no CO-RE, and the kernel's headers lack half of the types, so AT(type, member) is an
 * offset that the loader takes from the running kernel's BTF.  It defines those that the kernel
 * has: #ifdef tells kernels and CPUs apart, as core_fixes.h does for the other design. */
#include <uapi/linux/ptrace.h>
#include "cells.h"
#include "exit_reasons.h"

#define AT(type, member)       AT_##type##_##member
#define TASK_UNINTERRUPTIBLE   2     /* include/linux/sched.h */
#define TASK_NOLOAD	       0x400 /* an idle kthread, not one that waits for a disk */
#define SIGNAL_GROUP_EXIT      4     /* include/linux/sched/signal.h */
#define VIRTIO_F_EVENT_IDX     29    /* include/uapi/linux/virtio_ring.h */
#define VIRTIO_F_RING_PACKED   34
#define VRING_USED_F_NO_NOTIFY 1
#define MAX_SIBLINGS	       8 /* rings of one vhost device that its first kick makes known */
#define MAX_WAITERS	       4
#define LATE_NS		       20000000ull /* a debt so old may be another's by now */

/* What a second reading found; one entry, the loader reads by turns. */
struct look {
	u64 owed_ns;   /* vCPU: CPU time since its last own exit */
	u64 waited_ns; /* ring: its server waited so long for a CPU since the debt was opened */
	u64 own_exits; /* vCPU: when this was read */
	u32 known;     /* the subject is still the one in the cell */
	u32 asleep;
	u32 blocked; /* in uninterruptible sleep */
	u32 taken;   /* ring served by a process: it has read the kick */
};

BPF_F_TABLE("array", u32, struct vm_cell, vms, MAX_VMS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct vcpu_cell, vcpus, MAX_VCPUS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct ring_cell, rings, MAX_RINGS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, u64, next_slots, NR_POOLS, BPF_F_MMAPABLE); /* an entry is 8 bytes */
BPF_F_TABLE("array", u32, u64, drops, NR_DROPS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct look, looks, 1, BPF_F_MMAPABLE);
BPF_TABLE("hash", u32, struct process, processes, MAX_PROCESSES);
BPF_TABLE("hash", u32, u32, vcpu_by_tid, MAX_VCPUS);
BPF_TABLE("hash", u64, u32, vm_by_kvm, MAX_VMS);
BPF_TABLE("hash", u64, u32, ring_by_kick, MAX_RINGS);
BPF_QUEUE(free_vms, u32, MAX_VMS);
BPF_QUEUE(free_vcpus, u32, MAX_VCPUS);
BPF_QUEUE(free_rings, u32, MAX_RINGS);
BPF_QUEUE(unused_vms, u32, 1); /* see take_slot(); user space pushes the 0 */
BPF_QUEUE(unused_vcpus, u32, 1);
BPF_QUEUE(unused_rings, u32, 1);
BPF_RINGBUF_OUTPUT(suspicions, 64); /* pages */

static inline u64 u64_at(u64 address)
{
	u64 value = 0;
	if ((s64)address < 0) /* see is_kernel() of core_fixes.h */
		bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

static inline u32 u32_at(u64 address)
{
	u32 value = 0;
	if ((s64)address < 0) /* see is_kernel() of core_fixes.h */
		bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

static inline u16 u16_at(u64 address)
{
	u16 value = 0;
	if ((s64)address < 0) /* see is_kernel() of core_fixes.h */
		bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

static inline u8 u8_at(u64 address)
{
	u8 value = 0;
	if ((s64)address < 0) /* see is_kernel() of core_fixes.h */
		bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

static inline void drop(u32 why)
{
	u64 *count = drops.lookup(&why);
	if (count)
		__sync_fetch_and_add(count, 1);
}

static inline void raise(u32 kind, u32 tgid, u32 vm, u32 slot, u64 value)
{
	struct suspicion s = {};

	s.now_ns = bpf_ktime_get_ns();
	s.since_ns = s.now_ns;
	s.value = value;
	s.kind = kind;
	s.tgid = tgid;
	s.vm = vm;
	s.slot = slot;
	if (suspicions.ringbuf_output(&s, sizeof(s), BPF_RB_FORCE_WAKEUP))
		drop(DROP_EVENT);
}

/* Take a slot that was given back, else one never used; non-zero if there is none.  BCC's compiler
 * has no atomic that returns a value, so the number of the next unused slot lies in a queue of one
 * entry: who has popped it has the pool for himself until he pushes it again. */
static inline int take_slot(int none_given_back, u32 pool, u32 limit, u32 *unused, u32 *slot)
{
	u64 *next = next_slots.lookup(&pool);

	if (!none_given_back)
		return 0;
	if (!next || *unused >= limit)
		return -1;
	*slot = *unused;
	*unused += 1;
	*next = *unused;
	return 0;
}

/* -- processes ----------------------------------------------------------------------------- */

int on_process_exit(struct bpf_raw_tracepoint_args *ctx)
{
	u64 task = ctx->args[0], signal = u64_at(task + AT(task_struct, signal));
	u32 tgid = u32_at(task + AT(task_struct, tgid));
	struct process *known = processes.lookup(&tgid);
	u32 group = u32_at(signal + AT(signal_struct, flags)) & SIGNAL_GROUP_EXIT;
	if (!known || known->exited || (!group && u32_at(task + AT(task_struct, pid)) != tgid))
		return 0;

	/* two threads at one instant raise it twice, which opens one case */
	known->exited = 1;
	u32 vm = known->vm, kind = known->kind;
	u32 code = group ? u32_at(signal + AT(signal_struct, group_exit_code))
			 : u32_at(task + AT(task_struct, exit_code));
	struct vm_cell *v = vms.lookup(&vm);
	if (kind == PROCESS_VMM && v && v->tgid == tgid) {
		v->exited = 1;
		v->exit_code = code;
	}
	raise(SUSPECT_EXITED, tgid, vm, NO_SLOT, code);
	return 0;
}

int on_signal(struct bpf_raw_tracepoint_args *ctx)
{
	u32 signal = ctx->args[0], tgid = bpf_get_current_pid_tgid() >> 32;
	struct process *known = signal_stops(signal) ? processes.lookup(&tgid) : 0;

	if (known && !known->exited)
		raise(SUSPECT_STOPPED, tgid, known->vm, NO_SLOT, signal);
	return 0;
}

/* -- vCPUs --------------------------------------------------------------------------------- */

static inline void fill_vm(struct vm_cell *vm, u32 slot, u64 kvm, u32 tgid, u64 now)
{
	__builtin_memset(vm, 0, sizeof(*vm));
	vm->seen_ns = now;
	vm->sign_ns = now;
	if (u8_at(kvm + AT(kvm, arch) + AT(kvm_arch, hlt_in_guest)))
		vm->flags |= VM_HLT_IN_GUEST;
	vm->tgid = tgid;
	vm_by_kvm.update(&kvm, &slot);
	raise(NOTE_VM, tgid, slot, NO_SLOT, 0);
}

/* The slot of this process's VM, taken at its first exit; the next exit tries again. */
static inline u32 enter_vm(u64 kvm, u32 tgid, u64 now)
{
	struct process *known = processes.lookup(&tgid), p = {};
	u32 slot = NO_SLOT, unused = 0;

	if (known && known->kind == PROCESS_VMM)
		return known->vm;
	if (unused_vms.pop(&unused))
		return NO_SLOT;
	known = processes.lookup(&tgid); /* another vCPU of the same VM may have been first */
	if (known && known->kind == PROCESS_VMM) {
		slot = known->vm;
	} else if (take_slot(free_vms.pop(&slot) != 0, POOL_VMS, MAX_VMS, &unused, &slot)) {
		drop(DROP_VM_SLOT);
	} else {
		struct vm_cell *vm = vms.lookup(&slot);
		p.kind = PROCESS_VMM;
		p.vm = slot;
		if (vm && !processes.update(&tgid, &p))
			fill_vm(vm, slot, kvm, tgid, now);
		else
			drop(DROP_MAP);
	}
	unused_vms.push(&unused, BPF_ANY);
	return slot;
}

static inline void fill_vcpu(struct vcpu_cell *c, u64 vcpu, u32 vm, u32 tid, u64 now)
{
	__builtin_memset(c, 0, sizeof(*c));
	c->vm = vm;
	c->task = bpf_get_current_task();
	c->id = u32_at(vcpu + AT(kvm_vcpu, vcpu_id));
	c->own_ns = now;
	c->tid = tid;
}

static inline void enter_vcpu(u64 vcpu, u32 tid, u32 tgid, u64 now)
{
	u32 slot = 0, unused = 0, vm = enter_vm(u64_at(vcpu + AT(kvm_vcpu, kvm)), tgid, now);
	if (vm == NO_SLOT || unused_vcpus.pop(&unused))
		return;
	int none = take_slot(free_vcpus.pop(&slot) != 0, POOL_VCPUS, MAX_VCPUS, &unused, &slot);
	unused_vcpus.push(&unused, BPF_ANY);
	struct vcpu_cell *c = none ? 0 : vcpus.lookup(&slot);
	if (!c) {
		drop(DROP_VCPU_SLOT);
		return;
	}
	fill_vcpu(c, vcpu, vm, tid, now);
	if (vcpu_by_tid.update(&tid, &slot))
		drop(DROP_MAP);
}

static inline struct vcpu_cell *find_vcpu(void)
{
	u32 tid = bpf_get_current_pid_tgid();
	u32 *slot = vcpu_by_tid.lookup(&tid);
	return slot ? vcpus.lookup(slot) : 0;
}

/* A vCPU is the first member of its vendor's struct: BUILD_BUG_ON in svm.c and vmx.c. */
static inline u32 exit_reason(u64 vcpu, u32 isa)
{
#ifdef AT_vcpu_svm_vmcb
	if (isa == ISA_SVM)
		return u32_at(u64_at(vcpu + AT(vcpu_svm, vmcb)) + AT(vmcb, control) +
			      AT(vmcb_control_area, exit_code));
#endif
#ifdef AT_vcpu_vmx_exit_reason
	if (isa == ISA_VMX)
		return u32_at(vcpu + AT(vcpu_vmx, exit_reason));
#elif defined(AT_vcpu_vmx_vt)
	/* "KVM: VMX: Move common fields of struct vcpu_{vmx,tdx} to a struct" (in v6.16) */
	if (isa == ISA_VMX)
		return u32_at(vcpu + AT(vcpu_vmx, vt) + AT(vcpu_vt, exit_reason));
#endif
	return 0;
}

static inline void note_place(u64 vcpu, struct vcpu_cell *c, u32 isa)
{
#ifdef AT_vcpu_svm_vmcb
	u64 save = u64_at(vcpu + AT(vcpu_svm, vmcb)) + AT(vmcb, save);
	if (isa != ISA_SVM)
		return;
	c->rip = u64_at(save + AT(vmcb_save_area, rip));
	c->rflags = u64_at(save + AT(vmcb_save_area, rflags));
#endif
}

static inline void note_own_exit(struct vcpu_cell *c, u32 isa, u32 reason, u64 now)
{
	u64 task = bpf_get_current_task();

	c->own_runtime_ns = u64_at(task + AT(task_struct, se) + AT(sched_entity, sum_exec_runtime));
	c->own_pcount = u64_at(task + AT(task_struct, sched_info) + AT(sched_info, pcount));
	c->own_ns = now;
	c->own_host_exits = c->host_exits;
	c->reason = reason;
	c->own_exits++;
	if (!exit_is_halt(isa, reason))
		return;
	u32 slot = c->vm;
	struct vm_cell *vm = vms.lookup(&slot);
	c->halts++;
	c->halt_ns = now;
	if (vm) {
		vm->sign_ns = now;
		vm->hushed = 0;
	}
}

int on_kvm_exit(struct bpf_raw_tracepoint_args *ctx)
{
	u64 vcpu = ctx->args[0], id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns();
	u32 isa = ctx->args[1], reason = exit_reason(vcpu, isa);
	struct vcpu_cell *c = find_vcpu();

	if (!c) {
		enter_vcpu(vcpu, id, id >> 32, now);
		c = find_vcpu();
	}
	if (!c)
		return 0;
	c->isa = isa;
	if (!exit_made_by_host(isa, reason)) {
		note_own_exit(c, isa, reason, now);
		return 0;
	}
	c->host_exits++;
	note_place(vcpu, c, isa);
	return 0;
}

int on_vcpu_wakeup(struct bpf_raw_tracepoint_args *ctx)
{
	struct vcpu_cell *c = find_vcpu();
	if (c)
		c->wake_ns = bpf_ktime_get_ns();
	return 0;
}

/* The scan runs it by BPF_PROG_TEST_RUN, which needs no hook in the running kernel. */
int look_at_vcpu(struct bpf_raw_tracepoint_args *ctx)
{
	u32 slot = ctx->args[0], zero = 0;
	struct vcpu_cell *c = vcpus.lookup(&slot);
	struct look *look = looks.lookup(&zero);
	if (!c || !look)
		return 0;

	u64 task = c->task, now = bpf_ktime_get_ns();
	u64 runtime = u64_at(task + AT(task_struct, se) + AT(sched_entity, sum_exec_runtime));
	u64 pcount = u64_at(task + AT(task_struct, sched_info) + AT(sched_info, pcount));
	u32 on_cpu = u32_at(task + AT(task_struct, on_cpu));
	look->known = u32_at(task + AT(task_struct, pid)) == c->tid;
	look->asleep = !on_cpu && u32_at(task + AT(task_struct, __state));
	look->own_exits = c->own_exits;
	look->owed_ns = runtime > c->own_runtime_ns ? runtime - c->own_runtime_ns : 0;
	/* Never taken off the CPU since: the wall clock is exact where a host without ticks keeps
	 * no runtime. */
	if (on_cpu && pcount == c->own_pcount)
		look->owed_ns = now - c->own_ns;
	return 0;
}
