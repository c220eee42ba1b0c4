/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The client machine from the choice of a broker on: handshake, tunnel, and every way to lose it. */
#include "client_world.h"

static struct td_msg error(void)
{
	return (struct td_msg){ .type = TD_MSG_ERROR, .reason = TD_ERROR_BROKER_SHUTDOWN };
}

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
	assert_int_equal(b->prepare.prepare.features, TD_FEATURE_UNIQUE_SESSION_ID);
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
	assert_int_equal(w->broker[0].prepare.prepare.features, 1);
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
	struct td_msg msg = error();

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
	world_until(w, TD_CLIENT_UP, TD_SECONDS(9));
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

/* --- while it is up --- */

static void test_keepalives_and_wakeups(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 34);
	unsigned int before;

	(void)state;
	world_up(w);
	world_run(w, TD_SECONDS(10));
	w->wakeups = 0;
	before = w->broker[0].got[TD_MSG_KEEPALIVE];
	world_run(w, TD_SECONDS(3600));
	assert_in_range(w->broker[0].got[TD_MSG_KEEPALIVE] - before, 3600 / 6, 3600 / 4);
	assert_true(w->wakeups <= 1800);
	world_finish(w);
}

static void test_keepalive_counts(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 35);
	uint8_t bytes[9100];
	uint32_t slot;
	uint32_t counter = 0;
	struct td_msg msg;

	(void)state;
	w->broker[0].has_keepalives = false;
	world_up(w);
	while (counter < 5) {
		size_t size;

		w->now = td_client_deadline(w->c);
		td_client_tick(w->c, w->now);
		while ((size = td_client_tx(w->c, &slot, bytes, sizeof(bytes), w->now)) > 0) {
			assert_int_equal(td_msg_parse(&msg, TD_FROM_CLIENT, bytes, size), 0);
			if (msg.type != TD_MSG_KEEPALIVE)
				continue;
			assert_int_equal(msg.counter, counter);
			counter++;
		}
	}
	world_finish(w);
}

static void test_limit_is_asked_for_until_acknowledged(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 36);
	struct world_broker *b = &w->broker[0];

	(void)state;
	w->config.limit_kbps = 1024;
	world_up(w);
	world_run(w, TD_SECONDS(20));
	assert_int_equal(b->got[TD_MSG_LIMIT], 1);
	assert_true(b->limit.limit.bandwidth);
	assert_int_equal(b->limit.limit.rate_kbps, 1024);
	/* The next tunnel asks anew, ten times at most. */
	b->ignores_limit = true;
	b->got[TD_MSG_LIMIT] = 0;
	world_tell_error(w, 0);
	world_run(w, TD_SECONDS(60));
	assert_int_equal(b->got[TD_MSG_LIMIT], 10);
	world_finish(w);
}

static void test_mtu_is_measured_set_and_told(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 37);
	struct world_broker *b = &w->broker[0];

	(void)state;
	w->path = 1401;
	world_up(w);
	world_run(w, TD_SECONDS(2));
	assert_int_equal(w->mtu, 1375);
	assert_int_equal(b->got[TD_MSG_PMTU_NTFY], 1);
	assert_int_equal(w->set_mtus, 1);
	world_tell(w, 0, &(struct td_msg){ .type = TD_MSG_PMTU_NTFY, .mtu = 1350 });
	world_run(w, TD_SECONDS(1));
	assert_int_equal(w->mtu, 1350);
	world_tell(w, 0, &(struct td_msg){ .type = TD_MSG_PMTU_NTFY, .mtu = 0xffca });
	world_tell(w, 0, &(struct td_msg){ .type = TD_MSG_PMTU_NTFY, .mtu = 0 });
	world_run(w, TD_SECONDS(1));
	assert_int_equal(w->mtu, 1350);
	/* Confirmed and told again each minute. */
	world_run(w, TD_SECONDS(70));
	assert_int_equal(b->got[TD_MSG_PMTU_NTFY], 2);
	/* The next tunnel begins from nothing. */
	world_tell_error(w, 0);
	world_run(w, TD_MS(200));
	assert_int_equal(w->session.mtu, TD_MTU_DEFAULT);
	world_finish(w);
}

