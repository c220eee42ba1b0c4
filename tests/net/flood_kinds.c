/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "flood_kinds.h"

#include <string.h>

enum {
	HEAD = 6,
	COOKIE = 0x01,
	PREPARE = 0x02,
	ERROR = 0x03,
	TUNNEL = 0x04,
	PMTUD = 0x06,
	PMTUD_ACK = 0x07,
	PMTU_NTFY = 0x09,
	USAGE = 0x0a,
	LIMIT = 0x80,
};

static uint64_t state;

bool flood_kind_of(enum flood_kind *kind, const char *name)
{
	static const char *const names[] = {
		[FLOOD_RANDOM] = "random",       [FLOOD_ALMOST] = "almost",
		[FLOOD_FORGED] = "forged",       [FLOOD_EXPIRED] = "expired",
		[FLOOD_FOREIGN] = "foreign",     [FLOOD_HALF] = "half",
		[FLOOD_COOKIE] = "cookie",       [FLOOD_USAGE] = "usage",
		[FLOOD_STRANGER] = "stranger",   [FLOOD_MTU] = "mtu",
		[FLOOD_HANDSHAKE] = "handshake",
	};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		*kind = (enum flood_kind)i;
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}

void flood_seed(uint64_t seed)
{
	state = seed * 2 + 1;
}

/* A linear congruence, of which the upper half is good enough. */
static uint32_t draw(void)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 32);
}

uint32_t flood_random(uint32_t bound)
{
	return (uint32_t)(((uint64_t)draw() * bound) >> 32);
}

static void fill(uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i += 4) {
		const uint32_t drawn = draw();

		memcpy(bytes + i, &drawn, size - i < 4 ? size - i : 4);
	}
}

/* The head of a message whose payload takes what there is; what does not fit is cut off. */
static void put_head(uint8_t *bytes, size_t size, uint8_t type, size_t payload)
{
	const uint8_t head[HEAD] = { 0x80, 0x73, 0xa7, 1, type, (uint8_t)payload };

	memcpy(bytes, head, size < HEAD ? size : HEAD);
}

static size_t room(size_t size)
{
	const size_t left = size < HEAD ? 0 : size - HEAD;

	return left > 255 ? 255 : left;
}

static void put_number(uint8_t *bytes, size_t size, size_t at, uint32_t value)
{
	if (at + 2 <= size) {
		bytes[at] = (uint8_t)(value >> 8);
		bytes[at + 1] = (uint8_t)value;
	}
}

static void make_prepare(uint8_t *bytes, size_t size, const uint8_t *cookie)
{
	const size_t payload = room(size);

	fill(bytes, size);
	put_head(bytes, size, PREPARE, payload);
	if (payload < 18)
		return;
	if (cookie)
		memcpy(bytes + HEAD, cookie, 8);
	bytes[HEAD + 8] = (uint8_t)(payload - 17);
	/* The same for each of a port. */
	for (size_t i = HEAD + 9; i < HEAD + payload - 8; i++)
		bytes[i] = (uint8_t)('a' + (bytes[HEAD + (i - 1) % 8] & 15));
	memcpy(bytes + HEAD + payload - 8, "\0\0\0\1\0\0\0\1", 8);
}

static void make_almost(uint8_t *bytes, size_t size)
{
	static const uint8_t types[] = { COOKIE,    PREPARE, ERROR, TUNNEL, 5,  PMTUD, PMTUD_ACK, 8,
					 PMTU_NTFY, USAGE,   LIMIT, 0,      11, 0x81,  0xff };
	const size_t flipped = size > 0 ? flood_random((uint32_t)size) : 0;
	size_t payload = room(size);

	fill(bytes, size);
	if (flood_random(8) == 0 && size >= 8) {
		memcpy(bytes, "\0\3\0\0\0\0", 6); /* data of a small session id */
		return;
	}
	if (flood_random(3) == 0)
		payload = flood_random(256); /* beyond the end, perhaps */
	else if (flood_random(3) == 0)
		payload = payload > 0 ? payload - 1 : 1;
	put_head(bytes, size, types[flood_random(sizeof(types))], payload);
	if (size > 0 && flood_random(4) == 0)
		bytes[flipped < 16 ? flipped : flipped % 16] ^= (uint8_t)(1 << flood_random(8));
}

static void make_stranger(uint8_t *bytes, size_t size)
{
	static const uint8_t types[] = { ERROR, LIMIT, ERROR, LIMIT, 5, 8, PMTUD, 0x81 };

	fill(bytes, size);
	put_head(bytes, size, types[flood_random(sizeof(types))], room(size));
	if (size > HEAD + 8 && bytes[4] == LIMIT)
		memcpy(bytes + HEAD + 2, "\1\4", 2);
}

static void make_mtu(uint8_t *bytes, size_t size)
{
	static const uint16_t values[] = {
		0,    1,    25,   26,    27,    575,   576,   1279, 1280,
		1446, 1500, 9000, 32767, 32768, 65482, 65535, 68,   1281
	};
	static const uint8_t types[] = { PMTU_NTFY, PMTUD_ACK, PMTU_NTFY, PMTUD };
	const uint8_t type = types[flood_random(sizeof(types))];

	fill(bytes, size);
	put_head(bytes, size, type, type == PMTUD || size < HEAD + 2 ? 0 : 2);
	put_number(bytes, size, HEAD, values[flood_random(sizeof(values) / sizeof(values[0]))]);
}

static void make_handshake(uint8_t *bytes, size_t size)
{
	static const uint8_t types[] = { USAGE, COOKIE, TUNNEL, ERROR, PMTU_NTFY, PMTUD_ACK };
	static const uint8_t lengths[] = { 2, 8, 8, 1, 2, 2 };
	const uint32_t which = flood_random(sizeof(types));

	fill(bytes, size);
	put_head(bytes, size, types[which], lengths[which]);
}

void flood_make(enum flood_kind kind, uint8_t *bytes, size_t size, const uint8_t *cookie)
{
	switch (kind) {
	case FLOOD_RANDOM:
		fill(bytes, size);
		break;
	case FLOOD_ALMOST:
		make_almost(bytes, size);
		break;
	case FLOOD_FORGED:
		make_prepare(bytes, size, NULL);
		break;
	case FLOOD_EXPIRED:
	case FLOOD_FOREIGN:
	case FLOOD_HALF:
		make_prepare(bytes, size, cookie);
		break;
	case FLOOD_COOKIE:
	case FLOOD_USAGE:
		fill(bytes, size);
		put_head(bytes, size, kind == FLOOD_COOKIE ? COOKIE : USAGE, room(size));
		break;
	case FLOOD_STRANGER:
		make_stranger(bytes, size);
		break;
	case FLOOD_MTU:
		make_mtu(bytes, size);
		break;
	case FLOOD_HANDSHAKE:
		make_handshake(bytes, size);
		break;
	}
}
