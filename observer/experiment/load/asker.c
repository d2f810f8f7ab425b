/* SPDX-License-Identifier: Apache-2.0 */
/* asker: the client of the latency-critical pair, on the host.
 *
 *     asker ADDRESS PORT PERIOD_NS FILE
 *
 * It asks by numbered datagrams until one is answered, and says "answered".  Then it asks on a
 * fixed schedule, whatever becomes of the answers.  After SIGTERM it asks no more, waits for what
 * may still come, and writes FILE: the CLOCK_MONOTONIC ns of the first request, the period in ns,
 * the number of requests, and for each how long after the moment at which it was due its answer
 * came, or -1. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#define NS	1000000000LL
#define ROOM	(16 << 20)	  /* bytes, for all that waited in an outage and comes at once */
#define GREETED (200 * 1000000LL) /* ns between two of the datagrams before the first answer */
#define DRAIN	(2 * NS)	  /* that long an answer may come after the last request */
#define GREETER UINT64_MAX	  /* the number of those before the schedule begins */
#define LOST	(-1)

static volatile sig_atomic_t is_over;
static int64_t *latencies;
static uint64_t nr_sent, nr_answered, room_for;

static void end(int number)
{
	(void)number;
	is_over = 1;
}

static void require(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "asker failed: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS + t.tv_nsec;
}

static bool wait_for_answer(int wire, int64_t until)
{
	int64_t left = until - now_ns();
	struct timespec patience = { left / NS, left % NS };
	struct pollfd wanted = { wire, POLLIN, 0 };

	return left > 0 && ppoll(&wanted, 1, &patience, 0) > 0;
}

/* Whether there was a datagram to take; its number. */
static bool take(int wire, uint64_t *number)
{
	return recv(wire, number, sizeof(*number), MSG_DONTWAIT) == sizeof(*number);
}

static void greet(int wire, const struct sockaddr_in *server)
{
	uint64_t greeter = GREETER, number;

	while (!is_over) {
		sendto(wire, &greeter, sizeof(greeter), 0, (void *)server, sizeof(*server));
		wait_for_answer(wire, now_ns() + GREETED);
		if (take(wire, &number))
			break;
	}
	puts("answered");
	fflush(stdout);
}

static void ask(int wire, const struct sockaddr_in *server)
{
	if (nr_sent == room_for) {
		room_for += 1 << 16;
		latencies = realloc(latencies, room_for * sizeof(*latencies));
		require(latencies != 0, "memory");
	}
	latencies[nr_sent] = LOST; /* also where there is no way to the server just now */
	sendto(wire, &nr_sent, sizeof(nr_sent), MSG_DONTWAIT, (void *)server, sizeof(*server));
	nr_sent++;
}

static void take_answers(int wire, int64_t first, int64_t period)
{
	uint64_t number;

	while (take(wire, &number)) {
		if (number >= nr_sent || latencies[number] != LOST)
			continue;
		latencies[number] = now_ns() - (first + (int64_t)number * period);
		nr_answered++;
	}
}

static void write_all(const char *path, int64_t first, int64_t period)
{
	int64_t head[] = { first, period, nr_sent };
	FILE *file = fopen(path, "wb");

	require(file != 0, path);
	require(fwrite(head, sizeof(head), 1, file) == 1, path);
	require(fwrite(latencies, sizeof(*latencies), nr_sent, file) == nr_sent, path);
	require(!fclose(file), path);
}

int main(int argc, char **argv)
{
	require(argc == 5, "asker ADDRESS PORT PERIOD_NS FILE");
	struct sockaddr_in server = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[2])) };
	int wire = socket(AF_INET, SOCK_DGRAM, 0), room = ROOM;
	int64_t period = atoll(argv[3]), first;

	require(inet_pton(AF_INET, argv[1], &server.sin_addr) == 1, argv[1]);
	require(period > 0, argv[3]);
	setsockopt(wire, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	prctl(PR_SET_TIMERSLACK, 1);
	signal(SIGTERM, end);
	greet(wire, &server);
	first = now_ns() + period;
	while (!is_over) {
		int64_t due = first + (int64_t)nr_sent * period;

		if (now_ns() >= due)
			ask(wire, &server);
		else
			wait_for_answer(wire, due);
		take_answers(wire, first, period);
	}
	for (int64_t until = now_ns() + DRAIN; nr_answered < nr_sent && now_ns() < until;) {
		wait_for_answer(wire, until);
		take_answers(wire, first, period);
	}
	write_all(argv[4], first, period);
	return 0;
}
