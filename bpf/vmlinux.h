/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* vmlinux.h: the few kernel types that our programs read, with the few fields that they read.
 *
 * Kept by hand, so that the build needs no BTF and a reader sees what we depend on.  Offsets here
 * mean nothing: preserve_access_index makes libbpf put in those of the running kernel.  A ___suffix
 * names one of several layouts of the same type; core_fixes.h chooses. */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s64 s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;
#define true 1
#define false 0

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_QUEUE = 22,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_EXIST = 2,
	BPF_F_NO_PREALLOC = 1,
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_F_MMAPABLE = 1024,
};

struct bpf_timer {
	__u64 opaque[2];
} __attribute__((aligned(8)));

/* What the BPF_PROG macros need. */
struct pt_regs {
	unsigned long di, si, dx, cx, r8, r9, ax, sp, ip, bp;
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next, *prev;
};

struct wait_queue_head {
	struct list_head head;
};

struct wait_queue_entry {
	struct list_head entry;
};

/* kernel/sched */
struct sched_entity {
	u64 sum_exec_runtime;
};

struct sched_info {
	unsigned long pcount;
	unsigned long long run_delay;
	unsigned long long last_queued;
};

struct rq {
	u64 clock;
};

struct thread_info {
	u32 cpu;
};

struct signal_struct {
	int group_exit_code;
	unsigned int flags;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct {
	struct files_struct *files;
	struct thread_info thread_info;
	unsigned int __state;
	int on_cpu;
	struct sched_entity se;
	struct sched_info sched_info;
	int exit_code;
	int pid, tgid;
	struct signal_struct *signal;
};

/* fs/eventfd.c, include/linux/fs.h */
struct eventfd_ctx {
	struct wait_queue_head wqh;
	u64 count;
	int id;
};

struct file {
	void *private_data;
};

/* virt/kvm, arch/x86/kvm */
struct kvm_arch {
	bool hlt_in_guest;
};

struct kvm {
	struct kvm_arch arch;
};

struct kvm_vcpu_arch {
	bool guest_state_protected;
};

struct kvm_vcpu {
	struct kvm *kvm;
	int vcpu_id;
	struct kvm_vcpu_arch arch;
};

struct kvm_io_device {
	void *ops;
};

struct _ioeventfd {
	struct eventfd_ctx *eventfd;
	u64 datamatch;
	struct kvm_io_device dev;
};

struct vmcb_control_area {
	u32 exit_code;
};

struct vmcb_save_area {
	u64 rflags;
	u64 rip;
};

struct vmcb {
	struct vmcb_control_area control;
	struct vmcb_save_area save;
};

struct vcpu_svm {
	struct vmcb *vmcb;
};

union vmx_exit_reason {
	u32 full;
};

struct vcpu_vmx {
	union vmx_exit_reason exit_reason;
};

/* drivers/vhost/vhost.h */
struct vhost_dev {
	struct vhost_virtqueue **vqs;
	int nvqs;
};

struct vhost_poll {
	struct wait_queue_head *wqh;
	struct wait_queue_entry wait;
};

struct vhost_vring_call {
	struct eventfd_ctx *ctx;
};

struct vhost_virtqueue {
	struct vhost_dev *dev;
	unsigned int num;
	void *avail, *used;
	struct file *kick;
	struct vhost_vring_call call_ctx;
	struct vhost_poll poll;
	u16 last_avail_idx, last_used_idx;
	u16 used_flags;
	void *private_data;
	u64 acked_features;
};

#pragma clang attribute pop

#endif /* __VMLINUX_H__ */
