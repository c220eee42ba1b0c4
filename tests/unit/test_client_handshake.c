/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The client machine from the choice of a broker to its answer, and what refusals do. */
#include "client_world.h"

/* --- handshake --- */

static void test_handshake(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 1);
	struct world_broker *b = &w->broker[0];

	(void)state;
	world_start(w);
	/* lookup 5 ms, then USAGE, COOKIE and PREPARE of 20 ms each */
	assert_int_equal(world_until(w, TD_CLIENT_UP, TD_SECONDS(1)), TD_MS(65));
	assert_int_equal(b->got[TD_MSG_USAGE], 1);
	assert_int_equal(b->got[TD_MSG_COOKIE], 1);
	assert_int_equal(b->got[TD_MSG_PREPARE], 1);
	assert_string_equal(b->prepare.prepare.uuid, "node-1");
	assert_int_equal(b->prepare.prepare.tunnel_id, 7);
	assert_int_equal(b->prepare.prepare.features, ALL_FEATURES);
	assert_int_equal(w->session.tunnel_id, 7);
	assert_int_equal(w->session.session_id, 7);
	assert_int_equal(w->session.peer_tunnel_id, 101);
	assert_int_equal(w->session.peer_session_id, 101);
	assert_int_equal(w->session.features, TD_FEATURE_UNIQUE_SESSION_ID);
	assert_string_equal(w->session.ifname, "l2tp0");
	assert_string_equal(w->session.uuid, "node-1");
	assert_int_equal(w->session.uuid_len, 6);
	assert_int_equal(w->session.mtu, TD_MTU_DEFAULT);
	assert_int_equal(w->ups, 1);
	assert_int_equal(b->got[TD_MSG_LIMIT], 0);
	assert_int_equal(w->states, 5);
	world_finish(w);
}

static void test_longest_uuid(void **state)
{
	char uuid[TD_CLIENT_UUID_MAX + 1];
	struct world *w = world_new(1, TD_SELECT_FIRST, 2);

	(void)state;
	memset(uuid, 'u', sizeof(uuid));
	uuid[TD_CLIENT_UUID_MAX] = '\0';
	w->config.uuid = uuid;
	world_up(w);
	assert_int_equal(w->broker[0].prepare.prepare.uuid_len, TD_CLIENT_UUID_MAX);
	assert_int_equal(w->broker[0].prepare.prepare.features,
			 ALL_FEATURES & ~TD_FEATURE_DATA_COOKIES); /* no room */
	world_finish(w);
}

static void test_lost_messages_are_repeated(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct world *w = world_new(1, TD_SELECT_FIRST, seed);

		w->loss_percent = 30;
		w->duplicate_percent = 20;
		w->jitter_us = TD_MS(50);
		world_start(w);
		world_until(w, TD_CLIENT_UP, TD_SECONDS(120));
		w->loss_percent = 0;
		world_run(w, TD_SECONDS(30));
		assert_int_equal(td_client_state(w->c), TD_CLIENT_UP);
		world_finish(w);
	}
}

static void test_prepare_is_repeated_until_the_attempt_ends(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 3);
	struct world_broker *b = &w->broker[0];
	struct td_time chosen;

	(void)state;
	b->parks = true;
	world_start(w);
	world_until(w, TD_CLIENT_COOKIE, TD_SECONDS(1));
	chosen = w->now;
	world_until(w, TD_CLIENT_WAITING, TD_SECONDS(20));
	assert_in_range(td_time_since(w->now, chosen), TD_SECONDS(15), TD_SECONDS(16));
	assert_in_range(b->got[TD_MSG_PREPARE], 7, 8);
	world_run(w, TD_MS(100));
	assert_int_equal(b->last_reason, TD_ERROR_CLIENT_TIMEOUT);
	/* The only broker is asked again five seconds later. */
	assert_in_range(world_until(w, TD_CLIENT_SELECTING, TD_SECONDS(9)), TD_MS(4900),
			TD_SECONDS(6));
	b->parks = false;
	world_until(w, TD_CLIENT_UP, TD_SECONDS(1));
	world_finish(w);
}

static void test_parked_prepare_is_answered_in_time(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 4);

	(void)state;
	w->broker[0].parks = true;
	world_start(w);
	world_run(w, TD_SECONDS(12));
	w->broker[0].parks = false;
	assert_true(world_until(w, TD_CLIENT_UP, TD_SECONDS(9)) < TD_MS(2500));
	assert_int_equal(w->session.session_id, 7);
	world_finish(w);
}

