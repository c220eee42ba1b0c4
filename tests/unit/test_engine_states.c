/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* States of a session, and how the data path's results move it from one to the next. */
#include <errno.h>
#include <string.h>

#include "engine_harness.h"

static int setup(void **state)
{
	static struct world w;
	const struct td_engine_config config = config_for(4);

	world_start(&w, &config);
	*state = &w;
	return 0;
}

static int teardown(void **state)
{
	world_end(*state);
	return 0;
}

static uint64_t ended(const struct world *w, enum td_end end)
{
	return td_engine_counters(w->e)->ended[end];
}

static void test_client_leaves(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);
	struct td_msg msg;

	assert_true(client_join(w, &c));
	client_send_type(w, &c, TD_MSG_ERROR);
	assert_true(client_hears(w, &c, TD_MSG_ERROR, &msg));
	assert_int_equal(msg.reason, TD_ERROR_BROKER_OTHER_SIDE);
	assert_int_equal(client_unread(w, &c), 0);
	assert_int_equal(world_count(w, TD_ACTION_DESTROY, ANY_HOOK), 1);
	assert_int_equal(world_count(w, TD_ACTION_FREED, ANY_HOOK), 1);
	assert_int_equal(ended(w, TD_END_PEER), 1);
	assert_true(td_engine_idle(w->e));
	client_send_type(w, &c, TD_MSG_ERROR); /* once more: an ERROR is not answered for ever */
	assert_int_equal(client_unread(w, &c), 0);
}

static void test_every_reason_of_the_client_ends_it(void **state)
{
	struct world *w = *state;

	for (unsigned reason = 0; reason < 256; reason++) {
		struct client c = client_number(reason);

		world_forget(w);
		assert_true(client_join(w, &c));
		client_send(w, &c,
			    &(struct td_msg){ .type = TD_MSG_ERROR, .reason = (uint8_t)reason });
		assert_true(td_engine_idle(w->e));
	}
}

static void test_error_while_destroying_is_not_answered(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->path[TD_ACTION_DESTROY].delay_us = HOLD;
	assert_true(client_join(w, &c));
	client_send_type(w, &c, TD_MSG_ERROR);
	world_forget(w);
	for (unsigned type = 0; type < 256; type++) {
		const uint8_t bytes[12] = { 0x80, 0x73, 0xa7, 0x01, (uint8_t)type, 6 };

		client_send_bytes(w, &c, bytes, sizeof(bytes));
	}
	assert_int_equal(client_unread(w, &c), 0);
	assert_int_equal(w->deed_count, 1);
	world_answer(w, world_open(w, TD_ACTION_DESTROY, ANY_HOOK), 0);
	assert_true(td_engine_idle(w->e));
}

static void test_silence_of_120_s(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);
	struct td_msg msg;

	assert_true(client_join(w, &c));
	world_pass(w, TD_SECONDS(100));
	client_send_type(w, &c, TD_MSG_KEEPALIVE);
	world_pass(w, TD_SECONDS(120) - 1);
	assert_int_equal(td_engine_tunnels(w->e), 1);
	assert_false(client_hears(w, &c, TD_MSG_ERROR, &msg));
	world_pass(w, 1);
	assert_true(client_hears(w, &c, TD_MSG_ERROR, &msg));
	assert_int_equal(msg.reason, TD_ERROR_BROKER_TIMEOUT);
	assert_false(client_hears(w, &c, TD_MSG_ERROR, &msg));
	assert_int_equal(ended(w, TD_END_TIMEOUT), 1);
	assert_true(td_engine_idle(w->e));
}

static void test_only_the_own_flow_is_a_sign_of_life(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0), foreign = c;

	foreign.flow.peer.port++;
	assert_true(client_join(w, &c));
	for (int s = 0; s < 120; s += 10) {
		client_send_type(w, &foreign, TD_MSG_KEEPALIVE);
		client_send_type(w, &foreign, TD_MSG_ERROR);
		client_send_type(w, &foreign, TD_MSG_PMTUD);
		client_send_limit(w, &foreign, 1, 1000);
		assert_int_equal(td_engine_tunnels(w->e), 1);
		world_pass(w, TD_SECONDS(10));
	}
	assert_int_equal(client_unread(w, &foreign), 0);
	assert_int_equal(ended(w, TD_END_TIMEOUT), 1);
	assert_int_equal(td_engine_counters(w->e)->rx_unknown_flow, 48);
	assert_int_equal(world_count(w, TD_ACTION_SET_RATE, ANY_HOOK), 0);
}

