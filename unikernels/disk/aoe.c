/* SPDX-License-Identifier: Apache-2.0 */
#include "aoe.h"

#define ETHERTYPE_AOE  0x88a2
#define AOE_VERSION    1
#define FLAG_RESPONSE  0x08
#define FLAG_ERROR     0x04
#define COMMAND_ATA    0
#define COMMAND_CONFIG 1
#define SHELF_ANY      0xffff
#define SLOT_ANY       0xff
#define FIRMWARE       0x4001

#define ERROR_COMMAND 1 /* unrecognised command code */
#define ERROR_CONFIG  4 /* the config string is set, or cannot be */

/* places in a frame */
#define AT_TO	     0
#define AT_FROM	     6
#define AT_TYPE	     12
#define AT_VERSION   14
#define AT_ERROR     15
#define AT_SHELF     16
#define AT_SLOT	     18
#define AT_COMMAND   19
#define AT_ATA_FLAGS 24
#define AT_FEATURE   25 /* in an answer: the error register */
#define AT_COUNT     26
#define AT_ATA	     27 /* in an answer: the status register */
#define AT_LBA	     28
#define AT_BUFFERS   24
#define AT_FIRMWARE  26
#define AT_SECTORS   28
#define AT_CONFIG    29
#define AT_LENGTH    30

#define ATA_FLAG_LBA48 0x40
#define CONFIG_READ    0
#define CONFIG_TEST    1
#define CONFIG_PREFIX  2

#define ATA_READ	  0x20
#define ATA_READ_EXT	  0x24
#define ATA_WRITE	  0x30
#define ATA_WRITE_EXT	  0x34
#define ATA_FLUSH	  0xe7
#define ATA_FLUSH_EXT	  0xea
#define ATA_IDENTIFY	  0xec
#define ATA_READY	  0x40
#define ATA_FAILED	  0x01
#define ATA_ERROR_ABORTED 0x04
#define ATA_ERROR_DATA	  0x40

static u16 get16(const u8 *at)
{
	return (u16)(at[0] << 8 | at[1]);
}

static void put16(u8 *at, u16 value)
{
	at[0] = (u8)(value >> 8);
	at[1] = (u8)value;
}

static bool same_mac(const u8 *a, const u8 *b)
{
	return !__builtin_memcmp(a, b, AOE_MAC_BYTES);
}

static bool is_initiator(const struct aoe_target *target, const u8 *mac)
{
	for (u32 k = 0; k < target->nr_initiators; k++)
		if (same_mac(target->initiators[k], mac))
			return true;
	return false;
}

static bool is_for_us(const struct aoe_target *target, const u8 *frame)
{
	u16 shelf = get16(frame + AT_SHELF);
	u8 slot = frame[AT_SLOT];

	return get16(frame + AT_TYPE) == ETHERTYPE_AOE && !(frame[AT_VERSION] & FLAG_RESPONSE) &&
	       (shelf == target->shelf || shelf == SHELF_ANY) &&
	       (slot == target->slot || slot == SLOT_ANY) && is_initiator(target, frame + AT_FROM);
}

static void address_answer(const struct aoe_target *target, u8 *frame)
{
	__builtin_memcpy(frame + AT_TO, frame + AT_FROM, AOE_MAC_BYTES);
	__builtin_memcpy(frame + AT_FROM, target->mac, AOE_MAC_BYTES);
	frame[AT_VERSION] = AOE_VERSION << 4 | FLAG_RESPONSE;
	frame[AT_ERROR] = 0;
	put16(frame + AT_SHELF, target->shelf);
	frame[AT_SLOT] = target->slot;
}

static struct aoe_request reply(u32 bytes)
{
	return (struct aoe_request){
		.action = AOE_REPLY,
		.reply_bytes = bytes < AOE_MIN_FRAME_BYTES ? AOE_MIN_FRAME_BYTES : bytes,
	};
}

