// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* vring.bpf.c: a back end that is kicked owes service, a guest that is called owes consumption.
 *
 * Nothing runs for a packet.  A kick opens a debt if the back end has not taken what is offered;
 * the alarm reads the back end's own index and closes it.  Both ends of every ring pass KVM: the
 * doorbell (ioeventfd) and the interrupt (irqfd), so vhost, vhost-user and QEMU's own devices are
 * seen by the same two programs. */
#include "consumption.bpf.h"
#include "ring_entry.bpf.h"

const volatile u64 backend_limit_ns = 20 * MS;
const volatile u64 starved_limit_ns = 30 * MS; /* waited so long for a CPU: starved, not hung */
const volatile u64 called_ns = 50 * MS;

SHARED_ARRAY(vcpus, struct vcpu_cell, MAX_VCPUS, BPF_F_MMAPABLE);
SHARED_ARRAY(ring_alarms, struct alarm, MAX_RINGS, 0);
SHARED_ARRAY(vm_alarms, struct alarm, MAX_VMS, 0);
SHARED_HASH(vm_by_kvm, u64, u32, MAX_VMS);

static void suspect_ring(u32 slot, struct ring_cell *r, u32 kind, u64 value, u64 now)
{
	struct vm_cell *vm = bpf_map_lookup_elem(&vms, &r->vm);
	struct suspicion s = {
		.now_ns = now,
		.since_ns = r->since_ns,
		.value = value,
		.kind = kind,
		.tgid = vm ? vm->tgid : 0,
		.vm = r->vm,
		.slot = slot,
	};
	if (r->hushed == HUSH_ALL || !vm)
		return;
	r->suspected_ns = now;
	r->suspicions++;
	raise(&s, BPF_RB_FORCE_WAKEUP);
}

/* Entries offered at the last kick and not yet taken.  The indices wrap; and the back end may be
 * ahead of that kick, for a busy guest offers more without another one. */
static u16 outstanding(const struct ring_cell *r)
{
	u16 entries = r->avail - r->last_avail;
	return entries <= r->num ? entries : 0;
}

/* Returns after how many ns to look again; 0: paid. */
static u64 judge_vhost_ring(u32 slot, struct ring_cell *r, u64 now)
{
	struct vhost_virtqueue *vq = (void *)r->vq;
	struct debtor d = {};

	if (kick_ctx_of(vq) != r->kick_ctx) /* freed, or used for another ring by now */
		return 0;
	look_at_vq(r, vq);
	if (!(r->flags & RING_LIVE) || (!outstanding(r) && !is_draining(vq)))
		return 0;
	bool unkicked = r->flags & RING_UNKICKED;
	if (r->last_avail != r->owed_from || (unkicked && is_draining(vq))) {
		/* it works: the rest is a new debt */
		r->flags &= ~RING_UNKICKED;
		r->owed_from = r->last_avail;
		r->since_ns = now;
		r->run_delay_ns = run_delay(vq);
		return backend_limit_ns;
	}
	look_at_debtor(r, vq, now, &d);
	u64 fair = age_of(r->since_ns + d.waited_ns, now);
	if (fair >= backend_limit_ns && unkicked) {
		suspect_ring(slot, r, SUSPECT_UNKICKED, fair, now);
		return 10 * backend_limit_ns;
	}
	if (fair >= backend_limit_ns) {
		suspect_ring(slot, r, d.blocked ? SUSPECT_BLOCKED : SUSPECT_BACKEND, fair, now);
		return 10 * backend_limit_ns;
	}
	if (d.waited_ns >= starved_limit_ns) {
		suspect_ring(slot, r, SUSPECT_STARVED, d.waited_ns, now);
		return 10 * backend_limit_ns;
	}
	u64 starved_in = starved_limit_ns - d.waited_ns, hung_in = backend_limit_ns - fair;
	return (starved_in < hung_in ? starved_in : hung_in) + MS / 2;
}

/* A process that serves a ring reads its kick eventfd: a count that stays is a kick not taken.
 * Taken is not yet served: that it calls the guest shows it. */
static u64 judge_user_ring(u32 slot, struct ring_cell *r, u64 now)
{
	struct eventfd_ctx *ctx = (void *)r->kick_ctx;

	u64 age = age_of(r->since_ns, now);
	bool taken = !BPF_CORE_READ(ctx, count);
	struct process *p = bpf_map_lookup_elem(&processes, &r->worker_tid);

	if ((u32)BPF_CORE_READ(ctx, id) != r->eventfd_id)
		return 0; /* freed */
	if (taken && (!p || p->call_ns > r->since_ns || r->hushed))
		return 0;
	if (p && p->call_ns > r->since_ns) { /* one that polls serves without reading its kicks */
		r->since_ns = p->call_ns;
		return backend_limit_ns;
	}
	if (age < backend_limit_ns)
		return backend_limit_ns - age + MS / 2;
	if (!taken && waiting_vhost(ctx))
		return 0; /* the next kick enters it as vhost's */
	suspect_ring(slot, r, taken ? SUSPECT_UNCALLED : SUSPECT_BACKEND, age, now);
	return 10 * backend_limit_ns;
}

