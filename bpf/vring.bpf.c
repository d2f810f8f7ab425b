// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* vring.bpf.c: a back end that is kicked owes service, a guest that is called owes consumption.
 *
 * Nothing runs for a packet.  A kick opens a debt if the back end has not taken what is offered;
 * the alarm reads the back end's own index and closes it.  Both ends of every ring pass KVM: the
 * doorbell (ioeventfd) and the interrupt (irqfd), so vhost, vhost-user and QEMU's own devices are
 * seen by the same two programs. */
#include "books.bpf.h"
#include "core_fixes.h"

#define VIRTIO_F_EVENT_IDX   29 /* include/uapi/linux/virtio_ring.h */
#define VIRTIO_F_RING_PACKED 34
#define MAX_SIBLINGS	     8 /* rings of one vhost device that its first kick makes known */
#define EPOLLIN		     1

const volatile u64 backend_limit_ns = 20 * MS;
const volatile u64 starved_limit_ns = 50 * MS; /* waited so long for a CPU: starved, not hung */
const volatile u64 called_ns = 50 * MS;

SHARED_ARRAY(rings, struct ring_cell, MAX_RINGS, BPF_F_MMAPABLE);
SHARED_ARRAY(ring_alarms, struct alarm, MAX_RINGS, 0);
SHARED_ARRAY(vm_alarms, struct alarm, MAX_VMS, 0);
SHARED_HASH(ring_by_kick, u64, u32, MAX_RINGS);
SHARED_HASH(vm_by_kvm, u64, u32, MAX_VMS);
SLOT_QUEUE(free_rings, MAX_RINGS);

extern const struct rq runqueues __ksym;

struct debtor {
	u64 waited_ns; /* since the debt was opened it waited so long for a CPU */
	bool blocked;  /* it is in uninterruptible sleep */
};

static u64 waiting_since(struct task_struct *task)
{
	if (BPF_CORE_READ(task, __state) || BPF_CORE_READ(task, on_cpu))
		return 0;
	return BPF_CORE_READ(task, sched_info.last_queued);
}

static u64 run_delay(struct vhost_virtqueue *vq)
{
	struct task_struct *task = vq_task(vq);
	return BPF_CORE_READ(task, sched_info.run_delay);
}

static u32 worker_tid(struct vhost_virtqueue *vq)
{
	struct task_struct *task = vq_task(vq);
	return BPF_CORE_READ(task, pid);
}

static void look_at_debtor(struct ring_cell *r, struct vhost_virtqueue *vq, u64 now,
			   struct debtor *d)
{
	struct task_struct *task = vq_task(vq);
	u64 delay = BPF_CORE_READ(task, sched_info.run_delay);
	u64 queued = waiting_since(task);
	u32 state = BPF_CORE_READ(task, __state);

	d->waited_ns = delay > r->run_delay_ns ? delay - r->run_delay_ns : 0;
	if (queued) {
		/* last_queued is on the clock of the run queue, which ticks while somebody waits in
		 * it */
		const struct rq *rq =
			bpf_per_cpu_ptr(&runqueues, BPF_CORE_READ(task, thread_info.cpu));
		u64 clock = rq ? rq->clock : 0;
		if (clock > queued)
			d->waited_ns += clock - queued;
	}
	if (d->waited_ns > now - r->since_ns)
		d->waited_ns = now - r->since_ns;
	d->blocked = (state & TASK_UNINTERRUPTIBLE) && !(state & TASK_NOLOAD);
}

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

/* The rings' words in the VMM's memory; only where that is mapped, i.e. in its threads and its
 * vhost workers. */
static __always_inline void look_at_memory(struct ring_cell *r)
{
	u64 avail = r->avail_addr, used = r->used_addr;

	if (!avail || !used || (r->flags & RING_PACKED))
		return;
	if (bpf_probe_read_user(&r->avail, sizeof(u16), (void *)(avail + 2)) ||
	    bpf_probe_read_user(&r->used, sizeof(u16), (void *)(used + 2)))
		drop(DROP_READ);
	/* behind the last entry the guest writes how far it has consumed */
	if (r->flags & RING_EVENT_IDX)
		bpf_probe_read_user(&r->used_event, sizeof(u16), (void *)(avail + 4 + 2 * r->num));
}

/* What vhost holds of the ring: it changes when the guest's driver starts again. */
static void look_at_vq(struct ring_cell *r, struct vhost_virtqueue *vq)
{
	u64 features = BPF_CORE_READ(vq, acked_features);
	u8 flags = r->flags & RING_SERVES_KICK;

	if (features & 1ULL << VIRTIO_F_EVENT_IDX)
		flags |= RING_EVENT_IDX;
	if (features & 1ULL << VIRTIO_F_RING_PACKED)
		flags |= RING_PACKED;
	if (BPF_CORE_READ(vq, private_data))
		flags |= RING_LIVE;
	r->flags = flags;
	r->num = BPF_CORE_READ(vq, num);
	r->avail_addr = (u64)BPF_CORE_READ(vq, avail);
	r->used_addr = (u64)BPF_CORE_READ(vq, used);
	r->last_avail = BPF_CORE_READ(vq, last_avail_idx);
	r->last_used = BPF_CORE_READ(vq, last_used_idx);
}

