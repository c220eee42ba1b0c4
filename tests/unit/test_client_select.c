/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The client machine until it has chosen a broker, and when it has none. */
#include "client_world.h"

static void test_first_takes_who_answers_first(void **state)
{
	struct world *w = world_new(3, TD_SELECT_FIRST, 1);

	(void)state;
	w->broker[0].rtt_us = TD_MS(80);
	w->broker[1].rtt_us = TD_MS(40);
	w->broker[2].rtt_us = TD_MS(90);
	w->broker[1].load = 60000;
	world_up(w);
	assert_int_equal(world_broker_of_tunnel(w), 1);
	world_run(w, TD_SECONDS(1));
	assert_int_equal(w->opens, 3);
	assert_int_equal(w->broker[0].got[TD_MSG_COOKIE] + w->broker[0].got[TD_MSG_PREPARE], 0);
	for (uint32_t i = 0; i < WORLD_SLOTS; i++)
		assert_int_equal(w->socket[i].open, i == w->tunnel_slot);
	world_finish(w);
}

static void test_usage_takes_the_least_load(void **state)
{
	struct world *w = world_new(3, TD_SELECT_USAGE, 2);

	(void)state;
	w->broker[0].load = 500;
	w->broker[1].load = 499;
	w->broker[2].load = 300;
	w->broker[2].rtt_us = TD_MS(700);
	world_start(w);
	assert_in_range(world_until(w, TD_CLIENT_UP, TD_SECONDS(5)), TD_MS(700), TD_SECONDS(3));
	assert_int_equal(world_broker_of_tunnel(w), 2);
	world_finish(w);
}

static void test_usage_ties_go_to_the_first_named(void **state)
{
	struct world *w = world_new(3, TD_SELECT_USAGE, 3);

	(void)state;
	w->broker[0].load = 501;
	w->broker[1].load = w->broker[2].load = 500;
	w->broker[1].rtt_us = TD_MS(300);
	world_up(w);
	assert_int_equal(world_broker_of_tunnel(w), 1);
	world_finish(w);
}

static void test_usage_waits_ten_seconds_for_the_silent(void **state)
{
	struct world *w = world_new(3, TD_SELECT_USAGE, 4);

	(void)state;
	w->broker[0].load = 9;
	w->broker[1].load = 8;
	w->broker[2].dead = true;
	world_start(w);
	assert_in_range(world_until(w, TD_CLIENT_UP, TD_SECONDS(20)), TD_SECONDS(10), TD_MS(10200));
	assert_int_equal(world_broker_of_tunnel(w), 1);
	/* Who had answered was asked once, who had not every two seconds, a cookie beside. */
	assert_int_equal(w->broker[0].got[TD_MSG_USAGE], 1);
	world_finish(w);
}

static void test_who_has_no_address_is_not_waited_for(void **state)
{
	(void)state;
	for (uint32_t nameless = 0; nameless < 2; nameless++) {
		struct world *w = world_new(2, TD_SELECT_USAGE, 4);

		w->broker[nameless].address_count = 0;
		world_start(w);
		assert_in_range(world_until(w, TD_CLIENT_UP, TD_SECONDS(20)), 0, TD_SECONDS(1));
		assert_int_equal(world_broker_of_tunnel(w), 1 - nameless);
		world_finish(w);
	}
}

static void test_late_answer_is_taken_at_once(void **state)
{
	struct world *w = world_new(2, TD_SELECT_USAGE, 5);

	(void)state;
	w->broker[0].dead = w->broker[1].dead = true;
	world_start(w);
	world_run(w, TD_SECONDS(11));
	assert_int_equal(td_client_state(w->c), TD_CLIENT_SELECTING);
	w->broker[1].dead = false;
	assert_true(world_until(w, TD_CLIENT_UP, TD_SECONDS(4)) < TD_SECONDS(3));
	world_finish(w);
}

static void test_random_is_uniform_over_brokers(void **state)
{
	unsigned int count[3] = { 0 };

	(void)state;
	for (uint64_t seed = 0; seed < 300; seed++) {
		struct world *w = world_new(3, TD_SELECT_RANDOM, seed);

		w->broker[1].address_count = 16;
		world_up(w);
		count[world_broker_of_tunnel(w)]++;
		world_free(w);
	}
	for (int i = 0; i < 3; i++)
		assert_in_range(count[i], 70, 130);
}

