/* SPDX-License-Identifier: Apache-2.0 */
/* Two ports that forward, stopped after each instruction: what they had in hand is found.
 *
 * The ports run in a process of their own, on memory that both share; the test is their devices,
 * and keeps the books of what they took and what they sent. */
#include "net_port.h"
#include "report.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define NR_PORTS   2
#define RING_SIZE  16
#define BUFFERS	   400
#define STEPS	   150000
#define NUMBERS	   65536
#define NUMBER_AT  (VIRTIO_NET_HEADER_BYTES + ETHERNET_HEADER_BYTES)
#define HEADER_NR  10
#define LAST_BYTES 100

struct world {
	struct pool pool;
	struct net_port ports[NR_PORTS];
	struct vring_memory receive[NR_PORTS], send[NR_PORTS];
	struct part parts[NR_PORTS];
	struct virtio_device device;
	u8 bytes[BUFFERS * BUFFER_BYTES];
};

static struct world *world;

/* -- the transport, without hardware --------------------------------------------------------- */

bool virtio_begin(struct virtio_device *device, u64 needed, u64 wanted)
{
	device->features = needed | wanted;
	return true;
}

void virtio_add_ring(struct virtio_device *device, u16 queue, struct vring *ring,
		     volatile struct vring_memory *memory)
{
	(void)device, (void)queue;
	vring_init(ring, memory, RING_SIZE);
}

void virtio_ready(struct virtio_device *device)
{
	(void)device;
}

void virtio_reset(struct virtio_device *device)
{
	(void)device;
}

bool virtio_can_reset_queues(const struct virtio_device *device)
{
	(void)device;
	return true;
}

void virtio_reset_queue(struct virtio_device *device, u16 queue)
{
	(void)device, (void)queue;
}

void virtio_kick(struct virtio_device *device, u16 queue, struct vring *ring)
{
	(void)device, (void)queue, (void)ring;
}

void virtio_kick_anyway(struct virtio_device *device, u16 queue)
{
	(void)device, (void)queue;
}

/* -- the service ----------------------------------------------------------------------------- */

static void work(void)
{
	for (u32 k = 0; k < NR_PORTS; k++) {
		struct net_port *port = &world->ports[k];
		for (u16 frame; (frame = port_receive(port)) != NO_BUFFER;) {
			port_send(&world->ports[!k], frame);
			port_passed_on(port);
		}
	}
	for (u32 k = 0; k < NR_PORTS; k++)
		port_work(&world->ports[k]);
}

static void start(void)
{
	static u8 mac[6];

	world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (world == MAP_FAILED)
		exit(2);
	world->device.config = (u64)mac;
	pool_init(&world->pool, world->bytes, sizeof(world->bytes));
	for (u32 k = 0; k < NR_PORTS; k++) {
		struct net_port *port = &world->ports[k];
		port->device = &world->device;
		port->pool = &world->pool;
		port->part = &world->parts[k];
		port->receive_memory = &world->receive[k];
		port->send_memory = &world->send[k];
		port_start(port);
	}
}

/* -- its devices, and their books ------------------------------------------------------------ */

struct book {
	u16 next;	    /* the number of the next frame */
	bool sent[NUMBERS]; /* reported as sent */
	u16 received_to;    /* how far each ring was served */
	u16 sent_to;
	u32 nr_sent;
};

static struct book books[NR_PORTS]; /* by the port that receives */

static u16 *number_in(u8 *frame)
{
	return (u16 *)(frame + NUMBER_AT);
}

static void use(struct vring_memory *memory, u16 head, u32 length)
{
	u16 at = memory->used.index % RING_SIZE;

	memory->used.ring[at].head = head;
	memory->used.ring[at].length = length;
}

