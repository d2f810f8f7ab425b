/* SPDX-License-Identifier: Apache-2.0 */
/* When a beat is due: the host sees other signs of life, and does not see the parts inside. */
#include "beat.h"
#include "clock.h"
#include "cmdline.h"
#include "control.h"
#include "hypercall.h"
#include "report.h"

#define MS 1000000ull

static u32 beats;

bool under_kvm(void)
{
	return false;
}

u64 hypercall(u64 number, u64 a0, u64 a1, u64 a2, u64 a3)
{
	(void)number, (void)a0, (void)a1, (void)a2, (void)a3;
	return 0;
}

u64 number_option(const char *words, const char *key, u64 otherwise)
{
	(void)words, (void)key;
	return otherwise;
}

void control_say(struct control *control, const char *format, ...)
{
	(void)control, (void)format;
	beats++;
}

/* A second in steps of a millisecond, in which each gives another sign of life. */
static u32 beats_in_a_second(struct heart *heart, u64 *now)
{
	u32 before = beats;

	for (u32 k = 0; k < 1000; k++) {
		*now += MS;
		note_sign(heart, *now);
		if (beat_is_due(heart, *now))
			beat(heart, NULL, *now);
	}
	return beats - before;
}

int main(void)
{
	struct heart heart;
	u64 now = 1000 * MS;

	start_heart(&heart, ABI_SERVICE_NET, 2, "", now);
	check("none while it gives other signs", !beats_in_a_second(&heart, &now));
	heart.parts[1].given++;
	check("one a period while a part owes work",
	      beats_in_a_second(&heart, &now) == 1000 / ABI_BEAT_PERIOD_MS);
	heart.parts[1].done++;
	check("one more when it does no longer", beats_in_a_second(&heart, &now) == 1);
	check("and then none", !beats_in_a_second(&heart, &now));
	now += ABI_BEAT_VALID_MS * MS;
	check("one is due when it gave no other sign", beat_is_due(&heart, now));
	return report_summary();
}
