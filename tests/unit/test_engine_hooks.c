/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Hooks of tunnels: their order, what they delay, and what happens when they hang. */
#include <errno.h>
#include <string.h>

#include "engine_harness.h"

static int setup(void **state)
{
	static struct world w;
	struct td_engine_config config = config_for(4);

	config.hooks = TUNNEL_HOOKS;
	world_start(&w, &config);
	*state = &w;
	return 0;
}

static int teardown(void **state)
{
	world_end(*state);
	return 0;
}

static void with_hooks(struct world *w, uint32_t hooks)
{
	struct td_engine_config config = w->config;

	config.hooks = hooks;
	world_end(w);
	world_start(w, &config);
}

/* The actions so far, a letter each: C create, D destroy, M set MTU; u m p d the hooks. */
static void story(const struct world *w, char to[static 64])
{
	static const char hooks[] = { 'u', 'p', 'd', 'm', 'r' };
	size_t len = 0;

	for (size_t i = 0; i < w->deed_count && len < 63; i++) {
		const struct td_action *action = &w->deeds[i].action;

		if (action->kind == TD_ACTION_CREATE)
			to[len++] = 'C';
		else if (action->kind == TD_ACTION_DESTROY)
			to[len++] = 'D';
		else if (action->kind == TD_ACTION_SET_MTU)
			to[len++] = 'M';
		else if (action->kind == TD_ACTION_HOOK)
			to[len++] = hooks[action->hook];
	}
	to[len] = '\0';
}

static void assert_story(const struct world *w, const char *expected)
{
	char told[64];

	story(w, told);
	assert_string_equal(told, expected);
}

static void notify(struct world *w, const struct client *c, uint16_t mtu)
{
	client_send(w, c, &(struct td_msg){ .type = TD_MSG_PMTU_NTFY, .mtu = mtu });
}

static void test_order(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	assert_true(client_join(w, &c));
	notify(w, &c, 1400);
	client_send_type(w, &c, TD_MSG_ERROR);
	assert_story(w, "CuMmpDd");
}

static void test_order_when_everything_takes_time(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	for (int i = 0; i <= TD_ACTION_DESTROY; i++)
		w->path[i].delay_us = TD_MS(300);
	for (int i = 0; i < TD_HOOK_COUNT; i++)
		w->hook[i] = (struct manners){ TD_SECONDS(1), -ECHILD };
	assert_false(client_join(w, &c));
	world_pass(w, TD_MS(300));
	notify(w, &c, 1400); /* while up runs */
	world_pass(w, TD_SECONDS(3));
	client_send_type(w, &c, TD_MSG_ERROR);
	world_pass(w, TD_MS(999));
	assert_story(w, "CuMmp");
	world_pass(w, TD_SECONDS(2));
	assert_story(w, "CuMmpDd");
	assert_true(td_engine_idle(w->e));
}

static void test_up_comes_after_tunnel_is_sent(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->path[TD_ACTION_CREATE].delay_us = TD_SECONDS(1);
	client_join(w, &c);
	w->blocked = true;
	world_pass(w, TD_SECONDS(2));
	assert_story(w, "C");
	w->blocked = false;
	world_settle(w);
	assert_story(w, "Cu");
}

/* TUNNEL could not be sent, up did not run: there is nothing to take down for the operator. */
static void test_who_never_came_up_does_not_go_down(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->path[TD_ACTION_CREATE].delay_us = TD_SECONDS(1);
	client_join(w, &c);
	w->blocked = true;
	world_pass(w, TD_SECONDS(2));
	client_send_type(w, &c, TD_MSG_ERROR);
	w->blocked = false;
	world_settle(w);
	assert_story(w, "CD");
	assert_true(td_engine_idle(w->e));
}

