/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "core/l2tp.h"

#include "base/bytes.h"

#define FLAG_CONTROL 0x8000 /* T */
#define VERSION_MASK 0x000f
#define VERSION_3    3

size_t td_l2tp_put(uint8_t to[static TD_L2TP_HEADER_MAX], uint32_t session_id,
		   const uint8_t *cookie, size_t cookie_size)
{
	struct td_writer w = td_writer_init(to, TD_L2TP_HEADER_MAX);

	td_write_u16(&w, VERSION_3);
	td_write_u16(&w, 0);
	td_write_u32(&w, session_id);
	td_write_bytes(&w, cookie, cookie_size);
	td_write_u32(&w, 0); /* L2-specific sublayer: no sequencing */
	return w.used;
}

size_t td_l2tp_parse(const uint8_t *bytes, size_t size, size_t cookie_size, uint32_t *session_id)
{
	struct td_reader r = td_reader_init(bytes, size);
	uint16_t flags = td_read_u16(&r);

	/* All other bits of the first word are reserved: ignored on reception, RFC 3931 says. */
	if (size < TD_INNER_OVERHEAD + cookie_size ||
	    (flags & (FLAG_CONTROL | VERSION_MASK)) != VERSION_3)
		return 0;
	td_read_u16(&r);
	*session_id = td_read_u32(&r);
	return TD_L2TP_HEADER + cookie_size;
}
