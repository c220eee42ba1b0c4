/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The same UUID from another flow: an honest client whose address changed, or a stranger that read
 * the UUID off a sticker. And a client that starts again behind the same port.
 */
#include <string.h>

#include "engine_harness.h"

#define ALL_HOOKS TUNNEL_HOOKS

static void open_world(struct world *w, uint32_t max_tunnels, uint32_t hooks)
{
	struct td_engine_config config = config_for(max_tunnels);

	config.hooks = hooks;
	world_start(w, &config);
}

/* A newcomer with the holder's UUID, from another address. */
static struct client newcomer(const struct client *holder, unsigned n)
{
	struct client c = client_number(1000 + n);

	client_rename(&c, holder->uuid);
	return c;
}

/* Answers challenges as every living client does, and repeats the PREPAREs of the others. */
static void wait_alive(struct world *w, const struct client *holder, const struct client *c,
		       unsigned count, int seconds)
{
	struct td_msg msg;

	for (int s = 0; s < seconds; s++) {
		world_pass(w, TD_SECONDS(1));
		while (holder && client_hears(w, holder, TD_MSG_PMTUD, &msg))
			client_send(w, holder,
				    &(struct td_msg){ .type = TD_MSG_PMTUD_ACK, .size = msg.size });
		for (unsigned n = 0; n < count && s % 2 == 1; n++)
			client_prepare(w, &c[n]);
	}
}

/* How many of them were sent since the last call. */
static unsigned challenges(struct world *w, const struct client *holder)
{
	unsigned count = 0;
	struct td_msg msg;

	while (client_hears(w, holder, TD_MSG_PMTUD, &msg))
		count += msg.size == 64;
	return count;
}

static void test_a_silent_holder_is_replaced_after_3_s(void **state)
{
	struct client holder = client_number(0), c = newcomer(&holder, 0);
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, 4, 0);
	assert_true(client_join(&w, &holder));
	world_pass(&w, TD_SECONDS(30));
	world_forget(&w);
	assert_false(client_join(&w, &c));
	client_prepare(&w, &c);
	/* Three small probes, one a second. */
	for (int n = 0; n < 3; n++) {
		world_pass(&w, 0);
		assert_int_equal(challenges(&w, &holder), 1);
		world_pass(&w, TD_SECONDS(1) - (n == 2));
	}
	assert_int_equal(client_unread(&w, &c), 0);
	client_prepare(&w, &c);
	world_pass(&w, 1);
	assert_true(client_hears(&w, &holder, TD_MSG_ERROR, &msg));
	assert_int_equal(msg.reason, TD_ERROR_BROKER_OTHER_SIDE);
	assert_true(client_hears(&w, &c, TD_MSG_TUNNEL, &msg));
	assert_int_equal(msg.tunnel.id, BASE + 1);
	assert_int_equal(td_engine_counters(w.e)->takeovers, 1);
	assert_int_equal(td_engine_counters(w.e)->ended[TD_END_REPLACED], 1);
	assert_int_equal(td_engine_tunnels(w.e), 1);
	world_end(&w);
}

static void test_a_living_holder_stays(void **state)
{
	struct client holder = client_number(0), c = newcomer(&holder, 0);
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, 4, ALL_HOOKS);
	assert_true(client_join(&w, &holder));
	assert_false(client_join(&w, &c));
	wait_alive(&w, &holder, &c, 1, 9);
	assert_false(client_hears(&w, &c, TD_MSG_ERROR, &msg));
	wait_alive(&w, &holder, &c, 1, 1);
	assert_true(client_hears(&w, &c, TD_MSG_ERROR, &msg));
	assert_int_equal(client_unread(&w, &c), 0);
	assert_false(client_hears(&w, &holder, TD_MSG_ERROR, &msg));
	assert_non_null(td_engine_session(w.e, client_handle(&w, &holder)));
	assert_int_equal(world_count(&w, TD_ACTION_HOOK, TD_HOOK_PRE_DOWN), 0);
	world_end(&w);
}

