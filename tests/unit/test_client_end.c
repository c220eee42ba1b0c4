/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The client machine at its end, its log, and in a world where everything happens at once. */
#include "client_world.h"

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
