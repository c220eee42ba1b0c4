/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Shutdown: ERROR to everybody, nobody new, one deadline for all hooks, and then nothing is left. */
#include <errno.h>
#include <string.h>

#include "engine_harness.h"

#define MANY 100

static void open_world(struct world *w, uint32_t max_tunnels, uint32_t hooks)
{
	struct td_engine_config config = config_for(max_tunnels);

	config.hooks = hooks;
	world_start(w, &config);
}

static unsigned errors_heard(struct world *w, const struct client *c)
{
	unsigned count = 0;
	struct td_msg msg;

	while (client_hears(w, c, TD_MSG_ERROR, &msg)) {
		assert_int_equal(msg.reason, TD_ERROR_BROKER_SHUTDOWN);
		count++;
	}
	return count;
}

static void assert_nothing_is_left(struct world *w)
{
	assert_true(td_engine_idle(w->e));
	assert_int_equal(check_applicants(w->e), 0);
	assert_int_equal(td_engine_deadline(w->e).us, TD_NEVER.us);
	for (uint32_t i = 0; i < w->config.max_tunnels; i++)
		assert_false(w->watches[i].live);
}

static void test_of_nothing(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, 4, TUNNEL_HOOKS);
	world_shutdown(&w, TD_SECONDS(10));
	assert_nothing_is_left(&w);
	world_end(&w);
}

static void test_error_once_to_each_and_paced(void **state)
{
	static struct client c[MANY];
	int64_t from_us;
	struct world w;

	(void)state;
	open_world(&w, MANY, 0);
	for (unsigned n = 0; n < MANY; n++) {
		c[n] = client_number(n);
		assert_true(client_join(&w, &c[n]));
	}
	world_forget(&w);
	from_us = w.now.us;
	world_shutdown(&w, TD_SECONDS(10));
	world_shutdown(&w, TD_SECONDS(10)); /* a second signal changes nothing */
	assert_true(w.datagram_count > 0 && w.datagram_count <= MANY / 2);
	world_pass(&w, TD_SECONDS(1));
	for (unsigned n = 0; n < MANY; n++)
		assert_int_equal(errors_heard(&w, &c[n]), 1);
	assert_true(w.datagrams[w.datagram_count - 1].at.us - from_us <= TD_MS(50));
	assert_int_equal(td_engine_counters(w.e)->ended[TD_END_SHUTDOWN], MANY);
	assert_nothing_is_left(&w);
	world_end(&w);
}

static void test_nobody_is_admitted(void **state)
{
	struct client c = client_number(0), greeted = client_number(1), living = client_number(2);
	struct world w;

	(void)state;
	open_world(&w, 4, TUNNEL_HOOKS);
	assert_true(client_greet(&w, &greeted));
	assert_true(client_join(&w, &living));
	w.hook[TD_HOOK_PRE_DOWN].delay_us = TD_SECONDS(5);
	world_shutdown(&w, TD_SECONDS(10));
	assert_int_equal(errors_heard(&w, &living), 1);
	for (int s = 0; s < 12; s++) {
		assert_false(client_join(&w, &c));
		client_send_type(&w, &c, TD_MSG_USAGE);
		client_prepare(&w, &greeted);
		client_prepare(&w, &living);
		client_send_type(&w, &living, TD_MSG_USAGE);
		world_pass(&w, TD_SECONDS(1));
	}
	assert_int_equal(client_unread(&w, &c), 0);
	assert_int_equal(client_unread(&w, &greeted), 0);
	assert_int_equal(client_unread(&w, &living), 0);
	assert_nothing_is_left(&w);
	world_end(&w);
}

static void test_applicants_are_dropped(void **state)
{
	struct td_engine_config config = config_for(4);
	struct client c[4];
	struct world w;

	(void)state;
	config.rate = (struct td_rate){ TD_SECONDS(1), 1 };
	world_start(&w, &config);
	for (unsigned n = 0; n < 4; n++)
		c[n] = client_number(n);
	client_rename(&c[3], "-bad");
	for (unsigned n = 0; n < 4; n++)
		client_join(&w, &c[n]);
	assert_int_equal(check_applicants(w.e), 3);
	world_shutdown(&w, TD_SECONDS(10));
	assert_nothing_is_left(&w);
	world_pass(&w, TD_SECONDS(30));
	for (unsigned n = 1; n < 4; n++)
		assert_int_equal(client_unread(&w, &c[n]), 0);
	world_end(&w);
}

