/* SPDX-License-Identifier: Apache-2.0 */
/* beat.h: signs of life, by hypercall.
 *
 * The host needs one only when it saw no other: an exit of our own, such as a halt or a kick, is
 * one as well.  What it cannot see are the parts inside, so a beat is made, too, while a part owes
 * work, and once it does no longer. */
#ifndef BEAT_H
#define BEAT_H

#include "guest_abi.h"
#include "types.h"

struct control;

/* Work that a part was given and work that it has done, both counted from the start. */
struct part {
	u32 given, done;
};

struct heart {
	u8 service;
	u8 nr_parts;
	struct part parts[ABI_MAX_PARTS];
	bool owed; /* so said the last beat: that it is no longer so is to be said as well */
	u64 period_ns, valid_ns;
	u64 beat_ns, sign_ns, sequence;
};

void start_heart(struct heart *heart, u8 service, u8 nr_parts, const char *words, u64 now);

/* Another sign of life was given just now. */
static inline void note_sign(struct heart *heart, u64 now)
{
	heart->sign_ns = now;
}

/* Whether a beat is due; without hardware in it, for tests. */
bool beat_is_due(const struct heart *heart, u64 now);

/* Beats by hypercall; where there is no KVM, by a line on the control port. */
void beat(struct heart *heart, struct control *control, u64 now);

#endif /* BEAT_H */
