/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "core/l2tp.h"

#include "base/bytes.h"

#define FLAG_CONTROL 0x8000 /* T */
#define VERSION_MASK 0x000f
#define VERSION_3    3

void td_l2tp_put(uint8_t to[static TD_L2TP_HEADER], uint32_t session_id)
{
	struct td_writer w = td_writer_init(to, TD_L2TP_HEADER);

	td_write_u16(&w, VERSION_3);
	td_write_u16(&w, 0);
	td_write_u32(&w, session_id);
	td_write_u32(&w, 0); /* L2-specific sublayer: no sequencing */
}

size_t td_l2tp_parse(const uint8_t *bytes, size_t size, uint32_t *session_id)
{
	struct td_reader r = td_reader_init(bytes, size);
	uint16_t flags = td_read_u16(&r);

	/* All other bits of the first word are reserved: ignored on reception, RFC 3931 says. */
	if (size < TD_INNER_OVERHEAD || (flags & (FLAG_CONTROL | VERSION_MASK)) != VERSION_3)
		return 0;
	td_read_u16(&r);
	*session_id = td_read_u32(&r);
	return TD_L2TP_HEADER;
}
