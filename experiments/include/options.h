/* SPDX-License-Identifier: Apache-2.0 */
/* options.h: what a program in a Linux guest was told, and where and how soon its threads run. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The value of KEY=VALUE among the arguments. */
static inline char *option(char **arguments, const char *key, char *otherwise)
{
	size_t length = strlen(key);

	for (; *arguments; arguments++)
		if (!strncmp(*arguments, key, length) && (*arguments)[length] == '=')
			return *arguments + length + 1;
	return otherwise;
}

static inline uint64_t ms_option(char **arguments, const char *key, char *otherwise)
{
	return strtoull(option(arguments, key, otherwise), NULL, 10) * 1000000;
}

/* Before all others but the kernel's own, and nowhere else. */
static inline void urgent_on(pthread_attr_t *attributes, int cpu, size_t stack_bytes)
{
	struct sched_param urgent = { .sched_priority = sched_get_priority_max(SCHED_FIFO) };
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_attr_init(attributes);
	pthread_attr_setstacksize(attributes, stack_bytes);
	pthread_attr_setaffinity_np(attributes, sizeof(set), &set);
	pthread_attr_setinheritsched(attributes, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(attributes, SCHED_FIFO);
	pthread_attr_setschedparam(attributes, &urgent);
}

static inline bool become_urgent(int cpu)
{
	struct sched_param urgent = { .sched_priority = sched_get_priority_max(SCHED_FIFO) };
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set) &&
	       !sched_setscheduler(0, SCHED_FIFO, &urgent);
}

#endif /* OPTIONS_H */