static void test_only_configured_hooks_are_run(void **state)
{
	static const struct {
		uint32_t hooks;
		const char *story;
	} cases[] = {
		{ 0, "CMD" },
		{ HOOK(TD_HOOK_UP), "CuMD" },
		{ HOOK(TD_HOOK_PRE_DOWN), "CMpD" },
		{ HOOK(TD_HOOK_DOWN), "CMDd" },
		{ HOOK(TD_HOOK_MTU_CHANGED), "CMmD" },
		{ HOOK(TD_HOOK_UP) | HOOK(TD_HOOK_DOWN), "CuMDd" },
		{ HOOK(TD_HOOK_RATE_LIMITED), "CMD" },
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct client c = client_number(0);

		with_hooks(w, cases[i].hooks);
		assert_true(client_join(w, &c));
		notify(w, &c, 1400);
		client_send_type(w, &c, TD_MSG_ERROR);
		assert_story(w, cases[i].story);
		assert_true(td_engine_idle(w->e));
	}
}

static void test_hanging_pre_down_delays_10_s(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->hook[TD_HOOK_PRE_DOWN].delay_us = HOLD;
	assert_true(client_join(w, &c));
	client_send_type(w, &c, TD_MSG_ERROR);
	world_pass(w, TD_SECONDS(10) - 1);
	assert_story(w, "Cup");
	world_pass(w, 1);
	assert_story(w, "CupD");
	/* Down waits: one hook at a time. */
	world_pass(w, TD_SECONDS(60));
	assert_story(w, "CupD");
	world_answer(w, world_open(w, TD_ACTION_HOOK, TD_HOOK_PRE_DOWN), -ETIMEDOUT);
	assert_story(w, "CupDd");
	assert_true(td_engine_idle(w->e));
	assert_int_equal(td_engine_counters(w->e)->hooks_skipped, 1);
}

static void test_hanging_up(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->hook[TD_HOOK_UP].delay_us = HOLD;
	assert_true(client_join(w, &c));
	world_pass(w, TD_SECONDS(3));
	notify(w, &c, 1400);
	client_send_type(w, &c, TD_MSG_ERROR);
	world_pass(w, TD_SECONDS(10));
	assert_story(w, "CuMD"); /* pre-down had no chance any more */
	assert_int_equal(td_engine_counters(w->e)->hooks_skipped, 1);
	world_answer(w, world_open(w, TD_ACTION_HOOK, TD_HOOK_UP), 0);
	assert_story(w, "CuMDd");
	assert_true(td_engine_idle(w->e));
}

/* Nothing is skipped where nothing was to be run. */
static void test_hanging_up_without_pre_down(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	with_hooks(w, HOOK(TD_HOOK_UP));
	w->hook[TD_HOOK_UP].delay_us = HOLD;
	assert_true(client_join(w, &c));
	client_send_type(w, &c, TD_MSG_ERROR);
	world_pass(w, TD_SECONDS(10));
	assert_story(w, "CuD");
	assert_int_equal(td_engine_counters(w->e)->hooks_skipped, 0);
}

static void test_everything_hangs(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	for (int i = 0; i < TD_HOOK_COUNT; i++)
		w->hook[i].delay_us = HOLD;
	assert_true(client_join(w, &c));
	client_send_type(w, &c, TD_MSG_ERROR);
	world_pass(w, TD_SECONDS(10));
	assert_story(w, "CuD"); /* pre-down had no chance any more */
	/* Nobody gets the interface's name while a hook runs. */
	world_pass(w, TD_SECONDS(100000));
	assert_int_equal(td_engine_tunnels(w->e), 1);
	world_answer(w, world_open(w, TD_ACTION_HOOK, TD_HOOK_UP), 0);
	world_pass(w, TD_SECONDS(100000));
	assert_int_equal(td_engine_tunnels(w->e), 1);
	world_answer(w, world_open(w, TD_ACTION_HOOK, TD_HOOK_DOWN), 0);
	assert_story(w, "CuDd");
	assert_true(td_engine_idle(w->e));
	assert_int_equal(td_engine_counters(w->e)->hooks_skipped, 1);
}

static void test_hanging_down_keeps_the_name(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->hook[TD_HOOK_DOWN].delay_us = TD_SECONDS(100);
	assert_true(client_join(w, &c));
	client_send_type(w, &c, TD_MSG_ERROR);
	for (unsigned n = 1; n < 4; n++) {
		struct client other = client_number(n);

		assert_true(client_join(w, &other)); /* the oracle watches the names */
	}
	assert_int_equal(td_engine_tunnels(w->e), 4);
	for (int s = 0; s < 10; s++) {
		world_pass(w, TD_SECONDS(10));
		for (unsigned n = 1; n < 4; n++) {
			struct client other = client_number(n);

			client_send_type(w, &other, TD_MSG_KEEPALIVE);
		}
	}
	assert_int_equal(td_engine_tunnels(w->e), 3);
	assert_true(client_join(w, &c));
}

