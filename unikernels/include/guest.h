/* SPDX-License-Identifier: Apache-2.0 */
/* guest.h: what each image is: a name, and what it does. */
#ifndef GUEST_H
#define GUEST_H

#include "types.h"

/* What the host told us at the start; the words live as long as the guest. */
struct boot {
	const char *words; /* the command line */
	u64 free_start, free_end;
};

/* Each image defines it.  It does not return. */
void guest_main(const struct boot *boot);

#endif /* GUEST_H */
