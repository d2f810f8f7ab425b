/* SPDX-License-Identifier: Apache-2.0 */
/* A ring whose other side writes what it likes, when it likes. */
#include "vring.h"

#include <stdlib.h>
#include <string.h>

#define SIZE	16
#define COOKIES 64

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static struct vring_memory memory;
static struct vring ring;
static bool out[COOKIES];

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void came_back(u32 cookie)
{
	must(cookie < COOKIES && out[cookie]);
	out[cookie] = false;
}

static void all_came_back(void)
{
	u32 cookies[SIZE];

	for (u16 count = vring_withdraw(&ring, cookies); count; count--)
		came_back(cookies[count - 1]);
}

static void offer(u8 a, u8 b)
{
	struct segment segments[4] = { { a, 10 }, { b, 20 }, { 3, 30 }, { 4, 40 } };
	u16 count = (u16)(a % 5);

	if (!out[b % COOKIES] && vring_offer(&ring, segments, count, a % (count + 1u), b % COOKIES))
		out[b % COOKIES] = true;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	u32 cookie, written;

	memset(&memory, 0, sizeof(memory));
	memset(out, 0, sizeof(out));
	vring_init(&ring, &memory, SIZE);
	for (; size >= 4; data += 4, size -= 4) {
		switch (data[0] % 6) {
		case 0:
			offer(data[1], data[2]);
			break;
		case 1: /* the other side uses a chain */
			memory.used.ring[memory.used.index % SIZE].head = data[1] % 20;
			memory.used.ring[memory.used.index++ % SIZE].length = data[2] * 4u;
			break;
		case 2: /* or writes anywhere */
			((u8 *)&memory)[(data[1] << 8 | data[2]) % sizeof(memory)] = data[3];
			break;
		case 3:
			if (vring_take(&ring, &cookie, &written)) {
				came_back(cookie);
				must(written <= 100);
			}
			break;
		case 4:
			vring_wants_kick(&ring);
			vring_ask_wake(&ring);
			break;
		case 5:
			if (data[1] > 250)
				all_came_back();
			break;
		}
	}
	all_came_back();
	must(ring.nr_free == SIZE && !ring.in_flight);
	for (u32 k = 0; k < COOKIES; k++)
		must(!out[k]);
	return 0;
}