static void test_cookie_is_repeated_until_the_attempt_ends(void **state)
{
	struct world *w = world_new(2, TD_SELECT_FIRST, 5);

	(void)state;
	w->broker[1].rtt_us = TD_MS(90);
	world_start(w);
	world_until(w, TD_CLIENT_COOKIE, TD_SECONDS(1));
	w->broker[0].dead = true;
	w->sent = 0;
	world_until(w, TD_CLIENT_SELECTING, TD_SECONDS(20));
	assert_in_range(w->sent, 6, 8);
	/* No ERROR to one who was asked for nothing; then the other, at once. */
	assert_int_equal(w->last_sent[TD_MSG_ERROR].us, 0);
	world_until(w, TD_CLIENT_UP, TD_SECONDS(1));
	assert_int_equal(world_broker_of_tunnel(w), 1);
	world_finish(w);
}

static void test_errors_before_prepare_are_ignored(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 6);
	struct td_msg msg = world_error();

	(void)state;
	world_start(w);
	world_until(w, TD_CLIENT_COOKIE, TD_SECONDS(1));
	w->loss_percent = 100;
	world_transmit(w);
	w->loss_percent = 0;
	world_say(w, 0, w->socket[0].port, &msg);
	world_run(w, TD_MS(100));
	assert_in_range(td_client_state(w->c), TD_CLIENT_COOKIE, TD_CLIENT_UP);
	world_until(w, TD_CLIENT_UP, TD_SECONDS(4));
	world_finish(w);
}

/* --- a TUNNEL that may mean two things --- */

static void test_answer_to_repeated_prepare_without_features(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 7);
	struct world_broker *b = &w->broker[0];
	uint32_t port;

	(void)state;
	b->forgets_features = true;
	world_start(w);
	world_until(w, TD_CLIENT_PREPARE, TD_SECONDS(1));
	b->late_mute = true; /* the first TUNNEL is lost */
	world_run(w, TD_SECONDS(1));
	b->late_mute = false;
	port = w->socket[0].port;
	world_until(w, TD_CLIENT_COOKIE, TD_SECONDS(3));
	world_run(w, TD_MS(15));
	assert_int_equal(b->last_reason, TD_ERROR_CLIENT_FAILURE);
	world_until(w, TD_CLIENT_UP, TD_SECONDS(1));
	assert_int_not_equal(w->socket[0].port, port);
	assert_int_equal(w->session.session_id, 7);
	assert_int_equal(w->creates, 1);
	world_finish(w);
}

static void test_answer_without_features_is_believed_the_third_time(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 8);
	struct world_broker *b = &w->broker[0];

	(void)state;
	b->old = true;
	world_start(w);
	for (int i = 0; i < 3; i++) {
		world_until(w, TD_CLIENT_PREPARE, TD_SECONDS(4));
		b->late_mute = true;
		world_run(w, TD_SECONDS(1));
		b->late_mute = false;
		while (td_client_state(w->c) == TD_CLIENT_PREPARE)
			assert_true(world_step(w, TD_NEVER));
		assert_int_equal(td_client_state(w->c), i < 2 ? TD_CLIENT_COOKIE : TD_CLIENT_UP);
	}
	assert_int_equal(b->got[TD_MSG_ERROR], 2);
	assert_int_equal(w->opens, 3);
	assert_int_equal(w->session.session_id, 1);
	assert_int_equal(w->session.peer_session_id, 1);
	assert_int_equal(w->session.features, 0);
	world_finish(w);
}

/* … but not for ever: in better times the broker can be understood. */
static void test_answer_believed_for_want_of_better_is_asked_for_again(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 8);
	struct world_broker *b = &w->broker[0];

	(void)state;
	b->forgets_features = b->has_keepalives = true;
	world_start(w);
	for (int i = 0; i < 3; i++) {
		world_until(w, TD_CLIENT_PREPARE, TD_SECONDS(4));
		b->late_mute = true; /* the first TUNNEL is lost */
		world_run(w, TD_SECONDS(1));
		b->late_mute = false;
		while (td_client_state(w->c) == TD_CLIENT_PREPARE)
			assert_true(world_step(w, TD_NEVER));
	}
	world_until(w, TD_CLIENT_UP, TD_SECONDS(1));
	assert_int_equal(w->session.session_id, 1);
	world_run(w, TD_SECONDS(115));
	assert_int_equal(w->creates, 1);
	world_run(w, TD_SECONDS(20));
	assert_int_equal(td_client_state(w->c), TD_CLIENT_UP);
	assert_int_equal(w->creates, 2);
	assert_int_equal(w->session.session_id, 7);
	world_run(w, TD_SECONDS(300));
	assert_int_equal(w->creates, 2);
	world_finish(w);
}

