/* SPDX-License-Identifier: Apache-2.0 */
#include "beat.h"

#include "clock.h"
#include "cmdline.h"
#include "control.h"
#include "hypercall.h"

#define MS 1000000ull

void start_heart(struct heart *heart, u8 service, u8 nr_parts, const char *words, u64 now)
{
	*heart = (struct heart){
		.service = service,
		.nr_parts = nr_parts,
		.period_ns = number_option(words, "beat.ms", ABI_BEAT_PERIOD_MS) * MS,
		.valid_ns = ABI_BEAT_VALID_MS * MS,
		.beat_ns = now,
		.sign_ns = now,
	};
}

static bool owes_work(const struct heart *heart)
{
	for (u32 k = 0; k < heart->nr_parts; k++)
		if (heart->parts[k].given != heart->parts[k].done)
			return true;
	return false;
}

bool beat_is_due(const struct heart *heart, u64 now)
{
	if (now - heart->beat_ns < heart->period_ns)
		return false;
	return owes_work(heart) || heart->owed ||
	       now - heart->sign_ns >= heart->valid_ns - heart->period_ns;
}

void beat(struct heart *heart, struct control *control, u64 now)
{
	u64 who = (u64)heart->service << ABI_BEAT_SERVICE_SHIFT |
		  (u64)heart->nr_parts << ABI_BEAT_PARTS_SHIFT |
		  (u64)ABI_VERSION << ABI_BEAT_VERSION_SHIFT;
	u64 done = 0, given = 0;

	for (u32 k = 0; k < heart->nr_parts; k++) {
		done |= (u64)heart->parts[k].done << 32 * k;
		given |= (u64)heart->parts[k].given << 32 * k;
	}
	heart->owed = owes_work(heart);
	heart->beat_ns = now;
	heart->sign_ns = now;
	if (under_kvm())
		hypercall(ABI_HYPERCALL_BEAT, who, heart->sequence, done, given);
	else
		control_say(control, "beat %lx %lx %lx %lx", who, heart->sequence, done, given);
	heart->sequence++;
}
