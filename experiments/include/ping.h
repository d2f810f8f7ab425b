/* SPDX-License-Identifier: Apache-2.0 */
/* ping.h: round trips of a program in a Linux guest with its host, over the guest's network.
 *
 * Any answer will do: one ping that is lost is no failure, none answered for long is.  Nothing is
 * owed while the guest itself has no way to the host, as when it took its network down, nor from
 * then on until the host has answered once. */
#ifndef PING_H
#define PING_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "report.h"

#define PING_AGAIN_NS (100 * NS_PER_MS) /* so long after one that was not answered */

struct peer {
	struct sockaddr_in address;
	int wire;
	uint16_t number;
	bool has_answered;
};

/* `*peer` begins as one that has not answered. */
static inline bool open_peer(struct peer *peer, const char *address)
{
	*peer = (struct peer){ .address = { .sin_family = AF_INET } };
	peer->wire = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	return peer->wire >= 0 && inet_aton(address, &peer->address.sin_addr);
}

static inline uint16_t checksum_of(const struct icmphdr *echo)
{
	uint32_t sum = 0;
	uint16_t words[sizeof(*echo) / 2];

	memcpy(words, echo, sizeof(*echo));
	for (size_t k = 0; k < sizeof(*echo) / 2; k++)
		sum += words[k];
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)(0xffff - (sum + (sum >> 16)));
}

/* Whether there is a way; that a queue is full does not mean that there is none. */
static inline bool send_ping(struct peer *peer)
{
	struct icmphdr echo = { .type = ICMP_ECHO };

	echo.un.echo.id = (uint16_t)getpid();
	echo.un.echo.sequence = peer->number++;
	echo.checksum = checksum_of(&echo);
	return sendto(peer->wire, &echo, sizeof(echo), MSG_DONTWAIT,
		      (const struct sockaddr *)&peer->address, sizeof(peer->address)) >= 0 ||
	       (errno != ENETUNREACH && errno != ENETDOWN);
}

static inline bool is_answer(const char *packet, ssize_t length)
{
	const struct iphdr *ip = (const void *)packet;
	struct icmphdr echo;

	if (length < (ssize_t)sizeof(*ip) || length < ip->ihl * 4 + (ssize_t)sizeof(echo))
		return false;
	memcpy(&echo, packet + ip->ihl * 4, sizeof(echo));
	return echo.type == ICMP_ECHOREPLY && echo.un.echo.id == (uint16_t)getpid();
}

static inline bool hears(int wire, uint64_t until_ns)
{
	char packet[256] __attribute__((aligned(8)));
	struct pollfd readable = { .fd = wire, .events = POLLIN };

	for (uint64_t now; (now = now_ns()) < until_ns;)
		if (poll(&readable, 1, (int)((until_ns - now) / NS_PER_MS) + 1) > 0 &&
		    is_answer(packet, recv(wire, packet, sizeof(packet), MSG_DONTWAIT)))
			return true;
	return false;
}

/* Ends when the host has answered, or owes nothing. */
static inline void round_trip(struct peer *peer)
{
	char late;

	while (recv(peer->wire, &late, sizeof(late), MSG_DONTWAIT) >= 0)
		; /* what came after its round trip had ended */
	do {
		bool has_way = send_ping(peer);
		if (has_way && hears(peer->wire, now_ns() + PING_AGAIN_NS)) {
			peer->has_answered = true;
			return;
		}
		peer->has_answered &= has_way;
	} while (peer->has_answered);
}

#endif /* PING_H */
