/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "faults.h"

/* The published outputs of SplitMix64 for this seed. */
static void test_seeding(void **state)
{
	struct td_rng rng;

	(void)state;
	td_rng_init(&rng, 1234567);
	assert_true(rng.s[0] == UINT64_C(6457827717110365317));
	assert_true(rng.s[1] == UINT64_C(3203168211198807973));
	assert_true(rng.s[2] == UINT64_C(9817491932198370423));
	assert_true(rng.s[3] == UINT64_C(4593380528125082431));
}

/* The published outputs of xoshiro256** for this state. */
static void test_sequence(void **state)
{
	static const uint64_t expected[] = {
		11520,
		0,
		1509978240,
		1215971899390074240,
		1216172134540287360,
		607988272756665600,
		UINT64_C(16172922978634559625),
		8476171486693032832,
		UINT64_C(10595114339597558777),
		2904607092377533576,
	};
	struct td_rng rng = { { 1, 2, 3, 4 } };

	(void)state;
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		assert_true(td_rng_next(&rng) == expected[i]);
}

static void test_below(void **state)
{
	uint32_t seen[7] = { 0 };
	struct td_rng rng;

	(void)state;
	td_rng_init(&rng, 3);
	for (int i = 0; i < 7000; i++) {
		uint32_t value = td_rng_below(&rng, 7);

		assert_in_range(value, 0, 6);
		seen[value]++;
	}
	for (int i = 0; i < 7; i++)
		assert_in_range(seen[i], 850, 1150); /* five standard deviations */
	for (int i = 0; i < 100; i++)
		assert_int_equal(td_rng_below(&rng, 1), 0);
}

static void test_between(void **state)
{
	struct td_rng rng;
	int low = 0, high = 0;

	(void)state;
	td_rng_init(&rng, 4);
	for (int i = 0; i < 1000; i++) {
		int64_t value = td_rng_between(&rng, 10, 12);

		assert_in_range(value, 10, 12);
		low += value == 10;
		high += value == 12;
	}
	assert_true(low > 250 && high > 250);
	assert_int_equal(td_rng_between(&rng, 5, 5), 5);
	assert_true(td_rng_between(&rng, 0, INT64_MAX) >= 0);
	assert_int_equal(td_rng_between(&rng, INT64_MAX, INT64_MAX), INT64_MAX);
}

static void below_nothing(void)
{
	struct td_rng rng = { { 1 } };

	(void)td_rng_below(&rng, 0);
}

static void between_reversed(void)
{
	struct td_rng rng = { { 1 } };

	(void)td_rng_between(&rng, 2, 1);
}

static void test_faults(void **state)
{
	(void)state;
	assert_true(faults(below_nothing));
	assert_true(faults(between_reversed));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seeding), cmocka_unit_test(test_sequence),
		cmocka_unit_test(test_below),   cmocka_unit_test(test_between),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
