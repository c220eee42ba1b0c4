/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/timer.h"
#include "faults.h"

#define TIMERS 64

static struct td_time at_us(int64_t us)
{
	return (struct td_time){ us };
}

/* The timers themselves are the model: whoever runs, and when, is looked up one by one. */
struct fixture {
	struct td_timers timers;
	struct td_timer_place heap[TIMERS];
	struct td_timer timer[TIMERS];
	int64_t model[TIMERS]; /* when it fires; -1: stopped */
};

static int64_t model_first(const struct fixture *f)
{
	int64_t first = INT64_MAX;

	for (int i = 0; i < TIMERS; i++) {
		if (f->model[i] >= 0 && f->model[i] < first)
			first = f->model[i];
	}
	return first;
}

static void check(const struct fixture *f)
{
	for (int i = 0; i < TIMERS; i++)
		assert_int_equal(td_timer_running(&f->timer[i]), f->model[i] >= 0);
	assert_int_equal(td_timers_deadline(&f->timers).us, model_first(f));
}

static void expire(struct fixture *f, int64_t now)
{
	struct td_timer *timer;
	int64_t last = 0;

	while ((timer = td_timers_expired(&f->timers, at_us(now))) != NULL) {
		int64_t *model = &f->model[timer - f->timer];

		assert_int_equal(*model, model_first(f));
		assert_true(*model >= last && *model <= now);
		assert_false(td_timer_running(timer));
		last = *model;
		*model = -1;
	}
	assert_true(model_first(f) > now);
}

static void test_any_sequence(void **state)
{
	struct fixture f = { 0 };
	struct td_rng rng;
	int64_t now = 0;

	(void)state;
	td_rng_init(&rng, 1);
	td_timers_init(&f.timers, f.heap, TIMERS);
	for (int i = 0; i < TIMERS; i++)
		f.model[i] = -1;
	for (int step = 0; step < 20000; step++) {
		uint32_t i = td_rng_below(&rng, TIMERS);
		uint32_t what = td_rng_below(&rng, 20);

		if (what == 0) {
			now += td_rng_between(&rng, 0, 60);
			expire(&f, now);
		} else if (what < 5) {
			td_timer_stop(&f.timers, &f.timer[i]);
			f.model[i] = -1;
		} else if (what < 6) {
			td_timer_start(&f.timers, &f.timer[i], TD_NEVER);
			f.model[i] = -1;
		} else {
			/* Few different times, so that equal ones are frequent. */
			f.model[i] = now + td_rng_between(&rng, 0, 99);
			td_timer_start(&f.timers, &f.timer[i], at_us(f.model[i]));
		}
		check(&f);
	}
	expire(&f, INT64_MAX - 1);
	assert_int_equal(f.timers.count, 0);
}

static void test_empty(void **state)
{
	struct td_timers timers;
	struct td_timer timer = { 0 };

	(void)state;
	td_timers_init(&timers, NULL, 0);
	td_timer_stop(&timers, &timer);
	td_timer_start(&timers, &timer, TD_NEVER);
	assert_false(td_timer_running(&timer));
	assert_int_equal(td_timers_deadline(&timers).us, TD_NEVER.us);
	assert_null(td_timers_expired(&timers, at_us(INT64_MAX)));
}

static void start_one_too_many(void)
{
	struct td_timers timers;
	struct td_timer_place heap[1];
	struct td_timer timer[2] = { 0 };

	td_timers_init(&timers, heap, 1);
	td_timer_start(&timers, &timer[0], at_us(1));
	td_timer_start(&timers, &timer[0], at_us(2)); /* moving needs no place */
	td_timer_start(&timers, &timer[1], at_us(1));
}

static void stop_with_foreign_heap(void)
{
	struct td_timers timers;
	struct td_timer_place heap[1];
	struct td_timer timer = { .place = 1 };

	td_timers_init(&timers, heap, 1);
	td_timer_stop(&timers, &timer);
}

static void test_faults(void **state)
{
	(void)state;
	assert_true(faults(start_one_too_many));
	assert_true(faults(stop_with_foreign_heap));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_any_sequence),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