static void test_pre_down_that_hangs_keeps_nobody_else(void **state)
{
	struct world *w = *state;
	struct client a = client_number(0), b = client_number(1);

	w->hook[TD_HOOK_PRE_DOWN].delay_us = HOLD;
	assert_true(client_join(w, &a) && client_join(w, &b));
	client_send_type(w, &a, TD_MSG_ERROR);
	world_forget(w);
	w->hook[TD_HOOK_PRE_DOWN].delay_us = 0;
	client_send_type(w, &b, TD_MSG_ERROR);
	assert_int_equal(world_count(w, TD_ACTION_FREED, ANY_HOOK), 1);
}

static void test_set_mtu_under_way_delays_destroy(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->path[TD_ACTION_SET_MTU].delay_us = TD_SECONDS(1);
	assert_true(client_join(w, &c));
	notify(w, &c, 1400);
	client_send_type(w, &c, TD_MSG_ERROR);
	assert_story(w, "CuMp");
	world_pass(w, TD_SECONDS(1));
	assert_story(w, "CuMpDd"); /* and no mtu-changed any more */
	assert_true(td_engine_idle(w->e));
}

/* --- mtu-changed --- */

static const struct deed *last_mtu_hook(const struct world *w)
{
	const struct deed *d = world_last(w, TD_ACTION_HOOK, TD_HOOK_MTU_CHANGED);

	assert_non_null(d);
	return d;
}

static void test_mtu_changed_arguments(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	assert_true(client_join(w, &c));
	notify(w, &c, 1400);
	assert_int_equal(last_mtu_hook(w)->action.old_mtu, 1446);
	assert_int_equal(last_mtu_hook(w)->session.mtu, 1400);
	notify(w, &c, 1300);
	assert_int_equal(last_mtu_hook(w)->action.old_mtu, 1400);
	assert_int_equal(last_mtu_hook(w)->session.mtu, 1300);
	notify(w, &c, 1300);
	assert_int_equal(world_count(w, TD_ACTION_HOOK, TD_HOOK_MTU_CHANGED), 2);
}

static void test_changes_while_the_hook_runs_are_one(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->hook[TD_HOOK_MTU_CHANGED].delay_us = HOLD;
	assert_true(client_join(w, &c));
	notify(w, &c, 1400);
	notify(w, &c, 1390);
	notify(w, &c, 1380);
	assert_int_equal(world_count(w, TD_ACTION_SET_MTU, ANY_HOOK), 3);
	w->hook[TD_HOOK_MTU_CHANGED].delay_us = 0;
	world_answer(w, world_open(w, TD_ACTION_HOOK, TD_HOOK_MTU_CHANGED), 0);
	assert_int_equal(world_count(w, TD_ACTION_HOOK, TD_HOOK_MTU_CHANGED), 2);
	assert_int_equal(last_mtu_hook(w)->action.old_mtu, 1400);
	assert_int_equal(last_mtu_hook(w)->session.mtu, 1380);
}

static void test_a_change_back_is_none(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->hook[TD_HOOK_MTU_CHANGED].delay_us = HOLD;
	assert_true(client_join(w, &c));
	notify(w, &c, 1400);
	notify(w, &c, 1390);
	notify(w, &c, 1400);
	world_answer(w, world_open(w, TD_ACTION_HOOK, TD_HOOK_MTU_CHANGED), 0);
	assert_int_equal(world_count(w, TD_ACTION_HOOK, TD_HOOK_MTU_CHANGED), 1);
}

/* What the interface's MTU was when up was called is the first old MTU. */
static void test_up_tells_an_mtu_too(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->path[TD_ACTION_CREATE].delay_us = TD_SECONDS(1);
	client_join(w, &c);
	w->blocked = true; /* so up waits for TUNNEL */
	world_pass(w, TD_SECONDS(2));
	notify(w, &c, 1400);
	w->blocked = false;
	world_settle(w);
	assert_story(w, "CMu");
	assert_int_equal(world_last(w, TD_ACTION_HOOK, TD_HOOK_UP)->session.mtu, 1400);
	notify(w, &c, 1300);
	assert_int_equal(last_mtu_hook(w)->action.old_mtu, 1400);
}

