/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.h: the instructions that C does not have. */
#ifndef CPU_H
#define CPU_H

#include "types.h"

static inline void outb(u16 port, u8 value)
{
	__asm__ volatile("outb %0,%1" ::"a"(value), "Nd"(port));
}

static inline void outsb(u16 port, const char *from, size_t length)
{
	__asm__ volatile("rep outsb" : "+S"(from), "+c"(length) : "d"(port) : "memory");
}

static inline void outl(u16 port, u32 value)
{
	__asm__ volatile("outl %0,%1" ::"a"(value), "Nd"(port));
}

static inline u32 inl(u16 port)
{
	u32 value;

	__asm__ volatile("inl %1,%0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline void forget_page(u64 address)
{
	__asm__ volatile("invlpg (%0)" ::"r"(address) : "memory");
}

static inline u64 read_tsc(void)
{
	u32 low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (u64)high << 32 | low;
}

static inline void write_msr(u32 msr, u64 value)
{
	__asm__ volatile("wrmsr" ::"c"(msr), "a"((u32)value), "d"((u32)(value >> 32)));
}

struct cpuid {
	u32 a, b, c, d;
};

static inline struct cpuid cpuid(u32 leaf)
{
	struct cpuid r;

	__asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(0));
	return r;
}

static inline void interrupts_off(void)
{
	__asm__ volatile("cli" ::: "memory");
}

static inline void interrupts_on(void)
{
	__asm__ volatile("sti" ::: "memory");
}

/* Sleeps until an interrupt; one that came since interrupts were turned off is not missed, for the
 * CPU takes none between sti and hlt. */
static inline void sleep_until_interrupt(void)
{
	__asm__ volatile("sti; hlt; cli" ::: "memory");
}

static inline void full_barrier(void)
{
	__asm__ volatile("mfence" ::: "memory");
}

/* x86 keeps the order of loads and of stores; only the compiler has to be told. */
static inline void order_loads(void)
{
	__asm__ volatile("" ::: "memory");
}

static inline void order_stores(void)
{
	__asm__ volatile("" ::: "memory");
}

static inline u8 read_mmio8(u64 address)
{
	return *(volatile u8 *)address;
}

static inline void write_mmio8(u64 address, u8 value)
{
	*(volatile u8 *)address = value;
}

static inline u16 read_mmio16(u64 address)
{
	return *(volatile u16 *)address;
}

static inline void write_mmio16(u64 address, u16 value)
{
	*(volatile u16 *)address = value;
}

static inline u32 read_mmio32(u64 address)
{
	return *(volatile u32 *)address;
}

static inline void write_mmio32(u64 address, u32 value)
{
	*(volatile u32 *)address = value;
}

#endif /* CPU_H */
