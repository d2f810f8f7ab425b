/* SPDX-License-Identifier: Apache-2.0 */
/* echo: the server of the latency-critical pair, in the guest.
 *
 *     echo PORT ROUNDS
 *
 * It sends each datagram back where it came from, after so many rounds of arithmetic, which stand
 * for the work that a request is. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ROOM (16 << 20) /* bytes, for all that waited in an outage and comes at once */

static void require(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "echo failed: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint32_t work(uint32_t seed, long rounds)
{
	for (long k = 0; k < rounds; k++)
		seed = (seed ^ k) * 16777619;
	return seed;
}

int main(int argc, char **argv)
{
	require(argc == 3, "echo PORT ROUNDS");
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])) }, peer;
	int wire = socket(AF_INET, SOCK_DGRAM, 0), room = ROOM;
	long rounds = atol(argv[2]);
	volatile uint32_t result;
	char datagram[2048];

	setsockopt(wire, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	setsockopt(wire, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	require(!bind(wire, (void *)&here, sizeof(here)), "bind");
	for (;;) {
		socklen_t length = sizeof(peer);
		ssize_t bytes =
			recvfrom(wire, datagram, sizeof(datagram), 0, (void *)&peer, &length);
		if (bytes < 0)
			continue;
		result = work(bytes, rounds);
		sendto(wire, datagram, bytes, 0, (void *)&peer, length);
	}
	return (int)result;
}