static void test_one_mtu_change_at_a_time_and_failures_are_survived(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 38);

	(void)state;
	w->mtu_us = TD_SECONDS(1);
	w->mtu_error = -EINVAL;
	world_up(w);
	world_run(w, TD_MS(100));
	for (uint16_t mtu = 1300; mtu < 1310; mtu++) {
		world_tell(w, 0, &(struct td_msg){ .type = TD_MSG_PMTU_NTFY, .mtu = mtu });
		world_run(w, TD_MS(50));
	}
	assert_int_equal(w->set_mtus, 1);
	world_run(w, TD_SECONDS(3));
	assert_int_equal(w->set_mtus, 2);
	assert_int_equal(w->mtu, 1309);
	assert_int_equal(td_client_state(w->c), TD_CLIENT_UP);
	/* One that is under way when the tunnel ends is of no concern to the next. */
	world_tell(w, 0, &(struct td_msg){ .type = TD_MSG_PMTU_NTFY, .mtu = 1350 });
	world_run(w, TD_MS(50));
	assert_int_equal(w->set_mtus, 3);
	world_tell_error(w, 0);
	world_run(w, TD_SECONDS(10));
	assert_int_equal(td_client_state(w->c), TD_CLIENT_UP);
	world_finish(w);
}

static void test_probes_of_any_size_are_acknowledged(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 39);
	unsigned int before;

	(void)state;
	world_up(w);
	world_run(w, TD_SECONDS(2));
	before = w->broker[0].got[TD_MSG_PMTUD_ACK];
	for (uint16_t size = 12; size <= 1472; size += 20) {
		world_tell(w, 0, &(struct td_msg){ .type = TD_MSG_PMTUD, .size = size });
		world_run(w, TD_MS(50));
	}
	assert_int_equal(w->broker[0].got[TD_MSG_PMTUD_ACK] - before, 74);
	world_finish(w);
}

static void test_flood_of_probes_is_bounded(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 40);
	uint8_t bytes[100];
	struct td_msg msg = { .type = TD_MSG_PMTUD, .size = 100 };
	size_t size = td_msg_put(&msg, TD_FROM_BROKER, bytes, sizeof(bytes));

	(void)state;
	world_up(w);
	world_run(w, TD_SECONDS(2));
	for (int i = 0; i < 1000; i++)
		td_client_rx(w->c, w->tunnel_slot, bytes, size, w->now);
	w->sent = 0;
	world_drain(w);
	assert_in_range(w->sent, 8, 17);
	world_finish(w);
}

static void test_probe_beyond_the_callers_buffer_is_lost(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 41);
	uint8_t bytes[300];
	uint32_t slot;
	size_t size;

	(void)state;
	world_start(w);
	world_until(w, TD_CLIENT_PREPARE, TD_SECONDS(1));
	w->create_us = TD_MS(10);
	world_until(w, TD_CLIENT_CREATING, TD_SECONDS(1));
	w->now = td_time_add(w->now, TD_MS(10));
	world_tunnel_done(w, w->create_sequence, 0);
	td_client_result(w->c, w->create_sequence, 0, w->now);
	while ((size = td_client_tx(w->c, &slot, bytes, sizeof(bytes), w->now)) > 0)
		assert_true(size <= sizeof(bytes));
	world_run(w, TD_SECONDS(5));
	assert_int_equal(td_client_state(w->c), TD_CLIENT_UP);
	world_finish(w);
}

static void test_repeated_and_foreign_messages_while_up(void **state)
{
	struct world *w = world_new(2, TD_SELECT_FIRST, 42);

	(void)state;
	w->broker[1].rtt_us = TD_MS(90);
	world_up(w);
	world_run(w, TD_SECONDS(1));
	world_tell(w, 0, &(struct td_msg){ .type = TD_MSG_TUNNEL, .tunnel = { 999, 1, true } });
	world_tell(w, 0, &(struct td_msg){ .type = TD_MSG_COOKIE });
	world_tell(w, 0, &(struct td_msg){ .type = TD_MSG_USAGE });
	world_tell(w, 0, &(struct td_msg){ .type = TD_MSG_REL_ACK, .sequence = 5 });
	world_run(w, TD_SECONDS(1));
	/* ERROR through a slot that is not the tunnel's. */
	struct td_msg msg = error();
	uint8_t bytes[64];
	size_t size = td_msg_put(&msg, TD_FROM_BROKER, bytes, sizeof(bytes));
	td_client_rx(w->c, 16, bytes, size, w->now);
	td_client_rx(w->c, 1, bytes, size, w->now);
	td_client_rx(w->c, 4000000, bytes, size, w->now);
	world_drain(w);
	assert_int_equal(td_client_state(w->c), TD_CLIENT_UP);
	assert_int_equal(w->creates, 1);
	assert_int_equal(w->session.peer_tunnel_id, 101);
	world_finish(w);
}

