/* SPDX-License-Identifier: Apache-2.0 */
#include "service.h"

#include "clock.h"
#include "cmdline.h"
#include "cpu.h"
#include "hypercall.h"
#include "interrupts.h"
#include "panic.h"
#include "print.h"

static _Noreturn void spin(void)
{
	for (;;)
		__asm__ volatile("" ::: "memory");
}

/* Said before anything breaks: who hangs says nothing. */
static void say_fault(const struct service *service)
{
	if (under_kvm())
		hypercall(ABI_HYPERCALL_FAULT, service->number, 0, 0, 0);
}

static bool obey_fault(struct service *service, const char *line)
{
	if (is_word(line, "fault service-hang")) {
		say_fault(service);
		spin(); /* with interrupts off, as always in the loop */
	}
	if (is_word(line, "fault service-crash")) {
		say_fault(service);
		panic("as ordered");
	}
	if (!service->break_(line))
		return false;
	say_fault(service); /* a part does nothing more from the loop's next turn on */
	return true;
}

static void obey(struct service *service, const char *line, bool faults)
{
	struct control *control = &service->control;

	if (is_word(line, "stats")) {
		service->say_stats();
		control_say(control, "stats control refused=%lu unsaid=%lu lies=%lu",
			    control->lines.refused, control->unsaid,
			    control->in.lies + control->out.lies);
	} else if (is_word(line, "version")) {
		control_say(control, "version %u", ABI_VERSION);
	} else if (is_word(line, "beat")) {
		beat(&service->heart, control, now_ns());
	} else if (!service->obey(line) && !(faults && obey_fault(service, line))) {
		control_say(control, "refused %s", line);
		return;
	}
	control_say(control, "ok %s", line);
}

static void start(struct service *service, const struct boot *boot)
{
	find_devices(&service->devices, boot->words);
	control_start(&service->control, device_of(&service->devices, VIRTIO_ID_CONSOLE, 0));
	start_heart(&service->heart, service->number, service->nr_parts, boot->words, now_ns());
	if (!service->heart.period_ns || service->heart.period_ns >= service->heart.valid_ns)
		panic("beat.ms is not one of 1 to %d", ABI_BEAT_VALID_MS - 1);
	start_watchdog(&service->watchdog, boot->words, now_ns());
	service->start(boot->words);
	start_timer(service->heart.period_ns);
	beat(&service->heart, &service->control, now_ns());
	print("%s up", service->name);
	control_say(&service->control, "up %s %u", service->name, ABI_VERSION);
}

static bool hear(struct service *service, bool faults)
{
	const char *line;
	bool any = false;

	while ((line = control_hear(&service->control))) {
		obey(service, line, faults);
		any = true;
	}
	return any;
}

static void keep_beating(struct service *service)
{
	u64 now = now_ns();

	service->keep_books();
	look_at_parts(&service->watchdog, &service->heart, &service->control, now);
	if (beat_is_due(&service->heart, now))
		beat(&service->heart, &service->control, now);
}

_Noreturn void run_service(struct service *service, const struct boot *boot)
{
	bool faults = is_on(boot->words, "faults");

	start(service, boot);
	for (;;) {
		bool any = service->work();
		any |= hear(service, faults);
		keep_beating(service);
		if (any)
			continue;
		acknowledge_devices(&service->devices); /* a line that stays up tells no more */
		any = control_ask_wake(&service->control);
		any |= service->ask_wake();
		if (any)
			continue;
		sleep_until_interrupt();
		note_sign(&service->heart, now_ns());
	}
}
