// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* vcpu.bpf.c: a vCPU that consumes CPU time owes exits of its own making; its VM owes a sign of
 * life.
 *
 * The fair clock of a vCPU is its thread's sum_exec_runtime, which the scheduler keeps anyway: an
 * exit stores it, and only the alarm, ten times a second at most, compares.  So an exit costs one
 * program, entries cost none. */
#include "books.bpf.h"
#include "consumption.bpf.h"
#include "core_fixes.h"
#include "ends.bpf.h"
#include "exit_reasons.h"
#include "vcpus.bpf.h"

const volatile u64 vcpu_limit_ns = 100 * MS;
const volatile u64 validity_ns = 500 * MS; /* a guest silent for so long is asked */
const volatile u64 answer_ns = 50 * MS;	   /* and has so long to answer */
const volatile u64 called_ns = 50 * MS;	   /* a guest that was called consumes within */
const volatile u64 grid_ns =
	100 * MS; /* silent VMs become late together: few wake-ups for many VMs */

SHARED_ARRAY(vcpu_alarms, struct alarm, MAX_VCPUS, 0);
SHARED_ARRAY(vm_alarms, struct alarm, MAX_VMS, 0);
SHARED_HASH(vm_by_kvm, u64, u32, MAX_VMS);
SLOT_QUEUE(free_vms, MAX_VMS);
SLOT_QUEUE(free_vcpus, MAX_VCPUS);

/* tid << 32 | slot of the vCPU that made the last exit on this CPU; one word, so that it is never
 * torn. */
struct last_vcpu {
	u64 tid_slot;
	u64 pad[7];
};
struct last_vcpu last_vcpus[MAX_CPUS];

static void suspect_vm(u32 slot, struct vm_cell *vm, u32 kind, u64 since, u64 now)
{
	struct suspicion s = {
		.now_ns = now,
		.since_ns = since,
		.value = now - since,
		.kind = kind,
		.tgid = vm->tgid,
		.vm = slot,
		.slot = NO_SLOT,
	};
	vm->suspected_ns = now;
	raise(&s, BPF_RB_FORCE_WAKEUP);
}

/* The first tick of the grid at this time or later. */
static u64 tick_after(u64 due)
{
	return due + grid_ns - 1 - (due + grid_ns - 1) % grid_ns;
}

/* Of what it was sent; returns after how many ns to look again.  A driver that never says what it
 * consumes is suspected no more than twice a second. */
static u64 judge_consumption(u32 slot, struct vm_cell *vm, u64 now)
{
	u64 since = unconsumed_since(vm), due = since + called_ns;

	if (!since || since <= vm->doubted_ns)
		return validity_ns;
	if (due < vm->doubted_ns + validity_ns)
		due = vm->doubted_ns + validity_ns;
	if (now < due)
		return due - now + MS;
	vm->doubted_ns = now;
	suspect_vm(slot, vm, SUSPECT_UNCONSUMED, since, now);
	return validity_ns;
}

/* Likewise: of its signs of life. */
static u64 judge_signs(u32 slot, struct vm_cell *vm, u64 now)
{
	u64 sign = vm->sign_ns, asked = vm->asked_ns, call = vm->call_ns;
	u64 age = age_of(sign, now), validity = vm->down ? 10 * validity_ns : validity_ns;

	if (asked > sign && asked > vm->suspected_ns && asked <= now) {
		if (now - asked < answer_ns)
			return answer_ns - (now - asked) + MS;
		suspect_vm(slot, vm, SUSPECT_UNANSWERED, asked, now);
		return validity_ns;
	}
	if (call > sign && call > vm->suspected_ns) {
		if (age_of(call, now) < called_ns) {
			vm->fast = 1;
			return called_ns - age_of(call, now) + MS;
		}
		suspect_vm(slot, vm, SUSPECT_CALLED, call, now);
		return answer_ns + 2 * MS;
	}
	if (age + grid_ns < validity)
		return tick_after(sign + validity - grid_ns) - now;
	if (vm->suspected_ns <= sign) {
		suspect_vm(slot, vm, SUSPECT_SILENT, sign, now);
		return answer_ns + 2 * MS; /* by then the answer is there or is late */
	}
	/* nobody asks one that boots or is worked on: user space is told now and then */
	if (age_of(vm->suspected_ns, now) >= validity)
		suspect_vm(slot, vm, SUSPECT_SILENT, sign, now);
	return tick_after(now + 1) - now;
}

/* Judge a VM's debts; returns after how many ns to look again. */
static u64 judge_vm(u32 slot, struct vm_cell *vm, u64 now)
{
	vm->fast = 0;
	if (vm->hushed)
		return validity_ns;
	u64 consumption = vm->unread ? judge_consumption(slot, vm, now) : validity_ns;
	u64 signs = judge_signs(slot, vm, now);

	return consumption < signs ? consumption : signs;
}

