/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Every access goes through take() or room(), which compare with what is left. */
#include "base/bytes.h"

#include <string.h>

struct td_reader td_reader_init(const void *bytes, size_t size)
{
	return (struct td_reader){ .at = bytes, .left = size };
}

/* Skips the next size bytes and returns where they begin; NULL when they are not there. */
static const uint8_t *take(struct td_reader *r, size_t size)
{
	const uint8_t *from = r->at;

	if (r->failed || size > r->left) {
		r->failed = true;
		r->left = 0;
		return NULL;
	}
	if (size > 0)
		r->at += size;
	r->left -= size;
	return from;
}

uint8_t td_read_u8(struct td_reader *r)
{
	const uint8_t *from = take(r, 1);

	return from ? from[0] : 0;
}

uint16_t td_read_u16(struct td_reader *r)
{
	const uint8_t *from = take(r, 2);

	return from ? (uint16_t)((unsigned int)from[0] << 8 | from[1]) : 0;
}

uint32_t td_read_u32(struct td_reader *r)
{
	const uint8_t *from = take(r, 4);

	if (!from)
		return 0;
	return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

void td_read_bytes(struct td_reader *r, void *to, size_t size)
{
	const uint8_t *from = take(r, size);

	if (size == 0)
		return;
	if (from)
		memcpy(to, from, size);
	else
		memset(to, 0, size);
}

struct td_reader td_read_sub(struct td_reader *r, size_t size)
{
	const uint8_t *from = take(r, size);

	if (r->failed)
		return (struct td_reader){ .failed = true };
	return td_reader_init(from, size);
}

struct td_writer td_writer_init(void *bytes, size_t capacity)
{
	return (struct td_writer){ .at = bytes, .left = capacity };
}

/* Claims the next size bytes and returns where they begin; NULL when there is no room for all. */
static uint8_t *room(struct td_writer *w, size_t size)
{
	uint8_t *to = w->at;

	if (w->failed || size > w->left) {
		w->failed = true;
		w->left = 0;
		return NULL;
	}
	if (size > 0)
		w->at += size;
	w->left -= size;
	w->used += size;
	return to;
}

void td_write_u8(struct td_writer *w, uint8_t value)
{
	uint8_t *to = room(w, 1);

	if (to)
		to[0] = value;
}

void td_write_u16(struct td_writer *w, uint16_t value)
{
	uint8_t *to = room(w, 2);

	if (!to)
		return;
	to[0] = (uint8_t)(value >> 8);
	to[1] = (uint8_t)value;
}

void td_write_u32(struct td_writer *w, uint32_t value)
{
	uint8_t *to = room(w, 4);

	if (!to)
		return;
	to[0] = (uint8_t)(value >> 24);
	to[1] = (uint8_t)(value >> 16);
	to[2] = (uint8_t)(value >> 8);
	to[3] = (uint8_t)value;
}

void td_write_bytes(struct td_writer *w, const void *from, size_t size)
{
	uint8_t *to = room(w, size);

	if (to && size > 0)
		memcpy(to, from, size);
}

void td_write_pad(struct td_writer *w, size_t size)
{
	size_t missing = size > w->used ? size - w->used : 0;
	uint8_t *to = room(w, missing);

	if (to && missing > 0)
		memset(to, 0, missing);
}
