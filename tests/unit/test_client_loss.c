/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The client machine when a tunnel is lost, and when its own end of it makes difficulties. */
#include "client_world.h"

/* --- losing the tunnel --- */

static void test_fail_over_within_a_second(void **state)
{
	(void)state;
	for (int mode = TD_SELECT_FIRST; mode <= TD_SELECT_RANDOM; mode++) {
		for (int silent = 0; silent < 2; silent++) {
			struct world *w = world_new(4, (enum td_selection)mode, 17);
			uint32_t lost;

			for (int i = 0; i < 4; i++) {
				w->broker[i].lookup_us = TD_SECONDS(1);
				w->broker[i].rtt_us = TD_MS(60 + 10 * i);
			}
			world_up(w);
			world_run(w, TD_SECONDS(20));
			lost = world_broker_of_tunnel(w);
			w->broker[lost == 0 ? 1 : 0].dead = true;
			if (silent) {
				w->broker[lost].dead = true;
				world_until(w, TD_CLIENT_SELECTING, TD_SECONDS(70));
			} else {
				world_tell_error(w, lost);
				w->broker[lost].dead = true;
				world_until(w, TD_CLIENT_SELECTING, TD_SECONDS(1));
			}
			assert_true(world_until(w, TD_CLIENT_UP, TD_SECONDS(9)) < TD_SECONDS(1));
			assert_int_not_equal(world_broker_of_tunnel(w), lost);
			assert_int_equal(w->creates, 2);
			assert_int_equal(w->destroys, 1);
			world_run(w, TD_SECONDS(5));
			world_finish(w);
		}
	}
}

static void test_error_is_answered_and_hooks_are_in_order(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 18);

	(void)state;
	world_up(w);
	world_run(w, TD_SECONDS(20));
	world_tell_error(w, 0);
	world_run(w, TD_MS(21));
	assert_int_equal(w->broker[0].last_reason, TD_ERROR_CLIENT_OTHER_SIDE);
	assert_int_equal(w->downs, 1);
	assert_int_equal(w->destroys, 1);
	/* The log says that it ended, then that others are asked. */
	assert_int_equal(w->state[w->states - 2], TD_CLIENT_CLOSING);
	assert_int_equal(w->state[w->states - 1], TD_CLIENT_SELECTING);
	world_until(w, TD_CLIENT_UP, TD_SECONDS(1));
	assert_int_equal(w->ups, 2);
	world_finish(w);
}

/* Also not because the end of its interface is a change of the network. */
static void test_error_early_in_a_tunnels_life_is_a_refusal(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 19);

	(void)state;
	world_up(w);
	for (int i = 0; i < 5; i++) {
		int64_t waited;

		world_run(w, TD_SECONDS(2));
		world_tell_error(w, 0);
		world_until(w, TD_CLIENT_WAITING, TD_SECONDS(1));
		world_run(w, TD_MS(200));
		td_client_network_changed(w->c, w->now);
		world_drain(w);
		waited = world_until(w, TD_CLIENT_UP, TD_SECONDS(130)) + TD_MS(200);
		assert_in_range(waited, TD_SECONDS(2 << i), TD_SECONDS(4 << i) + TD_MS(200));
	}
	world_finish(w);
}

static void test_silence_ends_the_tunnel(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 20);
	struct td_time heard;

	(void)state;
	world_up(w);
	world_run(w, TD_SECONDS(100));
	assert_int_equal(td_client_state(w->c), TD_CLIENT_UP);
	w->broker[0].has_keepalives = false;
	heard = w->now;
	/* Messages of another tunnel, or damaged ones, are no sign of life; a message of ours is. */
	while (td_client_state(w->c) == TD_CLIENT_UP) {
		w->path = 0;
		world_run(w, TD_SECONDS(1));
		td_client_rx(w->c, 1,
			     (const uint8_t *)"\x80\x73\xa7\x01\x05\x00\x00\x00\x00\x00\x00", 12,
			     w->now);
		td_client_rx(w->c, w->tunnel_slot,
			     (const uint8_t *)"\x80\x73\xa7\x01\x05\x09\x00\x00\x00\x00\x00", 12,
			     w->now);
		world_drain(w);
	}
	assert_in_range(td_time_since(w->now, heard), TD_SECONDS(55), TD_SECONDS(62));
	assert_string_equal(w->why[w->states - 1], "nothing heard from the broker");
	w->path = 1472;
	world_until(w, TD_CLIENT_UP, TD_SECONDS(5));
	world_finish(w);
}

