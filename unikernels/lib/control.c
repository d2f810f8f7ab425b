/* SPDX-License-Identifier: Apache-2.0 */
#include "control.h"

#include "panic.h"
#include "print.h"

#define IN_BUFFERS  4
#define IN_BYTES    128
#define OUT_BUFFERS 16
#define OUT_BYTES   512
#define QUEUE_IN    0
#define QUEUE_OUT   1

static struct vring_memory in_memory, out_memory;
static u8 in_bytes[IN_BUFFERS][IN_BYTES];
static char out_bytes[OUT_BUFFERS][OUT_BYTES];
static u32 out_free; /* one bit for each buffer */

/* What was taken from the ring and not yet read. */
static struct {
	u32 buffer, length, at;
} reading;

static void offer_in(struct control *control, u32 buffer)
{
	struct segment segment = { (u64)in_bytes[buffer], IN_BYTES };

	require(vring_offer(&control->in, &segment, 1, 0, buffer));
	virtio_kick(control->device, QUEUE_IN, &control->in);
}

void control_start(struct control *control, struct virtio_device *device)
{
	*control = (struct control){ .device = device };
	if (!device)
		return;
	if (!virtio_begin(device, 0, 0))
		panic("the control port does not speak virtio 1 with event indices");
	virtio_add_ring(device, QUEUE_IN, &control->in, &in_memory);
	virtio_add_ring(device, QUEUE_OUT, &control->out, &out_memory);
	virtio_ready(device);
	for (u32 k = 0; k < IN_BUFFERS && k < control->in.size; k++)
		offer_in(control, k);
	out_free = (1u << OUT_BUFFERS) - 1;
}

static bool next_byte(struct control *control, u8 *byte)
{
	while (reading.at == reading.length) {
		if (reading.length)
			offer_in(control, reading.buffer);
		reading.at = reading.length = 0;
		if (!vring_take(&control->in, &reading.buffer, &reading.length))
			return false;
		if (!reading.length) {
			control->in.lies++;
			offer_in(control, reading.buffer);
		}
	}
	*byte = in_bytes[reading.buffer][reading.at++];
	return true;
}

const char *control_hear(struct control *control)
{
	u8 byte;

	if (!control->device)
		return NULL;
	while (next_byte(control, &byte))
		if (lines_take(&control->lines, byte))
			return control->lines.text;
	return NULL;
}

static void reclaim(struct control *control)
{
	u32 buffer, written;

	while (vring_take(&control->out, &buffer, &written))
		out_free |= 1u << buffer;
}

void control_say(struct control *control, const char *text, ...)
{
	va_list values;

	if (!control->device)
		return;
	reclaim(control);
	if (!out_free) {
		control->unsaid++;
		return;
	}
	u32 buffer = (u32)__builtin_ctz(out_free);
	va_start(values, text);
	size_t length = format_list(out_bytes[buffer], OUT_BYTES - 1, text, values);
	va_end(values);
	if (length > OUT_BYTES - 2)
		length = OUT_BYTES - 2;
	out_bytes[buffer][length] = '\n';

	struct segment segment = { (u64)out_bytes[buffer], (u32)length + 1 };
	if (!vring_offer(&control->out, &segment, 1, 1, buffer)) {
		control->unsaid++;
		return;
	}
	out_free &= ~(1u << buffer);
	virtio_kick(control->device, QUEUE_OUT, &control->out);
}

bool control_ask_wake(struct control *control)
{
	if (!control->device)
		return false;
	reclaim(control);
	/* both: who watches takes a kick without a call for a debt */
	bool any = vring_ask_wake(&control->out);
	return vring_ask_wake(&control->in) || any;
}