/* --- shutdown --- */

static void test_shutdown_in_every_state(void **state)
{
	static const enum td_client_state states[] = { TD_CLIENT_SELECTING, TD_CLIENT_COOKIE,
						       TD_CLIENT_PREPARE, TD_CLIENT_CREATING,
						       TD_CLIENT_UP };

	(void)state;
	for (unsigned int i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		struct world *w = world_new(2, TD_SELECT_FIRST, 43);

		w->create_us = TD_MS(300);
		w->destroy_us = TD_MS(300);
		world_start(w);
		world_until(w, states[i], TD_SECONDS(5));
		td_client_shutdown(w->c, w->now);
		world_drain(w);
		td_client_shutdown(w->c, w->now); /* again: nothing more */
		world_run(w, TD_MS(100));
		assert_int_equal(w->broker[0].last_reason + w->broker[1].last_reason,
				 states[i] >= TD_CLIENT_PREPARE ? TD_ERROR_CLIENT_SHUTDOWN : 0);
		world_finish(w);
	}
}

static void test_shutdown_while_waiting(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 44);

	(void)state;
	w->broker[0].refuses = true;
	world_start(w);
	world_until(w, TD_CLIENT_WAITING, TD_SECONDS(1));
	world_run(w, TD_MS(100));
	td_client_shutdown(w->c, w->now);
	world_drain(w);
	assert_int_equal(td_client_state(w->c), TD_CLIENT_ENDED);
	world_finish(w);
}

static void test_shutdown_while_an_old_tunnel_is_removed(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 45);

	(void)state;
	w->destroy_us = TD_SECONDS(1);
	world_up(w);
	world_run(w, TD_SECONDS(20));
	world_tell_error(w, 0);
	world_run(w, TD_MS(100));
	td_client_shutdown(w->c, w->now);
	world_drain(w);
	assert_int_equal(td_client_state(w->c), TD_CLIENT_CLOSING);
	world_finish(w);
}

static void test_two_events_before_anything_was_drained(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 49);

	(void)state;
	world_up(w);
	world_run(w, TD_SECONDS(20));
	td_client_path_changed(w->c, w->now);
	td_client_shutdown(w->c, w->now);
	world_drain(w);
	assert_int_equal(w->downs, 1);
	assert_int_equal(w->destroys, 1);
	world_run(w, TD_MS(20));
	assert_int_equal(w->broker[0].last_reason, TD_ERROR_CLIENT_SHUTDOWN);
	world_finish(w);
}

static void test_tunnel_lost_before_its_up_hook_was_drained(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 50);

	(void)state;
	w->create_us = TD_MS(10);
	world_start(w);
	world_until(w, TD_CLIENT_CREATING, TD_SECONDS(1));
	w->now = td_time_add(w->now, TD_MS(10));
	world_tunnel_done(w, w->create_sequence, 0);
	td_client_result(w->c, w->create_sequence, 0, w->now);
	td_client_lost(w->c, w->now);
	world_drain(w);
	assert_int_equal(w->ups + w->downs, 0);
	assert_int_equal(w->destroys, 1);
	world_run(w, TD_SECONDS(20));
	world_finish(w);
}

