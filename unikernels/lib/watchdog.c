/* SPDX-License-Identifier: Apache-2.0 */
#include "watchdog.h"

#include "clock.h"
#include "cmdline.h"
#include "control.h"
#include "hypercall.h"

#define MS	     1000000ull
#define SERVICE_BITS 8

void start_watchdog(struct watchdog *watchdog, const char *words, u64 now)
{
	*watchdog = (struct watchdog){ .limit_ns = number_option(words, "watchdog.ms", 0) * MS };
	for (u32 k = 0; k < ABI_MAX_PARTS; k++)
		watchdog->parts[k].since_ns = now;
}

static void say(const struct heart *heart, struct control *control, u32 part, u64 age_ms)
{
	u64 which = (u64)heart->service << SERVICE_BITS | part;

	if (under_kvm())
		hypercall(ABI_HYPERCALL_REPORT, ABI_REPORT_PART, which, age_ms, 0);
	else
		control_say(control, "report %u %lx %lu", ABI_REPORT_PART, which, age_ms);
}

void look_at_parts(struct watchdog *watchdog, const struct heart *heart, struct control *control,
		   u64 now)
{
	for (u32 k = 0; watchdog->limit_ns && k < heart->nr_parts; k++) {
		const struct part *part = &heart->parts[k];
		bool owes = part->given != part->done;
		if (!owes || part->done != watchdog->parts[k].done) {
			watchdog->parts[k].done = part->done;
			watchdog->parts[k].since_ns = now;
			watchdog->parts[k].told = false;
		} else if (now - watchdog->parts[k].since_ns > watchdog->limit_ns &&
			   !watchdog->parts[k].told) {
			watchdog->parts[k].told = true;
			say(heart, control, k, (now - watchdog->parts[k].since_ns) / MS);
		}
	}
}
