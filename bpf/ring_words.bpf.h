/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* ring_words.bpf.h: what both sides of a ring write of it, in guest memory. */
#ifndef OBSERVER_RING_WORDS_BPF_H
#define OBSERVER_RING_WORDS_BPF_H

#include "books.bpf.h"

SHARED_ARRAY(rings, struct ring_cell, MAX_RINGS, BPF_F_MMAPABLE);

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

#endif /* OBSERVER_RING_WORDS_BPF_H */
