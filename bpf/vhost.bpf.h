/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* vhost.bpf.h: what vhost holds of a ring, and what its worker is doing. */
#ifndef OBSERVER_VHOST_BPF_H
#define OBSERVER_VHOST_BPF_H

#include "books.bpf.h"
#include "core_fixes.h"
#include "ring_words.bpf.h"
#include "waiting.bpf.h"

#define VIRTIO_F_EVENT_IDX     29 /* include/uapi/linux/virtio_ring.h */
#define VRING_USED_F_NO_NOTIFY 1
#define VIRTIO_F_RING_PACKED   34

struct debtor {
	u64 waited_ns; /* since the debt was opened it waited so long for a CPU */
	bool blocked;  /* it is in uninterruptible sleep */
};

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
	u32 state = BPF_CORE_READ(task, __state);

	d->waited_ns = age_of(r->run_delay_ns, delay) + waits_now(task);
	u64 age = age_of(r->since_ns, now);
	if (d->waited_ns > age)
		d->waited_ns = age;
	d->blocked = (state & TASK_UNINTERRUPTIBLE) && !(state & TASK_NOLOAD);
}

/* What vhost holds of the ring: it changes when the guest's driver starts again. */
static void look_at_vq(struct ring_cell *r, struct vhost_virtqueue *vq)
{
	u64 features = BPF_CORE_READ(vq, acked_features);
	u8 flags = r->flags & (RING_SERVES_KICK | RING_UNKICKED);

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

/* The worker is amidst a batch: until it has found the ring empty the guest does not kick, so what
 * was offered since the last kick is owed as well (vhost_disable_notify() of drivers/vhost). */
static bool is_draining(struct vhost_virtqueue *vq)
{
	return BPF_CORE_READ(vq, used_flags) & VRING_USED_F_NO_NOTIFY;
}

static u64 kick_ctx_of(struct vhost_virtqueue *vq)
{
	struct file *kick = BPF_CORE_READ(vq, kick);

	return is_kernel(kick) ? (u64)BPF_CORE_READ(kick, private_data) : 0;
}

/* 0: the guest wants no interrupt of this ring. */
static u32 call_id_of(struct vhost_virtqueue *vq)
{
	struct eventfd_ctx *call = BPF_CORE_READ(vq, call_ctx.ctx);

	return is_kernel(call) ? BPF_CORE_READ(call, id) : 0;
}

#endif /* OBSERVER_VHOST_BPF_H */