static void test_hooks_share_one_deadline(void **state)
{
	struct client c[4];
	struct world w;

	(void)state;
	open_world(&w, 4, TUNNEL_HOOKS);
	for (unsigned n = 0; n < 4; n++) {
		c[n] = client_number(n);
		assert_true(client_join(&w, &c[n]));
	}
	w.hook[TD_HOOK_PRE_DOWN].delay_us = TD_SECONDS(2);
	w.hook[TD_HOOK_DOWN].delay_us = TD_SECONDS(2);
	world_shutdown(&w, TD_SECONDS(3));
	world_pass(&w, TD_SECONDS(2));
	assert_int_equal(world_count(&w, TD_ACTION_HOOK, TD_HOOK_DOWN), 4);
	assert_false(td_engine_idle(w.e));
	world_pass(&w, TD_SECONDS(1));
	assert_nothing_is_left(&w);
	assert_int_equal(td_engine_counters(w.e)->hooks_skipped, 4);
	world_end(&w);
}

static void test_hanging_pre_down_at_shutdown(void **state)
{
	struct client c = client_number(0);
	struct world w;

	(void)state;
	open_world(&w, 4, TUNNEL_HOOKS);
	assert_true(client_join(&w, &c));
	w.hook[TD_HOOK_PRE_DOWN].delay_us = HOLD;
	world_shutdown(&w, TD_SECONDS(3));
	world_pass(&w, TD_SECONDS(3) - 1);
	assert_int_equal(world_count(&w, TD_ACTION_DESTROY, ANY_HOOK), 0);
	world_pass(&w, 1);
	assert_int_equal(world_count(&w, TD_ACTION_DESTROY, ANY_HOOK), 1);
	assert_int_equal(world_count(&w, TD_ACTION_HOOK, TD_HOOK_DOWN), 0);
	assert_int_equal(td_engine_counters(w.e)->hooks_skipped, 2);
	assert_nothing_is_left(&w);
	world_end(&w);
}

/* Hooks that began before are held to the deadline as well. */
static void test_hooks_that_already_run(void **state)
{
	struct client a = client_number(0), b = client_number(1);
	struct world w;

	(void)state;
	open_world(&w, 4, TUNNEL_HOOKS);
	assert_true(client_join(&w, &a) && client_join(&w, &b));
	w.hook[TD_HOOK_DOWN].delay_us = HOLD;
	client_send_type(&w, &a, TD_MSG_ERROR);
	w.hook[TD_HOOK_PRE_DOWN].delay_us = HOLD;
	client_send_type(&w, &b, TD_MSG_ERROR);
	world_shutdown(&w, TD_SECONDS(3));
	world_pass(&w, TD_SECONDS(3) - 1);
	assert_int_equal(td_engine_tunnels(w.e), 2);
	world_pass(&w, 1);
	assert_nothing_is_left(&w);
	assert_int_equal(td_engine_counters(w.e)->hooks_skipped, 3);
	world_end(&w);
}

/* The interface is gone only when the deadline has passed: down is not begun any more. */
static void test_no_hook_after_the_deadline(void **state)
{
	struct client c = client_number(0);
	struct world w;

	(void)state;
	open_world(&w, 4, TUNNEL_HOOKS);
	assert_true(client_join(&w, &c));
	w.path[TD_ACTION_DESTROY].delay_us = TD_SECONDS(5);
	world_shutdown(&w, TD_SECONDS(3));
	world_pass(&w, TD_SECONDS(6));
	assert_int_equal(world_count(&w, TD_ACTION_HOOK, TD_HOOK_DOWN), 0);
	assert_int_equal(td_engine_counters(w.e)->hooks_skipped, 1);
	assert_nothing_is_left(&w);
	world_end(&w);
}