static void test_questions_are_repeated_every_two_seconds(void **state)
{
	struct world *w = world_new(2, TD_SELECT_FIRST, 6);

	(void)state;
	w->loss_percent = 100;
	world_start(w);
	assert_int_equal(w->sent, 0); /* the lookup takes its time */
	world_run(w, TD_SECONDS(1));
	assert_int_equal(w->sent, 2);
	world_run(w, TD_SECONDS(2)); /* USAGE and COOKIE */
	assert_int_equal(w->sent, 6);
	world_run(w, TD_SECONDS(18));
	assert_in_range(w->sent, 6 + 4 * 7, 6 + 4 * 9);
	world_finish(w);
}

static void test_old_broker_answers_cookie_only(void **state)
{
	struct world *w = world_new(1, TD_SELECT_USAGE, 7);

	(void)state;
	w->broker[0].deaf_to_usage = true;
	w->broker[0].old = true;
	world_start(w);
	assert_in_range(world_until(w, TD_CLIENT_UP, TD_SECONDS(4)), TD_SECONDS(2), TD_SECONDS(3));
	assert_int_equal(w->broker[0].got[TD_MSG_COOKIE], 1); /* its cookie was used */
	assert_int_equal(w->session.session_id, 1);
	assert_int_equal(w->session.peer_session_id, 1);
	world_finish(w);
}

static void test_known_load_beats_unknown(void **state)
{
	struct world *w = world_new(2, TD_SELECT_USAGE, 8);

	(void)state;
	w->broker[0].deaf_to_usage = true;
	w->broker[1].load = 65534;
	world_up(w);
	assert_int_equal(world_broker_of_tunnel(w), 1);
	world_finish(w);
}

static void test_all_addresses_of_a_name_are_asked(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 9);

	(void)state;
	w->broker[0].address_count = 20; /* four too many */
	world_up(w);
	world_run(w, TD_SECONDS(1));
	assert_int_equal(w->opens, 16);
	assert_int_equal(w->broker[0].got[TD_MSG_USAGE], 16);
	world_finish(w);
}

static void test_one_answer_of_a_broker_is_enough(void **state)
{
	struct world *w = world_new(2, TD_SELECT_USAGE, 10);

	(void)state;
	w->broker[0].address_count = 2;
	w->broker[0].load = 1;
	w->broker[1].load = 2;
	w->broker[0].blackholes = 1;
	world_start(w);
	assert_true(world_until(w, TD_CLIENT_UP, TD_SECONDS(9)) < TD_SECONDS(1));
	assert_int_equal(w->tunnel_slot, 1);
	world_finish(w);
}

static void test_slow_lookup_is_waited_for(void **state)
{
	struct world *w = world_new(2, TD_SELECT_USAGE, 11);

	(void)state;
	w->broker[0].load = 9;
	w->broker[1].load = 1;
	w->broker[1].lookup_us = TD_SECONDS(3);
	world_start(w);
	assert_in_range(world_until(w, TD_CLIENT_UP, TD_SECONDS(9)), TD_SECONDS(3), TD_MS(3200));
	assert_int_equal(world_broker_of_tunnel(w), 1);
	world_finish(w);
}

static void test_eight_lookups_at_once(void **state)
{
	struct world *w = world_new(12, TD_SELECT_USAGE, 12);

	(void)state;
	for (int i = 0; i < 12; i++)
		w->broker[i].lookup_us = TD_SECONDS(1);
	w->broker[11].load = 0;
	for (int i = 0; i < 11; i++)
		w->broker[i].load = 10;
	world_start(w);
	assert_int_equal(w->lookups_running, 8);
	world_until(w, TD_CLIENT_UP, TD_SECONDS(9));
	assert_int_equal(w->lookups, 12);
	assert_int_equal(world_broker_of_tunnel(w), 11);
	world_finish(w);
}

static void test_no_names_and_no_route_is_offline(void **state)
{
	static const int errors[] = { -ENETUNREACH, -EHOSTUNREACH, -ENETDOWN, -EADDRNOTAVAIL,
				      -EMFILE };

	(void)state;
	for (unsigned int i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct world *w = world_new(2, TD_SELECT_FIRST, 13);

		w->open_error = errors[i];
		world_start(w);
		world_until(w, TD_CLIENT_OFFLINE, TD_SECONDS(1));
		w->wakeups = 0;
		world_run(w, TD_SECONDS(3600));
		assert_in_range(w->wakeups, 60, 450); /* a slow check, two lookups each */
		assert_int_equal(w->sent, 0);
		w->open_error = 0;
		world_until(w, TD_CLIENT_UP, TD_SECONDS(125));
		world_finish(w);
	}
}

