// SPDX-License-Identifier: Apache-2.0
/* tiny_vmm.c: a VMM of some 100 KiB with a guest of a page, so that a host carries a thousand VMs.
 *
 *   tiny_vmm -name guest=NAME [-tick MS]
 *
 * Everything that an observer can see of a VM is real: vCPUs in KVM_RUN that halt, doorbells by
 * ioeventfd, interrupts by irqfd.  Only the machine round it is missing.  The guest halts; its
 * first vCPU is woken by its own timer every MS milliseconds, or by nothing.  The main thread
 * serves the rings: it reads a kick and calls the guest.
 *
 *   SIGUSR1  the guest kicks every ring once, which is how an observer gets to know them
 *   SIGUSR2  the guest kicks the last ring and is not served, until the next SIGUSR2
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <linux/kvm.h>

#include "parts/tiny_vmm.h"

#define VCPUS	    4
#define RINGS	    8
#define STACK_BYTES 256
#define THREAD_KIB  64
#define FIRST_GSI   24 /* behind the pins of the IOAPIC */
#define LAPIC_HZ    1000000000u

/* parts/guest.S */
extern const char guest_code[], guest_wake[], guest_end[];

struct vcpu {
	int fd;
	const struct kvm_run *run;
};

struct ring {
	int kick, call;
};

static const char *name = "tiny";

static void die(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", name, what, strerror(errno));
	_exit(1);
}

static int call(int fd, unsigned long request, void *argument, const char *what)
{
	int got = ioctl(fd, request, argument);

	if (got < 0)
		die(what);
	return got;
}

static int new_eventfd(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	if (fd < 0)
		die("eventfd");
	return fd;
}

static void put_gate(uint8_t *memory, unsigned vector, const char *handler)
{
	uint64_t at = CODE + (uint64_t)(handler - guest_code);
	uint64_t gate = (at & 0xffff) | 8ULL << 16 | 0x8e00ULL << 32 | (at >> 16) << 48;

	memcpy(memory + IDT + 8 * vector, &gate, sizeof(gate));
}

static uint8_t *make_memory(int vm)
{
	const uint64_t gdt[] = { 0, 0x00cf9b000000ffffULL, 0x00cf93000000ffffULL };
	uint8_t *memory =
		mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = { .memory_size = MEMORY_BYTES };

	if (memory == MAP_FAILED)
		die("mmap");
	memcpy(memory + GDT, gdt, sizeof(gdt));
	memcpy(memory + CODE, guest_code, (size_t)(guest_end - guest_code));
	put_gate(memory, TIMER, guest_wake);
	put_gate(memory, CALL, guest_wake);
	region.userspace_addr = (uintptr_t)memory;
	call(vm, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION");
	return memory;
}

/* Each call of a ring is a message to one of the vCPUs, by turns. */
static void route_calls(int vm)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entries[RINGS];
	} routes = { .head.nr = RINGS };

	for (unsigned i = 0; i < RINGS; i++) {
		routes.entries[i].gsi = FIRST_GSI + i;
		routes.entries[i].type = KVM_IRQ_ROUTING_MSI;
		routes.entries[i].u.msi.address_lo = 0xfee00000u | (i % VCPUS) << 12;
		routes.entries[i].u.msi.data = CALL;
	}
	call(vm, KVM_SET_GSI_ROUTING, &routes, "KVM_SET_GSI_ROUTING");
}

static void make_ring(int vm, unsigned number, struct ring *ring)
{
	ring->kick = new_eventfd();
	ring->call = new_eventfd();
	struct kvm_ioeventfd doorbell = {
		.addr = DOORBELLS + number,
		.len = 1,
		.fd = ring->kick,
		.flags = KVM_IOEVENTFD_FLAG_PIO,
	};
	struct kvm_irqfd irq = { .fd = (uint32_t)ring->call, .gsi = FIRST_GSI + number };
	call(vm, KVM_IOEVENTFD, &doorbell, "KVM_IOEVENTFD");
	call(vm, KVM_IRQFD, &irq, "KVM_IRQFD");
}

