/* SPDX-License-Identifier: Apache-2.0 */
/* spin: what a guest that computes does, and how far it came.
 *
 *     spin SECONDS
 *
 * It does arithmetic for so long and says "spin: N rounds in NS ns". */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define NS     1000000000LL
#define ROUNDS 10000 /* between two looks at the clock */

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS + t.tv_nsec;
}

int main(int argc, char **argv)
{
	int64_t began = now_ns(), lasts = (argc > 1 ? atof(argv[1]) : 1) * NS, took;
	volatile uint64_t result;
	uint64_t rounds = 0, x = began;

	do {
		for (int k = 0; k < ROUNDS; k++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
		}
		result = x;
		rounds += ROUNDS;
		took = now_ns() - began;
	} while (took < lasts);
	printf("spin: %llu rounds in %lld ns\n", (unsigned long long)rounds, (long long)took);
	(void)result;
	return 0;
}
