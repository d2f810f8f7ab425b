/* SPDX-License-Identifier: Apache-2.0 */
/* service.h: what all service VMs have in common: a life of work, beats and orders.
 *
 * One loop does everything in turn, so that a beat proves that the loop turns; interrupts only end
 * its sleep. */
#ifndef SERVICE_H
#define SERVICE_H

#include "beat.h"
#include "control.h"
#include "guest.h"
#include "watchdog.h"

struct service {
	const char *name;
	u8 number; /* ABI_SERVICE_* */
	u8 nr_parts;
	void (*start)(const char *words);
	bool (*work)(void);	  /* true: something was done */
	bool (*ask_wake)(void);	  /* true: there is work already */
	void (*keep_books)(void); /* brings heart.parts up to date */
	void (*say_stats)(void);
	bool (*obey)(const char *line);	  /* false: it knows no such order */
	bool (*break_)(const char *line); /* faults, obeyed with faults=on only */

	struct heart heart;
	struct watchdog watchdog;
	struct control control;
	struct virtio_devices devices;
};

_Noreturn void run_service(struct service *service, const struct boot *boot);

#endif /* SERVICE_H */