static void test_create_fails(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);
	struct td_msg msg;

	w->path[TD_ACTION_CREATE].err = -EPERM;
	assert_false(client_join(w, &c));
	assert_true(td_engine_idle(w->e));
	assert_int_equal(world_last(w, TD_ACTION_DOWN, ANY_HOOK)->action.end, TD_END_FAILED);
	assert_int_equal(world_last(w, TD_ACTION_DOWN, ANY_HOOK)->action.err, -EPERM);
	assert_int_equal(world_count(w, TD_ACTION_DESTROY, ANY_HOOK), 0);
	assert_int_equal(ended(w, TD_END_FAILED), 1);
	/* The refusal is late, and until then nothing is tried again. */
	clients_wait(w, &c, 1, TD_SECONDS(9));
	assert_int_equal(client_unread(w, &c), 0);
	assert_int_equal(world_count(w, TD_ACTION_CREATE, ANY_HOOK), 1);
	world_pass(w, TD_SECONDS(1));
	assert_true(client_hears(w, &c, TD_MSG_ERROR, &msg));
	assert_int_equal(check_applicants(w->e), 0);
	w->path[TD_ACTION_CREATE].err = 0;
	assert_true(client_join(w, &c));
}

static void test_create_hangs_and_succeeds_late(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);
	struct td_msg msg;

	w->path[TD_ACTION_CREATE].delay_us = HOLD;
	assert_false(client_join(w, &c));
	clients_wait(w, &c, 1, TD_SECONDS(15));
	assert_int_equal(world_last(w, TD_ACTION_DOWN, ANY_HOOK)->action.err, -ETIMEDOUT);
	assert_int_equal(ended(w, TD_END_FAILED), 1);
	assert_int_equal(td_engine_tunnels(w->e), 1); /* the slot is not free yet */
	clients_wait(w, &c, 1, TD_SECONDS(9));
	world_pass(w, TD_SECONDS(1));
	assert_true(client_hears(w, &c, TD_MSG_ERROR, &msg));
	assert_int_equal(world_count(w, TD_ACTION_CREATE, ANY_HOOK), 1);
	world_answer(w, world_open(w, TD_ACTION_CREATE, ANY_HOOK), 0);
	assert_int_equal(world_count(w, TD_ACTION_DESTROY, ANY_HOOK), 1);
	assert_false(client_hears(w, &c, TD_MSG_TUNNEL, &msg));
	world_pass(w, TD_SECONDS(30));
	assert_true(td_engine_idle(w->e));
}

static void test_create_hangs_and_fails_late(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->path[TD_ACTION_CREATE].delay_us = HOLD;
	assert_false(client_join(w, &c));
	world_pass(w, TD_SECONDS(16));
	assert_int_equal(td_engine_tunnels(w->e), 1);
	world_answer(w, world_open(w, TD_ACTION_CREATE, ANY_HOOK), -EEXIST);
	assert_int_equal(world_count(w, TD_ACTION_DESTROY, ANY_HOOK), 0);
	assert_true(td_engine_idle(w->e));
	world_pass(w, TD_SECONDS(30));
	assert_int_equal(client_unread(w, &c), 0); /* its client was silent: no refusal */
	assert_int_equal(check_applicants(w->e), 0);
}

static void test_client_leaves_while_creating(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);
	struct td_msg msg;

	w->path[TD_ACTION_CREATE].delay_us = TD_SECONDS(1);
	assert_false(client_join(w, &c));
	client_send_type(w, &c, TD_MSG_ERROR);
	assert_true(client_hears(w, &c, TD_MSG_ERROR, &msg));
	/* Comes back at once, while the first one is still being made: it waits for its flow. */
	client_prepare(w, &c);
	assert_int_equal(world_count(w, TD_ACTION_CREATE, ANY_HOOK), 1);
	world_pass(w, TD_SECONDS(1));
	assert_int_equal(world_count(w, TD_ACTION_DESTROY, ANY_HOOK), 1);
	assert_int_equal(world_count(w, TD_ACTION_CREATE, ANY_HOOK), 2);
	world_pass(w, TD_SECONDS(1));
	assert_true(client_hears(w, &c, TD_MSG_TUNNEL, &msg));
	assert_int_equal(td_engine_tunnels(w->e), 1);
	assert_int_equal(world_count(w, TD_ACTION_DOWN, ANY_HOOK), 0); /* it was never up */
}

