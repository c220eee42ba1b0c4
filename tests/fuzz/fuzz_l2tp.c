/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Data packets: a header that is accepted leaves room for an Ethernet header, and can be rebuilt. */
#include "core/l2tp.h"
#include "core/msg.h"
#include "fuzz.h"

static void rebuild(const uint8_t *from, size_t header, size_t size, uint32_t session_id)
{
	const size_t cookie_size = header - TD_L2TP_HEADER;
	uint8_t *packet = malloc(TD_L2TP_HEADER_MAX + size);
	uint32_t again = ~session_id;

	assert_non_null(packet);
	assert_int_equal(td_l2tp_put(packet, session_id, from + TD_L2TP_COOKIE, cookie_size),
			 header);
	memcpy(packet + header, from + header, size - header);
	assert_int_equal(td_l2tp_parse(packet, size, cookie_size, &again), header);
	assert_int_equal(again, session_id);
	assert_memory_equal(packet + TD_L2TP_COOKIE, from + TD_L2TP_COOKIE, cookie_size);
	free(packet);
}

static void parse(const uint8_t *packet, size_t size, size_t cookie_size)
{
	uint32_t session_id = 0;
	const size_t header = td_l2tp_parse(packet, size, cookie_size, &session_id);

	if (header == 0)
		return;
	assert_true(header + TD_ETH_HEADER <= size);
	assert_false(td_msg_is_control(packet, size)); /* no datagram is both */
	rebuild(packet, header, size, session_id);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	uint8_t *packet = fuzz_copy(bytes, size);

	parse(packet, size, 0);
	parse(packet, size, TD_DATA_COOKIE);
	free(packet);
	return 0;
}
