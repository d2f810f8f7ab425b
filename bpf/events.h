/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* events.h: what a recording keeps: debts that are opened and paid, each on its debtor's own clock.
 *
 * Shared with user space: observer/replay/event.py says the same, and tests hold one against the
 * other. */
#ifndef OBSERVER_EVENTS_H
#define OBSERVER_EVENTS_H

#include "cells.h"

#define EVENTS_BYTES 16777216 /* 500,000 events with their headers; a power of two */

enum debt {
	DEBT_VCPU = 0,	  /* an exit of its own making; slot of the vCPU, clock: its CPU time */
	DEBT_BACKEND = 1, /* service; slot of the ring, clock: time in which the worker had a CPU */
	DEBT_CALLED = 2,  /* consumption of what it was called for; slot of the VM, clock: time */
	DEBT_SERVICE = 3, /* a beat; slot of the VM, clock: time in which its vCPU had a CPU */
	NR_DEBTS = 4,
};

enum what {
	EVENT_OPENED = 0, /* unless it is open already */
	EVENT_PAID = 1,
	EVENT_RENEWED = 2, /* paid, and open again at once */
	EVENT_LOOKED = 3,  /* how late it is by now, if it is open */
};

struct event {
	__u64 ns;	/* CLOCK_MONOTONIC */
	__u64 clock_ns; /* the debtor's */
	__u32 slot;
	__u8 debt;
	__u8 what;
	__u16 pad;
};

#endif /* OBSERVER_EVENTS_H */
