/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The wire as docs/PROTOCOL.md sections 1 and 2 describe it, for the models of deployed peers. */
#ifndef TD_TESTS_OLD_WIRE_H
#define TD_TESTS_OLD_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
	OLD_MSG_COOKIE = 0x01,
	OLD_MSG_PREPARE = 0x02,
	OLD_MSG_ERROR = 0x03,
	OLD_MSG_TUNNEL = 0x04,
	OLD_MSG_KEEPALIVE = 0x05,
	OLD_MSG_PMTUD = 0x06,
	OLD_MSG_PMTUD_ACK = 0x07,
	OLD_MSG_REL_ACK = 0x08,
	OLD_MSG_PMTU_NTFY = 0x09,
	OLD_MSG_USAGE = 0x0a,
	OLD_MSG_LIMIT = 0x80,
};

static inline uint32_t old_get(const uint8_t *bytes, int size)
{
	uint32_t value = 0;

	while (size-- > 0)
		value = value << 8 | *bytes++;
	return value;
}

static inline void old_put(uint8_t *to, int size, uint32_t value)
{
	while (size-- > 0)
		*to++ = (uint8_t)(value >> 8 * size);
}

/* Is it a message? Then *payload and *length are its payload. */
static inline bool old_parse(const uint8_t *bytes, size_t size, const uint8_t **payload,
			     size_t *length)
{
	static const uint8_t magic[] = { 0x80, 0x73, 0xa7, 0x01 };

	if (size < 6 || memcmp(bytes, magic, sizeof(magic)) != 0 || bytes[5] > size - 6)
		return false;
	*payload = bytes + 6;
	*length = bytes[5];
	return true;
}

/* A message, padded; to: 2048 bytes. Its size. */
static inline size_t old_message(uint8_t *to, uint8_t type, const void *payload, size_t length)
{
	memset(to, 0, 12);
	memcpy(to, (const uint8_t[]){ 0x80, 0x73, 0xa7, 0x01, type, (uint8_t)length }, 6);
	if (length > 0)
		memcpy(to + 6, payload, length);
	return length + 6 < 12 ? 12 : length + 6;
}

static inline size_t old_probe(uint8_t *to, size_t size)
{
	memset(to, 0, size);
	old_message(to, OLD_MSG_PMTUD, NULL, 0);
	return size;
}

/* UDP payloads of the IP sizes that deployed peers try, smallest first. */
static const uint16_t old_sizes[] = { 1306, 1372, 1422, 1448, 1464, 1472 };
#define OLD_SIZES 6

#define OLD_INNER 26 /* UDP payload to inner MTU */

#endif
