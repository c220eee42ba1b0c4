/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "datapath/flow_hash.h"

/* Computed by another implementation of SipHash-1-3, of the bytes 0 … 47. */
static void known_answer(void **state)
{
	const struct td_flow_key zero = { { 0, 0 } };
	struct td_flow flow;
	uint8_t bytes[sizeof(flow)];

	(void)state;
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	memcpy(&flow, bytes, sizeof(flow));
	assert_true(td_flow_hash(&zero, &flow) == 0xfe1f2445ba50237f);
}

/* Every bit of the flow and of the key changes about half of the result. */
static void every_bit_counts(void **state)
{
	union {
		struct {
			struct td_flow_key key;
			struct td_flow flow;
		} in;
		uint8_t bytes[sizeof(struct td_flow_key) + sizeof(struct td_flow)];
	} u = { .bytes = { 1, 2, 3 } };
	const uint64_t before = td_flow_hash(&u.in.key, &u.in.flow);

	(void)state;
	for (unsigned bit = 0; bit < sizeof(u.bytes) * 8; bit++) {
		uint64_t difference;

		u.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		difference = td_flow_hash(&u.in.key, &u.in.flow) ^ before;
		u.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_in_range(__builtin_popcountll(difference), 12, 52);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_answer),
		cmocka_unit_test(every_bit_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
