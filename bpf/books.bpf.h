/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* books.bpf.h: the maps that all objects share (pinned by name), and what writes to several of
 * them. */
#ifndef OBSERVER_BOOKS_BPF_H
#define OBSERVER_BOOKS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "cells.h"

#define CLOCK_MONOTONIC	     1
#define MS		     1000000ULL
#define TASK_UNINTERRUPTIBLE 2	   /* include/linux/sched.h */
#define TASK_NOLOAD	     0x400 /* an idle kthread, not one that waits for a disk */

struct alarm {
	struct bpf_timer timer;
};

#define SHARED_ARRAY(name_, value_, entries_, flags_) \
	struct {                                      \
		__uint(type, BPF_MAP_TYPE_ARRAY);     \
		__uint(map_flags, flags_);            \
		__uint(max_entries, entries_);        \
		__type(key, u32);                     \
		__type(value, value_);                \
		__uint(pinning, LIBBPF_PIN_BY_NAME);  \
	} name_ SEC(".maps")

#define SHARED_HASH(name_, key_, value_, entries_)   \
	struct {                                     \
		__uint(type, BPF_MAP_TYPE_HASH);     \
		__uint(max_entries, entries_);       \
		__type(key, key_);                   \
		__type(value, value_);               \
		__uint(pinning, LIBBPF_PIN_BY_NAME); \
	} name_ SEC(".maps")

/* Slots that user space gives back when their subject is gone. */
#define SLOT_QUEUE(name_, entries_)                  \
	struct {                                     \
		__uint(type, BPF_MAP_TYPE_QUEUE);    \
		__uint(max_entries, entries_);       \
		__uint(value_size, sizeof(u32));     \
		__uint(pinning, LIBBPF_PIN_BY_NAME); \
	} name_ SEC(".maps")

SHARED_ARRAY(vms, struct vm_cell, MAX_VMS, BPF_F_MMAPABLE);
SHARED_HASH(processes, u32, struct process, MAX_PROCESSES);
SHARED_ARRAY(next_slots, u32, NR_POOLS, BPF_F_MMAPABLE);
SHARED_ARRAY(drops, u64, NR_DROPS, BPF_F_MMAPABLE);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024); /* 5,400 suspicions: every subject of 1,000 VMs at once */
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} suspicions SEC(".maps");

/* Another CPU may have written `since` after `now` was read here. */
static __always_inline u64 age_of(u64 since, u64 now)
{
	return now > since ? now - since : 0;
}

static __always_inline void drop(u32 why)
{
	u64 *count = bpf_map_lookup_elem(&drops, &why);
	if (count)
		__sync_fetch_and_add(count, 1);
}

/* A suspicion wakes user space; a note may wait until something else does.  A function of its own,
 * so that BTF knows the struct and a test can hold user space's view against it. */
static __noinline void raise(const struct suspicion *what, u64 wakeup)
{
	if (bpf_ringbuf_output(&suspicions, (void *)what, sizeof(*what), wakeup))
		drop(DROP_EVENT);
}

/* Take a slot that was given back, else one never used; non-zero if there is none. */
static __always_inline int take_slot(void *given_back, u32 pool, u32 limit, u32 *slot)
{
	u32 *next = bpf_map_lookup_elem(&next_slots, &pool);

	if (!bpf_map_pop_elem(given_back, slot))
		return 0;
	if (!next || *next >= limit)
		return -1;
	*slot = __sync_fetch_and_add(next, 1);
	return *slot < limit ? 0 : -1;
}

#endif /* OBSERVER_BOOKS_BPF_H */