static void test_offline_for_a_day(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 16);
	struct td_time last = { 0 };
	unsigned int tries = 0;

	(void)state;
	w->open_error = -ENETUNREACH;
	world_start(w);
	world_run(w, TD_SECONDS(24 * 3600));
	for (unsigned int i = 0; i < w->states; i++) {
		if (w->state[i] != TD_CLIENT_OFFLINE)
			continue;
		if (++tries > 10)
			assert_true(td_time_since(w->state_at[i], last) >= TD_SECONDS(30));
		last = w->state_at[i];
	}
	assert_true(tries > 300);
	assert_true(world_said(w, "no way to any broker"));
	world_finish(w);
}

static void test_names_that_are_not_found(void **state)
{
	struct world *w = world_new(2, TD_SELECT_FIRST, 14);

	(void)state;
	w->broker[0].address_count = w->broker[1].address_count = 0;
	world_start(w);
	world_until(w, TD_CLIENT_OFFLINE, TD_SECONDS(1));
	assert_true(world_said(w, "no broker's name resolves"));
	/* The first retries come soon: perhaps a name server was just slow. */
	w->broker[1].address_count = 1;
	assert_in_range(world_until(w, TD_CLIENT_UP, TD_SECONDS(9)), TD_SECONDS(2), TD_SECONDS(5));
	world_finish(w);
}

static void test_network_change_ends_offline_at_once(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 15);
	unsigned int lookups;

	(void)state;
	w->open_error = -ENETUNREACH;
	world_start(w);
	world_run(w, TD_SECONDS(500));
	assert_int_equal(td_client_state(w->c), TD_CLIENT_OFFLINE);
	/* Many changes: one attempt in two seconds. */
	lookups = w->lookups;
	for (int i = 0; i < 100; i++) {
		td_client_network_changed(w->c, w->now);
		world_drain(w);
		world_run(w, TD_MS(100));
	}
	assert_in_range(w->lookups - lookups, 4, 7);
	world_run(w, TD_SECONDS(30));
	w->open_error = 0;
	td_client_network_changed(w->c, w->now);
	assert_true(world_until(w, TD_CLIENT_UP, TD_SECONDS(9)) < TD_MS(200));
	world_finish(w);
}

static void test_network_change_gives_selection_fresh_sockets(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 16);

	(void)state;
	w->broker[0].dead = true;
	world_start(w);
	world_run(w, TD_SECONDS(5));
	assert_int_equal(w->opens, 1);
	td_client_network_changed(w->c, w->now);
	world_drain(w);
	world_run(w, TD_MS(100));
	assert_int_equal(w->opens, 2);
	/* … but not over and over. */
	td_client_network_changed(w->c, w->now);
	world_run(w, TD_SECONDS(1));
	assert_int_equal(w->opens, 2);
	world_run(w, TD_SECONDS(4));
	assert_int_equal(w->opens, 3);
	world_finish(w);
}

static void test_old_broker_is_found_on_a_network_that_never_rests(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 28);

	(void)state;
	w->broker[0].deaf_to_usage = true;
	world_start(w);
	for (int i = 0; i < 50 && td_client_state(w->c) != TD_CLIENT_UP; i++) {
		td_client_network_changed(w->c, w->now);
		world_drain(w);
		world_run(w, TD_MS(100));
	}
	assert_int_equal(td_client_state(w->c), TD_CLIENT_UP);
	world_finish(w);
}

static void test_network_change_does_not_disturb_a_choice(void **state)
{
	struct world *w = world_new(2, TD_SELECT_USAGE, 17);

	(void)state;
	w->broker[1].dead = true;
	world_start(w);
	world_run(w, TD_SECONDS(5)); /* one answered, the other may still */
	td_client_network_changed(w->c, w->now);
	world_run(w, TD_SECONDS(1));
	assert_int_equal(w->opens, 2);
	world_until(w, TD_CLIENT_UP, TD_SECONDS(9));
	td_client_network_changed(w->c, w->now);
	world_drain(w);
	world_run(w, TD_SECONDS(1));
	assert_int_equal(td_client_state(w->c), TD_CLIENT_UP);
	world_finish(w);
}

static void test_silence_leads_to_fresh_lookups_and_ports(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 18);

	(void)state;
	w->broker[0].dead = true;
	world_start(w);
	world_run(w, TD_SECONDS(300));
	assert_in_range(w->lookups, 8, 11);
	assert_int_equal(w->opens, w->lookups);
	world_finish(w);
}

static void test_failed_lookup_keeps_known_addresses(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 19);

	(void)state;
	world_up(w);
	world_run(w, TD_SECONDS(20));
	w->broker[0].address_count = 0;
	world_tell_error(w, 0);
	world_until(w, TD_CLIENT_SELECTING, TD_SECONDS(1));
	assert_true(world_until(w, TD_CLIENT_UP, TD_SECONDS(9)) < TD_SECONDS(1));
	world_finish(w);
}