static void test_silence_is_told_to_the_broker(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 21);

	(void)state;
	w->broker[0].has_keepalives = false;
	w->broker[0].fixed_mtu = 1400; /* its answers to probes end after 4 s, for 30 s */
	world_up(w);
	for (int i = 0; i < 3600 && td_client_state(w->c) == TD_CLIENT_UP; i++)
		world_run(w, TD_SECONDS(1));
	world_run(w, TD_MS(50));
	assert_int_equal(w->broker[0].last_reason, TD_ERROR_CLIENT_TIMEOUT);
	world_finish(w);
}

static void test_every_control_message_is_a_sign_of_life(void **state)
{
	static const enum td_msg_type types[] = { TD_MSG_COOKIE,    TD_MSG_TUNNEL,
						  TD_MSG_KEEPALIVE, TD_MSG_PMTUD,
						  TD_MSG_PMTUD_ACK, TD_MSG_PMTU_NTFY,
						  TD_MSG_REL_ACK,   TD_MSG_USAGE };

	(void)state;
	for (unsigned int i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct world *w = world_new(1, TD_SELECT_FIRST, 22);

		w->broker[0].has_keepalives = false;
		world_up(w);
		w->path = 600; /* probes are lost */
		for (int n = 0; n < 10; n++) {
			world_run(w, TD_SECONDS(50));
			world_tell(w, 0, &(struct td_msg){ .type = types[i] });
		}
		assert_int_equal(td_client_state(w->c), TD_CLIENT_UP);
		assert_int_equal(w->creates, 1);
		world_finish(w);
	}
}

static void test_path_change_reconnects_at_once(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 23);
	uint32_t port;

	(void)state;
	world_up(w);
	world_run(w, TD_SECONDS(5)); /* not proven yet, but it is not the broker's fault */
	port = w->socket[0].port;
	td_client_path_changed(w->c, w->now);
	world_drain(w);
	assert_true(world_until(w, TD_CLIENT_UP, TD_SECONDS(1)) < TD_MS(200));
	assert_int_not_equal(w->socket[0].port, port);
	assert_int_equal(w->broker[0].last_reason, TD_ERROR_CLIENT_SHUTDOWN);
	world_finish(w);
}

static void test_events_that_do_not_concern_the_state(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 24);

	(void)state;
	world_start(w);
	td_client_path_changed(w->c, w->now);
	td_client_lost(w->c, w->now);
	assert_int_equal(td_client_state(w->c), TD_CLIENT_SELECTING);
	world_until(w, TD_CLIENT_PREPARE, TD_SECONDS(1));
	td_client_path_changed(w->c, w->now);
	td_client_network_changed(w->c, w->now);
	td_client_lost(w->c, w->now);
	assert_int_equal(td_client_state(w->c), TD_CLIENT_PREPARE);
	world_until(w, TD_CLIENT_UP, TD_SECONDS(1));
	/* Results that nobody waits for. */
	for (uint32_t sequence = 0; sequence < 50; sequence++)
		td_client_result(w->c, sequence, -EIO, w->now);
	world_drain(w);
	assert_int_equal(td_client_state(w->c), TD_CLIENT_UP);
	world_finish(w);
}

