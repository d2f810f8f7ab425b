/* SPDX-License-Identifier: Apache-2.0 */
/* orbit: a server in a Linux guest, and its observer in an address space of its own.
 *
 *     orbit [period-ms=10] [limit-ms=500] [disk=/dev/vda] [disk-ms=500] [peer=ADDRESS]
 *           [net-ms=500] [measure=on]
 *
 * The server is a master with its state and workers with a board in shared memory, as nginx and
 * Apache have it.  A check is a fork of the master: the child has the state as it was at that
 * moment, by copy on write, looks for workers that got no further, and may die or hang as it likes.
 * What it has to remember it pushes back through a pipe, and only whole. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "options.h"
#include "ping.h"
#include "report.h"

#define MAX_CPUS    64
#define MAX_WORKERS (MAX_CPUS + 2) /* the disk's, and the network's */
#define BLOCK_BYTES 4096
#define LOOKS	    2  /* that have to agree */
#define CALLS	    20 /* of which a median is taken */
#define SHARE	    20 /* checks cost at most one part in so many of a CPU */
#define DEADLINE_MS 500
#define HOME_CPU    0 /* where the guest itself does what has to last */
#define NOBODY	    (-1)

/* -- the server: a board that all write, the master's state, and workers ----------------------- */

struct slot {
	_Atomic uint64_t done;
	atomic_bool at_lock;
	sem_t work;
};

static struct board {
	struct slot slots[MAX_WORKERS];
	pthread_mutex_t lock;
	_Atomic int holder;
	uint64_t table[BLOCK_BYTES / sizeof(uint64_t)];
} * board;

/* What the master knows of a worker; of the board it is what stood there at the last call. */
static struct worker {
	uint64_t what, which, limit_ns;
	uint64_t given, given_ns, done;
	bool at_lock;
} workers[MAX_WORKERS];
static int nr_workers, holder;

static void update_table(int k)
{
	board->slots[k].at_lock = true;
	pthread_mutex_lock(&board->lock);
	board->holder = k;
	board->slots[k].at_lock = false;
	for (size_t n = 0; n < sizeof(board->table) / sizeof(*board->table); n++)
		board->table[n] += n;
	board->holder = NOBODY;
	pthread_mutex_unlock(&board->lock);
}

static void read_disk(int file, uint64_t again_ns)
{
	static char block[BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));

	while (pread(file, block, sizeof(block), 0) != sizeof(block))
		sleep_until(now_ns() + again_ns);
}

/* `place` is where its disk or its peer is. */
static _Noreturn void work(int k, const char *place)
{
	bool reads = workers[k].what == ABI_REPORT_DISK, pings = workers[k].what == ABI_REPORT_NET;
	int file = reads ? open(place, O_RDONLY | O_DIRECT) : -1;
	struct peer peer;

	if ((reads && file < 0) || (pings && !open_peer(&peer, place))) {
		perror(place);
		_exit(1);
	}
	for (;;) {
		while (sem_wait(&board->slots[k].work))
			;
		if (reads)
			read_disk(file, workers[k].limit_ns);
		else if (pings)
			round_trip(&peer);
		else
			update_table(k);
		board->slots[k].done++;
	}
}

/* The board is shared, and would change under a check. */
static void read_board(void)
{
	for (int k = 0; k < nr_workers; k++) {
		workers[k].done = board->slots[k].done;
		workers[k].at_lock = board->slots[k].at_lock;
	}
	holder = board->holder;
}

/* A worker gets more only when it has done what it was given. */
static void give_work(void)
{
	for (int k = 0; k < nr_workers; k++)
		if (workers[k].given == board->slots[k].done) {
			workers[k].given_ns = now_ns();
			workers[k].given++;
			sem_post(&board->slots[k].work);
		}
}

/* -- the observer: what it has found before, and one check ------------------------------------- */

struct memory {
	uint64_t checks, last_ns;
	uint64_t given[MAX_WORKERS], age_ns[MAX_WORKERS]; /* the work that was owed, for how long */
	uint64_t told[MAX_WORKERS];			  /* the work that was reported last */
	uint8_t looks[MAX_WORKERS];			  /* in a row that found it overdue */
};
_Static_assert(sizeof(struct memory) <= PIPE_BUF, "a pipe takes it whole");