static void test_shutdown_ends_though_nothing_is_removed(void **state)
{
	(void)state;
	for (int creating = 0; creating < 2; creating++) {
		struct world *w = world_new(1, TD_SELECT_FIRST, 46);

		w->create_us = creating ? -1 : 0;
		w->destroy_us = -1;
		world_start(w);
		world_until(w, creating ? TD_CLIENT_CREATING : TD_CLIENT_UP, TD_SECONDS(1));
		td_client_shutdown(w->c, w->now);
		world_drain(w);
		assert_in_range(world_until(w, TD_CLIENT_ENDED, TD_SECONDS(6)), TD_SECONDS(4),
				TD_SECONDS(5));
		assert_int_equal(td_client_deadline(w->c).us, TD_NEVER.us);
		/* The late result changes nothing, but what was made is removed still. */
		world_run(w, TD_SECONDS(1000));
		if (creating) {
			world_tunnel_done(w, w->create_sequence, 0);
			td_client_result(w->c, w->create_sequence, 0, w->now);
			world_act(w);
			assert_int_equal(w->destroys, 1);
		}
		world_tunnel_done(w, w->destroy_sequence, 0);
		td_client_result(w->c, w->destroy_sequence, 0, w->now);
		world_act(w);
		assert_int_equal(td_client_state(w->c), TD_CLIENT_ENDED);
		assert_false(w->socket[0].open);
		assert_int_equal(world_count_states(w, TD_CLIENT_ENDED), 1);
		world_free(w);
	}
}

static void test_messages_after_the_end_are_ignored(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 47);

	(void)state;
	w->destroy_us = TD_SECONDS(1);
	world_up(w);
	td_client_shutdown(w->c, w->now);
	world_drain(w);
	w->sent = 0;
	world_tell(w, 0, &(struct td_msg){ .type = TD_MSG_PMTUD, .size = 100 });
	world_tell_error(w, 0);
	td_client_network_changed(w->c, w->now);
	td_client_path_changed(w->c, w->now);
	td_client_lost(w->c, w->now);
	world_run(w, TD_SECONDS(2));
	assert_int_equal(w->sent, 0);
	assert_int_equal(td_client_state(w->c), TD_CLIENT_ENDED);
	world_finish(w);
}

/* --- logs --- */

static void test_log_that_nobody_drains_keeps_the_latest(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 48);
	struct td_client_action a;
	enum td_client_state last = TD_CLIENT_ENDED;
	int lines = 0;

	(void)state;
	w->broker[0].dead = true;
	world_start(w);
	world_run(w, TD_SECONDS(1));
	for (int i = 0; i < 500; i++) {
		w->now = td_client_deadline(w->c);
		td_client_tick(w->c, w->now);
	}
	while (td_client_next_action(w->c, &a, w->now) && a.kind == TD_CLIENT_STATE) {
		last = a.state;
		lines++;
	}
	assert_in_range(lines, 2, 8);
	assert_int_equal(last, td_client_state(w->c));
	world_free(w);
}

/* --- everything at once --- */

static void shake(struct world *w)
{
	struct world_broker *b = &w->broker[td_rng_below(&w->rng, 4)];

	switch (td_rng_below(&w->rng, 16)) {
	case 0:
		b->dead = !b->dead;
		break;
	case 1:
		b->refuses = !b->refuses;
		break;
	case 2:
		b->parks = !b->parks;
		break;
	case 3:
		b->forgets_features = !b->forgets_features;
		break;
	case 4:
		b->tunnel_port = 0; /* it crashed */
		break;
	case 5:
		if (b->tunnel_port)
			world_tell_error(w, (uint32_t)(b - w->broker));
		break;
	case 6:
		td_client_path_changed(w->c, w->now);
		break;
	case 7:
		td_client_network_changed(w->c, w->now);
		break;
	case 8:
		if (w->has_tunnel)
			td_client_lost(w->c, w->now);
		break;
	case 9:
		w->open_error = td_rng_below(&w->rng, 3) ? 0 : -ENETUNREACH;
		break;
	case 10:
		w->create_error = td_rng_below(&w->rng, 3) ? 0 : -EBUSY;
		break;
	case 11:
		w->create_us =
			td_rng_between(&w->rng, 0, 1) * TD_SECONDS(td_rng_below(&w->rng, 20));
		w->destroy_us =
			td_rng_between(&w->rng, 0, 1) * TD_SECONDS(td_rng_below(&w->rng, 9));
		break;
	case 12:
		w->loss_percent = td_rng_below(&w->rng, 40);
		break;
	case 13:
		w->path = (uint16_t)td_rng_between(&w->rng, 1200, 1500);
		break;
	case 14:
		b->address_count = td_rng_below(&w->rng, 4);
		w->reverse_addresses = !w->reverse_addresses;
		break;
	case 15:
		w->open_us = td_rng_below(&w->rng, 2) * TD_MS(200);
		break;
	}
	world_drain(w);
}

