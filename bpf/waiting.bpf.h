/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* waiting.bpf.h: how long a thread has been waiting for a CPU, as the scheduler keeps it anyway. */
#ifndef OBSERVER_WAITING_BPF_H
#define OBSERVER_WAITING_BPF_H

#include "books.bpf.h"

extern const struct rq runqueues __ksym;

/* 0 where it runs or sleeps.  `last_queued` is on the clock of the run queue, which ticks while
 * somebody waits in it. */
static u64 waits_now(struct task_struct *task)
{
	if (BPF_CORE_READ(task, __state) || BPF_CORE_READ(task, on_cpu))
		return 0;
	u64 queued = BPF_CORE_READ(task, sched_info.last_queued);
	const struct rq *rq = bpf_per_cpu_ptr(&runqueues, BPF_CORE_READ(task, thread_info.cpu));
	u64 clock = rq ? rq->clock : 0;

	return queued && clock > queued ? clock - queued : 0;
}

#endif /* OBSERVER_WAITING_BPF_H */
