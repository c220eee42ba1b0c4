/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/relq.h"

static struct td_time at_us(int64_t us)
{
	return (struct td_time){ us };
}

static void test_idle(void **state)
{
	struct td_relq q;

	(void)state;
	td_relq_init(&q);
	assert_int_equal(td_relq_deadline(&q).us, TD_NEVER.us);
	assert_false(td_relq_due(&q, at_us(TD_SECONDS(1000))));
	td_relq_acknowledge(&q, q.sequence);
	assert_int_equal(td_relq_deadline(&q).us, TD_NEVER.us);
}

static void test_ten_times_a_second_apart(void **state)
{
	struct td_relq q;

	(void)state;
	td_relq_init(&q);
	td_relq_post(&q, at_us(500));
	for (int i = 0; i < 10; i++) {
		struct td_time next = at_us(500 + TD_SECONDS(i));

		assert_int_equal(td_relq_deadline(&q).us, next.us);
		assert_false(td_relq_due(&q, at_us(next.us - 1)));
		assert_true(td_relq_due(&q, next));
		assert_false(td_relq_due(&q, next));
		assert_int_equal(q.sequence, 0); /* as deployed clients begin */
	}
	assert_int_equal(td_relq_deadline(&q).us, TD_NEVER.us);
	assert_false(td_relq_due(&q, at_us(TD_SECONDS(1000))));
}

static void test_acknowledged(void **state)
{
	struct td_relq q;

	(void)state;
	td_relq_init(&q);
	td_relq_post(&q, at_us(0));
	td_relq_acknowledge(&q, q.sequence);
	assert_int_equal(td_relq_deadline(&q).us, 0); /* nothing was sent that it could be for */
	assert_true(td_relq_due(&q, at_us(0)));
	td_relq_acknowledge(&q, (uint16_t)(q.sequence + 1));
	assert_int_equal(td_relq_deadline(&q).us, TD_SECONDS(1));
	td_relq_acknowledge(&q, q.sequence);
	assert_int_equal(td_relq_deadline(&q).us, TD_NEVER.us);
	td_relq_acknowledge(&q, q.sequence);
	assert_int_equal(td_relq_deadline(&q).us, TD_NEVER.us);
}

static void test_replaced(void **state)
{
	struct td_relq q;
	uint16_t first;

	(void)state;
	td_relq_init(&q);
	td_relq_post(&q, at_us(0));
	assert_true(td_relq_due(&q, at_us(0)));
	first = q.sequence;
	td_relq_post(&q, at_us(100));
	assert_int_not_equal(q.sequence, first);
	assert_true(td_relq_due(&q, at_us(100)));
	td_relq_acknowledge(&q, first); /* late, for the one before */
	assert_int_equal(td_relq_deadline(&q).us, 100 + TD_SECONDS(1));
	for (int i = 1; i < 10; i++)
		assert_true(td_relq_due(&q, at_us(100 + TD_SECONDS(i))));
	assert_int_equal(td_relq_deadline(&q).us, TD_NEVER.us);
}

/* A caller that comes late sends once, not once for every second missed. */
static void test_late(void **state)
{
	struct td_relq q;

	(void)state;
	td_relq_init(&q);
	td_relq_post(&q, at_us(0));
	assert_true(td_relq_due(&q, at_us(TD_SECONDS(60))));
	assert_false(td_relq_due(&q, at_us(TD_SECONDS(60))));
	assert_int_equal(td_relq_deadline(&q).us, TD_SECONDS(61));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_ten_times_a_second_apart),
		cmocka_unit_test(test_acknowledged),
		cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
