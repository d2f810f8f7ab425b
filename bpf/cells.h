/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* cells.h: the records that BPF programs and user space share; this header is their only
 * definition.
 *
 * A cell is 128 bytes (two cache lines), lies in a BPF_F_MMAPABLE array and is read by user space
 * without a system call.  Each word has one writer: BPF unless the comment says "user".  Times are
 * CLOCK_MONOTONIC ns. */
#ifndef OBSERVER_CELLS_H
#define OBSERVER_CELLS_H

#define CELL_BYTES	 128
#define MAX_VMS		 2048
#define MAX_VCPUS	 8192
#define MAX_RINGS	 8192
#define MAX_PROCESSES	 4096
#define MAX_CPUS	 1024 /* a power of two */
#define MAX_PARTS	 2    /* ABI_MAX_PARTS of unikernels/include/guest_abi.h */
#define MAX_RINGS_PER_VM 16   /* further rings are counted in DROP_RING_LIST */
#define NO_SLOT		 0xffffffffu

/* A VM is a process that runs vCPUs: it owes us to be alive, and its guest owes a sign of life. */
struct vm_cell {
	__u32 tgid;	/* 0: the slot is free */
	__u32 fast;	/* the VM's alarm is set for an open call, not for the validity */
	__u64 seen_ns;	/* first seen */
	__u64 sign_ns;	/* newest strong sign of life: a HLT, a kick; user: consumption seen in a
			   ring */
	__u64 call_ns;	/* the last time that a back end called the guest (interrupt by irqfd) */
	__u64 kick_ns;	/* the last time that the guest kicked a back end (doorbell by ioeventfd) */
	__u64 asked_ns; /* user: when the last probe frame was sent; 0: never */
	__u64 kicks;
	__u64 calls;
	__u64 suspected_ns;	       /* when the last suspicion of this VM was raised */
	__u32 exited;		       /* 1: its thread group is exiting */
	__u32 exit_code;	       /* as wait(2) has it */
	__u16 rings[MAX_RINGS_PER_VM]; /* ring slots + 1; 0: none */
	__u32 nr_rings;
	__u16 flags;	  /* enum vm_flag */
	__u16 hushed;	  /* user: 1 raises no suspicion of the guest, until its next sign */
	__u64 looked_ns;  /* when its rings were last looked at for a kick that was lost */
	__u64 read_ns;	  /* when its receive rings were last looked at */
	__u64 doubted_ns; /* when it was last suspected of not consuming */
	__u32 unread;	  /* so many of them were not consumed then; user: 0 to begin anew */
	__u32 down; /* user: 1 asks it ten times more rarely, until it consumes all: its network is
		       down */
};

enum vm_flag {
	VM_HLT_IN_GUEST = 1, /* HLT does not exit (cpu-pm=on): a silent vCPU may be an idle one */
};

/* A vCPU owes an exit of its own making for every limit of CPU time that it consumes. */
struct vcpu_cell {
	__u32 tid;	      /* 0: the slot is free */
	__u32 vm;	      /* slot of its VM */
	__u64 task;	      /* struct task_struct *, checked against tid before each use */
	__u64 own_ns;	      /* its last exit of its own making */
	__u64 own_runtime_ns; /* se.sum_exec_runtime of its thread at that exit */
	__u64 own_pcount; /* sched_info.pcount then: how often the thread had been put on a CPU */
	__u64 own_exits;
	__u64 host_exits;     /* exits that the host made: interrupt, NMI, SMI, preemption timer */
	__u64 own_host_exits; /* host_exits then: later ones met it in its guest */
	__u64 halts;	      /* HLT exits among its own */
	__u64 halt_ns;	      /* its last HLT */
	__u64 wake_ns;	      /* its last return from HLT */
	__u64 ended_ns;	      /* when it was last suspected to have halted for good */
	__u64 rip; /* where its last halt, or exit that the host made, met it (AMD; 0 elsewhere) */
	__u32 rflags;	       /* and its flags there; bit 9 is IF */
	__u32 reason;	       /* exit reason of its last own exit */
	__u32 isa;	       /* 1 VMX, 2 SVM: the kernel's KVM_ISA_* */
	__u32 armed;	       /* its alarm is set */
	__u64 suspected_exits; /* own_exits + 1 when it was last suspected: one suspicion for each
				  standstill */
	__u64 suspected_ns;
	__u32 suspicions;
	__u32 id; /* vcpu_id */
};

