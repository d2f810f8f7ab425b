// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* scanning_rings.bcc.c: the rings of the second design.  The loader appends it to
 * scanning_entry.bcc.c.
 *
 * As in vring.bpf.c nothing runs for a packet: a kick opens a debt, and a look closes it. */

/* The rings' words in the VMM's memory, in whose thread a kick is made. */
static inline void look_at_memory(struct ring_cell *r)
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

static inline void kicked_vhost(struct ring_cell *r, u64 now)
{
#ifdef AT_vhost_virtqueue_dev
	u8 unkicked = r->flags & RING_UNKICKED;

	r->flags &= ~RING_UNKICKED;
	look_at_vq(r);
	look_at_memory(r);
	if (!(r->flags & RING_SERVES_KICK) || !(r->flags & RING_LIVE) || (r->flags & RING_PACKED))
		return;
	if (!outstanding(r) || (r->since_ns && !unkicked && r->owed_from == r->last_avail))
		return; /* taken already, or owed already */
	r->owed_from = r->last_avail;
	r->run_delay_ns = run_delay(r->vq);
	r->since_ns = now;
#endif
}

/* See vring.bpf.c: entries that are offered, and nobody tells their back end of them. */
static inline void find_unkicked(struct ring_cell *r, u64 now)
{
#ifdef AT_vhost_virtqueue_dev
	if (r->since_ns || !(r->flags & RING_SERVES_KICK) || kick_ctx_of(r->vq) != r->kick_ctx)
		return;
	look_at_vq(r);
	if (!(r->flags & RING_LIVE) || (r->flags & RING_PACKED) ||
	    (u16_at(r->vq + AT(vhost_virtqueue, used_flags)) & VRING_USED_F_NO_NOTIFY))
		return;
	look_at_memory(r);
	if (!outstanding(r))
		return;
	r->flags |= RING_UNKICKED;
	r->owed_from = r->last_avail;
	r->run_delay_ns = run_delay(r->vq);
	r->since_ns = now;
#endif
}

static inline void look_for_lost_kicks(struct vm_cell *vm, u64 now)
{
	u64 id = bpf_get_current_pid_tgid();

	if (now < vm->looked_ns + LATE_NS)
		return;
	vm->looked_ns = now;
	for (int i = 0; i < MAX_RINGS_PER_VM; i++) {
		u32 slot = (u32)vm->rings[i] - 1;
		struct ring_cell *r = vm->rings[i] ? rings.lookup(&slot) : 0;
		if (r && r->kind == RING_VHOST &&
		    (vm->tgid == id >> 32 || r->worker_tid == (u32)id))
			find_unkicked(r, now);
	}
}

/* This kick is not yet in the eventfd: a count of none means that all older ones were taken. */
static inline void kicked_user(struct ring_cell *r, u64 eventfd, u64 now)
{
	u32 server = r->worker_tid;
	struct process *p = processes.lookup(&server);

	if (r->hushed == HUSH_UNCALLED && p && p->call_ns > r->suspected_ns)
		r->hushed = HUSH_NOTHING; /* it does call, it was only slow */
	if (!r->since_ns || !u64_at(eventfd + AT(eventfd_ctx, count)))
		r->since_ns = now;
}

/* ioeventfd_in_range() of virt/kvm/eventfd.c: several doorbells may share an address and differ in
 * datamatch.  The other design asks the return value, for which BCC would need a second probe. */
static inline int is_meant(u64 io, u64 addr, u32 len, void *val)
{
	u32 length = u32_at(io + AT(_ioeventfd, length));
	if (u64_at(io + AT(_ioeventfd, addr)) != addr)
		return 0;
	if (!length || (length == len && u8_at(io + AT(_ioeventfd, wildcard))))
		return 1;
	if (length != len)
		return 0;
	u64 written = u64_at((u64)val), match = u64_at(io + AT(_ioeventfd, datamatch));
	return len >= sizeof(match) || !((written ^ match) << (64 - 8 * len));
}

int on_kick(struct pt_regs *ctx, void *vcpu, void *device, u64 addr, u32 len, void *val)
{
	u64 io = (u64)device - AT(_ioeventfd, dev), eventfd = u64_at(io + AT(_ioeventfd, eventfd));
	u64 now = bpf_ktime_get_ns(), kvm = u64_at((u64)vcpu + AT(kvm_vcpu, kvm));
	u32 *known = vm_by_kvm.lookup(&kvm);
	if (!known || !is_meant(io, addr, len, val))
		return 0;

	u32 vm_slot = *known;
	struct vm_cell *vm = vms.lookup(&vm_slot);
	u64 doorbell = addr ^ u64_at(io + AT(_ioeventfd, datamatch)) << 48;
	struct ring_cell *r = find_ring(eventfd, vm_slot, doorbell, now - LATE_NS);
	if (!vm || !r)
		return 0;
	vm->kick_ns = now;
	vm->sign_ns = now;
	vm->hushed = 0;
	__sync_fetch_and_add(&vm->kicks, 1);
	r->kicks++;
	r->doorbell = addr;
	if (r->kind == RING_VHOST)
		kicked_vhost(r, now);
	else
		kicked_user(r, eventfd, now);
	look_for_lost_kicks(vm, now);
	return 0;
}

int on_call(struct pt_regs *ctx, void *entry, u64 kvm)
{
	u32 *slot = vm_by_kvm.lookup(&kvm), tgid = bpf_get_current_pid_tgid() >> 32;
	struct vm_cell *vm = slot ? vms.lookup(slot) : 0;
	struct process *caller = processes.lookup(&tgid);

	if (!vm)
		return 0;
	vm->call_ns = bpf_ktime_get_ns();
	__sync_fetch_and_add(&vm->calls, 1);
	if (caller)
		caller->call_ns = vm->call_ns;
	look_for_lost_kicks(vm, vm->call_ns);
	return 0;
}
