/* SPDX-License-Identifier: Apache-2.0 */
#include "interrupts.h"

#include "cpu.h"
#include "panic.h"

#define LAPIC		  0xfee00000
#define LAPIC_ID	  (LAPIC + 0x20)
#define LAPIC_END	  (LAPIC + 0xb0)
#define LAPIC_SPURIOUS	  (LAPIC + 0xf0)
#define LAPIC_TIMER	  (LAPIC + 0x320)
#define LAPIC_INITIAL	  (LAPIC + 0x380)
#define LAPIC_CURRENT	  (LAPIC + 0x390)
#define LAPIC_DIVIDE	  (LAPIC + 0x3e0)
#define LAPIC_ENABLE	  0x100
#define LAPIC_PERIODIC	  0x20000
#define LAPIC_DIVIDE_BY_1 0xb

#define IOAPIC		   0xfec00000
#define IOAPIC_SELECT	   IOAPIC
#define IOAPIC_WINDOW	   (IOAPIC + 0x10)
#define IOAPIC_REDIRECTION 0x10
#define IOAPIC_LINES	   24
#define PIC_MASKS	   0x21, 0xa1
#define NR_VECTORS	   64
#define VECTOR_BYTES	   16
#define GATE_INTERRUPT	   0x8e
#define CODE_SELECTOR	   8
#define PAGE_FAULT	   14
#define FIRST_INTERRUPT	   0x30

/* As save_registers of entry.S pushes them, last first. */
struct frame {
	u64 r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax;
	u64 vector, code;
	u64 rip, cs, rflags, rsp, ss;
};

struct gate {
	u16 low, selector;
	u8 stack, type;
	u16 middle;
	u32 high, zero;
};

static struct gate gates[NR_VECTORS];

extern const u8 vectors[];
void on_interrupt(const struct frame *frame);

static u64 read_cr2(void)
{
	u64 value;

	__asm__ volatile("mov %%cr2,%0" : "=r"(value));
	return value;
}

void on_interrupt(const struct frame *frame)
{
	if (frame->vector < FIRST_INTERRUPT)
		panic("exception %lu (%lx) at %lx, address %lx", frame->vector, frame->code,
		      frame->rip, frame->vector == PAGE_FAULT ? read_cr2() : 0);
	if (frame->vector == VECTOR_SPURIOUS)
		return;
	write_mmio32(LAPIC_END, 0);
}

static void set_gates(void)
{
	struct {
		u16 limit;
		u64 base;
	} PACKED pointer = { sizeof(gates) - 1, (u64)gates };

	for (u32 k = 0; k < NR_VECTORS; k++) {
		u64 entry = (u64)vectors + (u64)k * VECTOR_BYTES;
		gates[k] = (struct gate){
			.low = (u16)entry,
			.selector = CODE_SELECTOR,
			.type = GATE_INTERRUPT,
			.middle = (u16)(entry >> 16),
			.high = (u32)(entry >> 32),
		};
	}
	__asm__ volatile("lidt %0" ::"m"(pointer));
}

void start_interrupts(void)
{
	static const u16 pic_masks[] = { PIC_MASKS };

	set_gates();
	for (size_t k = 0; k < ARRAY_SIZE(pic_masks); k++)
		outb(pic_masks[k], 0xff);
	write_mmio32(LAPIC_SPURIOUS, LAPIC_ENABLE | VECTOR_SPURIOUS);
	write_mmio32(LAPIC_DIVIDE, LAPIC_DIVIDE_BY_1);
}

void enable_line(u32 line)
{
	require(line < IOAPIC_LINES);
	write_mmio32(IOAPIC_SELECT, IOAPIC_REDIRECTION + 2 * line + 1);
	write_mmio32(IOAPIC_WINDOW, read_mmio32(LAPIC_ID)); /* its ID is in the same bits */
	write_mmio32(IOAPIC_SELECT, IOAPIC_REDIRECTION + 2 * line);
	write_mmio32(IOAPIC_WINDOW, VECTOR_DEVICE);
}

u64 message_address(void)
{
	return LAPIC | (u64)(read_mmio32(LAPIC_ID) >> 24) << 12;
}

void start_timer(u64 period_ns)
{
	write_mmio32(LAPIC_TIMER, LAPIC_PERIODIC | VECTOR_TIMER);
	write_mmio32(LAPIC_INITIAL, (u32)period_ns);
}

u32 timer_count(void)
{
	return read_mmio32(LAPIC_CURRENT);
}