static void test_lost_interface(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 25);

	(void)state;
	world_up(w);
	world_run(w, TD_SECONDS(20));
	td_client_lost(w->c, w->now);
	world_drain(w);
	assert_int_equal(w->destroys, 1);
	assert_true(world_until(w, TD_CLIENT_UP, TD_SECONDS(2)) < TD_SECONDS(1));
	assert_int_equal(w->broker[0].last_reason, TD_ERROR_CLIENT_FAILURE);
	/* Again and again: as after refusals. */
	td_client_lost(w->c, w->now);
	world_drain(w);
	assert_in_range(world_until(w, TD_CLIENT_UP, TD_SECONDS(9)), TD_SECONDS(2), TD_MS(4100));
	td_client_lost(w->c, w->now);
	world_drain(w);
	assert_in_range(world_until(w, TD_CLIENT_UP, TD_SECONDS(9)), TD_SECONDS(4), TD_MS(8100));
	world_finish(w);
}

/* --- this end --- */

static void test_interface_that_cannot_be_made(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 26);

	(void)state;
	w->create_error = -EEXIST;
	world_start(w);
	world_until(w, TD_CLIENT_WAITING, TD_SECONDS(1));
	world_run(w, TD_MS(20));
	assert_int_equal(w->broker[0].last_reason, TD_ERROR_CLIENT_FAILURE);
	world_run(w, TD_SECONDS(300));
	assert_in_range(w->creates, 5, 9);
	assert_int_equal(w->ups, 0);
	assert_int_equal(w->downs, 0);
	assert_int_equal(w->destroys, 0);
	world_finish(w);
}

static void test_messages_while_the_interface_is_made_count(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 27);
	struct world_broker *b = &w->broker[0];

	(void)state;
	w->create_us = TD_SECONDS(7);
	b->fixed_mtu = 1364;
	world_start(w);
	world_until(w, TD_CLIENT_CREATING, TD_SECONDS(1));
	world_tell(w, 0, &(struct td_msg){ .type = TD_MSG_PMTUD, .size = 60 });
	world_until(w, TD_CLIENT_UP, TD_SECONDS(9));
	assert_int_equal(w->mtu, 1364); /* notified before */
	assert_int_equal(b->got[TD_MSG_PMTUD_ACK], 1);
	assert_int_equal(b->got[TD_MSG_KEEPALIVE], 1);
	world_finish(w);
}

static void test_notification_that_overtakes_the_tunnel(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 28);

	(void)state;
	world_start(w);
	world_until(w, TD_CLIENT_PREPARE, TD_SECONDS(1));
	world_say(w, 0, w->socket[0].port,
		  &(struct td_msg){ .type = TD_MSG_PMTU_NTFY, .mtu = 1300 });
	world_say(w, 0, w->socket[0].port, &(struct td_msg){ .type = TD_MSG_KEEPALIVE });
	world_until(w, TD_CLIENT_UP, TD_SECONDS(1));
	assert_int_equal(w->session.mtu, 1300);
	world_finish(w);
}

static void test_error_while_the_interface_is_made(void **state)
{
	struct world *w = world_new(2, TD_SELECT_FIRST, 29);

	(void)state;
	w->create_us = TD_SECONDS(2);
	w->broker[1].rtt_us = TD_MS(80);
	world_start(w);
	world_until(w, TD_CLIENT_CREATING, TD_SECONDS(1));
	world_tell_error(w, 0);
	world_until(w, TD_CLIENT_SELECTING, TD_SECONDS(1));
	/* The interface is still being made: late success means removal, then comes the next. */
	world_until(w, TD_CLIENT_CREATING, TD_SECONDS(1));
	assert_int_equal(w->creates, 1);
	world_until(w, TD_CLIENT_UP, TD_SECONDS(9));
	assert_int_equal(w->creates, 2);
	assert_int_equal(w->destroys, 1);
	assert_int_equal(w->ups, 1);
	assert_int_equal(w->downs, 0);
	assert_int_equal(world_broker_of_tunnel(w), 1);
	world_finish(w);
}