/* A change still under way when the hook for the one before it starts belongs to the next hook. */
static void test_the_chain_of_mtus_has_no_gap(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->hook[TD_HOOK_UP].delay_us = HOLD;
	assert_true(client_join(w, &c));
	notify(w, &c, 1400);
	w->path[TD_ACTION_SET_MTU].delay_us = HOLD;
	notify(w, &c, 1300);
	world_answer(w, world_open(w, TD_ACTION_HOOK, TD_HOOK_UP), 0);
	world_answer(w, world_open(w, TD_ACTION_SET_MTU, ANY_HOOK), 0);
	/* The oracle compares each old MTU with what was told last. */
	assert_int_equal(last_mtu_hook(w)->session.mtu, 1300);
	assert_false(world_is_open(w, TD_ACTION_HOOK, TD_HOOK_MTU_CHANGED));
}

static void test_a_change_back_that_fails_is_none(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->hook[TD_HOOK_UP].delay_us = HOLD;
	assert_true(client_join(w, &c));
	notify(w, &c, 1400);
	notify(w, &c, 1300);
	w->path[TD_ACTION_SET_MTU].err = -EINVAL;
	notify(w, &c, 1446);
	world_answer(w, world_open(w, TD_ACTION_HOOK, TD_HOOK_UP), 0);
	assert_int_equal(world_count(w, TD_ACTION_HOOK, TD_HOOK_MTU_CHANGED), 0);
}

static void test_a_failed_change_is_not_told(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->path[TD_ACTION_SET_MTU].err = -EINVAL;
	assert_true(client_join(w, &c));
	notify(w, &c, 1400);
	assert_int_equal(world_count(w, TD_ACTION_SET_MTU, ANY_HOOK), 1);
	assert_int_equal(world_count(w, TD_ACTION_HOOK, TD_HOOK_MTU_CHANGED), 0);
}

static void test_a_failed_change_is_tried_again(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->path[TD_ACTION_SET_MTU].err = -EINVAL;
	assert_true(client_join(w, &c));
	notify(w, &c, 1400);
	world_pass(w, TD_SECONDS(14));
	assert_int_equal(world_count(w, TD_ACTION_SET_MTU, ANY_HOOK), 1);
	world_pass(w, TD_SECONDS(2));
	assert_int_equal(world_count(w, TD_ACTION_SET_MTU, ANY_HOOK), 2);
	w->path[TD_ACTION_SET_MTU].err = 0;
	world_pass(w, TD_SECONDS(60));
	assert_int_equal(world_count(w, TD_ACTION_SET_MTU, ANY_HOOK), 3);
	assert_int_equal(world_last(w, TD_ACTION_SET_MTU, ANY_HOOK)->session.mtu, 1400);
	assert_int_equal(world_count(w, TD_ACTION_HOOK, TD_HOOK_MTU_CHANGED), 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_order),
		TEST(test_order_when_everything_takes_time),
		TEST(test_up_comes_after_tunnel_is_sent),
		TEST(test_who_never_came_up_does_not_go_down),
		TEST(test_only_configured_hooks_are_run),
		TEST(test_hanging_pre_down_delays_10_s),
		TEST(test_hanging_up),
		TEST(test_hanging_up_without_pre_down),
		TEST(test_everything_hangs),
		TEST(test_hanging_down_keeps_the_name),
		TEST(test_pre_down_that_hangs_keeps_nobody_else),
		TEST(test_set_mtu_under_way_delays_destroy),
		TEST(test_mtu_changed_arguments),
		TEST(test_changes_while_the_hook_runs_are_one),
		TEST(test_a_change_back_is_none),
		TEST(test_up_tells_an_mtu_too),
		TEST(test_the_chain_of_mtus_has_no_gap),
		TEST(test_a_change_back_that_fails_is_none),
		TEST(test_a_failed_change_is_not_told),
		TEST(test_a_failed_change_is_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