static void calm(struct world *w)
{
	for (int i = 0; i < 4; i++) {
		struct world_broker *b = &w->broker[i];

		b->dead = b->refuses = b->parks = b->forgets_features = false;
		b->address_count = 1;
	}
	w->open_error = w->create_error = 0;
	w->create_us = w->destroy_us = w->open_us = 0;
	w->loss_percent = 0;
	w->path = 1450;
}

static void test_chaos_ends_in_a_tunnel(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 300; seed++) {
		struct world *w = world_new(4, (enum td_selection)(seed % 3), seed);

		w->jitter_us = TD_MS(30);
		w->duplicate_percent = 5;
		w->config.limit_kbps = (uint32_t)(seed % 2) * 5000;
		world_start(w);
		for (int i = 0; i < 120; i++) {
			world_run(w, td_rng_between(&w->rng, 0, TD_SECONDS(8)));
			shake(w);
		}
		calm(w);
		world_run(w, TD_SECONDS(180));
		assert_int_equal(td_client_state(w->c), TD_CLIENT_UP);
		world_run(w, TD_SECONDS(700)); /* the path may have grown */
		assert_int_equal(td_client_state(w->c), TD_CLIENT_UP);
		assert_true(w->has_tunnel);
		assert_int_equal(w->mtu, 1424);
		/* Both ends agree. */
		struct world_broker *b = &w->broker[world_broker_of_tunnel(w)];
		assert_int_equal(b->tunnel_port, w->socket[w->tunnel_slot].port);
		assert_int_equal(b->tunnel_id, w->session.peer_tunnel_id);
		td_client_shutdown(w->c, w->now);
		world_drain(w);
		world_run(w, TD_SECONDS(10));
		assert_int_equal(td_client_state(w->c), TD_CLIENT_ENDED);
		assert_false(w->has_tunnel);
		assert_int_equal(w->ups, w->downs);
		for (int i = 0; i < WORLD_SLOTS; i++)
			assert_false(w->socket[i].open);
		world_free(w);
	}
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
		cmocka_unit_test(test_first_answer_without_features_is_believed),
		cmocka_unit_test(test_fresh_port_cannot_be_had),
		cmocka_unit_test(test_fresh_port_that_takes_its_time),
		cmocka_unit_test(test_refusals_back_off_and_differ),
		cmocka_unit_test(test_refused_by_one_the_next_is_asked_at_once),
		cmocka_unit_test(test_back_off_ends_when_a_tunnel_lasted),
		cmocka_unit_test(test_refusals_are_not_shortened_by_network_changes),
		cmocka_unit_test(test_broken_broker_is_left_out_for_an_hour),
		cmocka_unit_test(test_network_change_while_waiting),
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
		cmocka_unit_test(test_keepalives_and_wakeups),
		cmocka_unit_test(test_keepalive_counts),
		cmocka_unit_test(test_limit_is_asked_for_until_acknowledged),
		cmocka_unit_test(test_mtu_is_measured_set_and_told),
		cmocka_unit_test(test_one_mtu_change_at_a_time_and_failures_are_survived),
		cmocka_unit_test(test_probes_of_any_size_are_acknowledged),
		cmocka_unit_test(test_flood_of_probes_is_bounded),
		cmocka_unit_test(test_probe_beyond_the_callers_buffer_is_lost),
		cmocka_unit_test(test_repeated_and_foreign_messages_while_up),
		cmocka_unit_test(test_shutdown_in_every_state),
		cmocka_unit_test(test_shutdown_while_waiting),
		cmocka_unit_test(test_shutdown_while_an_old_tunnel_is_removed),
		cmocka_unit_test(test_two_events_before_anything_was_drained),
		cmocka_unit_test(test_tunnel_lost_before_its_up_hook_was_drained),
		cmocka_unit_test(test_shutdown_ends_though_nothing_is_removed),
		cmocka_unit_test(test_messages_after_the_end_are_ignored),
		cmocka_unit_test(test_log_that_nobody_drains_keeps_the_latest),
		cmocka_unit_test(test_chaos_ends_in_a_tunnel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