static void set_registers(int vcpu, unsigned number, unsigned tick_ms)
{
	const struct kvm_segment data = { .limit = 0xffffffff,
					  .selector = 16,
					  .type = 3,
					  .present = 1,
					  .db = 1,
					  .s = 1,
					  .g = 1 };
	struct kvm_sregs sregs;
	struct kvm_regs regs = {
		.rax = number,
		.rsi = number ? 0 : tick_ms * (LAPIC_HZ / 1000),
		.rsp = STACKS + STACK_BYTES * (number + 1),
		.rip = CODE,
		.rflags = 2,
	};
	struct kvm_mp_state runs = { .mp_state = KVM_MP_STATE_RUNNABLE };

	call(vcpu, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS");
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.cs = data;
	sregs.cs.selector = 8;
	sregs.cs.type = 11;
	sregs.gdt.base = GDT;
	sregs.gdt.limit = 3 * 8 - 1;
	sregs.idt.base = IDT;
	sregs.idt.limit = 8 * (CALL + 1) - 1;
	sregs.cr0 |= 1;
	call(vcpu, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
	call(vcpu, KVM_SET_REGS, &regs, "KVM_SET_REGS");
	call(vcpu, KVM_SET_MP_STATE, &runs, "KVM_SET_MP_STATE");
}

/* Without leaf 1 KVM gives the local APIC's timer no periodic mode. */
static void set_cpuid(int vcpu)
{
	union {
		struct kvm_cpuid2 head;
		uint8_t bytes[sizeof(struct kvm_cpuid2) + 2 * sizeof(struct kvm_cpuid_entry2)];
	} cpuid = { .head.nent = 2 };

	cpuid.head.entries[0].eax = 1; /* the highest leaf */
	cpuid.head.entries[1].function = 1;
	cpuid.head.entries[1].edx = 1 << 9; /* has a local APIC */
	call(vcpu, KVM_SET_CPUID2, &cpuid, "KVM_SET_CPUID2");
}

static void *run_vcpu(void *argument)
{
	const struct vcpu *vcpu = argument;

	while (ioctl(vcpu->fd, KVM_RUN, 0) && (errno == EINTR || errno == EAGAIN))
		;
	/* what this guest does, KVM handles itself */
	fprintf(stderr, "%s: KVM_RUN ended: %s, exit reason %u\n", name, strerror(errno),
		vcpu->run->exit_reason);
	_exit(1);
}

static void start_vcpu(int kvm, int vm, unsigned number, unsigned tick_ms)
{
	static struct vcpu vcpus[VCPUS];
	struct vcpu *vcpu = &vcpus[number];
	size_t bytes = (size_t)call(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL, "KVM_GET_VCPU_MMAP_SIZE");
	pthread_attr_t small;
	pthread_t thread;

	vcpu->fd = call(vm, KVM_CREATE_VCPU, (void *)(uintptr_t)number, "KVM_CREATE_VCPU");
	vcpu->run = mmap(NULL, bytes, PROT_READ, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED)
		die("mmap of a vCPU");
	set_cpuid(vcpu->fd);
	set_registers(vcpu->fd, number, tick_ms);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, THREAD_KIB * 1024);
	errno = pthread_create(&thread, &small, run_vcpu, vcpu);
	if (errno)
		die("pthread_create");
}

/* The guest looks when it is woken, here by a call of the first ring. */
static void let_kick(uint8_t *memory, const struct ring *rings, unsigned which)
{
	__atomic_fetch_or((uint32_t *)(void *)(memory + TO_KICK), which, __ATOMIC_SEQ_CST);
	if (eventfd_write(rings[0].call, 1))
		die("call");
}

/* Returns whether the last ring is served from now on. */
static bool obey(int orders, uint8_t *memory, const struct ring *rings, bool serves)
{
	struct signalfd_siginfo order;

	if (read(orders, &order, sizeof(order)) != sizeof(order))
		die("signalfd");
	if (order.ssi_signo == SIGUSR1) {
		let_kick(memory, rings, (1u << RINGS) - 1);
		return serves;
	}
	if (serves)
		let_kick(memory, rings, 1u << (RINGS - 1));
	return !serves;
}

static void serve(int orders, uint8_t *memory, const struct ring *rings)
{
	struct pollfd waits[RINGS + 1];
	bool serves = true;
	eventfd_t kicks;

	for (;;) {
		for (unsigned i = 0; i < RINGS; i++)
			waits[i] = (struct pollfd){ rings[i].kick, POLLIN, 0 };
		if (!serves)
			waits[RINGS - 1].fd = -1;
		waits[RINGS] = (struct pollfd){ orders, POLLIN, 0 };
		if (poll(waits, RINGS + 1, -1) < 0)
			die("poll");
		for (unsigned i = 0; i < RINGS; i++)
			if (waits[i].revents && !eventfd_read(rings[i].kick, &kicks))
				eventfd_write(rings[i].call, 1);
		if (waits[RINGS].revents)
			serves = obey(orders, memory, rings, serves);
	}
}

static int take_orders(void)
{
	sigset_t orders;

	sigemptyset(&orders);
	sigaddset(&orders, SIGUSR1);
	sigaddset(&orders, SIGUSR2);
	if (sigprocmask(SIG_BLOCK, &orders, NULL))
		die("sigprocmask");
	return signalfd(-1, &orders, SFD_CLOEXEC);
}

int main(int argc, char **argv)
{
	unsigned tick_ms = 0;
	struct ring rings[RINGS];

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "-name"))
			name = argv[i + 1];
		else if (!strcmp(argv[i], "-tick"))
			tick_ms = (unsigned)strtoul(argv[i + 1], NULL, 10);
	}
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		die("prctl");
	int orders = take_orders(), kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (orders < 0 || kvm < 0)
		die("/dev/kvm");
	int vm = call(kvm, KVM_CREATE_VM, NULL, "KVM_CREATE_VM");
	call(vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000, "KVM_SET_TSS_ADDR");
	call(vm, KVM_CREATE_IRQCHIP, NULL, "KVM_CREATE_IRQCHIP");
	uint8_t *memory = make_memory(vm);
	route_calls(vm);
	for (unsigned i = 0; i < RINGS; i++)
		make_ring(vm, i, &rings[i]);
	for (unsigned i = 0; i < VCPUS; i++)
		start_vcpu(kvm, vm, i, tick_ms);
	dprintf(STDOUT_FILENO, "up %s\n", name);
	serve(orders, memory, rings);
}