static void test_late_failure_of_a_given_up_interface(void **state)
{
	struct world *w = world_new(2, TD_SELECT_FIRST, 30);

	(void)state;
	w->create_us = TD_SECONDS(2);
	w->broker[1].rtt_us = TD_MS(80);
	w->create_error = -EBUSY;
	world_start(w);
	world_until(w, TD_CLIENT_CREATING, TD_SECONDS(1));
	world_tell_error(w, 0);
	world_until(w, TD_CLIENT_SELECTING, TD_SECONDS(1));
	w->create_error = 0;
	world_until(w, TD_CLIENT_UP, TD_SECONDS(9));
	assert_int_equal(w->creates, 2);
	assert_int_equal(w->destroys, 0);
	td_client_shutdown(w->c, w->now);
	world_drain(w);
	world_until(w, TD_CLIENT_ENDED, TD_SECONDS(1));
	world_free(w);
}

static void test_interface_that_takes_too_long(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 31);

	(void)state;
	w->create_us = TD_SECONDS(40);
	world_start(w);
	world_until(w, TD_CLIENT_CREATING, TD_SECONDS(1));
	world_until(w, TD_CLIENT_WAITING, TD_SECONDS(17));
	world_run(w, TD_MS(20));
	assert_int_equal(w->broker[0].last_reason, TD_ERROR_CLIENT_FAILURE);
	w->create_us = TD_MS(10);
	world_until(w, TD_CLIENT_UP, TD_SECONDS(90));
	assert_int_equal(w->creates, w->destroys + 1);
	world_finish(w);
}

static void test_slow_removal_delays_only_the_next_interface(void **state)
{
	struct world *w = world_new(2, TD_SELECT_FIRST, 32);

	(void)state;
	w->destroy_us = TD_SECONDS(3);
	w->broker[1].rtt_us = TD_MS(80);
	world_up(w);
	world_run(w, TD_SECONDS(20));
	world_tell_error(w, 0);
	w->broker[0].dead = true;
	world_until(w, TD_CLIENT_CREATING, TD_SECONDS(2));
	assert_true(w->destroying);
	assert_int_equal(w->creates, 1);
	world_until(w, TD_CLIENT_UP, TD_SECONDS(4));
	assert_int_equal(w->creates, 2);
	world_finish(w);
}

static void test_only_broker_waits_for_its_busy_socket(void **state)
{
	struct world *w = world_new(1, TD_SELECT_USAGE, 33);

	(void)state;
	w->destroy_us = TD_SECONDS(1);
	world_up(w);
	world_run(w, TD_SECONDS(20));
	world_tell_error(w, 0);
	world_until(w, TD_CLIENT_SELECTING, TD_SECONDS(1));
	world_run(w, TD_MS(500));
	assert_true(w->socket[0].open); /* the data path still has it */
	assert_in_range(world_until(w, TD_CLIENT_UP, TD_SECONDS(4)), TD_MS(500), TD_MS(700));
	world_finish(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fail_over_within_a_second),
		cmocka_unit_test(test_error_is_answered_and_hooks_are_in_order),
		cmocka_unit_test(test_error_early_in_a_tunnels_life_is_a_refusal),
		cmocka_unit_test(test_silence_ends_the_tunnel),
		cmocka_unit_test(test_silence_is_told_to_the_broker),
		cmocka_unit_test(test_every_control_message_is_a_sign_of_life),
		cmocka_unit_test(test_path_change_reconnects_at_once),
		cmocka_unit_test(test_events_that_do_not_concern_the_state),
		cmocka_unit_test(test_lost_interface),
		cmocka_unit_test(test_interface_that_cannot_be_made),
		cmocka_unit_test(test_messages_while_the_interface_is_made_count),
		cmocka_unit_test(test_notification_that_overtakes_the_tunnel),
		cmocka_unit_test(test_error_while_the_interface_is_made),
		cmocka_unit_test(test_late_failure_of_a_given_up_interface),
		cmocka_unit_test(test_interface_that_takes_too_long),
		cmocka_unit_test(test_slow_removal_delays_only_the_next_interface),
		cmocka_unit_test(test_only_broker_waits_for_its_busy_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
