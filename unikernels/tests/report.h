/* SPDX-License-Identifier: Apache-2.0 */
/* report.h: what a test says: a line for each check, `PASS name` or `FAIL name: why`, and
 * `SUMMARY checks failed` at the end.  For tests on the host and in a guest. */
#ifndef REPORT_H
#define REPORT_H

#include "types.h"

void report(const char *name, bool good, const char *file, int line);
int report_summary(void); /* 0: nothing failed */

#define check(name, condition) report(name, condition, __FILE__, __LINE__)

#endif /* REPORT_H */