static struct memory memory;
static uint64_t period_ns;
static volatile sig_atomic_t broken; /* by which signal the next check is, for tests */

/* By half of its limit, for a start. */
static bool is_a_cpu_late(void)
{
	for (int k = 0; k < nr_workers; k++)
		if (workers[k].what == ABI_REPORT_VCPU &&
		    memory.age_ns[k] > workers[k].limit_ns / 2)
			return true;
	return false;
}

/* Who waits for a lock that another one has is not to blame, nor a disk or a network while a CPU
 * is late that they may interrupt. */
static bool is_blameless(const struct worker *worker)
{
	if (worker->what != ABI_REPORT_VCPU)
		return is_a_cpu_late();
	return worker->at_lock && holder != NOBODY && &workers[holder] != worker;
}

/* No more than a period counts: if more passed the whole guest may have been stopped. */
static void check_worker(int k, uint64_t step_ns)
{
	const struct worker *worker = &workers[k];

	if (worker->given == worker->done || worker->given != memory.given[k] ||
	    is_blameless(worker))
		memory.age_ns[k] = 0;
	memory.given[k] = worker->given;
	if (worker->given == worker->done)
		return;
	memory.age_ns[k] += step_ns;
	if (memory.age_ns[k] <= worker->limit_ns)
		memory.looks[k] = 0;
	else if (memory.looks[k] < LOOKS)
		memory.looks[k]++;
	if (memory.looks[k] < LOOKS || memory.told[k] == worker->given)
		return;
	memory.told[k] = worker->given;
	report(worker->what, worker->which, memory.last_ns - worker->given_ns);
}

static void break_next(int number)
{
	broken = number;
}

/* In the child: `now` is when the state was as it is seen.  Broken by SIGUSR1 it dies, by SIGUSR2
 * it hangs. */
static _Noreturn void check(int to, uint64_t now, int broken_by)
{
	uint64_t step_ns = now - memory.last_ns;

	memory.checks++;
	memory.last_ns = now;
	if (broken_by == SIGUSR1)
		*(volatile int *)NULL = 0;
	while (broken_by == SIGUSR2)
		pause();
	for (int k = 0; k < nr_workers; k++)
		check_worker(k, step_ns < period_ns ? step_ns : period_ns);
	_exit(write(to, &memory, sizeof(memory)) != sizeof(memory));
}

/* What the check pushed; one that did not is taken for dead, and killed if it is not. */
static void take_memory(int from, pid_t child)
{
	struct pollfd readable = { .fd = from, .events = POLLIN };
	struct memory pushed;
	int status, ready;

	do
		ready = poll(&readable, 1, DEADLINE_MS);
	while (ready < 0 && errno == EINTR);
	if (ready < 1)
		kill(child, SIGKILL);
	bool whole = read(from, &pushed, sizeof(pushed)) == sizeof(pushed);
	while (waitpid(child, &status, 0) < 0)
		;
	if (whole) {
		memory = pushed;
		return;
	}
	memory.checks++;
	printf("orbit check %lu ended by signal %d\n", memory.checks, WTERMSIG(status));
}

/* One call of the observer; how long the server's thread itself was held up. */
static uint64_t call_observer(void)
{
	uint64_t began = now_ns();
	int ends[2];

	if (pipe(ends))
		return 0;
	read_board();
	int broken_by = broken;
	broken = 0;
	pid_t child = fork();
	if (!child)
		check(ends[1], began, broken_by);
	uint64_t forked = now_ns();
	close(ends[1]);
	if (child > 0)
		take_memory(ends[0], child);
	close(ends[0]);
	return forked - began;
}