static void test_first_answer_without_features_is_believed(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 9);

	(void)state;
	w->broker[0].old = true;
	world_start(w);
	assert_true(world_until(w, TD_CLIENT_UP, TD_SECONDS(4)) < TD_MS(100));
	assert_int_equal(w->session.tunnel_id, 7);
	assert_int_equal(w->session.session_id, 1);
	assert_int_equal(w->session.peer_tunnel_id, 101);
	assert_int_equal(w->session.peer_session_id, 1);
	world_finish(w);
}

static void test_fresh_port_cannot_be_had(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 10);

	(void)state;
	w->broker[0].old = true;
	world_start(w);
	world_until(w, TD_CLIENT_PREPARE, TD_SECONDS(1));
	w->broker[0].late_mute = true;
	world_run(w, TD_SECONDS(1));
	w->broker[0].late_mute = false;
	w->open_error = -ENETUNREACH;
	world_until(w, TD_CLIENT_WAITING, TD_SECONDS(4));
	w->open_error = 0;
	/* That was no refusal: the mark goes after a few seconds, when there is nobody else. */
	assert_in_range(world_until(w, TD_CLIENT_UP, TD_SECONDS(9)), TD_SECONDS(5), TD_MS(6200));
	world_finish(w);
}

static void test_fresh_port_that_takes_its_time(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 11);

	(void)state;
	w->broker[0].forgets_features = true;
	world_start(w);
	world_until(w, TD_CLIENT_PREPARE, TD_SECONDS(1));
	w->broker[0].late_mute = true;
	world_run(w, TD_SECONDS(1));
	w->broker[0].late_mute = false;
	w->open_us = TD_MS(3100);
	world_until(w, TD_CLIENT_COOKIE, TD_SECONDS(4));
	assert_in_range(world_until(w, TD_CLIENT_UP, TD_SECONDS(9)), TD_MS(3100), TD_MS(3200));
	world_finish(w);
}

/* --- refusals --- */

static void test_refusals_back_off_and_differ(void **state)
{
	int64_t first[10];

	(void)state;
	for (uint64_t seed = 0; seed < 10; seed++) {
		struct world *w = world_new(1, TD_SELECT_FIRST, seed);
		struct world_broker *b = &w->broker[0];
		int64_t least = 2, gap;
		struct td_time at;

		b->refuses = true;
		world_start(w);
		world_until(w, TD_CLIENT_WAITING, TD_SECONDS(1));
		world_run(w, TD_MS(30));
		assert_int_equal(b->last_reason, TD_ERROR_CLIENT_OTHER_SIDE);
		for (int i = 0; i < 9; i++) {
			at = b->last[TD_MSG_PREPARE];
			while (b->got[TD_MSG_PREPARE] < 2u + (unsigned int)i)
				assert_true(world_step(w, TD_NEVER));
			gap = td_time_since(b->last[TD_MSG_PREPARE], at);
			assert_in_range(gap, TD_SECONDS(least), TD_SECONDS(2 * least + 1));
			least = least * 2 > 60 ? 60 : least * 2;
			if (i == 0)
				first[seed] = gap;
		}
		for (uint64_t i = 0; i < seed; i++)
			assert_int_not_equal(first[i], first[seed]);
		world_finish(w);
	}
}

static void test_refused_by_one_the_next_is_asked_at_once(void **state)
{
	struct world *w = world_new(3, TD_SELECT_USAGE, 12);

	(void)state;
	w->broker[0].refuses = true;
	for (uint16_t i = 0; i < 3; i++)
		w->broker[i].load = i;
	world_start(w);
	assert_true(world_until(w, TD_CLIENT_UP, TD_SECONDS(4)) < TD_SECONDS(1));
	assert_int_equal(world_broker_of_tunnel(w), 1);
	assert_int_equal(w->broker[0].got[TD_MSG_PREPARE], 1);
	world_finish(w);
}

