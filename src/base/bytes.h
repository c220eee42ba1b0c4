/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Bounded reading and writing of big-endian data.
 *
 * Both cursors fail stickily: after the first access beyond the end every read returns zero and
 * every write does nothing, so a caller parses a whole message and asks once whether it was all
 * there. Nothing beyond the end is ever touched.
 */
#ifndef TD_BASE_BYTES_H
#define TD_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct td_reader {
	const uint8_t *at;
	size_t left;
	bool failed;
};

struct td_writer {
	uint8_t *at;
	size_t left;
	size_t used;
	bool failed;
};

struct td_reader td_reader_init(const void *bytes, size_t size);
uint8_t td_read_u8(struct td_reader *r);
uint16_t td_read_u16(struct td_reader *r);
uint32_t td_read_u32(struct td_reader *r);
/* All of them, or zeros. */
void td_read_bytes(struct td_reader *r, void *to, size_t size);
/* A reader over the next size bytes, which r skips; both fail when they are not there. */
struct td_reader td_read_sub(struct td_reader *r, size_t size);

struct td_writer td_writer_init(void *bytes, size_t capacity);
void td_write_u8(struct td_writer *w, uint8_t value);
void td_write_u16(struct td_writer *w, uint16_t value);
void td_write_u32(struct td_writer *w, uint32_t value);
void td_write_bytes(struct td_writer *w, const void *from, size_t size);
/* Writes zeros until at least size bytes are used. */
void td_write_pad(struct td_writer *w, size_t size);

#endif
