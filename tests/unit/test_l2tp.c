/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/l2tp.h"

/* Header of session 0x01020304 and the smallest Ethernet frame there is: only its header. */
static const uint8_t packet[TD_INNER_OVERHEAD] = { 0, 3, 0, 0, 1, 2, 3, 4 };

static void test_put(void **state)
{
	uint8_t header[TD_L2TP_HEADER_MAX];

	(void)state;
	memset(header, 0xee, sizeof(header));
	assert_int_equal(td_l2tp_put(header, 0x01020304, NULL, 0), TD_L2TP_HEADER);
	assert_memory_equal(header, packet, TD_L2TP_HEADER);
	assert_int_equal(header[TD_L2TP_HEADER], 0xee);
}

/* Between session id and sublayer, RFC 3931 says. */
static void test_cookie(void **state)
{
	static const uint8_t cookie[] = "COOKIE!!";
	static const uint8_t with[] = "\0\3\0\0\1\2\3\4COOKIE!!\0\0\0\0destinsource\x12\x34";
	uint8_t header[TD_L2TP_HEADER_MAX];
	uint32_t session_id = 0;

	(void)state;
	memset(header, 0xee, sizeof(header));
	assert_int_equal(td_l2tp_put(header, 0x01020304, cookie, 8), TD_L2TP_HEADER_MAX);
	assert_memory_equal(header, with, sizeof(header));
	assert_int_equal(td_l2tp_parse(with, 34, 8, &session_id), TD_L2TP_HEADER_MAX);
	assert_int_equal(session_id, 0x01020304);
	assert_memory_equal(with + TD_L2TP_COOKIE, cookie, 8);
	for (size_t size = 0; size < 34; size++)
		assert_int_equal(td_l2tp_parse(with, size, 8, &session_id), 0);
}

static void test_parse(void **state)
{
	uint32_t session_id = 0;

	(void)state;
	assert_int_equal(td_l2tp_parse(packet, sizeof(packet), 0, &session_id), TD_L2TP_HEADER);
	assert_int_equal(session_id, 0x01020304);
}

static void test_cut(void **state)
{
	(void)state;
	for (size_t size = 0; size < sizeof(packet); size++) {
		uint8_t *copy = malloc(size);
		uint32_t session_id = 42;

		memcpy(copy, packet, size);
		assert_int_equal(td_l2tp_parse(copy, size, 0, &session_id), 0);
		assert_int_equal(session_id, 42);
		free(copy);
	}
}

/* T and the version decide; reserved bits, the reserved word and the sublayer do not. */
static void test_every_first_word(void **state)
{
	uint8_t bytes[sizeof(packet)];
	uint32_t session_id;

	(void)state;
	memset(bytes, 0xff, sizeof(bytes));
	for (unsigned int word = 0; word <= 0xffff; word++) {
		size_t expected = word < 0x8000 && word % 16 == 3 ? TD_L2TP_HEADER : 0;

		bytes[0] = (uint8_t)(word >> 8);
		bytes[1] = (uint8_t)word;
		assert_int_equal(td_l2tp_parse(bytes, sizeof(bytes), 0, &session_id), expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put),
		cmocka_unit_test(test_cookie),
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_every_first_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
