/* SPDX-License-Identifier: Apache-2.0 */
/* serial.h: the console, for words at the start and at the end.  Each byte is an exit to the VMM,
 * so nothing that is done often says a thing. */
#ifndef SERIAL_H
#define SERIAL_H

void serial_write(const char *text);

#endif /* SERIAL_H */