static void test_any_message_shows_life(void **state)
{
	static const enum td_msg_type types[] = { TD_MSG_KEEPALIVE, TD_MSG_COOKIE, TD_MSG_USAGE,
						  TD_MSG_PMTUD, TD_MSG_PMTU_NTFY };

	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct client holder = client_number(0), c = newcomer(&holder, 0);
		struct world w;

		open_world(&w, 4, 0);
		assert_true(client_join(&w, &holder));
		assert_false(client_join(&w, &c));
		world_pass(&w, TD_SECONDS(2));
		client_send_type(&w, &holder, types[i]);
		client_prepare(&w, &c);
		world_pass(&w, TD_SECONDS(2));
		assert_non_null(td_engine_session(w.e, client_handle(&w, &holder)));
		world_end(&w);
	}
}

/* A second stranger, who comes when the round is nearly over, finds it beginning again. */
static void test_strangers_cannot_shorten_the_challenge(void **state)
{
	struct client holder = client_number(0);
	struct client c[2] = { newcomer(&holder, 0), newcomer(&holder, 1) };
	struct world w;

	(void)state;
	open_world(&w, 8, 0);
	assert_true(client_join(&w, &holder));
	assert_false(client_join(&w, &c[0]));
	world_pass(&w, TD_MS(1100));
	assert_int_equal(challenges(&w, &holder), 2);
	assert_false(client_join(&w, &c[1]));
	/* The first has its answer; the second's chances are no fewer, and no faster. */
	client_send_type(&w, &holder, TD_MSG_KEEPALIVE);
	world_pass(&w, TD_MS(800));
	assert_int_equal(challenges(&w, &holder), 0);
	world_pass(&w, TD_MS(2190));
	assert_int_equal(challenges(&w, &holder), 3);
	world_end(&w);
}

/* Two that ask at the same time: one gets it, and is not thrown out again by the other. */
static void test_several_newcomers(void **state)
{
	struct client holder = client_number(0), c[3];
	unsigned winner = 3;
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, 8, 0);
	w.path[TD_ACTION_CREATE].delay_us = TD_MS(50);
	assert_false(client_join(&w, &holder));
	world_pass(&w, TD_SECONDS(5));
	for (unsigned n = 0; n < 3; n++) {
		c[n] = newcomer(&holder, n);
		assert_false(client_join(&w, &c[n]));
	}
	wait_alive(&w, NULL, c, 3, 4);
	assert_int_equal(td_engine_counters(w.e)->takeovers, 1);
	assert_int_equal(td_engine_tunnels(w.e), 1);
	for (unsigned n = 0; n < 3; n++)
		if (client_hears(&w, &c[n], TD_MSG_TUNNEL, &msg))
			winner = n;
	assert_true(winner < 3);
	for (int s = 0; s < 5; s++)
		wait_alive(&w, &c[winner], c, 3, 2);
	assert_int_equal(td_engine_counters(w.e)->takeovers, 1);
	for (unsigned n = 0; n < 3; n++)
		assert_int_equal(client_hears(&w, &c[n], TD_MSG_ERROR, &msg), n != winner);
	world_end(&w);
}

static void test_a_newcomer_that_gives_up(void **state)
{
	struct client holder = client_number(0), c = newcomer(&holder, 0);
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, 4, 0);
	assert_true(client_join(&w, &holder));
	assert_false(client_join(&w, &c));
	world_pass(&w, TD_SECONDS(1));
	client_send_type(&w, &c, TD_MSG_ERROR);
	world_pass(&w, TD_SECONDS(10));
	assert_non_null(td_engine_session(w.e, client_handle(&w, &holder)));
	assert_false(client_hears(&w, &holder, TD_MSG_ERROR, &msg));
	world_end(&w);
}