static int on_ring_alarm(void *map, u32 *slot, struct alarm *a)
{
	struct ring_cell *r = bpf_map_lookup_elem(&rings, slot);
	u64 now = bpf_ktime_get_ns(), again = 0;
	if (!r)
		return 0;
	struct vm_cell *vm = bpf_map_lookup_elem(&vms, &r->vm);
	u64 since = r->since_ns;
	if (vm && vm->tgid && !vm->exited && since)
		again = r->kind == RING_VHOST ? judge_vhost_ring(*slot, r, now)
					      : judge_user_ring(*slot, r, now);
	if (!again) {
		r->armed = 0;
		/* a kick on another CPU may have opened a new debt, and found the alarm set */
		if (__sync_val_compare_and_swap(&r->since_ns, since, 0) == since)
			return 0;
		r->armed = 1;
		again = backend_limit_ns;
	}
	if (bpf_timer_start(&a->timer, again, 0))
		drop(DROP_TIMER);
	return 0;
}

static void open_debt(u32 slot, struct ring_cell *r, u64 now)
{
	struct alarm *a = bpf_map_lookup_elem(&ring_alarms, &slot);
	if (!a)
		return;
	r->since_ns = now;
	if (r->armed)
		return;
	r->armed = 1;
	bpf_timer_init(&a->timer, &ring_alarms, CLOCK_MONOTONIC);
	bpf_timer_set_callback(&a->timer, on_ring_alarm);
	if (bpf_timer_start(&a->timer, backend_limit_ns + MS / 2, 0)) {
		r->armed = 0;
		r->since_ns = 0; /* nobody would see that it is paid */
		drop(DROP_TIMER);
	}
}

static __always_inline void kicked_vhost(u32 slot, struct ring_cell *r, u64 now)
{
	struct vhost_virtqueue *vq = (void *)r->vq;
	bool unkicked = r->flags & RING_UNKICKED;

	r->flags &= ~RING_UNKICKED;
	look_at_vq(r, vq);
	look_at_memory(r);
	if (!(r->flags & RING_SERVES_KICK) || !(r->flags & RING_LIVE) || (r->flags & RING_PACKED))
		return;
	if (!outstanding(r) || (r->since_ns && !unkicked && r->owed_from == r->last_avail))
		return; /* taken already, or owed already */
	r->owed_from = r->last_avail;
	r->run_delay_ns = run_delay(vq);
	open_debt(slot, r, now);
}

static __always_inline void kicked_user(u32 slot, struct ring_cell *r, struct eventfd_ctx *ctx,
					u64 now)
{
	struct process *p = bpf_map_lookup_elem(&processes, &r->worker_tid);

	if (r->hushed == HUSH_UNCALLED && p && p->call_ns > r->suspected_ns)
		r->hushed = HUSH_NOTHING; /* it does call, it was only slow */
	/* a count of one is this kick: an older one was taken */
	if (BPF_CORE_READ(ctx, count) <= 1 || !r->since_ns)
		open_debt(slot, r, now);
}

/* Entries that are offered, on a ring whose back end waits to be told of them. */
static void find_unkicked(u32 slot, struct ring_cell *r, u64 now)
{
	struct vhost_virtqueue *vq = (void *)r->vq;

	if (r->since_ns || !(r->flags & RING_SERVES_KICK) || kick_ctx_of(vq) != r->kick_ctx)
		return;
	look_at_vq(r, vq);
	if (!(r->flags & RING_LIVE) || (r->flags & RING_PACKED) || is_draining(vq))
		return;
	look_at_memory(r);
	if (!outstanding(r))
		return;
	r->flags |= RING_UNKICKED;
	r->owed_from = r->last_avail;
	r->run_delay_ns = run_delay(vq);
	open_debt(slot, r, now);
}

/* A guest whose kick was lost kicks no more: with EVENT_IDX it waits until its back end has come
 * as far as it was told.  So the rings of a VM are looked at while something else of it is at work
 * where its memory is mapped, once for each limit.  Most of what is found is about to be kicked. */
static __always_inline void look_for_lost_kicks(struct vm_cell *vm, u64 now)
{
	u64 id = bpf_get_current_pid_tgid();

	if (age_of(vm->looked_ns, now) < backend_limit_ns)
		return;
	vm->looked_ns = now;
	for (int i = 0; i < MAX_RINGS_PER_VM; i++) {
		u32 slot = (u32)vm->rings[i] - 1;
		struct ring_cell *r = vm->rings[i] ? bpf_map_lookup_elem(&rings, &slot) : 0;
		if (r && r->kind == RING_VHOST &&
		    (vm->tgid == id >> 32 || r->worker_tid == (u32)id))
			find_unkicked(slot, r, now);
	}
}

