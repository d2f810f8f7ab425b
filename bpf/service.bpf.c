// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* service.bpf.c: what a service VM says of itself, and what it owes.
 *
 * A beat only writes down; the alarm looks when it fires and is set anew for what is left, so a
 * service that beats costs one program for each beat and one alarm for each limit. */
#include "books.bpf.h"
#include "vcpus.bpf.h"
#include "waiting.bpf.h"
#include "../unikernels/include/guest_abi.h"

_Static_assert(MAX_PARTS == ABI_MAX_PARTS, "cells.h and guest_abi.h differ");

const volatile u64 service_limit_ns = 15 * MS; /* without a sign */
const volatile u64 part_limit_ns = 4 * MS;     /* two beats of a part that owes work show some */

SHARED_ARRAY(services, struct service_cell, MAX_VMS, BPF_F_MMAPABLE);
SHARED_ARRAY(service_alarms, struct alarm, MAX_VMS, 0);

static void suspect_service(u32 vm_slot, u32 tgid, u32 kind, u32 part, u64 since, u64 value,
			    u64 now)
{
	struct suspicion s = {
		.now_ns = now,
		.since_ns = since,
		.value = value,
		.kind = kind,
		.tgid = tgid,
		.vm = vm_slot,
		.slot = part,
	};
	raise(&s, BPF_RB_FORCE_WAKEUP);
}

/* A beat, or what stands for one: every exit of the guest's own making, as in Phoenix, section
 * IV-E. */
static u64 last_sign(const struct vm_cell *vm, const struct service_cell *c)
{
	u32 tid = c->tid, *slot = bpf_map_lookup_elem(&vcpu_by_tid, &tid);
	struct vcpu_cell *vcpu = slot ? bpf_map_lookup_elem(&vcpus, slot) : 0;
	u64 sign = vm->sign_ns > c->beat_ns ? vm->sign_ns : c->beat_ns;

	return vcpu && vcpu->own_ns > sign ? vcpu->own_ns : sign;
}

/* Returns after how many ns to look again; 0: the next beat sets the alarm. */
static u64 judge_service(u32 slot, struct vm_cell *vm, struct service_cell *c, u64 now)
{
	struct task_struct *task = (void *)c->task;
	u64 sign = last_sign(vm, c);
	u64 age = age_of(sign, now), delay = BPF_CORE_READ(task, sched_info.run_delay);

	if (vm->exited || c->ignored || (u32)BPF_CORE_READ(task, pid) != c->tid)
		return 0;
	if (age < service_limit_ns) {
		if (age_of(c->beat_ns, now) > 2 * service_limit_ns) /* it lives by other exits */
			c->run_delay_ns = delay;
		return service_limit_ns - age + MS / 2;
	}
	/* counted from the last beat, which was before the sign: rather too much */
	u64 waited = age_of(c->run_delay_ns, delay) + waits_now(task);
	u64 fair = age_of(waited, age);
	if (fair < service_limit_ns)
		return service_limit_ns - fair + MS / 2;
	if (c->suspected_ns <= sign) {
		c->suspected_ns = now;
		suspect_service(slot, vm->tgid, SUSPECT_SERVICE, NO_SLOT, sign, fair, now);
	}
	return 10 * service_limit_ns;
}

static int on_service_alarm(void *map, u32 *slot, struct alarm *a)
{
	struct vm_cell *vm = bpf_map_lookup_elem(&vms, slot);
	struct service_cell *c = bpf_map_lookup_elem(&services, slot);
	if (!vm || !c)
		return 0;
	u64 again = c->tid && vm->tgid ? judge_service(*slot, vm, c, bpf_ktime_get_ns()) : 0;
	if (!again)
		c->armed = 0;
	else if (bpf_timer_start(&a->timer, again, 0))
		drop(DROP_TIMER);
	return 0;
}

static void set_service_alarm(u32 slot, struct service_cell *c)
{
	struct alarm *a = bpf_map_lookup_elem(&service_alarms, &slot);
	if (!a)
		return;
	c->armed = 1;
	bpf_timer_init(&a->timer, &service_alarms, CLOCK_MONOTONIC);
	bpf_timer_set_callback(&a->timer, on_service_alarm);
	if (bpf_timer_start(&a->timer, service_limit_ns, 0)) {
		c->armed = 0;
		drop(DROP_TIMER);
	}
}

