/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What the parent remembers of hooks, also across the death of a worker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/hook_runs.h"

static const struct td_handle first = { 2, 1 }, second = { 2, 2 };

static int set_up(void **state)
{
	static struct td_hook_runs runs;

	*state = &runs;
	return td_hook_runs_init(&runs, 4);
}

static int tear_down(void **state)
{
	td_hook_runs_fini(*state);
	return 0;
}

static void test_result_is_told_once(void **state)
{
	struct td_hook_runs *r = *state;
	const uint64_t token = td_hook_runs_begin(r, first, 7);
	struct td_hook_run *run = td_hook_runs_end(r, token, 3);

	assert_non_null(run);
	assert_int_equal(run->sequence, 7);
	assert_int_equal(run->result, 3);
	assert_int_equal(r->untold, 1);
	td_hook_runs_told(r, run);
	td_hook_runs_told(r, run);
	assert_int_equal(r->untold, 0);
	assert_null(td_hook_runs_end(r, token, 3));
}

/* Whether the worker had read it, nobody knows. */
static void test_result_is_told_again_to_the_next_worker(void **state)
{
	struct td_hook_runs *r = *state;

	td_hook_runs_told(r, td_hook_runs_end(r, td_hook_runs_begin(r, first, 7), 0));
	td_hook_runs_worker_died(r);
	assert_int_equal(r->untold, 1);
	assert_true(r->runs[2].untold);
	td_hook_runs_worker_died(r);
	assert_int_equal(r->untold, 1);
}

static void test_running_hook_is_told_when_it_ends(void **state)
{
	struct td_hook_runs *r = *state;
	const uint64_t token = td_hook_runs_begin(r, first, 7);

	td_hook_runs_worker_died(r);
	assert_int_equal(r->untold, 0);
	assert_non_null(td_hook_runs_end(r, token, 0));
}

/* The session before it took too long with its last hook. */
static void test_late_result_is_not_taken_for_the_next_ones(void **state)
{
	struct td_hook_runs *r = *state;
	const uint64_t down = td_hook_runs_begin(r, first, 7);
	uint64_t up;

	td_hook_runs_forget(r, 2);
	assert_null(td_hook_runs_end(r, down, 0));
	up = td_hook_runs_begin(r, second, 7);
	assert_null(td_hook_runs_end(r, down, 0));
	assert_non_null(td_hook_runs_end(r, up, 0));
}

static void test_next_hook_replaces_what_was_not_told(void **state)
{
	struct td_hook_runs *r = *state;

	assert_non_null(td_hook_runs_end(r, td_hook_runs_begin(r, first, 7), 0));
	td_hook_runs_begin(r, first, 8);
	assert_int_equal(r->untold, 0);
	assert_non_null(td_hook_runs_end(r, td_hook_runs_begin(r, first, 9), 0));
	td_hook_runs_forget(r, 2);
	assert_int_equal(r->untold, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_result_is_told_once),
		TEST(test_result_is_told_again_to_the_next_worker),
		TEST(test_running_hook_is_told_when_it_ends),
		TEST(test_late_result_is_not_taken_for_the_next_ones),
		TEST(test_next_hook_replaces_what_was_not_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
