/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What the vectors (test_vectors.c) do not show: building, its limits, and random input. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "core/msg.h"
#include "faults.h"

/* Needs exactly size bytes: less capacity gives 0 and touches nothing beyond. */
static void check_size(const struct td_msg *msg, enum td_sender from, size_t size)
{
	for (size_t capacity = 0; capacity <= size; capacity++) {
		uint8_t *bytes = malloc(capacity);

		assert_int_equal(td_msg_put(msg, from, bytes, capacity),
				 capacity < size ? 0 : size);
		free(bytes);
	}
}

static void test_capacity(void **state)
{
	(void)state;
	check_size(&(struct td_msg){ .type = TD_MSG_REL_ACK }, TD_FROM_BROKER, 12);
	check_size(&(struct td_msg){ .type = TD_MSG_ERROR, .reason = 2 }, TD_FROM_BROKER, 12);
	check_size(&(struct td_msg){ .type = TD_MSG_COOKIE }, TD_FROM_CLIENT, 14);
	check_size(&(struct td_msg){ .type = TD_MSG_USAGE }, TD_FROM_CLIENT, 18);
	check_size(&(struct td_msg){ .type = TD_MSG_LIMIT }, TD_FROM_CLIENT, 14);
	check_size(&(struct td_msg){ .type = TD_MSG_PREPARE,
				     .prepare = { .uuid_len = 9, .uuid = "123456789" } },
		   TD_FROM_CLIENT, 32);
	check_size(&(struct td_msg){ .type = TD_MSG_PMTUD, .size = 1472 }, TD_FROM_BROKER, 1472);
}

static void test_longest_uuid(void **state)
{
	static const char uuid[255];
	struct td_msg msg = { .type = TD_MSG_PREPARE,
			      .prepare = { .uuid_len = 238, .uuid = uuid } };
	uint8_t bytes[2 * TD_MSG_MAX_SIZE];

	(void)state;
	assert_int_equal(td_msg_put(&msg, TD_FROM_CLIENT, bytes, sizeof(bytes)), TD_MSG_MAX_SIZE);
	msg.prepare.uuid_len = 239;
	assert_int_equal(td_msg_put(&msg, TD_FROM_CLIENT, bytes, sizeof(bytes)), 0);
	msg.prepare.uuid_len = 255;
	assert_int_equal(td_msg_put(&msg, TD_FROM_CLIENT, bytes, sizeof(bytes)), 0);
}

static void test_tunnel_features(void **state)
{
	struct td_msg msg = { .type = TD_MSG_TUNNEL, .tunnel = { .id = 5, .features = 1 } };
	uint8_t bytes[TD_MSG_MAX_SIZE];

	(void)state;
	assert_int_equal(td_msg_put(&msg, TD_FROM_BROKER, bytes, sizeof(bytes)), 12);
	assert_int_equal(bytes[5], 4);
	msg.tunnel.has_features = true;
	assert_int_equal(td_msg_put(&msg, TD_FROM_BROKER, bytes, sizeof(bytes)), 14);
	assert_int_equal(bytes[5], 8);
	msg.tunnel.features = 0;
	assert_int_equal(td_msg_put(&msg, TD_FROM_BROKER, bytes, sizeof(bytes)), 12);
	assert_int_equal(bytes[5], 4);
}

/* No reply of the handshake is larger than its request. */
static void test_no_amplification(void **state)
{
	uint8_t bytes[TD_MSG_MAX_SIZE];
	struct td_msg msg = { .type = TD_MSG_COOKIE };
	size_t cookie, usage, prepare;

	(void)state;
	cookie = td_msg_put(&msg, TD_FROM_BROKER, bytes, sizeof(bytes));
	assert_int_equal(td_msg_put(&msg, TD_FROM_CLIENT, bytes, sizeof(bytes)), cookie);
	msg = (struct td_msg){ .type = TD_MSG_USAGE };
	usage = td_msg_put(&msg, TD_FROM_BROKER, bytes, sizeof(bytes));
	assert_true(usage <= 6 + 8); /* the shortest request that parses */
	msg = (struct td_msg){ .type = TD_MSG_PREPARE, .prepare = { .uuid_len = 1, .uuid = "x" } };
	prepare = td_msg_put(&msg, TD_FROM_CLIENT, bytes, sizeof(bytes)) - 8;
	msg = (struct td_msg){ .type = TD_MSG_TUNNEL,
			       .tunnel = { .has_features = true, .features = 1 } };
	assert_true(td_msg_put(&msg, TD_FROM_BROKER, bytes, sizeof(bytes)) <= prepare);
}

