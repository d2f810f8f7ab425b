/* SPDX-License-Identifier: Apache-2.0 */
#include "mac_table.h"

#define GROUP 1 /* the first byte's lowest bit: not one station's address */

static u32 slot_of(const u8 *mac)
{
	u32 hash = 2166136261u; /* FNV-1a */

	for (u32 k = 0; k < MAC_BYTES; k++)
		hash = (hash ^ mac[k]) * 16777619u;
	return (hash ^ hash >> 16) % MAC_TABLE_MAX;
}

static bool same(const u8 *a, const u8 *b)
{
	return !__builtin_memcmp(a, b, MAC_BYTES);
}

void mac_learn(struct mac_table *table, const u8 *mac, u8 port)
{
	u32 slot = slot_of(mac);

	if (mac[0] & GROUP)
		return;
	__builtin_memcpy(table->entries[slot].mac, mac, MAC_BYTES);
	table->entries[slot].port = port;
	table->entries[slot].known = 1;
}

u8 mac_find(const struct mac_table *table, const u8 *mac)
{
	u32 slot = slot_of(mac);

	if (!table->entries[slot].known || !same(table->entries[slot].mac, mac))
		return MAC_UNKNOWN;
	return table->entries[slot].port;
}
