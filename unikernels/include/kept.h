/* SPDX-License-Identifier: Apache-2.0 */
/* kept.h: memory that outlives a guest whose VM is started again on the same one.
 *
 * A guest finds there what the one before it left, and believes none of it but that it was written
 * by the same image, so that all lies where it always does. */
#ifndef KEPT_H
#define KEPT_H

#include "types.h"

/* No loader touches it: it is not zero at the start. */
#define KEPT __attribute__((section(".persistent.bss")))

/* Whether the guest before us was this image, and had come so far as to say it; from now on
 * nobody's, so that what ends us does not end the next one, too. */
bool kept_claim(void);

/* What is kept is as the next one expects to find it. */
void kept_is_ours(void);

/* Whether the memory of another VM, seen from here, is that of this image, which had come so far.
 */
bool kept_is_in(const u8 *memory);

#endif /* KEPT_H */
