/* SPDX-License-Identifier: Apache-2.0 */
/* load: what a Linux guest of an experiment does, and what it saw.
 *
 *     load PEER PERIOD_US [DISK]
 *
 * It sends numbered datagrams and one TCP stream to PEER, takes the datagrams that come from there,
 * and writes numbered blocks to DISK, each read back at once.  Whoever connects to its port of
 * records and says a byte gets all that it saw since the last one, each with its time; after an 'n'
 * it begins its TCP stream anew. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { DATAGRAMS = 4711, STREAM = 4712, RECORDS = 4713 }; /* ports */
enum kind { TOOK, WROTE, IO_ERROR, WRONG_BLOCK, BROKEN };

#define MAX_RECORDS   (1 << 18)
#define STREAM_BYTES  64  /* of the TCP stream, each period */
#define STREAM_PERIOD 251 /* byte k of it is k % 251 */
#define BLOCK_BYTES   4096
#define BLOCKS	      64
#define BLOCK_PAUSE   10000 /* us */
#define NS	      1000000000LL

struct record {
	uint32_t kind, number;
	uint64_t ns;
} __attribute__((packed));

static struct record records[MAX_RECORDS];
static uint32_t nr_records;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS + t.tv_nsec;
}

static void note(enum kind kind, uint32_t number)
{
	pthread_mutex_lock(&lock);
	if (nr_records < MAX_RECORDS)
		records[nr_records++] = (struct record){ kind, number, now_ns() };
	pthread_mutex_unlock(&lock);
}

static void require(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "load failed: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_in at(const char *address, uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	require(inet_pton(AF_INET, address, &a.sin_addr) == 1, address);
	return a;
}

/* -- the disk -------------------------------------------------------------------------------- */

static void fill(char *block, uint32_t number)
{
	for (uint32_t *word = (void *)block, k = 0; k < BLOCK_BYTES / 4; k++)
		word[k] = htonl(number ^ k << 16);
}

static void *write_blocks(void *disk)
{
	int fd = open(disk, O_RDWR | O_DIRECT);
	char *block, wanted[BLOCK_BYTES];

	require(fd >= 0, disk);
	require(!posix_memalign((void **)&block, BLOCK_BYTES, BLOCK_BYTES), "memory");
	for (uint32_t number = 0;; number++) {
		off_t place = number * 7ULL % BLOCKS * BLOCK_BYTES;
		fill(wanted, number);
		memcpy(block, wanted, BLOCK_BYTES);
		if (pwrite(fd, block, BLOCK_BYTES, place) != BLOCK_BYTES ||
		    pread(fd, block, BLOCK_BYTES, place) != BLOCK_BYTES)
			note(IO_ERROR, number);
		else
			note(memcmp(block, wanted, BLOCK_BYTES) ? WRONG_BLOCK : WROTE, number);
		usleep(BLOCK_PAUSE);
	}
	return 0;
}

/* -- the network ----------------------------------------------------------------------------- */

static bool tell_records(int listener)
{
	struct timeval patience = { .tv_sec = 5 };
	int wire = accept4(listener, 0, 0, SOCK_CLOEXEC);
	uint64_t head[2];
	char word = 0;

	if (wire < 0)
		return false;
	setsockopt(wire, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(wire, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (recv(wire, &word, 1, 0) != 1) {
		close(wire);
		return false;
	}
	pthread_mutex_lock(&lock);
	head[0] = now_ns();
	head[1] = nr_records;
	size_t bytes = nr_records * sizeof(*records);
	char *copy = malloc(sizeof(head) + bytes);
	memcpy(copy, head, sizeof(head));
	memcpy(copy + sizeof(head), records, bytes);
	nr_records = 0;
	pthread_mutex_unlock(&lock);
	for (size_t done = 0; done < sizeof(head) + bytes;) {
		ssize_t n = send(wire, copy + done, sizeof(head) + bytes - done, MSG_NOSIGNAL);
		if (n <= 0)
			break;
		done += n;
	}
	free(copy);
	close(wire);
	return word == 'n';
}

static int connected(const struct sockaddr_in *peer)
{
	int wire = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	require(wire >= 0, "socket");
	connect(wire, (const void *)peer, sizeof(*peer));
	return wire;
}

static uint64_t push(int wire, uint64_t pushed)
{
	uint8_t bytes[STREAM_BYTES];

	for (uint32_t k = 0; k < STREAM_BYTES; k++)
		bytes[k] = (pushed + k) % STREAM_PERIOD;
	ssize_t n = send(wire, bytes, STREAM_BYTES, MSG_NOSIGNAL | MSG_DONTWAIT);
	return n > 0 ? n : 0;
}

static int is_broken(int wire)
{
	int error = 0;
	socklen_t length = sizeof(error);

	getsockopt(wire, SOL_SOCKET, SO_ERROR, &error, &length);
	return error != 0;
}

static int listening(uint16_t port)
{
	struct sockaddr_in here = at("0.0.0.0", port);
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	require(!bind(listener, (void *)&here, sizeof(here)) && !listen(listener, 4), "records");
	return listener;
}

int main(int argc, char **argv)
{
	require(argc >= 3, "load PEER PERIOD_US [DISK]");
	struct sockaddr_in peer = at(argv[1], DATAGRAMS), sink = at(argv[1], STREAM);
	struct sockaddr_in here = at("0.0.0.0", DATAGRAMS);
	long long period = atoll(argv[2]) * 1000;
	struct timespec tick = { period / NS, period % NS };
	struct itimerspec beat = { tick, tick };
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	int datagrams = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int records_port = listening(RECORDS), stream = connected(&sink);
	int room = 16 << 20; /* for all that waits somewhere, and comes at once */
	bool begin_anew = false;
	uint64_t pushed = 0;
	pthread_t writer;

	setsockopt(datagrams, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	setsockopt(datagrams, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	require(!bind(datagrams, (void *)&here, sizeof(here)), "bind");
	timerfd_settime(timer, 0, &beat, 0);
	if (argc > 3)
		require(!pthread_create(&writer, 0, write_blocks, argv[3]), "thread");
	for (uint32_t number = 0;;) {
		struct pollfd wanted[] = { { timer, POLLIN, 0 },
					   { datagrams, POLLIN, 0 },
					   { records_port, POLLIN, 0 } };
		uint64_t beats;
		uint32_t took;
		poll(wanted, 3, -1);
		if (wanted[0].revents && read(timer, &beats, sizeof(beats)) > 0) {
			uint32_t said = htonl(number);
			number += sendto(datagrams, &said, sizeof(said), MSG_DONTWAIT,
					 (void *)&peer, sizeof(peer)) == sizeof(said);
			if (is_broken(stream)) {
				note(BROKEN, 0);
				begin_anew = true;
			}
			if (begin_anew) {
				close(stream);
				stream = connected(&sink);
				pushed = 0;
				begin_anew = false;
			}
			pushed += push(stream, pushed);
		}
		while (recv(datagrams, &took, sizeof(took), MSG_DONTWAIT) == sizeof(took))
			note(TOOK, ntohl(took));
		if (wanted[2].revents)
			begin_anew |= tell_records(records_port);
	}
}