/* A frame arrives in one buffer, or in three; the index moves when all of them are used. */
static void deliver(u32 k)
{
	struct vring_memory *memory = &world->receive[k];
	struct book *book = &books[k];
	u16 parts = random() % 4 ? 1 : 3, before = memory->used.index;

	if ((u16)(memory->avail.index - book->received_to) < parts)
		return;
	for (u16 n = 0; n < parts; n++) {
		u16 head = memory->avail.ring[book->received_to++ % RING_SIZE];
		u8 *bytes = (u8 *)memory->desc[head].address;
		if (!n) {
			memset(bytes, 0, NUMBER_AT);
			bytes[HEADER_NR] = (u8)parts;
			*number_in(bytes) = book->next++;
		}
		u16 at = (u16)(before + n) % RING_SIZE;
		memory->used.ring[at].head = head;
		memory->used.ring[at].length = n + 1 < parts ? BUFFER_BYTES : LAST_BYTES;
	}
	memory->used.index = (u16)(before + parts);
}

static void send(u32 k)
{
	struct vring_memory *memory = &world->send[k];
	struct book *book = &books[!k];

	if (memory->avail.index == book->sent_to)
		return;
	u16 head = memory->avail.ring[book->sent_to++ % RING_SIZE];
	book->sent[*number_in((u8 *)memory->desc[head].address)] = true;
	book->nr_sent++;
	use(memory, head, 0);
	memory->used.index++;
}

/* -- what is found --------------------------------------------------------------------------- */

static struct salvage salvage;
static u16 frames[SALVAGE_FRAMES];
static u32 lost, misplaced, torn, again, most;

static void look(u32 k)
{
	const struct net_port *from = &world->ports[k], *to = &world->ports[!k];
	struct book *book = &books[k];
	struct lane lane = {
		.receive = &from->receive,
		.received = &world->receive[k],
		.hand = &from->hand,
		.waiting = &to->waiting,
		.send = &to->send,
		.sent = &world->send[!k],
	};
	u16 count = salvage_lane(&salvage, &lane, frames), at = 0;

	most = count > most ? count : most;
	for (u32 n = 0; n < count; n++) {
		u8 *bytes = world->bytes + frames[n] * BUFFER_BYTES;
		u16 number = *number_in(bytes), parts = 0, last = frames[n];
		for (u16 b = frames[n]; b != NO_BUFFER; b = salvage.found[b].next, parts++)
			last = b;
		torn += (parts != 1 && parts != 3) || salvage.found[last].length != LAST_BYTES;
		misplaced += number >= book->next || number < at;
		for (; at < number; at++)
			lost += !book->sent[at];
		again += book->sent[number];
		at = (u16)(number + 1);
	}
	for (; at < book->next; at++)
		lost += !book->sent[at];
}

static void step(pid_t service)
{
	int status;

	if (ptrace(PTRACE_SINGLESTEP, service, 0, 0) || waitpid(service, &status, 0) < 0 ||
	    !WIFSTOPPED(status))
		exit(2);
}

int main(void)
{
	int status;

	srandom(1);
	start();
	pid_t service = fork();
	if (!service) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		for (;;)
			work();
	}
	waitpid(service, &status, 0);
	for (u32 n = 0; n < STEPS; n++) {
		step(service);
		bool slow = n / 20000 % 2; /* what is to be sent waits now and then */
		if (random() % 40 == 0)
			deliver((u32)random() % NR_PORTS);
		if (random() % (slow ? 400 : 40) == 0)
			send((u32)random() % NR_PORTS);
		salvage_begin(&salvage, &world->pool, world->bytes, sizeof(world->bytes));
		look(0);
		look(1);
	}
	kill(service, SIGKILL);
	check("nothing is lost", !lost);
	check("all are in their order, and each is there once", !misplaced);
	check("and whole", !torn);
	check("nothing was broken", !salvage.broken);
	check("frames went both ways", books[0].nr_sent > 100 && books[1].nr_sent > 100);
	check("some would be sent twice", again);
	check("and some had waited", most > 2 * RING_SIZE);
	return report_summary();
}
