/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include <stdio.h>

static unsigned int checks, failed;

void report(const char *name, bool good, const char *file, int line)
{
	checks++;
	failed += !good;
	if (good)
		printf("PASS %s\n", name);
	else
		printf("FAIL %s: %s:%d\n", name, file, line);
}

int report_summary(void)
{
	printf("SUMMARY %u %u\n", checks, failed);
	return failed != 0;
}
