/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bucket.h"
#include "base/rng.h"
#include "faults.h"

static struct td_time at_us(int64_t us)
{
	return (struct td_time){ us };
}

static bool ready(const struct td_bucket *bucket, const struct td_rate *rate, struct td_time now)
{
	return td_time_reached(td_bucket_ready(bucket, rate), now);
}

static void test_burst_then_rate(void **state)
{
	const struct td_rate rate = { .interval_us = TD_SECONDS(1), .burst = 3 };
	struct td_bucket bucket = { 0 };
	struct td_time now = at_us(TD_SECONDS(100));

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_true(ready(&bucket, &rate, now));
		td_bucket_take(&bucket, &rate, now);
	}
	assert_int_equal(td_bucket_ready(&bucket, &rate).us, TD_SECONDS(101));
	now = at_us(TD_SECONDS(101));
	td_bucket_take(&bucket, &rate, now);
	assert_int_equal(td_bucket_ready(&bucket, &rate).us, TD_SECONDS(102));
}

/* The model counts what is in the bucket in microseconds of refilling. */
static void test_any_sequence(void **state)
{
	struct td_rng rng;

	(void)state;
	td_rng_init(&rng, 5);
	for (int round = 0; round < 200; round++) {
		struct td_rate rate = { .interval_us = td_rng_between(&rng, 1, 50),
					.burst = 1 + td_rng_below(&rng, 5) };
		int64_t full_us = rate.interval_us * rate.burst, level_us = full_us, now = 0;
		struct td_bucket bucket = { 0 };

		for (int step = 0; step < 200; step++) {
			int64_t pause_us = td_rng_between(&rng, 0, rate.interval_us * 3 / 2);
			int64_t lacking_us;

			now += pause_us;
			level_us += pause_us;
			if (level_us > full_us)
				level_us = full_us;
			lacking_us = rate.interval_us - level_us;
			assert_int_equal(ready(&bucket, &rate, at_us(now)), lacking_us <= 0);
			if (lacking_us > 0) {
				assert_int_equal(td_bucket_ready(&bucket, &rate).us,
						 now + lacking_us);
				continue;
			}
			td_bucket_take(&bucket, &rate, at_us(now));
			level_us -= rate.interval_us;
		}
	}
}

static void test_no_limit(void **state)
{
	const struct td_rate rate = { .interval_us = 0, .burst = 1 };
	struct td_bucket bucket = { .full_at = at_us(TD_SECONDS(1000)) };

	(void)state;
	for (int i = 0; i < 1000; i++) {
		assert_true(ready(&bucket, &rate, at_us(5)));
		td_bucket_take(&bucket, &rate, at_us(5));
	}
}

static void test_absurd_numbers(void **state)
{
	const struct td_rate endless_burst = { .interval_us = INT64_MAX, .burst = UINT32_MAX };
	const struct td_rate once = { .interval_us = INT64_MAX, .burst = 1 };
	struct td_bucket bucket = { 0 };

	(void)state;
	td_bucket_take(&bucket, &endless_burst, at_us(7));
	assert_true(ready(&bucket, &endless_burst, at_us(7)));
	bucket = (struct td_bucket){ 0 };
	td_bucket_take(&bucket, &once, at_us(7));
	assert_int_equal(td_bucket_ready(&bucket, &once).us, TD_NEVER.us);
}

static void take_early(void)
{
	const struct td_rate rate = { .interval_us = 10, .burst = 1 };
	struct td_bucket bucket = { 0 };

	td_bucket_take(&bucket, &rate, at_us(0));
	td_bucket_take(&bucket, &rate, at_us(9));
}

static void no_burst(void)
{
	const struct td_rate rate = { .interval_us = 10, .burst = 0 };
	struct td_bucket bucket = { 0 };

	(void)td_bucket_ready(&bucket, &rate);
}

static void test_faults(void **state)
{
	(void)state;
	assert_true(faults(take_early));
	assert_true(faults(no_burst));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_burst_then_rate), cmocka_unit_test(test_any_sequence),
		cmocka_unit_test(test_no_limit),        cmocka_unit_test(test_absurd_numbers),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
