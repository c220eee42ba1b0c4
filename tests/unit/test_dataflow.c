/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/dataflow.h"

/* Counts come every 5 s. Returns after how many seconds the direction was dead, 0: never. */
static unsigned dead_after(struct td_dataflow *d, unsigned seconds, uint32_t sent, uint32_t by,
			   uint32_t received, struct td_time *now)
{
	for (unsigned s = 0; s < seconds; s += 5) {
		*now = td_time_add(*now, TD_SECONDS(5));
		if (td_dataflow_dead(d, sent += by, received, *now))
			return s + 5;
	}
	return 0;
}

static void test_dead(void **state)
{
	struct td_time now = { TD_SECONDS(1000) };
	struct td_dataflow d = { 0 };

	(void)state;
	assert_in_range(dead_after(&d, 600, 0, 20, 7, &now), 50, 90);
}

static void test_few_packets_may_be_lost(void **state)
{
	struct td_time now = { 0 };
	struct td_dataflow d = { 0 };

	(void)state;
	assert_int_equal(dead_after(&d, 3600, 0, 0, 7, &now), 0);
	d = (struct td_dataflow){ 0 };
	for (int i = 0; i < 9; i++) /* one a minute */
		assert_int_equal(dead_after(&d, 60, (uint32_t)i, 0, 7, &now), 0);
}

/* Old counts: what arrived before they were taken, after they were taken last, is no evidence. */
static void test_anything_that_arrives_shows_life(void **state)
{
	struct td_time now = { 0 };
	struct td_dataflow d = { 0 };
	uint32_t sent = 0;

	(void)state;
	for (uint32_t received = 1; received < 200; received++, sent += 5000)
		assert_int_equal(dead_after(&d, 45, sent, 1000, received, &now), 0);
}

static void test_counts_wrap(void **state)
{
	struct td_time now = { 0 };
	struct td_dataflow d = { 0 };

	(void)state;
	assert_in_range(dead_after(&d, 600, UINT32_MAX - 50, 20, UINT32_MAX, &now), 50, 90);
	d = (struct td_dataflow){ 0 };
	assert_int_equal(dead_after(&d, 45, 0, 20, UINT32_MAX, &now), 0);
	assert_int_equal(dead_after(&d, 45, 180, 20, 0, &now), 0);
}

/* A tunnel that is as dead as the last one is given twice as long, up to a quarter of an hour. */
static void test_patience_grows(void **state)
{
	unsigned last = 40, took;
	struct td_time now = { 0 };
	struct td_dataflow d = { 0 };

	(void)state;
	for (int i = 0; i < 6; i++) {
		took = dead_after(&d, 3600, 0, 20, 0, &now);
		assert_true(took > last);
		last = took;
		td_dataflow_restart(&d);
	}
	assert_in_range(last, 800, 900);
	assert_int_equal(dead_after(&d, 3600, 0, 20, 0, &now), last);
	td_dataflow_restart(&d);
	assert_int_equal(dead_after(&d, 10, 0, 20, 0, &now), 0);
	assert_in_range(dead_after(&d, 3600, 0, 20, 1, &now), 50, 90); /* it had moved */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dead),
		cmocka_unit_test(test_few_packets_may_be_lost),
		cmocka_unit_test(test_anything_that_arrives_shows_life),
		cmocka_unit_test(test_counts_wrap),
		cmocka_unit_test(test_patience_grows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