/* If the shell dies before it has kept the record, the client has heard nothing, and asks again. */
static void test_record_comes_before_tunnel(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);
	struct td_msg msg = { .type = TD_MSG_PREPARE, .prepare = { .uuid_len = 1, .uuid = "x" } };
	uint8_t bytes[TD_ENGINE_TX_MAX];
	struct td_action action = { .kind = TD_ACTION_FREED };
	struct td_engine_tx to;

	assert_true(client_greet(w, &c));
	memcpy(msg.prepare.cookie, c.cookie, sizeof(c.cookie));
	td_engine_rx(w->e, &c.flow, bytes, td_msg_put(&msg, TD_FROM_CLIENT, bytes, sizeof(bytes)),
		     w->now);
	while (action.kind != TD_ACTION_CREATE)
		assert_true(td_engine_next_action(w->e, &action, w->now));
	td_engine_result(w->e, action.handle, action.sequence, 0, w->now);
	while (action.kind != TD_ACTION_CHANGED) {
		assert_int_equal(td_engine_tx(w->e, &to, bytes, sizeof(bytes), w->now), 0);
		assert_true(td_engine_next_action(w->e, &action, w->now));
	}
	assert_true(td_engine_export(w->e, action.handle, bytes, w->now) > 0);
	/* Only who asks for more has kept it. */
	assert_int_equal(td_engine_tx(w->e, &to, bytes, sizeof(bytes), w->now), 0);
	(void)!td_engine_next_action(w->e, &action, w->now);
	assert_true(td_engine_tx(w->e, &to, bytes, sizeof(bytes), w->now) > 0);
	assert_int_equal(bytes[4], TD_MSG_TUNNEL);
}

/* The shell did not come to ask what to do: nothing was begun, nothing is to be undone. */
static void test_client_leaves_before_create_was_handed_out(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);
	struct td_msg msg = { .type = TD_MSG_PREPARE };
	uint8_t bytes[TD_MSG_MAX_SIZE];

	assert_true(client_greet(w, &c));
	memcpy(msg.prepare.cookie, c.cookie, sizeof(c.cookie));
	msg.prepare.uuid_len = 1;
	msg.prepare.uuid = "x";
	td_engine_rx(w->e, &c.flow, bytes, td_msg_put(&msg, TD_FROM_CLIENT, bytes, sizeof(bytes)),
		     w->now);
	assert_int_equal(td_engine_tunnels(w->e), 1);
	client_send_type(w, &c, TD_MSG_ERROR);
	assert_int_equal(world_count(w, TD_ACTION_CREATE, ANY_HOOK), 0);
	assert_int_equal(world_count(w, TD_ACTION_DESTROY, ANY_HOOK), 0);
	assert_true(td_engine_idle(w->e));
	/* The same, and the time for it ran out. */
	msg.prepare.uuid = "y";
	td_engine_rx(w->e, &c.flow, bytes, td_msg_put(&msg, TD_FROM_CLIENT, bytes, sizeof(bytes)),
		     w->now);
	w->now = td_time_add(w->now, TD_SECONDS(15));
	td_engine_tick(w->e, w->now);
	world_settle(w);
	assert_int_equal(world_count(w, TD_ACTION_CREATE, ANY_HOOK), 0);
	assert_true(td_engine_idle(w->e));
}

static void test_destroy_fails_and_is_tried_again(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->path[TD_ACTION_DESTROY].err = -EBUSY;
	assert_true(client_join(w, &c));
	client_send_type(w, &c, TD_MSG_ERROR);
	assert_int_equal(world_count(w, TD_ACTION_DESTROY, ANY_HOOK), 1);
	world_pass(w, TD_SECONDS(1));
	assert_int_equal(world_count(w, TD_ACTION_DESTROY, ANY_HOOK), 2);
	assert_int_equal(td_engine_tunnels(w->e), 1);
	w->path[TD_ACTION_DESTROY].err = 0;
	world_pass(w, TD_SECONDS(1));
	assert_int_equal(world_count(w, TD_ACTION_DESTROY, ANY_HOOK), 3);
	assert_true(td_engine_idle(w->e));
}

static void test_destroy_fails_for_ever(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->path[TD_ACTION_DESTROY].err = -EBUSY;
	assert_true(client_join(w, &c));
	client_send_type(w, &c, TD_MSG_ERROR);
	world_pass(w, TD_SECONDS(10));
	assert_int_equal(world_count(w, TD_ACTION_DESTROY, ANY_HOOK), 3);
	assert_true(td_engine_idle(w->e));
}

static void test_destroy_of_what_is_gone(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->path[TD_ACTION_DESTROY].err = -ENODEV;
	assert_true(client_join(w, &c));
	client_send_type(w, &c, TD_MSG_ERROR);
	assert_int_equal(world_count(w, TD_ACTION_DESTROY, ANY_HOOK), 1);
	assert_true(td_engine_idle(w->e));
}

static void test_interface_deleted_by_another_hand(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);
	struct td_msg msg;

	assert_true(client_join(w, &c));
	td_engine_lost(w->e, client_handle(w, &c), w->now);
	world_settle(w);
	assert_true(client_hears(w, &c, TD_MSG_ERROR, &msg));
	assert_int_equal(msg.reason, TD_ERROR_BROKER_FAILURE);
	assert_int_equal(ended(w, TD_END_LOST), 1);
	assert_true(td_engine_idle(w->e));
	td_engine_lost(w->e, client_handle(w, &c), w->now);
	td_engine_lost(w->e, (struct td_handle){ 999, 1 }, w->now);
	td_engine_lost(w->e, TD_NO_HANDLE, w->now);
	world_settle(w);
	assert_int_equal(client_unread(w, &c), 0);
}