static u64 kick_ctx_of(struct vhost_virtqueue *vq)
{
	return (u64)BPF_CORE_READ(vq, kick, private_data);
}

/* Returns after how many ns to look again; 0: paid. */
static u64 judge_vhost_ring(u32 slot, struct ring_cell *r, u64 now)
{
	struct vhost_virtqueue *vq = (void *)r->vq;
	struct debtor d = {};

	if (kick_ctx_of(vq) != r->kick_ctx) /* freed, or used for another ring by now */
		return 0;
	look_at_vq(r, vq);
	if (!(r->flags & RING_LIVE) || r->last_avail == r->avail)
		return 0;
	if (r->last_avail != r->owed_from) { /* it works: the rest is a new debt */
		r->owed_from = r->last_avail;
		r->since_ns = now;
		r->run_delay_ns = run_delay(vq);
		return backend_limit_ns;
	}
	look_at_debtor(r, vq, now, &d);
	u64 fair = now - r->since_ns - d.waited_ns;
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

	u64 age = now - r->since_ns;
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
	if (vm && vm->tgid && !vm->exited && r->since_ns)
		again = r->kind == RING_VHOST ? judge_vhost_ring(*slot, r, now)
					      : judge_user_ring(*slot, r, now);
	if (!again) {
		r->since_ns = 0;
		r->armed = 0;
	} else if (bpf_timer_start(&a->timer, again, 0)) {
		drop(DROP_TIMER);
	}
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
		drop(DROP_TIMER);
	}
}

static struct ring_cell *enter_ring(u64 ctx, u32 vm_slot, u32 *slot)
{
	struct eventfd_ctx *kick = (void *)ctx;
	struct vm_cell *vm = bpf_map_lookup_elem(&vms, &vm_slot);
	if (!vm || take_slot(&free_rings, POOL_RINGS, MAX_RINGS, slot)) {
		drop(DROP_RING_SLOT);
		return 0;
	}
	struct ring_cell *r = bpf_map_lookup_elem(&rings, slot);
	if (!r || bpf_map_update_elem(&ring_by_kick, &ctx, slot, BPF_NOEXIST)) {
		bpf_map_push_elem(&free_rings, slot, BPF_ANY);
		return 0;
	}
	__builtin_memset(r, 0, sizeof(*r));
	r->vm = vm_slot;
	r->kick_ctx = ctx;
	r->eventfd_id = BPF_CORE_READ(kick, id);
	r->flags = RING_SERVES_KICK;
	u32 i = __sync_fetch_and_add(&vm->nr_rings, 1);
	if (i < MAX_RINGS_PER_VM)
		vm->rings[i] = *slot + 1;
	else
		drop(DROP_RING_LIST);
	return r;
}

static void note_ring(struct ring_cell *r, u32 slot)
{
	struct vm_cell *vm = bpf_map_lookup_elem(&vms, &r->vm);
	struct suspicion s = {
		.now_ns = bpf_ktime_get_ns(),
		.kind = NOTE_RING,
		.tgid = vm ? vm->tgid : 0,
		.vm = r->vm,
		.slot = slot,
	};
	raise(&s, BPF_RB_FORCE_WAKEUP);
}

static void enter_vhost_ring(struct vhost_virtqueue *vq, u32 index, u32 count, u32 vm)
{
	u64 ctx = kick_ctx_of(vq);
	u32 slot;

	if (!ctx || bpf_map_lookup_elem(&ring_by_kick, &ctx))
		return;
	struct ring_cell *r = enter_ring(ctx, vm, &slot);
	if (!r)
		return;
	r->vq = (u64)vq;
	r->index = index;
	r->device = (u64)BPF_CORE_READ(vq, dev);
	r->worker_tid = worker_tid(vq);
	/* net and vsock have two rings, and the first only offers buffers */
	if (count == 2 && index == 0)
		r->flags = 0;
	look_at_vq(r, vq);
	r->kind = RING_VHOST;
	note_ring(r, slot);
}

/* If this waiter of an eventfd is the poll of a vhost ring, enter all rings of its device.
 * Whether it is one is seen from the ring itself: its device lists it, and its kick is this
 * eventfd. */