/* One part of a service: it owes work while `done` differs from `given`. */
struct part_cell {
	__u32 done;
	__u32 given;
	__u64 since_ns; /* it owes work and has done none since; 0: it owes nothing */
	__u64 suspected_ns;
	__u64 paid_ns; /* a beat said that it had done some, or owed nothing */
};

/* A service VM says by hypercall that its loop turns, and how far each part is; in its VM's slot.
 * It owes a beat, or another exit of its own making, and each part owes progress. */
struct service_cell {
	__u32 tid;     /* of the vCPU that beats; 0: this VM is no service */
	__u8 service;  /* ABI_SERVICE_* */
	__u8 nr_parts; /* as it says, at most MAX_PARTS */
	__u8 version;  /* ABI_VERSION that it was built with */
	__u8 armed;    /* its alarm is set */
	__u64 task;    /* struct task_struct * of tid */
	__u64 beat_ns;
	__u64 beats;
	__u64 sequence;
	__u64 run_delay_ns; /* the thread's sched_info.run_delay at the last beat */
	__u64 suspected_ns;
	struct part_cell parts[MAX_PARTS];
	__u32 ignored;	/* user: 1 raises no suspicion, it is nobody's service here */
	__u32 panicked; /* it has said so, and ends */
};

enum ring_kind {
	RING_FREE = 0,
	RING_VHOST = 1, /* served by a vhost worker in the kernel */
	RING_USER = 2,	/* served by a process that reads the kick eventfd: vhost-user, QEMU */
};

enum ring_flag {
	RING_SERVES_KICK = 1, /* a kick asks for service at once (transmit, block); else it only
				 offers buffers */
	RING_EVENT_IDX = 2, /* VIRTIO_RING_F_EVENT_IDX was negotiated: used_event means something */
	RING_PACKED =
		4,     /* packed layout: the indices below mean nothing, only the kick is watched */
	RING_LIVE = 8, /* its back end is attached (vhost: private_data is set) */
	RING_UNKICKED = 16, /* the debt that is open was found, no kick has told of it */
};

enum ring_hush {
	HUSH_NOTHING = 0,
	HUSH_UNCALLED = 1, /* kicks that are taken yet bring no call are its custom (transmit
			      without interrupts) */
	HUSH_ALL = 2,
};

/* A ring: its back end owes service after a kick, its guest owes consumption after a call. */
struct ring_cell {
	__u32 vm;	/* slot of its VM */
	__u8 kind;	/* enum ring_kind */
	__u8 flags;	/* enum ring_flag */
	__u8 armed;	/* its alarm is set */
	__u8 hushed;	/* user: enum ring_hush */
	__u64 kick_ctx; /* struct eventfd_ctx * that the guest's doorbell signals; identity of the
			   ring */
	__u64 vq;	/* struct vhost_virtqueue *; 0 for RING_USER */
	__u64 since_ns; /* the debt is open since; 0: paid */
	__u64 run_delay_ns; /* the worker's sched_info.run_delay when the debt was opened */
	__u64 kicks;
	__u64 avail_addr; /* of struct vring_avail in the VMM's address space; 0: unknown */
	__u64 used_addr;  /* likewise struct vring_used */
	__u16 num;	  /* entries */
	__u16 owed_from;  /* last_avail when the debt was opened */
	__u16 last_avail; /* the back end's own index: next entry to take */
	__u16 last_used;  /* the back end's own index: next entry to give back */
	__u16 avail;	  /* in guest memory, when last looked at: offered by the guest */
	__u16 used;	  /* in guest memory: given back by the back end */
	__u16 used_event; /* in guest memory: consumed by the guest */
	__u16 index;	  /* vhost: which of its device's rings */
	__u32 eventfd_id; /* of kick_ctx, as /proc/PID/fdinfo shows it */
	__u32 worker_tid; /* vhost: the thread that serves it; else the process, set by user */
	__u64 identity;	  /* its vq, or its doorbell: what stays while its eventfds come and go */
	__u64 doorbell;	  /* guest physical or port address that the guest writes to kick */
	__u64 suspected_ns;
	__u32 suspicions;
	__u32 call_id; /* vhost: of the eventfd that calls the guest, when last asked; 0: none */
	__u64 device;  /* vhost: struct vhost_dev *, the same for all rings of a device */
	__u64 unconsumed_ns; /* receive: since then something lies in it and none was consumed; 0:
				nothing does.  user: 0 to begin anew */
	__u16 read_avail;    /* avail and used_event then */
	__u16 read_event;
	__u32 down; /* user: 1 does not hold it against the guest, until that consumes */
};