static void test_no_time_at_all(void **state)
{
	struct client c = client_number(0);
	struct world w;

	(void)state;
	open_world(&w, 4, TUNNEL_HOOKS);
	assert_true(client_join(&w, &c));
	world_shutdown(&w, 0);
	world_pass(&w, 0);
	assert_int_equal(world_count(&w, TD_ACTION_HOOK, TD_HOOK_PRE_DOWN), 0);
	assert_int_equal(td_engine_counters(w.e)->hooks_skipped, 2);
	assert_nothing_is_left(&w);
	world_end(&w);
}

/* In whatever state a session is: CREATING, ABANDONED, UP, CLOSING, DESTROYING, DOWN. */
static void test_from_every_state(void **state)
{
	(void)state;
	for (int stage = 0; stage < 6; stage++) {
		struct client c = client_number(0);
		struct world w;

		open_world(&w, 1, TUNNEL_HOOKS);
		w.path[TD_ACTION_CREATE].delay_us = stage < 2 ? TD_SECONDS(1) : 0;
		w.path[TD_ACTION_DESTROY].delay_us = TD_SECONDS(1);
		w.hook[TD_HOOK_PRE_DOWN].delay_us = TD_SECONDS(1);
		w.hook[TD_HOOK_DOWN].delay_us = TD_SECONDS(1);
		assert_int_equal(client_join(&w, &c), stage >= 2);
		if (stage != 0 && stage != 2)
			client_send_type(&w, &c, TD_MSG_ERROR);
		if (stage == 4)
			world_pass(&w, TD_MS(1500));
		if (stage == 5)
			world_pass(&w, TD_MS(2500));
		world_forget(&w);
		world_shutdown(&w, TD_SECONDS(10));
		world_pass(&w, TD_SECONDS(4));
		assert_int_equal(errors_heard(&w, &c), stage == 0 || stage == 2);
		assert_int_equal(world_count(&w, TD_ACTION_DESTROY, ANY_HOOK), 1 - (stage == 5));
		assert_int_equal(td_engine_counters(w.e)->hooks_skipped, 0);
		assert_nothing_is_left(&w);
		world_end(&w);
	}
}

/* A tunnel that fails to be made meanwhile leaves nobody to be refused later. */
static void test_create_fails_while_stopping(void **state)
{
	static struct client c[MANY];
	struct world w;

	(void)state;
	open_world(&w, MANY, 0);
	w.path[TD_ACTION_CREATE] = (struct manners){ HOLD, -EIO };
	for (unsigned n = 0; n < MANY; n++) {
		c[n] = client_number(n);
		client_join(&w, &c[n]);
	}
	world_shutdown(&w, TD_SECONDS(10));
	for (size_t i = 0; i < w.deed_count; i++)
		if (w.deeds[i].open)
			world_answer(&w, &w.deeds[i], -EIO);
	world_pass(&w, TD_SECONDS(1));
	assert_nothing_is_left(&w);
	world_end(&w);
}

static void test_with_a_socket_that_is_full(void **state)
{
	struct client c = client_number(0);
	struct world w;

	(void)state;
	open_world(&w, 1, TUNNEL_HOOKS);
	assert_true(client_join(&w, &c));
	w.blocked = true;
	world_shutdown(&w, TD_SECONDS(1));
	world_pass(&w, TD_SECONDS(2));
	assert_false(td_engine_idle(w.e));
	w.blocked = false;
	world_settle(&w);
	assert_int_equal(errors_heard(&w, &c), 1);
	assert_nothing_is_left(&w);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_of_nothing),
		cmocka_unit_test(test_error_once_to_each_and_paced),
		cmocka_unit_test(test_nobody_is_admitted),
		cmocka_unit_test(test_applicants_are_dropped),
		cmocka_unit_test(test_hooks_share_one_deadline),
		cmocka_unit_test(test_hanging_pre_down_at_shutdown),
		cmocka_unit_test(test_hooks_that_already_run),
		cmocka_unit_test(test_no_hook_after_the_deadline),
		cmocka_unit_test(test_no_time_at_all),
		cmocka_unit_test(test_from_every_state),
		cmocka_unit_test(test_create_fails_while_stopping),
		cmocka_unit_test(test_with_a_socket_that_is_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
