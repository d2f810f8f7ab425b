/* SPDX-License-Identifier: Apache-2.0 */
/* mac_table.h: behind which port an address was last seen. */
#ifndef MAC_TABLE_H
#define MAC_TABLE_H

#include "types.h"

#define MAC_BYTES     6
#define MAC_TABLE_MAX 1024 /* a power of two; later addresses take the place of older ones */
#define MAC_UNKNOWN   0xff

struct mac_table {
	struct {
		u8 mac[MAC_BYTES], port, known;
	} entries[MAC_TABLE_MAX];
};

void mac_learn(struct mac_table *table, const u8 *mac, u8 port);
u8 mac_find(const struct mac_table *table, const u8 *mac);

#endif /* MAC_TABLE_H */