static int on_vm_alarm(void *map, u32 *slot, struct alarm *a)
{
	struct vm_cell *vm = bpf_map_lookup_elem(&vms, slot);
	if (!vm || !vm->tgid || vm->exited)
		return 0;
	if (bpf_timer_start(&a->timer, judge_vm(*slot, vm, bpf_ktime_get_ns()), 0))
		drop(DROP_TIMER);
	return 0;
}

static void set_vm_alarm(u32 slot, u64 in_ns)
{
	struct alarm *a = bpf_map_lookup_elem(&vm_alarms, &slot);
	if (!a)
		return;
	bpf_timer_init(&a->timer, &vm_alarms, CLOCK_MONOTONIC); /* -EBUSY after the first time */
	bpf_timer_set_callback(&a->timer, on_vm_alarm);
	if (bpf_timer_start(&a->timer, in_ns, 0))
		drop(DROP_TIMER);
}

/* CPU time of the vCPU's thread since its last own exit. */
static u64 runtime_owed(struct vcpu_cell *c, u64 now, bool *asleep)
{
	struct task_struct *task = (void *)c->task;
	u64 runtime = BPF_CORE_READ(task, se.sum_exec_runtime);
	bool on_cpu = BPF_CORE_READ(task, on_cpu);

	if ((u32)BPF_CORE_READ(task, pid) != c->tid) {
		*asleep = true; /* gone: its process's exit tells */
		return 0;
	}
	*asleep = !on_cpu && BPF_CORE_READ(task, __state);
	/* Never taken off the CPU since: the wall clock is exact where a host without ticks keeps
	 * no runtime. */
	if (on_cpu && BPF_CORE_READ(task, sched_info.pcount) == c->own_pcount)
		return age_of(c->own_ns, now);
	return runtime > c->own_runtime_ns ? runtime - c->own_runtime_ns : 0;
}

/* Returns after how many ns to look again; 0: the next exit or wake-up sets the alarm. */
static u64 judge_vcpu(u32 slot, struct vcpu_cell *c, u64 now)
{
	bool asleep;
	u64 owed = runtime_owed(c, now, &asleep);
	struct vm_cell *vm = bpf_map_lookup_elem(&vms, &c->vm);

	if (!vm || vm->exited || (asleep && c->halt_ns == c->own_ns))
		return 0;
	if (asleep)
		return 10 * vcpu_limit_ns; /* in the VMM: paused, or at work for the guest */
	if (owed < vcpu_limit_ns)
		return vcpu_limit_ns - owed + MS;
	if (c->suspected_exits == c->own_exits + 1 || vm->hushed)
		return 10 * vcpu_limit_ns; /* said already */
	c->suspected_exits = c->own_exits + 1;
	c->suspected_ns = now;
	c->suspicions++;
	struct suspicion s = {
		.now_ns = now,
		.since_ns = c->own_ns,
		.value = owed,
		.kind = SUSPECT_VCPU,
		.tgid = vm->tgid,
		.vm = c->vm,
		.slot = slot,
	};
	raise(&s, BPF_RB_FORCE_WAKEUP);
	return vcpu_limit_ns;
}

static int on_vcpu_alarm(void *map, u32 *slot, struct alarm *a)
{
	struct vcpu_cell *c = bpf_map_lookup_elem(&vcpus, slot);
	if (!c || !c->tid)
		return 0;
	u64 again = judge_vcpu(*slot, c, bpf_ktime_get_ns());
	if (!again)
		c->armed = 0;
	else if (bpf_timer_start(&a->timer, again, 0))
		drop(DROP_TIMER);
	return 0;
}

static void set_vcpu_alarm(u32 slot, struct vcpu_cell *c)
{
	struct alarm *a = bpf_map_lookup_elem(&vcpu_alarms, &slot);
	if (!a)
		return;
	c->armed = 1;
	bpf_timer_init(&a->timer, &vcpu_alarms, CLOCK_MONOTONIC);
	bpf_timer_set_callback(&a->timer, on_vcpu_alarm);
	if (bpf_timer_start(&a->timer, vcpu_limit_ns + MS, 0)) {
		c->armed = 0;
		drop(DROP_TIMER);
	}
}

/* The slot of this process's VM, taken at its first exit. */
static u32 enter_vm(struct kvm *kvm, u32 tgid, u64 now)
{
	struct process *known = bpf_map_lookup_elem(&processes, &tgid);
	struct process p = { .kind = PROCESS_VMM };
	u64 key = (u64)kvm;
	u32 slot;

	if (known && known->kind == PROCESS_VMM)
		return known->vm;
	if (take_slot(&free_vms, POOL_VMS, MAX_VMS, &slot)) {
		drop(DROP_VM_SLOT);
		return NO_SLOT;
	}
	struct vm_cell *vm = bpf_map_lookup_elem(&vms, &slot);
	p.vm = slot;
	if (!vm || bpf_map_update_elem(&processes, &tgid, &p, BPF_NOEXIST)) {
		/* another vCPU of the same VM was first */
		bpf_map_push_elem(&free_vms, &slot, BPF_ANY);
		known = bpf_map_lookup_elem(&processes, &tgid);
		return known ? known->vm : NO_SLOT;
	}
	__builtin_memset(vm, 0, sizeof(*vm));
	vm->seen_ns = now;
	vm->sign_ns = now;
	if (BPF_CORE_READ(kvm, arch.hlt_in_guest))
		vm->flags |= VM_HLT_IN_GUEST;
	vm->tgid = tgid;
	bpf_map_update_elem(&vm_by_kvm, &key, &slot, BPF_ANY);
	struct suspicion s = { .now_ns = now,
			       .since_ns = now,
			       .kind = NOTE_VM,
			       .tgid = tgid,
			       .vm = slot,
			       .slot = NO_SLOT };
	raise(&s, BPF_RB_FORCE_WAKEUP);
	set_vm_alarm(slot, validity_ns);
	return slot;
}

