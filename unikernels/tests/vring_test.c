/* SPDX-License-Identifier: Apache-2.0 */
/* A ring and the other side of it, played by the test: honest first, then hostile. */
#include "report.h"
#include "vring.h"

#include <stdlib.h>
#include <string.h>

static struct vring_memory memory;
static struct vring ring;

static void start(u16 size)
{
	memset(&memory, 0, sizeof(memory));
	memset(&ring, 0, sizeof(ring));
	vring_init(&ring, &memory, size);
}

static bool offer(u16 count, u16 to_read, u32 cookie)
{
	struct segment segments[8];

	for (u16 k = 0; k < count; k++)
		segments[k] = (struct segment){ 0x1000u + k, 100 };
	return vring_offer(&ring, segments, count, to_read, cookie);
}

/* The other side says that it used a chain. */
static void use(u32 head, u32 length)
{
	u16 at = memory.used.index % ring.size;

	memory.used.ring[at].head = head;
	memory.used.ring[at].length = length;
	memory.used.index++;
}

static u16 offered_head(u16 nth)
{
	return memory.avail.ring[nth % ring.size];
}

static void honest_device(void)
{
	u32 cookie, written;

	start(8);
	check("a chain is offered", offer(3, 1, 7) && memory.avail.index == 1);
	u16 head = offered_head(0), second = memory.desc[head].next;
	check("its first segment is to be read",
	      memory.desc[head].flags == VRING_DESC_NEXT && memory.desc[head].length == 100);
	check("the others are to be written",
	      memory.desc[second].flags == (VRING_DESC_NEXT | VRING_DESC_WRITE));
	check("the last ends the chain",
	      memory.desc[memory.desc[second].next].flags == VRING_DESC_WRITE);
	check("nothing is used yet", !vring_take(&ring, &cookie, &written));
	use(head, 150);
	check("it comes back", vring_take(&ring, &cookie, &written) && cookie == 7);
	check("with what was written", written == 150);
	check("once", !vring_take(&ring, &cookie, &written));
	check("and all is free again", ring.nr_free == 8 && !ring.in_flight);
	check("no lie was heard", !ring.lies);
}

static void full_ring(void)
{
	u32 cookies[4];

	start(4);
	check("four fit", offer(1, 1, 0) && offer(1, 1, 1) && offer(2, 1, 2));
	check("a fifth does not", !offer(1, 1, 3) && memory.avail.index == 3);
	check("all are withdrawn", vring_withdraw(&ring, cookies) == 3 && ring.nr_free == 4);
	check("in their order", cookies[0] == 0 && cookies[1] == 1 && cookies[2] == 2);
	check("and no more", !vring_withdraw(&ring, cookies));
}

/* Heads come back, so that an old place in avail may name a newer chain. */
static void withdrawn_in_order(void)
{
	u32 cookie, written, cookies[4];

	start(4);
	offer(1, 1, 0);
	offer(1, 1, 1);
	use(offered_head(0), 0);
	vring_take(&ring, &cookie, &written);
	offer(1, 1, 2);
	check("the third has the first's head", offered_head(2) == offered_head(0));
	check("two are withdrawn", vring_withdraw(&ring, cookies) == 2);
	check("the second first, the third next", cookies[0] == 1 && cookies[1] == 2);
}

/* Its place in avail was written anew while it was out. */
static void older_than_a_round(void)
{
	u32 cookie, written, cookies[4];

	start(4);
	offer(1, 1, 0);
	for (u32 k = 1; k < 6; k++) {
		offer(1, 1, k);
		use(offered_head((u16)k), 0);
		vring_take(&ring, &cookie, &written);
	}
	offer(1, 1, 6);
	check("it comes back, after the newer one",
	      vring_withdraw(&ring, cookies) == 2 && cookies[0] == 6 && cookies[1] == 0);
}

static void kicks_and_wakes(void)
{
	u32 cookie, written;

	start(4);
	offer(1, 1, 0);
	check("the first is kicked", vring_wants_kick(&ring));
	check("nothing new is not", !vring_wants_kick(&ring));
	offer(1, 1, 1);
	check("who asked for the first only is left alone", !vring_wants_kick(&ring));
	memory.used.ring[4].head = 2; /* avail_event, behind the ring's last entry */
	offer(1, 1, 2);
	check("who asked for the third is kicked", vring_wants_kick(&ring));
	check("nobody need wake us yet", !vring_ask_wake(&ring));
	check("we asked for the next", memory.avail.ring[4] == ring.taken);
	use(offered_head(0), 0);
	check("what came meanwhile is seen", vring_ask_wake(&ring));
	vring_take(&ring, &cookie, &written);
	vring_ask_no_wake(&ring);
	check("we asked for what is long past", memory.avail.ring[4] == (u16)(ring.taken - 1));
}

static void second_life(void)
{
	start(4);
	offer(1, 1, 0);
	memory.used.ring[4].head = 77;
	vring_init(&ring, &memory, 4);
	offer(1, 1, 1);
	check("after a reset the first is kicked, whatever was asked before",
	      vring_wants_kick(&ring));
}

static void hostile_device(void)
{
	u32 cookie, written;

	start(4);
	offer(2, 1, 5);
	u16 head = offered_head(0);
	use(4, 1);
	use(0xffffffff, 1);
	use((head + 1u) % 4, 1);
	check("heads that were not offered are passed over", !vring_take(&ring, &cookie, &written));
	check("and counted", ring.lies == 3);
	use(head, 0xffffffff);
	check("the true one is taken", vring_take(&ring, &cookie, &written) && cookie == 5);
	check("with no more bytes than it had room for", written == 100 && ring.lies == 4);
	use(head, 1);
	check("twice is a lie", !vring_take(&ring, &cookie, &written) && ring.lies == 5);
	memory.used.index = (u16)(memory.used.index + 30000);
	check("an index far ahead ends", !vring_take(&ring, &cookie, &written));
	check("nothing was lost by it", ring.nr_free == 4);
}

/* Whatever is in the memory of both, what was offered comes back at most once. */
static void random_device(void)
{
	bool returned_once = true, whole = true;
	u32 cookie, written, cookies[64];

	srandom(1);
	start(64);
	bool out[1024] = { 0 };
	for (u32 step = 0; step < 200000; step++) {
		u32 next = (u32)random() % 1024;
		u16 count = (u16)(1 + random() % 5);
		if (!out[next] && offer(count, (u16)(random() % (count + 1)), next))
			out[next] = true;
		if (random() % 2)
			use((u32)random() % 80, (u32)random());
		if (random() % 50 == 0)
			((u8 *)&memory)[(size_t)random() % sizeof(memory)] = (u8)random();
		while (vring_take(&ring, &cookie, &written)) {
			returned_once &= cookie < 1024 && out[cookie];
			out[cookie % 1024] = false;
		}
	}
	for (u16 count = vring_withdraw(&ring, cookies); count; count--) {
		cookie = cookies[count - 1];
		returned_once &= out[cookie % 1024];
		out[cookie % 1024] = false;
	}
	for (u32 k = 0; k < 1024; k++)
		whole &= !out[k];
	check("each comes back at most once", returned_once);
	check("and none is lost", whole && ring.nr_free == 64);
}

int main(void)
{
	honest_device();
	full_ring();
	withdrawn_in_order();
	older_than_a_round();
	kicks_and_wakes();
	second_life();
	hostile_device();
	random_device();
	return report_summary();
}
