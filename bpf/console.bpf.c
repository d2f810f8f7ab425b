// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* console.bpf.c: a kernel that panics says so on its serial console, with an exit for each
 * character, long before anything else tells.  Who says so owes an answer at once: the words alone
 * prove nothing, anybody in the guest can write them. */
#include "books.bpf.h"

#define KVM_PIO_OUT    1 /* arch/x86/kvm/trace.h */
#define NR_UARTS       4
#define PANIC_EVERY_NS (1000 * MS) /* nobody keeps us busy by repeating it */

/* kernel/panic.c; static it would be a literal in a section that libbpf does not know */
const char last_words[] = "Kernel panic - not syncing";

/* How much of them each serial port of a VM has said. */
struct console {
	u64 said_ns;
	u8 spelled[NR_UARTS];
	u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_VMS);
	__type(key, u32);
	__type(value, struct console);
} consoles SEC(".maps");

/* Which serial port's data register this is: COM1 to COM4. */
static __always_inline int uart_of(u32 port)
{
	switch (port) {
	case 0x3f8:
		return 0;
	case 0x2f8:
		return 1;
	case 0x3e8:
		return 2;
	case 0x2e8:
		return 3;
	}
	return -1;
}

static void suspect_panic(u32 slot, u32 tgid, u64 now)
{
	struct suspicion s = {
		.now_ns = now,
		.since_ns = now,
		.kind = SUSPECT_PANIC,
		.tgid = tgid,
		.vm = slot,
		.slot = NO_SLOT,
	};
	raise(&s, BPF_RB_FORCE_WAKEUP);
}

/* Their first letter comes no second time, so a wrong one leaves nothing or the first. */
static __always_inline u8 spelled_after(u8 spelled, char c)
{
	if (spelled < sizeof(last_words) - 1 && c == last_words[spelled])
		return spelled + 1;
	return c == last_words[0];
}

static __always_inline int handle_character(u32 uart, char c)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct process *p = bpf_map_lookup_elem(&processes, &tgid);
	u32 slot = p && p->kind == PROCESS_VMM ? p->vm : NO_SLOT;
	struct console *its = bpf_map_lookup_elem(&consoles, &slot);
	struct vm_cell *vm = bpf_map_lookup_elem(&vms, &slot);

	if (!its || !vm)
		return 0;
	u8 *spelled = &its->spelled[uart & (NR_UARTS - 1)];
	*spelled = spelled_after(*spelled, c);
	u64 now = bpf_ktime_get_ns();
	if (*spelled < sizeof(last_words) - 1 || vm->hushed ||
	    age_of(its->said_ns, now) < PANIC_EVERY_NS)
		return 0;
	its->said_ns = now;
	suspect_panic(slot, tgid, now);
	return 0;
}

/* Not by BTF: that knows a void pointer, but no const one (btf_ctx_access() of kernel/bpf/btf.c).
 */
SEC("raw_tp/kvm_pio")
int BPF_PROG(on_pio, unsigned int rw, unsigned int port, unsigned int size, unsigned int count,
	     const void *data)
{
	int uart = rw == KVM_PIO_OUT && size == 1 && count == 1 ? uart_of(port) : -1;
	char c;

	if (uart < 0 || bpf_probe_read_kernel(&c, sizeof(c), data))
		return 0;
	return handle_character(uart, c);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