/* -- what it costs ----------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static uint64_t cpu_ns(void)
{
	struct rusage us, children;

	getrusage(RUSAGE_THREAD, &us);
	getrusage(RUSAGE_CHILDREN, &children);
	uint64_t seconds = (uint64_t)(us.ru_utime.tv_sec + us.ru_stime.tv_sec +
				      children.ru_utime.tv_sec + children.ru_stime.tv_sec);
	uint64_t micros = (uint64_t)(us.ru_utime.tv_usec + us.ru_stime.tv_usec +
				     children.ru_utime.tv_usec + children.ru_stime.tv_usec);
	return seconds * 1000000000 + micros * 1000;
}

/* CPU time of a check; prints what a call takes, until the child is made and until it has ended. */
static uint64_t measure(size_t mib)
{
	uint64_t fork_ns[CALLS], call_ns[CALLS], before = cpu_ns();

	for (int k = 0; k < CALLS; k++) {
		uint64_t began = now_ns();
		fork_ns[k] = call_observer();
		call_ns[k] = now_ns() - began;
	}
	uint64_t used = (cpu_ns() - before) / CALLS;
	qsort(fork_ns, CALLS, sizeof(*fork_ns), ascending);
	qsort(call_ns, CALLS, sizeof(*call_ns), ascending);
	printf("orbit state_mib=%zu fork_us=%.1f call_us=%.1f cpu_us=%.1f\n", mib,
	       (double)fork_ns[CALLS / 2] / 1e3, (double)call_ns[CALLS / 2] / 1e3,
	       (double)used / 1e3);
	return used;
}

/* The same with so much more state, in pages of 4 KiB. */
static void measure_with(size_t mib)
{
	char *state =
		mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (state == MAP_FAILED)
		return;
	madvise(state, mib << 20, MADV_NOHUGEPAGE);
	memset(state, 1, mib << 20);
	measure(mib);
	munmap(state, mib << 20);
}

/* -- life -------------------------------------------------------------------------------------- */

static bool make_board(void)
{
	pthread_mutexattr_t shared;

	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (board == MAP_FAILED)
		return false;
	pthread_mutexattr_init(&shared);
	pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&board->lock, &shared);
	board->holder = holder = NOBODY;
	return true;
}

/* A process, and not a thread: a fork waits for each CPU that has run the forking one's memory to
 * flush its TLB (dup_mmap in kernel/fork.c), and would wait for one that is lost for ever. */
static bool start_worker(uint64_t what, int cpu, uint64_t limit_ns, const char *place)
{
	int k = nr_workers++;
	pid_t master = getpid();

	workers[k] = (struct worker){ .what = what,
				      .which = what == ABI_REPORT_VCPU ? (uint64_t)cpu : 0,
				      .limit_ns = limit_ns };
	sem_init(&board->slots[k].work, 1, 0);
	pid_t child = fork();
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != master || !become_urgent(cpu))
			_exit(1);
		work(k, place);
	}
	return child > 0;
}

static _Noreturn void check_for_ever(void)
{
	for (uint64_t next = now_ns();;) {
		next += period_ns;
		sleep_until(next);
		if (now_ns() - next > period_ns)
			next = now_ns();
		call_observer();
		give_work();
	}
}

int main(int count, char **arguments)
{
	uint64_t limit_ns = ms_option(arguments, "limit-ms", "500");
	uint64_t disk_ns = ms_option(arguments, "disk-ms", "500");
	uint64_t net_ns = ms_option(arguments, "net-ms", "500");
	const char *peer = option(arguments, "peer", NULL);
	int nr_cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);

	period_ns = ms_option(arguments, "period-ms", "10");
	bool begun = period_ns && nr_cpus <= MAX_CPUS && become_urgent(HOME_CPU) && make_board();

	(void)count;
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGUSR1, SIG_IGN); /* workers are nobody's observer */
	signal(SIGUSR2, SIG_IGN);
	for (int k = 0; begun && k < nr_cpus; k++)
		begun = start_worker(ABI_REPORT_VCPU, k, limit_ns, NULL);
	if (!begun ||
	    !start_worker(ABI_REPORT_DISK, HOME_CPU, disk_ns,
			  option(arguments, "disk", "/dev/vda")) ||
	    (peer && !start_worker(ABI_REPORT_NET, HOME_CPU, net_ns, peer))) {
		fputs("orbit: it has no period, too many CPUs, or no right to real time\n", stderr);
		return 1;
	}
	signal(SIGUSR1, break_next);
	signal(SIGUSR2, break_next);
	uint64_t used = measure(0);
	if (!strcmp(option(arguments, "measure", "off"), "on"))
		measure_with(64);
	if (period_ns < used * SHARE)
		period_ns = used * SHARE;
	printf("orbit checks every %.1f ms\n", (double)period_ns / NS_PER_MS);
	check_for_ever();
}
