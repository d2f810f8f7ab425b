/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* vcpus.bpf.h: the vCPUs' cells, and which is whose. */
#ifndef OBSERVER_VCPUS_BPF_H
#define OBSERVER_VCPUS_BPF_H

#include "books.bpf.h"

SHARED_ARRAY(vcpus, struct vcpu_cell, MAX_VCPUS, BPF_F_MMAPABLE);
SHARED_HASH(vcpu_by_tid, u32, u32, MAX_VCPUS);

#endif /* OBSERVER_VCPUS_BPF_H */
