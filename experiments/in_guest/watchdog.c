/* SPDX-License-Identifier: Apache-2.0 */
/* watchdog: looks at a Linux guest from within, and tells the host what it finds.
 *
 *     watchdog [beat-ms=50] [cpu-ms=500] [disk=/dev/vda] [disk-ms=500] [peer=ADDRESS] [net-ms=500]
 *              [measure=on]
 *
 * Each CPU has a thread that beats, and that looks at the others' beats, at the oldest read of the
 * disk and at the oldest ping: so whichever CPUs are left tell of those that are not.  Between two
 * looks no more than a period counts: if more passed the whole guest may have been stopped. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "options.h"
#include "ping.h"
#include "report.h"

#define MAX_CPUS      64
#define STACK_BYTES   (64 << 10)
#define BLOCK_BYTES   4096
#define PROBE_NS      (100 * NS_PER_MS) /* between two reads, and between two pings */
#define LOOKS	      2			/* that have to agree */
#define HOME_CPU      0			/* where the guest itself does what has to last */
#define MEASURE_BEATS 40

/* Something that has to go on, and since when it has not; 0: nothing is due. */
struct duty {
	uint64_t what, which, limit_ns;
	_Atomic uint64_t since_ns;
	_Atomic uint64_t told_ns;    /* of which failure it was told last: when that began */
	_Atomic uint64_t longest_ns; /* that any thread counted */
} __attribute__((aligned(64)));

static struct duty cpus[MAX_CPUS], disk, net;
static int nr_cpus;
static uint64_t beat_ns;
static bool measures;

/* -- looking --------------------------------------------------------------------------------- */

/* What one thread knows of one duty. */
struct look {
	struct duty *duty;
	uint64_t since_ns, age_ns;
	int overdue; /* looks in a row */
};

static void look_at(struct look *look, uint64_t step_ns, uint64_t now)
{
	struct duty *duty = look->duty;
	uint64_t since = duty->since_ns;

	if (since != look->since_ns || !since)
		look->age_ns = 0;
	look->since_ns = since;
	if (!since || now <= since) {
		look->overdue = 0;
		return;
	}
	look->age_ns += now - since < step_ns ? now - since : step_ns;
	if (look->age_ns > duty->longest_ns)
		duty->longest_ns = look->age_ns;
	if (look->age_ns <= duty->limit_ns)
		look->overdue = 0;
	else if (++look->overdue >= LOOKS && atomic_exchange(&duty->told_ns, since) != since)
		report(duty->what, duty->which, now - since);
}

/* A CPU that is late may be the one that the disk and the network interrupt: it alone is to blame,
 * and gets half of its limit as a start. */
static void look_at_all(struct look *looks, int nr_looks, uint64_t step_ns, uint64_t now)
{
	bool excused = false;

	for (int k = 0; k < nr_looks; k++) {
		struct look *look = &looks[k];
		bool is_cpu = look->duty->what == ABI_REPORT_VCPU;
		if (excused && !is_cpu)
			look->age_ns = 0;
		else
			look_at(look, step_ns, now);
		excused |= is_cpu && look->age_ns > look->duty->limit_ns / 2;
	}
}

static void tell_longest(void)
{
	uint64_t longest = 0;

	for (int k = 0; k < nr_cpus; k++) {
		uint64_t ns = atomic_exchange(&cpus[k].longest_ns, 0);
		longest = ns > longest ? ns : longest;
	}
	printf("watchdog cpu=%.1f disk=%.1f net=%.1f ms\n", (double)longest / NS_PER_MS,
	       (double)atomic_exchange(&disk.longest_ns, 0) / NS_PER_MS,
	       (double)atomic_exchange(&net.longest_ns, 0) / NS_PER_MS);
}

static void *watch(void *own)
{
	struct duty *mine = own;
	struct look looks[MAX_CPUS + 2] = {};
	int nr_looks = 0, beats = 0;
	uint64_t next = now_ns(), last = next;

	for (int k = 0; k < nr_cpus; k++)
		if (&cpus[k] != mine)
			looks[nr_looks++].duty = &cpus[k];
	looks[nr_looks++].duty = &disk;
	looks[nr_looks++].duty = &net;
	for (;;) {
		next += beat_ns;
		sleep_until(next);
		uint64_t now = now_ns();
		if (now - next > beat_ns)
			next = now;
		mine->since_ns = now;
		look_at_all(looks, nr_looks, now - last < beat_ns ? now - last : beat_ns, now);
		last = now;
		if (measures && mine == &cpus[HOME_CPU] && ++beats % MEASURE_BEATS == 0)
			tell_longest();
	}
	return NULL;
}

/* -- the disk and the network ---------------------------------------------------------------- */

static void *read_disk(void *path)
{
	static char block[BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));
	int file = open(path, O_RDONLY | O_DIRECT);

	if (file < 0) {
		perror(path);
		return NULL;
	}
	for (;;) {
		if (!disk.since_ns)
			disk.since_ns = now_ns();
		if (pread(file, block, sizeof(block), 0) == sizeof(block))
			disk.since_ns = 0; /* else it lasts until one does not fail */
		sleep_until(now_ns() + PROBE_NS);
	}
	return NULL;
}

static void *ping(void *address)
{
	struct peer peer;

	if (!open_peer(&peer, address)) {
		perror(address);
		return NULL;
	}
	for (;;) {
		uint64_t began = now_ns();
		net.since_ns = began;
		round_trip(&peer);
		net.since_ns = 0;
		sleep_until(began + PROBE_NS);
	}
	return NULL;
}

/* -- life ------------------------------------------------------------------------------------ */

static void start(void *(*run)(void *), void *argument, int cpu)
{
	pthread_attr_t attributes;
	pthread_t thread;

	urgent_on(&attributes, cpu, STACK_BYTES);
	if (pthread_create(&thread, &attributes, run, argument)) {
		fputs("watchdog: a thread cannot be started\n", stderr);
		exit(1);
	}
}

int main(int count, char **arguments)
{
	char *peer = option(arguments, "peer", NULL);
	uint64_t limit_ns = ms_option(arguments, "cpu-ms", "500"), now = now_ns();

	(void)count;
	setvbuf(stdout, NULL, _IOLBF, 0);
	measures = !strcmp(option(arguments, "measure", "off"), "on");
	beat_ns = ms_option(arguments, "beat-ms", "50");
	nr_cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	if (!beat_ns || nr_cpus > MAX_CPUS || mlockall(MCL_CURRENT | MCL_FUTURE)) {
		fputs("watchdog: it has no period, too many CPUs, or no right to lock memory\n",
		      stderr);
		return 1;
	}
	for (int k = 0; k < nr_cpus; k++)
		cpus[k] = (struct duty){ ABI_REPORT_VCPU, (uint64_t)k, limit_ns, now, 0, 0 };
	disk.what = ABI_REPORT_DISK;
	disk.limit_ns = ms_option(arguments, "disk-ms", "500");
	net.what = ABI_REPORT_NET;
	net.limit_ns = ms_option(arguments, "net-ms", "500");
	for (int k = 0; k < nr_cpus; k++)
		start(watch, &cpus[k], k);
	start(read_disk, option(arguments, "disk", "/dev/vda"), HOME_CPU);
	if (peer)
		start(ping, peer, HOME_CPU);
	pause();
	return 0;
}
