/* SPDX-License-Identifier: Apache-2.0 */
/* ivshmem.h: the memory of another VM, for us to read (QEMU's docs/specs/ivshmem-spec.rst). */
#ifndef IVSHMEM_H
#define IVSHMEM_H

#include "types.h"

struct ivshmem {
	const u8 *bytes; /* NULL: there is none */
	size_t size;
};

/* The last one there is, where there is any. */
struct ivshmem find_ivshmem(const char *words);

#endif /* IVSHMEM_H */