enum suspicion_kind {
	SUSPECT_EXITED = 1, /* a VMM or back end is exiting; value = exit code */
	SUSPECT_VCPU =
		2, /* a vCPU ran for its limit without an exit of its own; value = CPU time in ns */
	SUSPECT_BACKEND =
		3, /* a kick was not served; value = time in which the back end could have run */
	SUSPECT_STARVED =
		4, /* likewise, because it never got a CPU; value = time it waited for one */
	SUSPECT_BLOCKED = 5, /* likewise, because it is in uninterruptible sleep */
	SUSPECT_CALLED = 6, /* a guest was called and gave no sign since; value = age of the call */
	SUSPECT_SILENT =
		7, /* a guest gave no sign for its validity: ask it; value = age of the last sign */
	SUSPECT_UNANSWERED =
		8, /* it was asked and gave no sign since; value = age of the question */
	SUSPECT_UNCALLED =
		9, /* a process took a kick and has not called since; value = age of the kick */
	SUSPECT_STOPPED = 10, /* a VMM or back end got a signal that stops it; value = its number */
	SUSPECT_SERVICE = 11, /* a service gave no sign; value = time in which it could have */
	SUSPECT_PART = 12,    /* a part of a service owes work and does none; slot = which part */
	SUSPECT_UNKICKED = 13, /* entries were offered, no kick came, none is taken; value = age */
	SUSPECT_FELL = 14, /* a vCPU met a triple fault, or a service panics; slot = which vCPU */
	SUSPECT_UNCONSUMED =
		15,	     /* it lives, and consumes nothing of a ring; value = since how long */
	SUSPECT_HALTED = 16, /* a vCPU halted with its interrupts off; slot = which vCPU */
	SUSPECT_PANIC = 17,  /* a guest wrote to a serial port that its kernel panics */
	NOTE_VM = 32,	     /* a VM was seen for the first time */
	NOTE_RING = 33,	     /* a ring was seen for the first time */
	NOTE_MODULE = 34,    /* a kernel module was loaded */
};

/* What the ring buffer carries. */
struct suspicion {
	__u64 now_ns;
	__u64 since_ns;
	__u64 value;
	__u32 kind; /* enum suspicion_kind */
	__u32 tgid; /* of the VMM or back end */
	__u32 vm;   /* slot, or NO_SLOT */
	__u32 slot; /* of the vCPU or ring, the number of the part, or NO_SLOT */
};

enum process_kind {
	PROCESS_VMM = 1,
	PROCESS_BACKEND = 2,
};

/* Watched for their exit; the VMMs among them are entered by BPF, back ends by user space. */
struct process {
	__u32 kind; /* enum process_kind */
	__u32 vm;   /* slot, or NO_SLOT */
	__u32 exited;
	__u32 pad;
	__u64 call_ns; /* the last time that it called a guest */
};

/* SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU of the kernel's asm/signal.h */
static __inline int signal_stops(__u32 number)
{
	return number >= 19 && number <= 22;
}

/* Argument of the program `look_at_ring`, which user space runs for its second look. */
struct ring_look {
	__u32 slot;
	__u32 known; /* out: 1 if the ring is still the one in the cell */
};

enum slot_pool {
	POOL_VMS = 0,
	POOL_VCPUS = 1,
	POOL_RINGS = 2,
	NR_POOLS = 3,
};

enum drop {
	DROP_EVENT = 0,	  /* the ring buffer was full */
	DROP_VM_SLOT = 1, /* no free slot */
	DROP_VCPU_SLOT = 2,
	DROP_RING_SLOT = 3,
	DROP_RING_LIST = 4, /* a VM has more rings than its cell lists */
	DROP_TIMER = 5,	    /* a timer could not be set */
	DROP_READ = 6,	    /* memory of the kernel or the VMM could not be read */
	DROP_MAP = 7,	    /* a map entry could not be made */
	NR_DROPS = 8,
};

#endif /* OBSERVER_CELLS_H */
