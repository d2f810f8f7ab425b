/* SPDX-License-Identifier: Apache-2.0 */
/* pci.h: what lies on PCI's bus 0.
 *
 * A device that the firmware has given no addresses gets them here; one that lies where we have no
 * mapping is passed over.  The command line says where the configuration is, if not behind the
 * ports of old: pci.ecam=ADDRESS, which on QEMU's microvm is always the same. */
#ifndef PCI_H
#define PCI_H

#include "types.h"

#define PCI_IDS		 0x00
#define PCI_COMMAND	 0x04
#define PCI_SUBSYSTEM	 0x2c
#define PCI_CAPABILITIES 0x34

u32 pci_read(u32 function, u32 where);
void pci_write(u32 function, u32 where, u32 value);

/* Looks at each function that there may be; who is not there has no ids. */
void pci_scan(const char *words, void (*look)(u32 function, void *into), void *into);

/* Gives it addresses, and lets it use memory. */
void pci_enable(u32 function);

/* The address of a part of a BAR, 0 where we cannot reach it. */
u64 pci_place_in_bar(u32 function, u32 bar, u64 offset, u64 bytes);

/* The size of a memory BAR below 4 GiB. */
u64 pci_bar_bytes(u32 function, u32 bar);

#endif /* PCI_H */