/* The holder goes by itself while it is challenged. */
static void test_the_holder_leaves(void **state)
{
	struct client holder = client_number(0), c = newcomer(&holder, 0);
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, 4, 0);
	assert_true(client_join(&w, &holder));
	assert_false(client_join(&w, &c));
	client_send_type(&w, &holder, TD_MSG_ERROR);
	world_pass(&w, TD_SECONDS(2));
	client_prepare(&w, &c);
	world_pass(&w, TD_SECONDS(1));
	assert_true(client_hears(&w, &c, TD_MSG_TUNNEL, &msg));
	assert_int_equal(td_engine_counters(w.e)->takeovers, 0);
	world_end(&w);
}

static void test_a_holder_that_is_being_made(void **state)
{
	struct client holder = client_number(0), c = newcomer(&holder, 0);
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, 4, ALL_HOOKS);
	w.path[TD_ACTION_CREATE].delay_us = HOLD;
	assert_false(client_join(&w, &holder));
	assert_false(client_join(&w, &c));
	world_pass(&w, TD_SECONDS(2));
	client_prepare(&w, &holder); /* lives, so it stays */
	client_prepare(&w, &c);
	world_pass(&w, TD_SECONDS(2));
	assert_int_equal(td_engine_counters(w.e)->takeovers, 0);
	client_send_type(&w, &c, TD_MSG_ERROR);
	/* Now it is silent. */
	client_prepare(&w, &c);
	world_pass(&w, TD_SECONDS(2));
	client_prepare(&w, &c);
	world_pass(&w, TD_SECONDS(2));
	assert_int_equal(td_engine_counters(w.e)->takeovers, 1);
	assert_true(client_hears(&w, &holder, TD_MSG_ERROR, &msg));
	/* Both are on their way; the first, made too late, is removed again. */
	assert_int_equal(td_engine_tunnels(w.e), 2);
	w.path[TD_ACTION_CREATE].delay_us = 0;
	for (size_t i = 0; i < w.deed_count; i++)
		if (w.deeds[i].open)
			world_answer(&w, &w.deeds[i], 0);
	assert_int_equal(td_engine_tunnels(w.e), 1);
	assert_int_equal(world_count(&w, TD_ACTION_DESTROY, ANY_HOOK), 1);
	assert_true(client_hears(&w, &c, TD_MSG_TUNNEL, &msg));
	assert_false(client_hears(&w, &holder, TD_MSG_TUNNEL, &msg));
	world_end(&w);
}

/* On a full broker a takeover needs no other place than the one it takes over. */
static void test_takeover_on_a_full_broker(void **state)
{
	struct client holder = client_number(0), c = newcomer(&holder, 0);
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, 1, ALL_HOOKS);
	assert_true(client_greet(&w, &c));
	assert_true(client_join(&w, &holder));
	w.hook[TD_HOOK_DOWN].delay_us = TD_SECONDS(1);
	client_prepare(&w, &c);
	wait_alive(&w, NULL, &c, 1, 3);
	client_prepare(&w, &c);
	wait_alive(&w, NULL, &c, 1, 2);
	assert_true(client_hears(&w, &c, TD_MSG_TUNNEL, &msg));
	world_pass(&w, TD_SECONDS(20));
	assert_false(client_hears(&w, &c, TD_MSG_ERROR, &msg));
	world_end(&w);
}

/* --- the same flow --- */

static void test_started_again_behind_the_same_port(void **state)
{
	struct client c = client_number(0);
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, 4, ALL_HOOKS);
	assert_true(client_join(&w, &c));
	c.id++;
	assert_true(client_join(&w, &c));
	assert_int_equal(td_engine_tunnels(w.e), 1);
	assert_int_equal(td_engine_counters(w.e)->ended[TD_END_REPLACED], 1);
	assert_false(client_hears(&w, &c, TD_MSG_ERROR, &msg)); /* it would end the new one */
	c.features = 0;
	assert_true(client_join(&w, &c));
	client_rename(&c, "other");
	assert_true(client_join(&w, &c));
	assert_int_equal(td_engine_tunnels(w.e), 1);
	world_end(&w);
}