static void test_huge_probe(void **state)
{
	static uint8_t bytes[UINT16_MAX + 1];
	struct td_msg msg = { .type = TD_MSG_PMTUD, .size = UINT16_MAX };

	(void)state;
	assert_int_equal(td_msg_put(&msg, TD_FROM_CLIENT, bytes, UINT16_MAX - 1), 0);
	assert_int_equal(td_msg_put(&msg, TD_FROM_CLIENT, bytes, sizeof(bytes)), UINT16_MAX);
	msg.size = 0;
	assert_int_equal(td_msg_parse(&msg, TD_FROM_CLIENT, bytes, UINT16_MAX), 0);
	assert_int_equal(msg.size, UINT16_MAX);
	assert_int_equal(td_msg_parse(&msg, TD_FROM_CLIENT, bytes, sizeof(bytes)), -EBADMSG);
}

static void test_is_control(void **state)
{
	(void)state;
	assert_false(td_msg_is_control(NULL, 0));
	assert_true(td_msg_is_control((const uint8_t[]){ 0x80 }, 1));
	assert_true(td_msg_is_control((const uint8_t[]){ 0xff }, 1));
	assert_false(td_msg_is_control((const uint8_t[]){ 0x00, 0x80 }, 2));
	assert_false(td_msg_is_control((const uint8_t[]){ 0x7f }, 1));
}

/* A random datagram with a good header, so that most get as far as the payload; its real size. */
static uint8_t *random_datagram(struct td_rng *rng, size_t *size)
{
	static const uint8_t header[] = { 0x80, 0x73, 0xa7, 0x01 };
	uint8_t *bytes;

	*size = TD_MSG_HEADER + td_rng_below(rng, 40);
	bytes = malloc(*size);
	for (size_t i = 0; i < *size; i++)
		bytes[i] = (uint8_t)td_rng_next(rng);
	memcpy(bytes, header, sizeof(header));
	bytes[4] = (uint8_t)td_rng_below(rng, 13);
	if (bytes[4] > 10)
		bytes[4] = (uint8_t)(0x80 + bytes[4] - 11);
	bytes[5] = (uint8_t)td_rng_below(rng, (uint32_t)*size);
	if (*size > 14 && td_rng_below(rng, 2) == 0)
		bytes[14] %= 16; /* a uuid's length that can be */
	return bytes;
}

/* Zeroed by the parser where nothing is said: equal messages are equal bytes. */
static void check_round_trip(const struct td_msg *msg, enum td_sender from)
{
	uint8_t bytes[TD_MSG_MAX_SIZE];
	struct td_msg again;
	size_t size = td_msg_put(msg, from, bytes, sizeof(bytes));

	assert_true(size >= TD_MSG_MIN_SIZE);
	assert_int_equal(td_msg_parse(&again, from, bytes, size), 0);
	if (msg->type == TD_MSG_TUNNEL && msg->tunnel.features == 0)
		again.tunnel.has_features = msg->tunnel.has_features;
	if (msg->type == TD_MSG_PMTUD && msg->size < TD_MSG_MIN_SIZE)
		again.size = msg->size;
	if (msg->type == TD_MSG_PREPARE && again.prepare.uuid_len == msg->prepare.uuid_len) {
		assert_memory_equal(again.prepare.uuid, msg->prepare.uuid, msg->prepare.uuid_len);
		again.prepare.uuid = msg->prepare.uuid;
	}
	assert_memory_equal(&again, msg, sizeof(again));
}

static void test_random_input(void **state)
{
	struct td_rng rng;
	int parsed = 0;

	(void)state;
	td_rng_init(&rng, 11);
	for (int round = 0; round < 50000; round++) {
		enum td_sender from = td_rng_below(&rng, 2) == 0 ? TD_FROM_CLIENT : TD_FROM_BROKER;
		struct td_msg msg;
		size_t size;
		uint8_t *bytes = random_datagram(&rng, &size);
		int err = td_msg_parse(&msg, from, bytes, size);

		assert_true(err == 0 || err == -EBADMSG || err == -ENOMSG);
		if (err == 0 && msg.type != TD_MSG_RELIABLE_UNKNOWN &&
		    (msg.type != TD_MSG_LIMIT || msg.limit.bandwidth)) {
			parsed++;
			check_round_trip(&msg, from);
		}
		free(bytes);
	}
	assert_true(parsed > 5000);
}

static void put_tunnel_as_client(void)
{
	uint8_t bytes[TD_MSG_MAX_SIZE];

	td_msg_put(&(struct td_msg){ .type = TD_MSG_TUNNEL }, TD_FROM_CLIENT, bytes, sizeof(bytes));
}

static void put_unknown(void)
{
	uint8_t bytes[TD_MSG_MAX_SIZE];

	td_msg_put(&(struct td_msg){ .type = TD_MSG_RELIABLE_UNKNOWN }, TD_FROM_CLIENT, bytes,
		   sizeof(bytes));
}

static void test_faults(void **state)
{
	(void)state;
	assert_true(faults(put_tunnel_as_client));
	assert_true(faults(put_unknown));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_capacity),        cmocka_unit_test(test_longest_uuid),
		cmocka_unit_test(test_tunnel_features), cmocka_unit_test(test_no_amplification),
		cmocka_unit_test(test_huge_probe),      cmocka_unit_test(test_is_control),
		cmocka_unit_test(test_random_input),    cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