static void test_back_off_ends_when_a_tunnel_lasted(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 13);
	struct world_broker *b = &w->broker[0];

	(void)state;
	b->refuses = true;
	world_start(w);
	world_run(w, TD_SECONDS(100));
	b->refuses = false;
	world_until(w, TD_CLIENT_UP, TD_SECONDS(130));
	world_run(w, TD_SECONDS(17));
	b->refuses = true;
	world_tell_error(w, 0);
	world_until(w, TD_CLIENT_WAITING, TD_SECONDS(1));
	assert_in_range(world_until(w, TD_CLIENT_SELECTING, TD_SECONDS(130)), TD_SECONDS(2),
			TD_SECONDS(4));
	world_finish(w);
}

static void test_refusals_are_not_shortened_by_network_changes(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 14);

	(void)state;
	w->broker[0].refuses = true;
	world_start(w);
	for (int i = 0; i < 600; i++) {
		td_client_network_changed(w->c, w->now);
		world_drain(w);
		world_run(w, TD_MS(100));
	}
	assert_in_range(w->broker[0].got[TD_MSG_PREPARE], 3, 5);
	world_finish(w);
}

static void test_broken_broker_is_left_out_for_an_hour(void **state)
{
	struct world *w = world_new(2, TD_SELECT_FIRST, 15);
	struct td_time marked;

	(void)state;
	w->broker[0].parks = true; /* it answers first, and makes no tunnel */
	w->broker[1].rtt_us = TD_MS(200);
	world_start(w);
	world_until(w, TD_CLIENT_COOKIE, TD_SECONDS(1));
	marked = w->now;
	world_until(w, TD_CLIENT_UP, TD_SECONDS(30));
	assert_int_equal(world_broker_of_tunnel(w), 1);
	for (int i = 0; i < 3; i++) {
		world_run(w, TD_SECONDS(1000));
		world_tell_error(w, 1);
		world_until(w, TD_CLIENT_SELECTING, TD_SECONDS(1));
		world_until(w, TD_CLIENT_UP, TD_SECONDS(2));
		assert_int_equal(world_broker_of_tunnel(w), 1);
	}
	world_run(w, TD_SECONDS(3600) - td_time_since(w->now, marked));
	w->broker[0].parks = false;
	world_tell_error(w, 1);
	world_until(w, TD_CLIENT_SELECTING, TD_SECONDS(1));
	world_until(w, TD_CLIENT_UP, TD_SECONDS(2));
	assert_int_equal(world_broker_of_tunnel(w), 0);
	world_finish(w);
}

static void test_network_change_while_waiting(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 16);

	(void)state;
	w->broker[0].parks = true;
	world_start(w);
	world_until(w, TD_CLIENT_WAITING, TD_SECONDS(20));
	w->broker[0].parks = false;
	td_client_network_changed(w->c, w->now);
	world_drain(w);
	assert_true(world_until(w, TD_CLIENT_UP, TD_SECONDS(9)) < TD_MS(200));
	world_finish(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handshake),
		cmocka_unit_test(test_longest_uuid),
		cmocka_unit_test(test_lost_messages_are_repeated),
		cmocka_unit_test(test_prepare_is_repeated_until_the_attempt_ends),
		cmocka_unit_test(test_parked_prepare_is_answered_in_time),
		cmocka_unit_test(test_cookie_is_repeated_until_the_attempt_ends),
		cmocka_unit_test(test_errors_before_prepare_are_ignored),
		cmocka_unit_test(test_answer_to_repeated_prepare_without_features),
		cmocka_unit_test(test_answer_without_features_is_believed_the_third_time),
		cmocka_unit_test(test_answer_believed_for_want_of_better_is_asked_for_again),
		cmocka_unit_test(test_first_answer_without_features_is_believed),
		cmocka_unit_test(test_fresh_port_cannot_be_had),
		cmocka_unit_test(test_fresh_port_that_takes_its_time),
		cmocka_unit_test(test_refusals_back_off_and_differ),
		cmocka_unit_test(test_refused_by_one_the_next_is_asked_at_once),
		cmocka_unit_test(test_back_off_ends_when_a_tunnel_lasted),
		cmocka_unit_test(test_refusals_are_not_shortened_by_network_changes),
		cmocka_unit_test(test_broken_broker_is_left_out_for_an_hour),
		cmocka_unit_test(test_network_change_while_waiting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
