/* SPDX-License-Identifier: Apache-2.0 */
/* watchdog.h: a watchdog that lives in the service itself, for comparison: `watchdog.ms=20`.
 *
 * A part that owes work and does none for so long is reported.  It is a part of the loop, so what
 * ends the loop ends it, too. */
#ifndef WATCHDOG_H
#define WATCHDOG_H

#include "beat.h"
#include "types.h"

struct watchdog {
	u64 limit_ns; /* 0: there is none */
	struct {
		u32 done; /* when it was looked at last */
		u64 since_ns;
		bool told;
	} parts[ABI_MAX_PARTS];
};

void start_watchdog(struct watchdog *watchdog, const char *words, u64 now);

/* Reports, by hypercall or by a line on the control port, what has been owed for too long: once,
 * and anew only after the part did something. */
void look_at_parts(struct watchdog *watchdog, const struct heart *heart, struct control *control,
		   u64 now);

#endif /* WATCHDOG_H */
