/* SPDX-License-Identifier: Apache-2.0 */
/* control.h: the control port, a virtio console on which host and service exchange lines. */
#ifndef CONTROL_H
#define CONTROL_H

#include "guest_abi.h"
#include "virtio.h"

/* Puts bytes together into lines; without hardware in it, for tests. */
struct lines {
	char text[ABI_CONTROL_LINE_BYTES + 1];
	u32 length;
	bool too_long;
	u64 refused; /* lines that were too long */
};

/* Takes the next byte; true: `text` holds a line, without its end. */
bool lines_take(struct lines *lines, u8 byte);

struct control {
	struct virtio_device *device; /* NULL: there is none, and nothing is said */
	struct vring in, out;
	struct lines lines;
	u64 unsaid; /* lines for which there was no room */
};

void control_start(struct control *control, struct virtio_device *device);

/* The next line from the host, NULL: none. */
const char *control_hear(struct control *control);
void control_say(struct control *control, const char *text, ...) PRINTF(2);

/* Asks to be woken by the next line; true if there is one already. */
bool control_ask_wake(struct control *control);

#endif /* CONTROL_H */