static struct aoe_request refuse(const struct aoe_target *target, u8 *frame, u8 error)
{
	address_answer(target, frame);
	frame[AT_VERSION] |= FLAG_ERROR;
	frame[AT_ERROR] = error;
	return reply(AOE_HEADER_BYTES);
}

/* -- config ---------------------------------------------------------------------------------- */

static void put_config(const struct aoe_target *target, u8 *frame)
{
	put16(frame + AT_BUFFERS, AOE_BUFFER_COUNT);
	put16(frame + AT_FIRMWARE, FIRMWARE);
	frame[AT_SECTORS] = target->max_sectors;
	frame[AT_CONFIG] = AOE_VERSION << 4;
	put16(frame + AT_LENGTH, 0);
}

/* Our config string is empty and stays so. */
static struct aoe_request handle_config(const struct aoe_target *target, u8 *frame, u32 length)
{
	u8 command = frame[AT_CONFIG] & 0x0f;
	u16 string = get16(frame + AT_LENGTH);

	if (length < AOE_CONFIG_BYTES + (u32)string)
		return (struct aoe_request){ .action = AOE_MALFORMED };
	if ((command == CONFIG_TEST || command == CONFIG_PREFIX) && string)
		return (struct aoe_request){ .action = AOE_IGNORE };
	if (command > CONFIG_PREFIX)
		return refuse(target, frame, ERROR_CONFIG);
	address_answer(target, frame);
	put_config(target, frame);
	return reply(AOE_CONFIG_BYTES);
}

u32 aoe_announce(const struct aoe_target *target, const u8 *to, u8 *frame)
{
	__builtin_memset(frame, 0, AOE_MIN_FRAME_BYTES);
	__builtin_memcpy(frame + AT_FROM, to, AOE_MAC_BYTES);
	put16(frame + AT_TYPE, ETHERTYPE_AOE);
	frame[AT_COMMAND] = COMMAND_CONFIG;
	address_answer(target, frame);
	put_config(target, frame);
	return AOE_MIN_FRAME_BYTES;
}

/* -- ATA ------------------------------------------------------------------------------------- */

static void put_word(u8 *identify, u32 word, u16 value)
{
	identify[2 * word] = (u8)value; /* ATA's words have their low byte first */
	identify[2 * word + 1] = (u8)(value >> 8);
}

static void put_sectors(u8 *identify, u32 word, u32 words, u64 sectors)
{
	for (u32 k = 0; k < words; k++)
		put_word(identify, word + k, (u16)(sectors >> 16 * k));
}

/* Padded by spaces, and each pair of characters the other way round. */
static void put_text(u8 *identify, u32 word, u32 words, const char *text)
{
	for (u32 k = 0; k < 2 * words; k++)
		identify[(2 * word + k) ^ 1] = *text ? (u8)*text++ : ' ';
}

static void put_identify(const struct aoe_target *target, u8 *identify)
{
	u64 lba28 = target->sectors < 0x0fffffff ? target->sectors : 0x0fffffff;

	__builtin_memset(identify, 0, AOE_IDENTIFY_BYTES);
	put_text(identify, 10, 10, "0");
	put_text(identify, 23, 4, "1");
	put_text(identify, 27, 20, "observer disk");
	put_word(identify, 47, 0x8000);
	put_word(identify, 49, 0x0200); /* LBA */
	put_word(identify, 50, 0x4000);
	put_sectors(identify, 60, 2, lba28);
	put_word(identify, 83, 0x7400); /* flush, flush ext, LBA48; valid */
	put_word(identify, 84, 0x4000);
	put_word(identify, 86, 0x3400);
	put_word(identify, 87, 0x4000);
	put_sectors(identify, 100, 4, target->sectors);
}

static void put_status(u8 *frame, u8 status, u8 error)
{
	frame[AT_ATA] = status;
	frame[AT_FEATURE] = error;
}

