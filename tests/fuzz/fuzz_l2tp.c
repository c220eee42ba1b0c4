/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Data packets: a header that is accepted leaves room for an Ethernet header, and can be rebuilt. */
#include "core/l2tp.h"
#include "core/msg.h"
#include "fuzz.h"

static void rebuild(const uint8_t *frame, size_t size, uint32_t session_id)
{
	uint8_t *packet = malloc(TD_L2TP_HEADER + size);
	uint32_t again = ~session_id;

	assert_non_null(packet);
	td_l2tp_put(packet, session_id);
	memcpy(packet + TD_L2TP_HEADER, frame, size);
	assert_int_equal(td_l2tp_parse(packet, TD_L2TP_HEADER + size, &again), TD_L2TP_HEADER);
	assert_int_equal(again, session_id);
	free(packet);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	uint8_t *packet = fuzz_copy(bytes, size);
	uint32_t session_id = 0;
	const size_t header = td_l2tp_parse(packet, size, &session_id);

	if (header > 0) {
		assert_true(header + TD_ETH_HEADER <= size);
		assert_false(td_msg_is_control(packet, size)); /* no datagram is both */
		rebuild(packet + header, size - header, session_id);
	}
	free(packet);
	return 0;
}