static void test_lookup_replaces_addresses(void **state)
{
	struct world *w = world_new(2, TD_SELECT_FIRST, 20);

	(void)state;
	w->broker[0].dead = w->broker[1].dead = true;
	world_start(w);
	world_run(w, TD_SECONDS(10));
	assert_int_equal(w->socket[0].addr.ip[1], 0);
	/* The name moves to another machine. */
	struct td_addr moved = world_addr(3, 0);
	while (td_client_state(w->c) != TD_CLIENT_SELECTING || w->lookups < 4)
		assert_true(world_step(w, TD_NEVER));
	td_client_resolved(w->c, 0, &moved, 1, w->now);
	world_drain(w);
	assert_false(w->socket[0].open && w->socket[0].addr.ip[1] == 0);
	assert_true(world_until(w, TD_CLIENT_UP, TD_SECONDS(5)) < TD_SECONDS(3));
	assert_int_equal(w->session.flow.peer.ip[1], 3);
	/* That broker's lookup was answered above already. */
	world_run(w, TD_SECONDS(30));
	world_finish(w);
}

static void test_sixteen_addresses_replaced_by_sixteen(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 21);
	struct td_addr moved[16];

	(void)state;
	w->broker[0].address_count = 16;
	w->broker[0].dead = true;
	world_start(w);
	world_run(w, TD_SECONDS(10));
	for (uint32_t i = 0; i < 16; i++)
		moved[i] = world_addr(4, i);
	while (w->lookups < 2)
		assert_true(world_step(w, TD_NEVER));
	td_client_resolved(w->c, 0, moved, 16, w->now);
	world_drain(w);
	for (int i = 0; i < 16; i++)
		assert_true(w->socket[i].open && w->socket[i].addr.ip[1] == 4);
	world_until(w, TD_CLIENT_UP, TD_SECONDS(5));
	world_finish(w);
}

static void test_rotating_addresses_keep_their_sockets(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 22);

	(void)state;
	w->broker[0].address_count = 8;
	world_up(w);
	world_run(w, TD_SECONDS(20));
	w->reverse_addresses = true;
	w->broker[0].dead = true;
	w->opens = 0;
	world_tell_error(w, 0);
	world_run(w, TD_SECONDS(2));
	assert_int_equal(w->opens, 8);
	world_finish(w);
}

static void test_lookup_nobody_asked_for_is_ignored(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 23);
	struct td_addr moved = world_addr(3, 0);

	(void)state;
	world_up(w);
	td_client_resolved(w->c, 0, &moved, 1, w->now);
	world_run(w, TD_SECONDS(20));
	w->lookups_running++;
	world_tell_error(w, 0);
	w->lookups_running--;
	world_run(w, TD_SECONDS(2));
	assert_int_equal(world_broker_of_tunnel(w), 0);
	assert_int_equal(w->session.flow.peer.ip[1], 0);
	world_finish(w);
}

static void test_answers_of_other_kinds_do_not_count(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 24);
	static const enum td_msg_type types[] = { TD_MSG_TUNNEL, TD_MSG_ERROR,     TD_MSG_KEEPALIVE,
						  TD_MSG_PMTUD,  TD_MSG_PMTUD_ACK, TD_MSG_PMTU_NTFY,
						  TD_MSG_REL_ACK };

	(void)state;
	w->broker[0].dead = true;
	world_start(w);
	world_run(w, TD_SECONDS(1));
	for (unsigned int i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		world_say(w, 0, w->socket[0].port, &(struct td_msg){ .type = types[i] });
	world_run(w, TD_SECONDS(1));
	assert_int_equal(td_client_state(w->c), TD_CLIENT_SELECTING);
	/* Garbage, foreign slots and slots that do not exist neither. */
	td_client_rx(w->c, 0, (const uint8_t *)"\x80\x73\xa7\x01\x0a", 5, w->now);
	td_client_rx(w->c, 0, NULL, 0, w->now);
	struct td_msg msg = { .type = TD_MSG_USAGE };
	uint8_t bytes[64];
	size_t size = td_msg_put(&msg, TD_FROM_BROKER, bytes, sizeof(bytes));
	td_client_rx(w->c, 1, bytes, size, w->now);
	td_client_rx(w->c, 16, bytes, size, w->now);
	td_client_rx(w->c, UINT32_MAX, bytes, size, w->now);
	bytes[3] = 2;
	td_client_rx(w->c, 0, bytes, size, w->now);
	world_drain(w);
	assert_int_equal(td_client_state(w->c), TD_CLIENT_SELECTING);
	bytes[3] = 1;
	td_client_rx(w->c, 0, bytes, size, w->now);
	world_drain(w);
	assert_int_equal(td_client_state(w->c), TD_CLIENT_COOKIE);
	world_finish(w);
}

