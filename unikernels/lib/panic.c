/* SPDX-License-Identifier: Apache-2.0 */
#include "panic.h"

#include "clock.h"
#include "cpu.h"
#include "guest_abi.h"
#include "hypercall.h"
#include "print.h"
#include "serial.h"

#define LINE_BYTES 200

/* The VMM ends with the triple fault (QEMU: -no-reboot), which the observer sees at once; a guest
 * that only halted would first have to be missed. */
static _Noreturn void reset(void)
{
	static const struct {
		u16 limit;
		u64 base;
	} PACKED no_vectors = { 0, 0 };

	__asm__ volatile("lidt %0; ud2" ::"m"(no_vectors));
	__builtin_unreachable();
}

_Noreturn void panic_at(const char *file, int line, const char *text, ...)
{
	char words[LINE_BYTES];
	va_list values;

	interrupts_off();
	va_start(values, text);
	format_list(words, sizeof(words), text, values);
	va_end(values);
	if (under_kvm())
		hypercall(ABI_HYPERCALL_REPORT, ABI_REPORT_PANIC, 0, 0, 0);
	print("PANIC %s:%d: %s", file, line, words);
	reset();
}

/* -- what the compiler's stack protector calls ----------------------------------------------- */

u64 __stack_chk_guard = 0x595e9fbd94fda766;

_Noreturn void __stack_chk_fail(void);

_Noreturn void __stack_chk_fail(void)
{
	panic("the stack was overwritten");
}