/* A beat that comes late tells of the vCPU, not of its parts: their time begins anew. */
static __always_inline void judge_part(u32 vm_slot, u32 tgid, struct part_cell *p, u32 number,
				       u32 done, u32 given, bool late, u64 now)
{
	bool moved = done != p->done;

	p->done = done;
	p->given = given;
	if (moved || done == given)
		p->paid_ns = now;
	if (done == given) {
		p->since_ns = 0;
		return;
	}
	if (!p->since_ns || moved || late) {
		p->since_ns = now;
		return;
	}
	u64 age = age_of(p->since_ns, now);
	if (age < part_limit_ns || p->suspected_ns > p->since_ns)
		return;
	p->suspected_ns = now;
	suspect_service(vm_slot, tgid, SUSPECT_PART, number, p->since_ns, age, now);
}

struct beat {
	u64 who, sequence, done, given;
};

static __always_inline int handle_beat(u32 slot, u32 tid, const struct beat *b, u64 now)
{
	struct service_cell *c = bpf_map_lookup_elem(&services, &slot);
	struct vm_cell *vm = bpf_map_lookup_elem(&vms, &slot);
	u8 parts = b->who >> ABI_BEAT_PARTS_SHIFT & ABI_BEAT_PARTS_MASK;

	if (!c || !vm)
		return 0;
	if (c->tid != tid) {
		u32 ignored = c->ignored; /* user's word, of the VM and not of this vCPU */
		__builtin_memset(c, 0, sizeof(*c));
		c->ignored = ignored;
		c->task = (u64)bpf_get_current_task();
		c->beat_ns = now;
		c->tid = tid;
	}
	bool late = age_of(c->beat_ns, now) > service_limit_ns;
	c->service = b->who >> ABI_BEAT_SERVICE_SHIFT & ABI_BEAT_SERVICE_MASK;
	c->version = b->who >> ABI_BEAT_VERSION_SHIFT & ABI_BEAT_VERSION_MASK;
	c->nr_parts = parts < MAX_PARTS ? parts : MAX_PARTS;
	c->sequence = b->sequence;
	c->run_delay_ns = bpf_get_current_task_btf()->sched_info.run_delay;
	c->beat_ns = now;
	c->beats++;
	if (c->ignored)
		return 0;
	for (u32 k = 0; k < MAX_PARTS; k++)
		judge_part(slot, vm->tgid, &c->parts[k], k, b->done >> 32 * k, b->given >> 32 * k,
			   late, now);
	if (!c->armed)
		set_service_alarm(slot, c);
	return 0;
}

/* It says so before its last words, which take an exit for each letter. */
static __always_inline int handle_report(u32 vm_slot, u32 vcpu_slot, u32 tid, u64 what, u64 now)
{
	struct service_cell *c = bpf_map_lookup_elem(&services, &vm_slot);
	struct vm_cell *vm = bpf_map_lookup_elem(&vms, &vm_slot);

	if (!c || !vm || c->tid != tid || c->ignored || c->panicked || what != ABI_REPORT_PANIC)
		return 0;
	c->panicked = 1;
	suspect_service(vm_slot, vm->tgid, SUSPECT_FELL, vcpu_slot, now, 0, now);
	return 0;
}

/* Hypercalls are how service VMs beat; those that KVM knows are others'. */
static __always_inline int handle_hypercall(u64 number, const struct beat *b)
{
	u32 tid = bpf_get_current_pid_tgid();
	bool ours = number == ABI_HYPERCALL_BEAT || number == ABI_HYPERCALL_REPORT;
	u32 *slot = ours ? bpf_map_lookup_elem(&vcpu_by_tid, &tid) : 0;
	struct vcpu_cell *c = slot ? bpf_map_lookup_elem(&vcpus, slot) : 0;

	if (!c)
		return 0;
	if (number == ABI_HYPERCALL_REPORT)
		return handle_report(c->vm, *slot, tid, b->who, bpf_ktime_get_ns());
	return handle_beat(c->vm, tid, b, bpf_ktime_get_ns());
}

SEC("tp_btf/kvm_hypercall")
int BPF_PROG(on_hypercall, unsigned long number, unsigned long who, unsigned long sequence,
	     unsigned long done, unsigned long given)
{
	struct beat b = { who, sequence, done, given };
	return handle_hypercall(number, &b);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