static void test_asynchronous_sockets(void **state)
{
	struct world *w = world_new(3, TD_SELECT_USAGE, 25);

	(void)state;
	w->open_us = TD_MS(30);
	w->broker[2].address_count = 3;
	w->broker[2].load = 0;
	w->broker[0].load = w->broker[1].load = 5;
	world_up(w);
	assert_int_equal(world_broker_of_tunnel(w), 2);
	world_run(w, TD_SECONDS(1));
	world_finish(w);
}

static void test_socket_that_opens_too_late_is_closed(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 26);

	(void)state;
	w->open_us = TD_SECONDS(40); /* longer than the attempt */
	w->broker[0].dead = true;
	world_start(w);
	world_run(w, TD_SECONDS(200));
	w->open_us = TD_MS(5);
	w->broker[0].dead = false;
	world_until(w, TD_CLIENT_UP, TD_SECONDS(60));
	world_finish(w);
}

static void test_shutdown_while_selecting_and_offline(void **state)
{
	(void)state;
	for (int offline = 0; offline < 2; offline++) {
		struct world *w = world_new(2, TD_SELECT_FIRST, 27);

		w->broker[0].dead = w->broker[1].dead = true;
		w->open_error = offline ? -ENETUNREACH : 0;
		world_start(w);
		world_run(w, TD_SECONDS(5));
		w->last_sent[TD_MSG_ERROR] = (struct td_time){ 0 };
		world_finish(w); /* no ERROR: nobody was asked for a tunnel */
	}
}

static void test_started_in_different_ways_by_different_seeds(void **state)
{
	int64_t times[20];

	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct world *w = world_new(1, TD_SELECT_FIRST, seed);

		w->broker[0].dead = true;
		world_start(w);
		world_run(w, TD_SECONDS(100));
		times[seed] = w->last_sent[TD_MSG_USAGE].us;
		for (uint64_t i = 0; i < seed; i++)
			assert_int_not_equal(times[i], times[seed]);
		world_finish(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_takes_who_answers_first),
		cmocka_unit_test(test_usage_takes_the_least_load),
		cmocka_unit_test(test_usage_ties_go_to_the_first_named),
		cmocka_unit_test(test_usage_waits_ten_seconds_for_the_silent),
		cmocka_unit_test(test_who_has_no_address_is_not_waited_for),
		cmocka_unit_test(test_late_answer_is_taken_at_once),
		cmocka_unit_test(test_random_is_uniform_over_brokers),
		cmocka_unit_test(test_questions_are_repeated_every_two_seconds),
		cmocka_unit_test(test_old_broker_answers_cookie_only),
		cmocka_unit_test(test_known_load_beats_unknown),
		cmocka_unit_test(test_all_addresses_of_a_name_are_asked),
		cmocka_unit_test(test_one_answer_of_a_broker_is_enough),
		cmocka_unit_test(test_slow_lookup_is_waited_for),
		cmocka_unit_test(test_eight_lookups_at_once),
		cmocka_unit_test(test_no_names_and_no_route_is_offline),
		cmocka_unit_test(test_offline_for_a_day),
		cmocka_unit_test(test_names_that_are_not_found),
		cmocka_unit_test(test_network_change_ends_offline_at_once),
		cmocka_unit_test(test_network_change_gives_selection_fresh_sockets),
		cmocka_unit_test(test_old_broker_is_found_on_a_network_that_never_rests),
		cmocka_unit_test(test_network_change_does_not_disturb_a_choice),
		cmocka_unit_test(test_silence_leads_to_fresh_lookups_and_ports),
		cmocka_unit_test(test_failed_lookup_keeps_known_addresses),
		cmocka_unit_test(test_lookup_replaces_addresses),
		cmocka_unit_test(test_sixteen_addresses_replaced_by_sixteen),
		cmocka_unit_test(test_rotating_addresses_keep_their_sockets),
		cmocka_unit_test(test_lookup_nobody_asked_for_is_ignored),
		cmocka_unit_test(test_answers_of_other_kinds_do_not_count),
		cmocka_unit_test(test_asynchronous_sockets),
		cmocka_unit_test(test_socket_that_opens_too_late_is_closed),
		cmocka_unit_test(test_shutdown_while_selecting_and_offline),
		cmocka_unit_test(test_started_in_different_ways_by_different_seeds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