static void test_started_again_while_hooks_run(void **state)
{
	struct client c = client_number(0);
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, 4, ALL_HOOKS);
	w.hook[TD_HOOK_UP].delay_us = TD_SECONDS(1);
	w.hook[TD_HOOK_PRE_DOWN].delay_us = TD_SECONDS(2);
	w.hook[TD_HOOK_DOWN].delay_us = TD_SECONDS(5);
	assert_true(client_join(&w, &c));
	c.id = 9;
	assert_false(client_join(&w, &c));
	assert_int_equal(world_count(&w, TD_ACTION_DESTROY, ANY_HOOK), 0);
	client_send_type(&w, &c, TD_MSG_KEEPALIVE); /* of the old client, underway: no harm */
	world_pass(&w, TD_SECONDS(2));
	client_prepare(&w, &c);
	assert_int_equal(client_unread(&w, &c), 0);
	world_pass(&w, TD_SECONDS(1)); /* up and pre-down are over; down needs no waiting for */
	assert_true(client_hears(&w, &c, TD_MSG_TUNNEL, &msg));
	assert_int_equal(msg.tunnel.id, BASE + 1);
	assert_int_equal(td_engine_tunnels(w.e), 2);
	world_pass(&w, TD_SECONDS(5));
	assert_int_equal(td_engine_tunnels(w.e), 1);
	world_end(&w);
}

static void test_gives_up_while_the_old_tunnel_closes(void **state)
{
	struct client c = client_number(0);
	struct world w;

	(void)state;
	open_world(&w, 4, ALL_HOOKS);
	w.hook[TD_HOOK_PRE_DOWN].delay_us = TD_SECONDS(2);
	assert_true(client_join(&w, &c));
	c.id = 9;
	assert_false(client_join(&w, &c));
	client_send_type(&w, &c, TD_MSG_ERROR);
	assert_int_equal(check_applicants(w.e), 0);
	world_pass(&w, TD_SECONDS(3));
	assert_int_equal(td_engine_tunnels(w.e), 0);
	world_end(&w);
}

static void test_silent_while_the_old_tunnel_closes(void **state)
{
	struct client c = client_number(0);
	struct world w;

	(void)state;
	open_world(&w, 4, ALL_HOOKS);
	w.hook[TD_HOOK_PRE_DOWN].delay_us = TD_SECONDS(5);
	assert_true(client_join(&w, &c));
	c.id = 9;
	assert_false(client_join(&w, &c));
	world_pass(&w, TD_SECONDS(6));
	assert_int_equal(td_engine_tunnels(w.e), 0);
	assert_int_equal(check_applicants(w.e), 0);
	world_end(&w);
}

static void test_started_again_on_a_full_broker(void **state)
{
	struct client c = client_number(0);
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, 1, ALL_HOOKS);
	assert_true(client_join(&w, &c));
	c.id = 9;
	client_join(&w, &c);
	clients_wait(&w, &c, 1, TD_SECONDS(2));
	assert_non_null(td_engine_session(w.e, client_handle(&w, &c)));
	assert_int_equal(td_engine_session(w.e, client_handle(&w, &c))->peer_tunnel_id, 9);
	world_pass(&w, TD_SECONDS(20));
	assert_false(client_hears(&w, &c, TD_MSG_ERROR, &msg));
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_silent_holder_is_replaced_after_3_s),
		cmocka_unit_test(test_a_living_holder_stays),
		cmocka_unit_test(test_any_message_shows_life),
		cmocka_unit_test(test_strangers_cannot_shorten_the_challenge),
		cmocka_unit_test(test_several_newcomers),
		cmocka_unit_test(test_a_newcomer_that_gives_up),
		cmocka_unit_test(test_the_holder_leaves),
		cmocka_unit_test(test_a_holder_that_is_being_made),
		cmocka_unit_test(test_takeover_on_a_full_broker),
		cmocka_unit_test(test_started_again_behind_the_same_port),
		cmocka_unit_test(test_started_again_while_hooks_run),
		cmocka_unit_test(test_gives_up_while_the_old_tunnel_closes),
		cmocka_unit_test(test_silent_while_the_old_tunnel_closes),
		cmocka_unit_test(test_started_again_on_a_full_broker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