static struct vcpu_cell *enter_vcpu(struct kvm_vcpu *vcpu, u32 tid, u32 tgid, u32 *slot, u64 now)
{
	u32 vm = enter_vm(BPF_CORE_READ(vcpu, kvm), tgid, now);
	if (vm == NO_SLOT)
		return 0;
	if (take_slot(&free_vcpus, POOL_VCPUS, MAX_VCPUS, slot)) {
		drop(DROP_VCPU_SLOT);
		return 0;
	}
	struct vcpu_cell *c = bpf_map_lookup_elem(&vcpus, slot);
	if (!c || bpf_map_update_elem(&vcpu_by_tid, &tid, slot, BPF_NOEXIST)) {
		bpf_map_push_elem(&free_vcpus, slot, BPF_ANY);
		drop(DROP_MAP);
		return 0;
	}
	__builtin_memset(c, 0, sizeof(*c));
	c->vm = vm;
	c->task = (u64)bpf_get_current_task();
	c->id = BPF_CORE_READ(vcpu, vcpu_id);
	c->own_ns = now;
	c->tid = tid;
	return c;
}

/* This thread's cell: from the word of this CPU, else from the table, else made. */
static __always_inline struct vcpu_cell *find_vcpu(struct kvm_vcpu *vcpu, u32 *slot, u64 now)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tid = id, cpu = bpf_get_smp_processor_id() & (MAX_CPUS - 1);
	u64 last = *(volatile u64 *)&last_vcpus[cpu].tid_slot;
	struct vcpu_cell *c;

	*slot = (u32)last;
	if (last >> 32 == tid) {
		c = bpf_map_lookup_elem(&vcpus, slot);
		if (c && c->tid == tid)
			return c;
	}
	u32 *known = bpf_map_lookup_elem(&vcpu_by_tid, &tid);
	if (known) {
		*slot = *known;
		c = bpf_map_lookup_elem(&vcpus, slot);
	} else {
		c = vcpu ? enter_vcpu(vcpu, tid, id >> 32, slot, now) : 0;
	}
	if (c)
		*(volatile u64 *)&last_vcpus[cpu].tid_slot = (u64)tid << 32 | *slot;
	return c;
}

static __always_inline int handle_exit(struct kvm_vcpu *vcpu, u32 isa)
{
	u64 now = bpf_ktime_get_ns();
	u32 slot, reason = exit_reason(vcpu, isa);
	struct vcpu_cell *c = find_vcpu(vcpu, &slot, now);
	if (!c)
		return 0;
	if (exit_made_by_host(isa, reason)) {
		c->host_exits++;
		note_place(vcpu, c, isa);
	} else {
		struct task_struct *task = bpf_get_current_task_btf();
		c->own_runtime_ns = task->se.sum_exec_runtime;
		c->own_pcount = task->sched_info.pcount;
		c->own_ns = now;
		c->own_host_exits = c->host_exits;
		c->reason = reason;
		c->own_exits++;
		if (exit_is_triple_fault(isa, reason))
			suspect_end(SUSPECT_FELL, slot, c, now);
		bool halts = exit_is_halt(isa, reason);
		if (halts) {
			c->halts++;
			c->halt_ns = now;
			note_place(vcpu, c, isa);
			halts = !halts_for_good(slot, c, now); /* that is no sign of life */
		}
		if (halts || c->own_exits % LOOK_EXITS == 0)
			note_signs(c->vm, halts, now);
	}
	c->isa = isa;
	if (!c->armed)
		set_vcpu_alarm(slot, c);
	return 0;
}

SEC("tp_btf/kvm_exit")
int BPF_PROG(on_kvm_exit, struct kvm_vcpu *vcpu, u32 isa)
{
	return vcpu ? handle_exit(vcpu, isa) : 0; /* 6.12's verifier wants the question */
}

/* A halted vCPU has no alarm; it runs again from here, perhaps never to exit. */
static __always_inline int handle_wakeup(void)
{
	u64 now = bpf_ktime_get_ns();
	u32 slot;
	struct vcpu_cell *c = find_vcpu(0, &slot, now);
	if (!c)
		return 0;
	c->wake_ns = now;
	if (!c->armed)
		set_vcpu_alarm(slot, c);
	return 0;
}

SEC("tp_btf/kvm_vcpu_wakeup")
int BPF_PROG(on_vcpu_wakeup)
{
	return handle_wakeup();
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
