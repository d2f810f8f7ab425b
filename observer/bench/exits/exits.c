// SPDX-License-Identifier: Apache-2.0
/* A whole guest: for every byte that it is sent it makes as many VM exits as `exits=` says, and
 * says how long they took.
 *
 * An unknown hypercall number costs one exit, is answered by the kernel and never reaches QEMU.
 * The time is the guest's own, so that neither QEMU's start nor its end is in it. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define NO_SUCH_HYPERCALL	0x504800ffu
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01u /* Documentation/virt/kvm/x86/msr.rst */
#define START_INFO_CMDLINE	24	    /* Xen's struct hvm_start_info: cmdline_paddr */
#define COM1			0x3f8
#define LINE_STATUS		(COM1 + 5)
#define POLL_NS			20000000 /* few exits, yet a sign of life often enough */

/* struct pvclock_vcpu_time_info of the same document */
static volatile struct {
	u32 version, pad0;
	u64 tsc, system_ns;
	u32 tsc_to_ns_mul;
	signed char tsc_shift;
	u8 flags, pad[2];
} clock __attribute__((aligned(64)));

static void say(const char *text)
{
	for (; *text; text++)
		__asm__ volatile("outb %0,%1" ::"a"(*text), "Nd"((u16)COM1));
}

static void say_hex(u64 value)
{
	char digit[2] = { 0, 0 };

	for (int shift = 60; shift >= 0; shift -= 4) {
		digit[0] = "0123456789abcdef"[(value >> shift) & 15];
		say(digit);
	}
}

static u32 exits_wanted(const char *words)
{
	u32 count = 0;

	for (const char *key = "exits="; *key; key++, words++)
		if (*words != *key)
			return 0;
	for (; *words >= '0' && *words <= '9'; words++)
		count = 10 * count + (*words - '0');
	return count;
}

static u64 ns_of(u64 ticks)
{
	u64 scaled = clock.tsc_shift < 0 ? ticks >> -clock.tsc_shift : ticks << clock.tsc_shift;

	return ((scaled >> 32) * clock.tsc_to_ns_mul) +
	       (((scaled & 0xffffffff) * clock.tsc_to_ns_mul) >> 32);
}

/* vmmcall is AMD's; KVM rewrites it to vmcall where the CPU is Intel's. */
static void make_exits(u32 count)
{
	for (u32 answer; count; count--)
		__asm__ volatile("vmmcall"
				 : "=a"(answer)
				 : "a"(NO_SUCH_HYPERCALL), "b"(0), "c"(0), "d"(0), "S"(0)
				 : "memory");
}

static u8 inb(u16 port)
{
	u8 value;

	__asm__ volatile("inb %1,%0" : "=a"(value) : "Nd"(port));
	return value;
}

/* Each poll is an exit, therefore spin without any in between. */
static void wait_for_byte(void)
{
	while (!(inb(LINE_STATUS) & 1))
		for (u64 began = __builtin_ia32_rdtsc();
		     ns_of(__builtin_ia32_rdtsc() - began) < POLL_NS;)
			; /* no `pause`: enough of them are an exit too */
	inb(COM1);
}

void guest_main(const u8 *start_info)
{
	u32 exits = exits_wanted(*(const char *const *)(start_info + START_INFO_CMDLINE));

	__asm__ volatile("wrmsr" ::"c"(MSR_KVM_SYSTEM_TIME_NEW), "a"((u32)&clock | 1), "d"(0));
	make_exits(1); /* the one that is rewritten */
	say("up\n");
	for (;;) {
		wait_for_byte();
		u64 began = __builtin_ia32_rdtsc();
		make_exits(exits);
		u64 took = __builtin_ia32_rdtsc() - began;
		say("exits=");
		say_hex(exits);
		say(" ns=");
		say_hex(ns_of(took));
		say("\n");
	}
}

/* The Xen note is where QEMU finds the entry; the guest runs until it is killed. */
__asm__(".globl _start\n_start: cli; mov $stack+8192,%esp; push %ebx; call guest_main\n"
	".section .note.Xen,\"a\",@note\n.long 4,4,18\n.asciz \"Xen\"\n.long _start\n"
	".bss\n.align 16\nstack: .skip 8192\n.text");
