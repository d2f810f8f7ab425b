// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* record.bpf.c: tells user space of every debt that is opened and paid, for a while.
 *
 * The books say who is late by the limits of today; a recording can be judged by any limits.  It
 * costs an event for each kick, each batch of a ring and each exit, so it runs only while somebody
 * records.  It reads the books of the daemon that runs beside it, and writes nothing into them but
 * how often it could not read a guest's memory. */

/* The helpers that are not for readers of the books. */
#pragma clang diagnostic ignored "-Wunused-function"

#include "vcpus.bpf.h"
#include "vhost.bpf.h"
#include "events.h"

SHARED_ARRAY(services, struct service_cell, MAX_VMS, BPF_F_MMAPABLE);
SHARED_HASH(ring_by_kick, u64, u32, MAX_RINGS);
SHARED_HASH(vm_by_kvm, u64, u32, MAX_VMS);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, EVENTS_BYTES);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} lost SEC(".maps");

/* A function of its own, so that BTF knows the struct. */
static __noinline void tell(const struct event *e)
{
	u32 index = 0;
	u64 *count = bpf_map_lookup_elem(&lost, &index);

	if (bpf_ringbuf_output(&events, (void *)e, sizeof(*e), BPF_RB_NO_WAKEUP) && count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline void tell_of(u8 debt, u8 what, u32 slot, u64 now, u64 clock)
{
	struct event e = { .ns = now, .clock_ns = clock, .slot = slot, .debt = debt, .what = what };
	tell(&e);
}

static __always_inline u64 time_with_cpu(struct task_struct *task, u64 now)
{
	u64 waited = BPF_CORE_READ(task, sched_info.run_delay) + waits_now(task);

	return age_of(waited, now);
}

static bool is_service(u32 vm_slot, u32 tid)
{
	struct service_cell *c = bpf_map_lookup_elem(&services, &vm_slot);

	return c && c->tid == tid;
}

static __always_inline int record_exit(struct kvm_vcpu *vcpu, u32 isa)
{
	u64 now = bpf_ktime_get_ns();
	u32 reason = exit_reason(vcpu, isa), tid = bpf_get_current_pid_tgid();
	u32 *slot = bpf_map_lookup_elem(&vcpu_by_tid, &tid);
	struct vcpu_cell *c = slot ? bpf_map_lookup_elem(&vcpus, slot) : 0;
	struct task_struct *task = bpf_get_current_task_btf();

	if (!c || exit_made_by_host(isa, reason))
		return 0;
	tell_of(DEBT_VCPU, EVENT_RENEWED, *slot, now, task->se.sum_exec_runtime);
	if (exit_is_halt(isa, reason))
		tell_of(DEBT_CALLED, EVENT_PAID, c->vm, now, now);
	if (is_service(c->vm, tid))
		tell_of(DEBT_SERVICE, EVENT_RENEWED, c->vm, now,
			age_of(task->sched_info.run_delay, now));
	return 0;
}

SEC("tp_btf/kvm_exit")
int BPF_PROG(record_kvm_exit, struct kvm_vcpu *vcpu, u32 isa)
{
	return vcpu ? record_exit(vcpu, isa) : 0; /* 6.12's verifier wants the question */
}

/* The slot of the vhost ring with this eventfd, and its cell as the ring is now. */
static __always_inline bool look_at_ring_of(u64 ctx, struct ring_cell *now, u32 *slot)
{
	u32 *known = bpf_map_lookup_elem(&ring_by_kick, &ctx);
	struct ring_cell *r = known ? bpf_map_lookup_elem(&rings, known) : 0;

	if (!r || r->kind != RING_VHOST || kick_ctx_of((void *)r->vq) != ctx)
		return false;
	*slot = *known;
	*now = *r;
	look_at_vq(now, (void *)now->vq);
	look_at_memory(now);
	return (now->flags & RING_SERVES_KICK) && !(now->flags & RING_PACKED);
}

static __always_inline u16 offered(const struct ring_cell *r)
{
	u16 entries = r->avail - r->last_avail;

	return entries <= r->num ? entries : 0;
}

static __always_inline int record_kick(struct kvm_vcpu *vcpu, struct kvm_io_device *this)
{
	struct _ioeventfd *io = (void *)this - bpf_core_field_offset(struct _ioeventfd, dev);
	u64 now = bpf_ktime_get_ns(), kvm = (u64)BPF_CORE_READ(vcpu, kvm);
	u32 *vm = bpf_map_lookup_elem(&vm_by_kvm, &kvm), slot;
	struct ring_cell r;

	if (!vm)
		return 0;
	tell_of(DEBT_CALLED, EVENT_PAID, *vm, now, now);
	if (look_at_ring_of((u64)BPF_CORE_READ(io, eventfd), &r, &slot) && offered(&r))
		tell_of(DEBT_BACKEND, EVENT_OPENED, slot, now,
			time_with_cpu(vq_task((void *)r.vq), now));
	return 0;
}

SEC("fexit/ioeventfd_write")
int BPF_PROG(record_doorbell, struct kvm_vcpu *vcpu, struct kvm_io_device *this, u64 addr, int len,
	     void *val, int ret)
{
	return ret ? 0 : record_kick(vcpu, this);
}

/* Once for a batch of up to 64 (drivers/vhost/net.c): later than each was taken. */
SEC("fentry/vhost_add_used_and_signal_n")
int BPF_PROG(record_used, struct vhost_dev *dev, struct vhost_virtqueue *vq)
{
	u64 now = bpf_ktime_get_ns();
	struct ring_cell r;
	u32 slot;

	if (look_at_ring_of(kick_ctx_of(vq), &r, &slot))
		tell_of(DEBT_BACKEND, offered(&r) ? EVENT_RENEWED : EVENT_PAID, slot, now,
			time_with_cpu(vq_task(vq), now));
	return 0;
}

/* With EVENT_IDX a second call means that the first was consumed. */
static __always_inline int record_call(u64 kvm)
{
	u64 now = bpf_ktime_get_ns();
	u32 *slot = bpf_map_lookup_elem(&vm_by_kvm, &kvm);

	if (slot)
		tell_of(DEBT_CALLED, EVENT_RENEWED, *slot, now, now);
	return 0;
}

SEC("fentry/kvm_arch_set_irq_inatomic")
int BPF_PROG(record_interrupt, void *entry, struct kvm *kvm)
{
	return record_call((u64)kvm);
}

static __always_inline void look_at_thread(u8 debt, u32 slot, u64 task, u32 tid, u64 now)
{
	struct task_struct *t = (void *)task;

	if (!tid || (u32)BPF_CORE_READ(t, pid) != tid)
		return;
	tell_of(debt, EVENT_LOOKED, slot, now,
		debt == DEBT_VCPU ? BPF_CORE_READ(t, se.sum_exec_runtime) : time_with_cpu(t, now));
}

/* User space runs it for every debtor, now and then and at the end: who hangs tells nothing. */
SEC("raw_tp")
int BPF_PROG(look_at_debtors, u64 debt, u64 which)
{
	u64 now = bpf_ktime_get_ns();
	u32 slot = which;
	struct vcpu_cell *c = bpf_map_lookup_elem(&vcpus, &slot);
	struct service_cell *s = bpf_map_lookup_elem(&services, &slot);
	struct ring_cell *r = bpf_map_lookup_elem(&rings, &slot);

	if (debt == DEBT_VCPU && c)
		look_at_thread(DEBT_VCPU, slot, c->task, c->tid, now);
	else if (debt == DEBT_SERVICE && s)
		look_at_thread(DEBT_SERVICE, slot, s->task, s->tid, now);
	else if (debt == DEBT_CALLED)
		tell_of(DEBT_CALLED, EVENT_LOOKED, slot, now, now);
	else if (debt == DEBT_BACKEND && r && r->kind == RING_VHOST &&
		 kick_ctx_of((void *)r->vq) == r->kick_ctx)
		tell_of(DEBT_BACKEND, EVENT_LOOKED, slot, now,
			time_with_cpu(vq_task((void *)r->vq), now));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
