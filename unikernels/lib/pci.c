/* SPDX-License-Identifier: Apache-2.0 */
#include "pci.h"

#include "cmdline.h"
#include "cpu.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc
#define CONFIG_ENABLE  0x80000000
#define NR_SLOTS       32
#define NR_FUNCTIONS   8

#define PCI_BARS       0x10
#define PCI_HEADER     0x0c
#define COMMAND_MEMORY 2
#define COMMAND_MASTER 4
#define HEADER_MANY    0x800000
#define NR_BARS	       6
#define BAR_IO	       1
#define BAR_64	       4
#define BAR_FLAGS      0xfu

#define DEVICES_START 0xc0000000ull /* what entry.S maps */
#define DEVICES_END   0x100000000ull
#define PLACES_END    0xe0000000ull /* of what we may give away */
#define WORD_BYTES    24

static u64 ecam; /* 0: the ports */
static u64 next_place = DEVICES_START;

u32 pci_read(u32 function, u32 where)
{
	if (ecam)
		return read_mmio32(ecam + (function << 12) + (where & 0xfc));
	outl(CONFIG_ADDRESS, CONFIG_ENABLE | function << 8 | (where & 0xfc));
	return inl(CONFIG_DATA);
}

void pci_write(u32 function, u32 where, u32 value)
{
	if (ecam) {
		write_mmio32(ecam + (function << 12) + (where & 0xfc), value);
		return;
	}
	outl(CONFIG_ADDRESS, CONFIG_ENABLE | function << 8 | (where & 0xfc));
	outl(CONFIG_DATA, value);
}

/* The address of a part of a BAR, 0 where we cannot reach it. */
u64 pci_place_in_bar(u32 function, u32 bar, u64 offset, u64 bytes)
{
	if (bar >= NR_BARS)
		return 0;
	u32 low = pci_read(function, PCI_BARS + 4 * bar);
	u64 base = low & ~BAR_FLAGS;

	if (low & BAR_IO)
		return 0;
	if (low & BAR_64 && bar + 1 < NR_BARS)
		base |= (u64)pci_read(function, PCI_BARS + 4 * (bar + 1)) << 32;
	if (base < DEVICES_START || base >= DEVICES_END || offset >= DEVICES_END - base ||
	    bytes > DEVICES_END - base - offset)
		return 0;
	return base + offset;
}

static u64 place_for(u64 bytes)
{
	u64 place = (next_place + bytes - 1) & ~(bytes - 1);

	if (!bytes || bytes & (bytes - 1) || place + bytes > PLACES_END)
		return 0;
	next_place = place + bytes;
	return place;
}

/* Gives addresses to those BARs that have none (PCI 3.0, section 6.2.5.1). */
static void place_bars(u32 function)
{
	u32 step;

	for (u32 bar = 0; bar < NR_BARS; bar += step) {
		u32 at = PCI_BARS + 4 * bar, low = pci_read(function, at);
		step = !(low & BAR_IO) && low & BAR_64 ? 2 : 1;
		if (low & BAR_IO || low & ~BAR_FLAGS || (step == 2 && bar + 1 == NR_BARS))
			continue;
		if (step == 2 && pci_read(function, at + 4))
			continue;
		pci_write(function, at, 0xffffffff);
		u32 mask = pci_read(function, at) & ~BAR_FLAGS;
		pci_write(function, at, mask ? (u32)place_for(-mask) : 0);
	}
}

/* The address register keeps what is written to it; microvm has no such port. */
static bool there_is_pci(const char *words)
{
	char word[WORD_BYTES];
	u64 address;

	if (option(words, "pci.ecam", 0, word, sizeof(word)) && parse_number(word, &address) &&
	    address >= DEVICES_START && address < DEVICES_END) {
		ecam = address;
		return true;
	}
	outl(CONFIG_ADDRESS, CONFIG_ENABLE);
	return inl(CONFIG_ADDRESS) == CONFIG_ENABLE;
}

void pci_enable(u32 function)
{
	place_bars(function);
	pci_write(function, PCI_COMMAND,
		  (pci_read(function, PCI_COMMAND) & 0xffff) | COMMAND_MEMORY | COMMAND_MASTER);
}

u64 pci_bar_bytes(u32 function, u32 bar)
{
	u32 at = PCI_BARS + 4 * bar, low = pci_read(function, at);

	pci_write(function, at, 0xffffffff);
	u32 mask = pci_read(function, at) & ~BAR_FLAGS;
	pci_write(function, at, low);
	return (u32)-mask;
}

void pci_scan(const char *words, void (*look)(u32 function, void *into), void *into)
{
	if (!there_is_pci(words))
		return;
	for (u32 function = 0; function < NR_SLOTS * NR_FUNCTIONS; function++) {
		if (function % NR_FUNCTIONS &&
		    !(pci_read(function & ~(NR_FUNCTIONS - 1u), PCI_HEADER) & HEADER_MANY))
			continue;
		look(function, into);
	}
}