static bool enter_vhost(struct wait_queue_entry *waiter, u64 ctx, u32 vm)
{
	struct vhost_virtqueue *vq =
		(void *)waiter - bpf_core_field_offset(struct vhost_virtqueue, poll.wait);
	struct vhost_dev *dev = BPF_CORE_READ(vq, dev);
	struct vhost_virtqueue **list = BPF_CORE_READ(dev, vqs), *other;
	int count = BPF_CORE_READ(dev, nvqs);
	bool listed = false;

	if (!list || kick_ctx_of(vq) != ctx)
		return false;
	for (int i = 0; i < MAX_SIBLINGS && i < count; i++) {
		other = 0;
		bpf_probe_read_kernel(&other, sizeof(other), list + i);
		listed |= other == vq;
	}
	for (int i = 0; listed && i < MAX_SIBLINGS && i < count; i++) {
		other = 0;
		bpf_probe_read_kernel(&other, sizeof(other), list + i);
		if (other)
			enter_vhost_ring(other, i, count, vm);
	}
	return listed;
}

/* Who waits for this eventfd?  A vhost ring is served by the kernel, anything else by a process. */
static void enter_rings(struct eventfd_ctx *ctx, u32 vm)
{
	struct list_head *head = (void *)ctx + bpf_core_field_offset(struct eventfd_ctx, wqh.head);
	struct list_head *at = BPF_CORE_READ(head, next);
	struct ring_cell *r;
	u32 slot;

	for (int i = 0; i < 4 && at && at != head; i++) {
		if (enter_vhost((void *)at - bpf_core_field_offset(struct wait_queue_entry, entry),
				(u64)ctx, vm))
			return;
		at = BPF_CORE_READ(at, next);
	}
	r = enter_ring((u64)ctx, vm, &slot);
	if (!r)
		return;
	r->kind = RING_USER;
	note_ring(r, slot);
}

static struct ring_cell *find_ring(struct eventfd_ctx *ctx, u32 vm, u32 *slot)
{
	u64 key = (u64)ctx;
	u32 *known = bpf_map_lookup_elem(&ring_by_kick, &key);

	if (!known) {
		enter_rings(ctx, vm);
		known = bpf_map_lookup_elem(&ring_by_kick, &key);
	}
	if (!known)
		return 0;
	*slot = *known;
	return bpf_map_lookup_elem(&rings, slot);
}

static __always_inline void kicked_vhost(u32 slot, struct ring_cell *r, u64 now)
{
	struct vhost_virtqueue *vq = (void *)r->vq;

	look_at_vq(r, vq);
	look_at_memory(r);
	if (!(r->flags & RING_SERVES_KICK) || !(r->flags & RING_LIVE) || (r->flags & RING_PACKED))
		return;
	if (r->avail == r->last_avail || (r->since_ns && r->owed_from == r->last_avail))
		return; /* taken already, or owed already */
	r->owed_from = r->last_avail;
	r->run_delay_ns = run_delay(vq);
	open_debt(slot, r, now);
}

static __always_inline void kicked_user(u32 slot, struct ring_cell *r, struct eventfd_ctx *ctx,
					u64 now)
{
	/* a count of one is this kick: an older one was taken */
	if (BPF_CORE_READ(ctx, count) <= 1 || !r->since_ns)
		open_debt(slot, r, now);
}

static __always_inline int handle_kick(struct kvm_vcpu *vcpu, struct kvm_io_device *this, u64 addr)
{
	struct _ioeventfd *io = (void *)this - bpf_core_field_offset(struct _ioeventfd, dev);
	struct eventfd_ctx *ctx = BPF_CORE_READ(io, eventfd);
	u64 now = bpf_ktime_get_ns(), kvm = (u64)BPF_CORE_READ(vcpu, kvm);
	u32 *vm_slot = bpf_map_lookup_elem(&vm_by_kvm, &kvm), slot;
	if (!vm_slot)
		return 0;
	struct vm_cell *vm = bpf_map_lookup_elem(&vms, vm_slot);
	struct ring_cell *r = find_ring(ctx, *vm_slot, &slot);
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
static __always_inline int handle_call(struct wait_queue_entry *wait)
{
	struct kvm_kernel_irqfd *irqfd =
		(void *)wait - bpf_core_field_offset(struct kvm_kernel_irqfd, wait);
	u64 kvm = (u64)BPF_CORE_READ(irqfd, kvm);
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
	return 0;
}

SEC("fentry/irqfd_wakeup")
int BPF_PROG(on_call, struct wait_queue_entry *wait, unsigned int mode, int sync, void *key)
{
	return (u64)key & EPOLLIN ? handle_call(wait) : 0;
}

/* User space runs it (BPF_PROG_TEST_RUN) for its second look: vhost's own indices are in kernel
 * memory. */
SEC("syscall")
int look_at_ring(struct ring_look *look)
{
	u32 slot = look->slot;
	struct ring_cell *r = bpf_map_lookup_elem(&rings, &slot);

	look->known = 0;
	if (!r || r->kind != RING_VHOST || kick_ctx_of((void *)r->vq) != r->kick_ctx)
		return 0;
	look_at_vq(r, (void *)r->vq);
	look->known = 1;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
