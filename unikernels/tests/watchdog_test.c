/* SPDX-License-Identifier: Apache-2.0 */
/* When a service reports a part of its own: it owes for too long, and once. */
#include "clock.h"
#include "cmdline.h"
#include "control.h"
#include "hypercall.h"
#include "report.h"
#include "watchdog.h"

#define MS	 1000000ull
#define LIMIT_MS 20

static u64 option_value = LIMIT_MS;
static u32 reports;

bool under_kvm(void)
{
	return true;
}

u64 hypercall(u64 number, u64 a0, u64 a1, u64 a2, u64 a3)
{
	(void)a3;
	if (number == ABI_HYPERCALL_REPORT && a0 == ABI_REPORT_PART &&
	    a1 == (ABI_SERVICE_NET << 8 | ABI_NET_NETBACK) && a2 >= LIMIT_MS)
		reports++;
	return 0;
}

u64 number_option(const char *words, const char *key, u64 otherwise)
{
	(void)words, (void)key;
	return option_value ? option_value : otherwise;
}

void control_say(struct control *control, const char *format, ...)
{
	(void)control, (void)format;
}

/* 50 ms in steps of one; how many reports came. */
static u32 reports_in_a_while(struct watchdog *watchdog, struct heart *heart, u64 *now, bool works)
{
	u32 before = reports;

	for (u32 k = 0; k < 50; k++) {
		*now += MS;
		if (works) {
			heart->parts[ABI_NET_NETBACK].given++;
			heart->parts[ABI_NET_NETBACK].done++;
		}
		look_at_parts(watchdog, heart, NULL, *now);
	}
	return reports - before;
}

int main(void)
{
	struct heart heart = { .service = ABI_SERVICE_NET, .nr_parts = 2 };
	struct part *netback = &heart.parts[ABI_NET_NETBACK];
	struct watchdog watchdog;
	u64 now = 1000 * MS;

	start_watchdog(&watchdog, "", now);
	check("none while nothing is owed", !reports_in_a_while(&watchdog, &heart, &now, false));
	netback->given++;
	check("none while it always owes and always works",
	      !reports_in_a_while(&watchdog, &heart, &now, true));
	check("one once it does nothing more",
	      reports_in_a_while(&watchdog, &heart, &now, false) == 1);
	check("no other for the same failure", !reports_in_a_while(&watchdog, &heart, &now, false));
	netback->done++;
	check("none when it is well", !reports_in_a_while(&watchdog, &heart, &now, false));
	netback->given++;
	check("one for the next failure", reports_in_a_while(&watchdog, &heart, &now, false) == 1);
	option_value = 0;
	start_watchdog(&watchdog, "", now);
	check("none without the word", !reports_in_a_while(&watchdog, &heart, &now, false));
	return report_summary();
}