static void test_lost_while_creating_and_while_closing(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->path[TD_ACTION_CREATE].delay_us = HOLD;
	w->path[TD_ACTION_DESTROY].delay_us = HOLD;
	assert_false(client_join(w, &c));
	td_engine_lost(w->e, client_handle(w, &c), w->now);
	world_answer(w, world_open(w, TD_ACTION_CREATE, ANY_HOOK), 0);
	td_engine_lost(w->e, client_handle(w, &c), w->now);
	world_answer(w, world_open(w, TD_ACTION_DESTROY, ANY_HOOK), 0);
	assert_true(td_engine_idle(w->e));
}

/* Results of earlier lives, repeated ones, and such as nobody asked for. */
static void test_stale_results(void **state)
{
	struct world *w = *state;
	struct client c[5];
	struct td_handle first;
	uint32_t sequence;

	for (unsigned n = 0; n < 5; n++)
		c[n] = client_number(n);
	assert_true(client_join(w, &c[0]));
	first = client_handle(w, &c[0]);
	sequence = world_last(w, TD_ACTION_CREATE, ANY_HOOK)->action.sequence;
	td_engine_result(w->e, first, sequence, -EIO, w->now); /* again, and another one */
	td_engine_result(w->e, first, 0, -EIO, w->now);
	td_engine_result(w->e, first, sequence + 1, -EIO, w->now);
	td_engine_result(w->e, (struct td_handle){ UINT32_MAX, 1 }, 1, 0, w->now);
	td_engine_result(w->e, TD_NO_HANDLE, 1, 0, w->now);
	world_settle(w);
	assert_int_equal(td_engine_tunnels(w->e), 1);
	client_send_type(w, &c[0], TD_MSG_ERROR);
	assert_null(td_engine_session(w->e, first));
	/* Its slot has another life. */
	w->path[TD_ACTION_CREATE].delay_us = HOLD;
	for (unsigned n = 1; n < 5; n++)
		client_join(w, &c[n]);
	assert_int_equal(client_handle(w, &c[4]).index, first.index);
	td_engine_result(w->e, first, sequence, 0, w->now);
	world_settle(w);
	assert_int_equal(td_engine_counters(w->e)->established, 1);
}

static void test_pending_error_keeps_the_slot(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);
	struct td_msg msg;

	assert_true(client_join(w, &c));
	w->blocked = true;
	world_pass(w, TD_SECONDS(130));
	assert_int_equal(td_engine_tunnels(w->e), 1);
	assert_int_equal(world_count(w, TD_ACTION_FREED, ANY_HOOK), 0);
	w->blocked = false;
	world_settle(w);
	assert_true(client_hears(w, &c, TD_MSG_ERROR, &msg));
	assert_int_equal(client_unread(w, &c), 0);
	assert_true(td_engine_idle(w->e));
}

/* A full pool, emptied and filled again and again: nothing leaks. */
static void test_many_lives(void **state)
{
	struct world *w = *state;

	for (unsigned n = 0; n < 1000; n++) {
		struct client c = client_number(n);

		assert_true(client_join(w, &c));
		if (n >= 3) {
			struct client oldest = client_number(n - 3);

			client_send_type(w, &oldest, TD_MSG_ERROR);
		}
		world_forget(w);
	}
	assert_int_equal(td_engine_tunnels(w->e), 3);
	assert_int_equal(td_engine_counters(w->e)->established, 1000);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_client_leaves),
		TEST(test_every_reason_of_the_client_ends_it),
		TEST(test_error_while_destroying_is_not_answered),
		TEST(test_silence_of_120_s),
		TEST(test_only_the_own_flow_is_a_sign_of_life),
		TEST(test_create_fails),
		TEST(test_create_hangs_and_succeeds_late),
		TEST(test_create_hangs_and_fails_late),
		TEST(test_client_leaves_while_creating),
		TEST(test_record_comes_before_tunnel),
		TEST(test_client_leaves_before_create_was_handed_out),
		TEST(test_destroy_fails_and_is_tried_again),
		TEST(test_destroy_fails_for_ever),
		TEST(test_destroy_of_what_is_gone),
		TEST(test_interface_deleted_by_another_hand),
		TEST(test_lost_while_creating_and_while_closing),
		TEST(test_stale_results),
		TEST(test_pending_error_keeps_the_slot),
		TEST(test_many_lives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
