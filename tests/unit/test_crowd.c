/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Members are eventfds, read like sockets. Of time only what a slow machine cannot change is asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "sys/crowd.h"

#define MEMBERS 100

struct member {
	struct td_watch watch;
	unsigned calls;
	struct td_time called_at;
	bool stays_ready, leaves;
};

static struct td_loop loop;
static struct td_crowd crowd;
static struct member members[MEMBERS];
static struct td_time end_at;
static unsigned turns, calls, calls_wanted; /* the loop stops then */

static struct td_time prepare(void *ctx, struct td_time now)
{
	(void)ctx;
	turns++;
	if (td_time_reached(end_at, now) || (calls_wanted != 0 && calls >= calls_wanted))
		td_loop_stop(&loop);
	return end_at;
}

static void ready(struct td_watch *watch, uint32_t events)
{
	struct member *m = (struct member *)watch;
	uint64_t value;

	assert_true(events & EPOLLIN);
	if (!m->stays_ready)
		assert_int_equal(read(watch->fd, &value, sizeof(value)), sizeof(value));
	m->calls++;
	m->called_at = loop.now;
	calls++;
	if (m->leaves)
		td_loop_del(&crowd.members, watch);
}

static int set_up(void **state)
{
	(void)state;
	assert_int_equal(td_loop_init(&loop, prepare, NULL), 0);
	assert_int_equal(td_crowd_init(&crowd, &loop, TD_CROWD_REST), 0);
	for (unsigned i = 0; i < MEMBERS; i++) {
		members[i] = (struct member){ .watch = { eventfd(0, EFD_NONBLOCK), ready } };
		assert_int_equal(td_loop_add(&crowd.members, &members[i].watch, EPOLLIN), 0);
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (unsigned i = 0; i < MEMBERS; i++) {
		td_loop_del(&crowd.members, &members[i].watch);
		close(members[i].watch.fd);
	}
	td_crowd_fini(&crowd);
	td_loop_fini(&loop);
	return 0;
}

static void wake(unsigned first, unsigned count)
{
	for (unsigned i = first; i < first + count; i++)
		assert_int_equal(eventfd_write(members[i].watch.fd, 1), 0);
}

/* Until so many calls were made since the last time. */
static void run_until(unsigned count)
{
	turns = calls = 0;
	calls_wanted = count;
	end_at = td_time_add(td_now(), TD_SECONDS(20));
	assert_int_equal(td_loop_run(&loop), 0);
	assert_int_equal(calls, count);
}

/* At the beginning of a rest: the second event after the first comes soon after it. */
static void begin_rest(void)
{
	wake(0, 1);
	run_until(1);
	wake(0, 1);
	run_until(1);
}

static void test_alone(void **state)
{
	(void)state;
	wake(7, 1);
	run_until(1);
	assert_int_equal(members[7].calls, 1);
	assert_int_equal(turns, 2); /* at once: after one wait */
}

static void test_rests(void **state)
{
	(void)state;
	begin_rest();
	wake(0, MEMBERS);
	run_until(MEMBERS);
	/* All together, by the first turn that there was, when the rest was over. */
	assert_int_equal(turns, 2);
	for (unsigned i = 0; i < MEMBERS; i++)
		assert_int_equal(members[i].called_at.us, members[0].called_at.us);
}

static int64_t cell(struct td_time t)
{
	return t.us / TD_CROWD_REST;
}

/* Rests end at multiples of their length: never before, and soon after, if the machine is in time. */
static void test_grid(void **state)
{
	int64_t soonest_us = TD_CROWD_REST;

	(void)state;
	begin_rest();
	members[1].called_at = loop.now;
	for (unsigned i = 0; i < 8; i++) {
		const int64_t before = cell(members[1].called_at);

		wake(1, 1);
		run_until(1);
		assert_true(cell(members[1].called_at) > before);
		if (members[1].called_at.us % TD_CROWD_REST < soonest_us)
			soonest_us = members[1].called_at.us % TD_CROWD_REST;
	}
	assert_true(soonest_us < TD_CROWD_REST / 4);
}

static void test_stirred(void **state)
{
	struct td_time began, fastest = TD_NEVER;

	(void)state;
	/* A rest that has begun already is cut short, and those that follow are short. */
	begin_rest();
	began = td_now();
	td_crowd_stir(&crowd);
	for (unsigned i = 0; i < 8; i++) {
		wake(1, 1);
		run_until(1);
		/* The first rest may have been at its end anyway. */
		if (i > 0)
			fastest = td_time_min(fastest, (struct td_time){ td_time_since(
							       members[1].called_at, began) });
		began = members[1].called_at;
		td_crowd_stir(&crowd);
	}
	/* Others are ten times as long. */
	assert_true(fastest.us <= TD_CROWD_REST / 2);
}

/* What has more than its turn gives has it again; nobody else waits for that. */
static void test_endless(void **state)
{
	(void)state;
	begin_rest();
	members[3].stays_ready = true;
	wake(3, 2);
	turns = calls = 0;
	calls_wanted = 100;
	end_at = td_time_add(td_now(), TD_SECONDS(20));
	assert_int_equal(td_loop_run(&loop), 0);
	assert_int_equal(members[4].calls, 1);
	assert_true(turns > 3);
}

static void test_leave(void **state)
{
	(void)state;
	begin_rest();
	members[5].leaves = true;
	wake(5, 2);
	run_until(2);
	wake(5, 2);
	run_until(1);
	assert_int_equal(members[5].calls, 1);
}

/* Nothing to read: no turns. */
static void test_idle(void **state)
{
	(void)state;
	begin_rest();
	wake(0, 1);
	run_until(1);
	turns = calls = 0;
	calls_wanted = 0;
	end_at = td_time_add(td_now(), TD_SECONDS(1));
	assert_int_equal(td_loop_run(&loop), 0);
	assert_in_range(turns, 2, 4);
}

static void test_none(void **state)
{
	struct td_crowd none = TD_CROWD_NONE;

	(void)state;
	td_crowd_fini(&none);
}

#define CROWD_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CROWD_TEST(test_alone),   CROWD_TEST(test_rests),      CROWD_TEST(test_grid),
		CROWD_TEST(test_stirred), CROWD_TEST(test_endless),    CROWD_TEST(test_leave),
		CROWD_TEST(test_idle),    cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
