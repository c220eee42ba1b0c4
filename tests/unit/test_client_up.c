/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The client machine while its tunnel is up. */
#include "client_world.h"

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
	w->broker[0].has_keepalives = false;
	w->path = 600; /* probes are lost */
	world_run(w, TD_SECONDS(50));
	assert_int_equal(w->challenges, 0);
	world_finish(w);
}

static struct world *world_with_sparse(uint16_t fixed_mtu)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 34);

	w->broker[0].shares = TD_FEATURE_SPARSE_KEEPALIVES;
	w->broker[0].fixed_mtu = fixed_mtu;
	world_up(w);
	world_run(w, TD_SECONDS(10));
	return w;
}

static void test_sparse_keepalives(void **state)
{
	struct world *w = world_with_sparse(0);
	unsigned int before = w->broker[0].got[TD_MSG_KEEPALIVE];

	(void)state;
	world_run(w, TD_SECONDS(3600));
	assert_in_range(w->broker[0].got[TD_MSG_KEEPALIVE] - before, 3600 / 11, 3600 / 9);
	assert_int_equal(w->challenges, 0);
	world_finish(w);
}

/* Whatever answers the question is a sign of life. */
static void test_a_missed_keepalive(void **state)
{
	static const uint16_t fixed_mtus[] = { 0, 1400 };

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		struct world *w = world_with_sparse(fixed_mtus[i]);
		struct td_time heard;

		w->broker[0].has_keepalives = false;
		w->path = 500; /* probes are lost */
		world_run(w, TD_SECONDS(3600));
		assert_in_range(w->challenges, 3600 / 13, 3600 / 12);
		assert_int_equal(td_client_state(w->c), TD_CLIENT_UP);
		assert_int_equal(w->creates, 1);
		heard = w->now;
		w->challenges = 0;
		w->path = 0;
		while (td_client_state(w->c) == TD_CLIENT_UP)
			world_run(w, TD_MS(100));
		assert_in_range(td_time_since(w->now, heard), TD_SECONDS(47), TD_SECONDS(62));
		assert_in_range(w->challenges, 11, 13);
		world_finish(w);
	}
}

/* Who is woken by the broker a second before the next keepalive, or less, sends it at once. */
static void test_keepalive_goes_with_an_answer(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 34);
	const struct td_msg hello = { .type = TD_MSG_KEEPALIVE };
	struct td_time last;

	(void)state;
	w->broker[0].has_keepalives = false;
	world_up(w);
	world_run(w, TD_SECONDS(10));
	last = w->last_sent[TD_MSG_KEEPALIVE];
	while (w->last_sent[TD_MSG_KEEPALIVE].us == last.us)
		world_run(w, TD_MS(5));
	last = w->last_sent[TD_MSG_KEEPALIVE];
	world_run(w, TD_MS(3600));
	world_tell(w, 0, &hello);
	world_run(w, TD_MS(700));
	assert_int_equal(w->last_sent[TD_MSG_KEEPALIVE].us, last.us);
	world_tell(w, 0, &hello);
	world_run(w, TD_MS(200));
	assert_int_not_equal(w->last_sent[TD_MSG_KEEPALIVE].us, last.us);
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
			assert_int_equal(msg.keepalive.counter, counter);
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

/* A broker that tells another MTU all the time: each costs more than the datagram that tells it. */
static void test_mtu_changes_only_so_often(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 40);

	(void)state;
	world_up(w);
	world_run(w, TD_SECONDS(2));
	w->set_mtus = 0;
	for (uint16_t i = 0; i < 3000; i++) {
		world_tell(w, 0, &(struct td_msg){ .type = TD_MSG_PMTU_NTFY, .mtu = 1300 + i % 2 });
		world_run(w, TD_MS(20));
	}
	assert_in_range(w->set_mtus, 8, 8 + 60 / 4);
	world_run(w, TD_SECONDS(60));
	assert_int_equal(w->mtu, 1301); /* the last one, late */
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
	/* It is tried again with each keepalive, until it can be done. */
	world_run(w, TD_SECONDS(12));
	assert_in_range(w->set_mtus, 4, 5);
	w->mtu_error = 0;
	world_run(w, TD_SECONDS(8));
	w->set_mtus = 2;
	world_run(w, TD_SECONDS(20));
	assert_int_equal(w->set_mtus, 2);
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
	struct td_msg msg = world_error();
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keepalives_and_wakeups),
		cmocka_unit_test(test_sparse_keepalives),
		cmocka_unit_test(test_a_missed_keepalive),
		cmocka_unit_test(test_keepalive_goes_with_an_answer),
		cmocka_unit_test(test_keepalive_counts),
		cmocka_unit_test(test_limit_is_asked_for_until_acknowledged),
		cmocka_unit_test(test_mtu_is_measured_set_and_told),
		cmocka_unit_test(test_mtu_changes_only_so_often),
		cmocka_unit_test(test_one_mtu_change_at_a_time_and_failures_are_survived),
		cmocka_unit_test(test_probes_of_any_size_are_acknowledged),
		cmocka_unit_test(test_flood_of_probes_is_bounded),
		cmocka_unit_test(test_probe_beyond_the_callers_buffer_is_lost),
		cmocka_unit_test(test_repeated_and_foreign_messages_while_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
