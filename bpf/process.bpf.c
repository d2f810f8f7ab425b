// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* process.bpf.c: a VMM or back end owes us to be alive and not to be stopped; both are known at
 * once. */
#include "books.bpf.h"

#define SIGNAL_GROUP_EXIT 4 /* include/linux/sched/signal.h: the whole thread group is going */

/* A thread alone may end; the process goes when its group exits or its leader, the last one, does.
 */
static __always_inline bool group_is_exiting(struct task_struct *task)
{
	return (task->signal->flags & SIGNAL_GROUP_EXIT) || task->pid == task->tgid;
}

static __always_inline int handle_exit(struct task_struct *task)
{
	u32 tgid = task->tgid;
	struct process *p = bpf_map_lookup_elem(&processes, &tgid);
	if (!p || !group_is_exiting(task) || __sync_lock_test_and_set(&p->exited, 1))
		return 0;

	u64 now = bpf_ktime_get_ns();
	u32 vm = p->vm;
	u32 code = (task->signal->flags & SIGNAL_GROUP_EXIT) ? task->signal->group_exit_code
							     : task->exit_code;
	struct vm_cell *v = bpf_map_lookup_elem(&vms, &vm);
	if (p->kind == PROCESS_VMM && v && v->tgid == tgid) {
		v->exited = 1;
		v->exit_code = code;
	}
	struct suspicion s = {
		.now_ns = now,
		.since_ns = now,
		.value = code,
		.kind = SUSPECT_EXITED,
		.tgid = tgid,
		.vm = vm,
		.slot = NO_SLOT,
	};
	raise(&s, BPF_RB_FORCE_WAKEUP);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_process_exit, struct task_struct *task)
{
	return handle_exit(task);
}

/* A back end that is stopped just while it polls its rings leaves no kick unread, for it gets none:
 * only the signal tells. */
static __always_inline int handle_signal(u32 signal)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct process *p = signal_stops(signal) ? bpf_map_lookup_elem(&processes, &tgid) : 0;
	if (!p || p->exited)
		return 0;

	u64 now = bpf_ktime_get_ns();
	struct suspicion s = {
		.now_ns = now,
		.since_ns = now,
		.value = signal,
		.kind = SUSPECT_STOPPED,
		.tgid = tgid,
		.vm = p->vm,
		.slot = NO_SLOT,
	};
	raise(&s, BPF_RB_FORCE_WAKEUP);
	return 0;
}

SEC("tp_btf/signal_deliver")
int BPF_PROG(on_signal, int signal)
{
	return handle_signal(signal);
}

/* Programs that need a module which was absent can be attached now. */
SEC("tp_btf/module_load")
int BPF_PROG(on_module_load)
{
	struct suspicion s = {
		.now_ns = bpf_ktime_get_ns(), .kind = NOTE_MODULE, .vm = NO_SLOT, .slot = NO_SLOT
	};
	raise(&s, BPF_RB_FORCE_WAKEUP);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