static struct aoe_request abort_ata(const struct aoe_target *target, u8 *frame)
{
	address_answer(target, frame);
	put_status(frame, ATA_READY | ATA_FAILED, ATA_ERROR_ABORTED);
	return reply(AOE_ATA_BYTES);
}

static u64 sector_of(const u8 *frame)
{
	u64 sector = 0;
	int bytes = frame[AT_ATA_FLAGS] & ATA_FLAG_LBA48 ? 6 : 4;

	for (int k = bytes - 1; k >= 0; k--)
		sector = sector << 8 | frame[AT_LBA + k];
	return bytes == 6 ? sector : sector & 0x0fffffff;
}

static struct aoe_request handle_transfer(const struct aoe_target *target, u8 *frame, u32 length,
					  enum aoe_action action)
{
	struct aoe_request request = {
		.action = action,
		.sector = sector_of(frame),
		.nr_sectors = frame[AT_COUNT],
	};
	u32 data = request.nr_sectors * AOE_SECTOR_BYTES;

	if (!request.nr_sectors || request.nr_sectors > target->max_sectors ||
	    request.sector >= target->sectors ||
	    request.nr_sectors > target->sectors - request.sector)
		return abort_ata(target, frame);
	if (action == AOE_READ)
		return request;
	if (length < AOE_ATA_BYTES + data)
		return (struct aoe_request){ .action = AOE_MALFORMED };
	return target->read_only ? abort_ata(target, frame) : request;
}

static struct aoe_request handle_ata(const struct aoe_target *target, u8 *frame, u32 length)
{
	switch (frame[AT_ATA]) {
	case ATA_READ:
	case ATA_READ_EXT:
		return handle_transfer(target, frame, length, AOE_READ);
	case ATA_WRITE:
	case ATA_WRITE_EXT:
		return handle_transfer(target, frame, length, AOE_WRITE);
	case ATA_FLUSH:
	case ATA_FLUSH_EXT:
		return (struct aoe_request){ .action = AOE_FLUSH };
	case ATA_IDENTIFY:
		if (frame[AT_COUNT] != 1)
			return abort_ata(target, frame);
		address_answer(target, frame);
		put_identify(target, frame + AOE_ATA_BYTES);
		put_status(frame, ATA_READY, 0);
		return reply(AOE_ATA_BYTES + AOE_IDENTIFY_BYTES);
	default:
		return abort_ata(target, frame);
	}
}

u32 aoe_finish(const struct aoe_target *target, u8 *frame, const struct aoe_request *request,
	       bool good)
{
	address_answer(target, frame);
	put_status(frame, good ? ATA_READY : ATA_READY | ATA_FAILED, good ? 0 : ATA_ERROR_DATA);
	if (request->action == AOE_READ && good)
		return AOE_ATA_BYTES + request->nr_sectors * AOE_SECTOR_BYTES;
	return AOE_MIN_FRAME_BYTES;
}

struct aoe_request aoe_handle(const struct aoe_target *target, u8 *frame, u32 linear, u32 length)
{
	if (linear < AOE_HEADER_BYTES || !is_for_us(target, frame))
		return (struct aoe_request){ .action = AOE_IGNORE };
	/* an answer is padded: not by what an older frame has left in the buffer */
	if (linear < AOE_MIN_FRAME_BYTES)
		__builtin_memset(frame + linear, 0, AOE_MIN_FRAME_BYTES - linear);
	if (frame[AT_VERSION] >> 4 != AOE_VERSION)
		return (struct aoe_request){ .action = AOE_MALFORMED };
	switch (frame[AT_COMMAND]) {
	case COMMAND_ATA:
		if (linear < AOE_ATA_BYTES)
			return (struct aoe_request){ .action = AOE_MALFORMED };
		return handle_ata(target, frame, length);
	case COMMAND_CONFIG:
		if (linear < AOE_CONFIG_BYTES)
			return (struct aoe_request){ .action = AOE_MALFORMED };
		return handle_config(target, frame, length);
	default:
		return refuse(target, frame, ERROR_COMMAND);
	}
}
