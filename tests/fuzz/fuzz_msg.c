/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Control messages: what was parsed can be written, and then means the same.
 *
 * Input: who sent it (bit 0), bytes that are missing when it is written, the datagram.
 */
#include "../unit/msg_text.h"
#include "fuzz.h"

/* Is there just one way to write it, which says all of it? */
static bool can_be_put(const struct td_msg *msg)
{
	switch (msg->type) {
	case TD_MSG_RELIABLE_UNKNOWN:
		return false;
	case TD_MSG_LIMIT:
		return msg->limit.bandwidth;
	case TD_MSG_PREPARE:
		return msg->prepare.uuid_len <= 238;
	case TD_MSG_COOKIE:
	case TD_MSG_ERROR:
	case TD_MSG_TUNNEL:
	case TD_MSG_KEEPALIVE:
	case TD_MSG_PMTUD:
	case TD_MSG_PMTUD_ACK:
	case TD_MSG_REL_ACK:
	case TD_MSG_PMTU_NTFY:
	case TD_MSG_USAGE:
		break;
	}
	return true;
}

/* What writing it does not keep. */
static void normalise(struct td_msg *msg)
{
	if (msg->type == TD_MSG_PMTUD && msg->size < TD_MSG_MIN_SIZE)
		msg->size = TD_MSG_MIN_SIZE;
	if (msg->type == TD_MSG_TUNNEL && msg->tunnel.features == 0)
		msg->tunnel.has_features = false;
}

/* Writes into memory of just that size. */
static size_t put(const struct td_msg *msg, enum td_sender from, uint8_t *to, size_t capacity)
{
	uint8_t *exact = fuzz_copy(to, capacity);
	const size_t size = td_msg_put(msg, from, exact, capacity);

	assert_true(size <= capacity);
	memcpy(to, exact, size);
	free(exact);
	return size;
}

static void round_trip(struct td_msg *msg, enum td_sender from, uint8_t missing)
{
	static uint8_t bytes[UINT16_MAX];
	char before[MSG_TEXT], after[MSG_TEXT];
	struct td_msg again;
	size_t size;

	normalise(msg);
	size = put(msg, from, bytes,
		   msg->type == TD_MSG_PMTUD ? msg->size : (size_t)TD_MSG_MAX_SIZE);
	assert_true(size >= TD_MSG_MIN_SIZE);
	assert_int_equal(td_msg_parse(&again, from, bytes, size), 0);
	show_msg(before, from, msg);
	show_msg(after, from, &again);
	assert_string_equal(before, after);
	if (missing > 0 && missing <= size)
		assert_int_equal(put(msg, from, bytes, size - missing), 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct td_reader r = td_reader_init(bytes, size);
	const enum td_sender from = td_read_u8(&r) & 1 ? TD_FROM_BROKER : TD_FROM_CLIENT;
	const uint8_t missing = td_read_u8(&r);
	uint8_t *datagram = fuzz_copy(r.at, r.left);
	struct td_msg msg;

	if (td_msg_parse(&msg, from, datagram, r.left) == 0) {
		assert_true(td_msg_is_control(datagram, r.left));
		if (can_be_put(&msg))
			round_trip(&msg, from, missing);
	}
	free(datagram);
	return 0;
}