static __always_inline int handle_kick(struct kvm_vcpu *vcpu, struct kvm_io_device *this, u64 addr)
{
	struct _ioeventfd *io = (void *)this - bpf_core_field_offset(struct _ioeventfd, dev);
	struct eventfd_ctx *ctx = BPF_CORE_READ(io, eventfd);
	/* several rings may share an address and differ in what is written there */
	u64 doorbell = addr ^ BPF_CORE_READ(io, datamatch) << 48;
	u64 now = bpf_ktime_get_ns(), kvm = (u64)BPF_CORE_READ(vcpu, kvm);
	u32 *vm_slot = bpf_map_lookup_elem(&vm_by_kvm, &kvm), slot;
	if (!vm_slot)
		return 0;
	struct vm_cell *vm = bpf_map_lookup_elem(&vms, vm_slot);
	struct ring_cell *r = find_ring(ctx, *vm_slot, doorbell, now - backend_limit_ns, &slot);
	if (!vm || !r)
		return 0;
	vm->kick_ns = now;
	vm->sign_ns = now;
	vm->hushed = 0;
	__sync_fetch_and_add(&vm->kicks, 1);
	r->kicks++;
	r->doorbell = addr;
	if (r->kind == RING_VHOST)
		kicked_vhost(slot, r, now);
	else
		kicked_user(slot, r, ctx, now);
	look_for_lost_kicks(vm, now);
	look_for_unconsumed(vm, false, now);
	return 0;
}

/* On return, and only where this doorbell was meant: several may share an address and differ in
 * datamatch. */
SEC("fexit/ioeventfd_write")
int BPF_PROG(on_kick, struct kvm_vcpu *vcpu, struct kvm_io_device *this, u64 addr, int len,
	     void *val, int ret)
{
	return ret ? 0 : handle_kick(vcpu, this, addr);
}

/* With EVENT_IDX a second call means that the guest consumed the first, so only the last one is
 * owed. */
static __always_inline int handle_call(u64 kvm)
{
	u32 *slot = bpf_map_lookup_elem(&vm_by_kvm, &kvm);
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	if (!slot)
		return 0;
	struct vm_cell *vm = bpf_map_lookup_elem(&vms, slot);
	struct process *caller = bpf_map_lookup_elem(&processes, &tgid);
	struct alarm *a = bpf_map_lookup_elem(&vm_alarms, slot);
	if (!vm || !a)
		return 0;
	vm->call_ns = bpf_ktime_get_ns();
	__sync_fetch_and_add(&vm->calls, 1);
	if (caller)
		caller->call_ns = vm->call_ns;
	if (!vm->fast && !vm->exited) {
		vm->fast = 1;
		bpf_timer_start(&a->timer, called_ns + MS, 0);
	}
	look_for_lost_kicks(vm, vm->call_ns);
	return 0;
}

/* Each call passes here, and not only irqfd_wakeup() before it.  That one cannot be had: behind it
 * lay weak functions, overruled by others, that are linked no more; their ftrace records are taken
 * for its own (ftrace_location() searches the whole symbol), and a program that is attached to one
 * of these never runs, without any error.  On 6.12 that happened at most boots. */
SEC("fentry/kvm_arch_set_irq_inatomic")
int BPF_PROG(on_call, void *entry, struct kvm *kvm)
{
	return handle_call((u64)kvm);
}

/* An idle guest does not kick, yet its rings are there: user space names a descriptor of the VMM.
 * A vhost_net and a vhost_vsock begin with their vhost_dev.  It is run by BPF_PROG_TEST_RUN, and
 * not a syscall program: those are sleepable, and on 6.1 such may not use
 * queues. */
SEC("raw_tp")
int BPF_PROG(enter_vhost_file, u64 vcpu, u64 fd)
{
	u32 slot = vcpu;
	struct vcpu_cell *c = bpf_map_lookup_elem(&vcpus, &slot);
	if (!c || !c->tid)
		return 0;
	struct task_struct *task = (void *)c->task;
	struct fdtable *fdt = BPF_CORE_READ(task, files, fdt);
	struct file **fds = BPF_CORE_READ(fdt, fd), *file = 0;
	if ((u32)BPF_CORE_READ(task, pid) != c->tid || fd >= BPF_CORE_READ(fdt, max_fds))
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), fds + fd);
	enter_device(BPF_CORE_READ(file, private_data), c->vm);
	return 0;
}

/* Is the ring still there?  Its device lists it; a new eventfd is taken over. */
static bool follow_ring(struct ring_cell *r, u32 slot)
{
	struct vhost_virtqueue *vq = (void *)r->vq;
	u64 ctx = kick_ctx_of(vq);

	if (ctx == r->kick_ctx)
		return true;
	if (!ctx || vq_of((void *)r->device, r->index) != vq || move_kick(r, slot, ctx))
		return false;
	r->since_ns = 0;
	return true;
}

/* User space runs it (BPF_PROG_TEST_RUN) for its second look: vhost's own indices are in kernel
 * memory. */
SEC("syscall")
int look_at_ring(struct ring_look *look)
{
	u32 slot = look->slot;
	struct ring_cell *r = bpf_map_lookup_elem(&rings, &slot);

	look->known = 0;
	if (!r || r->kind != RING_VHOST || !follow_ring(r, slot))
		return 0;
	look_at_vq(r, (void *)r->vq);
	r->call_id = call_id_of((void *)r->vq);
	look->known = 1;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
