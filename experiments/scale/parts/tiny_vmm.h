/* SPDX-License-Identifier: Apache-2.0 */
/* tiny_vmm.h: what lies where in the guest's memory, and what its sources share. */
#ifndef TINY_VMM_H
#define TINY_VMM_H

#define RINGS	     8
#define RING_ENTRIES 64
#define DOORBELLS    0x500 /* ports, one for each ring */

#define GDT	     0x0
#define IDT	     0x100
#define TO_KICK	     0x400 /* one bit for each ring that the guest is to kick */
#define PV_EOI	     0x500 /* a word for each vCPU, see MSR_KVM_PV_EOI_EN of KVM */
#define CODE	     0x1000
#define STACKS	     0x2000
#define RX_DESC	     0x3000
#define RX_AVAIL     0x3400
#define RX_USED	     0x3500
#define TX_DESC	     0x3800
#define TX_AVAIL     0x3c00
#define TX_USED	     0x3d00
#define RX_BUFFER    0x4000
#define MEMORY_BYTES 0x5000

#define TIMER	0x40 /* interrupt vectors */
#define CALL	0x41
#define RECEIVE 0x42

#ifndef __ASSEMBLER__
#include <stdint.h>

struct ring {
	int kick, call;
};

void die(const char *what);
int call(int fd, unsigned long request, void *argument, const char *what);

/* Gives the first two rings to vhost, as receive and transmit of a NIC on this tap. */
void start_nic(const char *tap, uint8_t *memory, const struct ring *rings);

#endif /* __ASSEMBLER__ */
#endif /* TINY_VMM_H */
