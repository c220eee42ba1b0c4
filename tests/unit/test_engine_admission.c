/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Rate limits, the queue of those that wait, and late refusals. */
#include <string.h>

#include "engine_harness.h"

#define MANY 240

static void open_world(struct world *w, uint32_t max_tunnels, struct td_rate rate)
{
	struct td_engine_config config = config_for(max_tunnels);

	config.rate = rate;
	config.hooks = HOOK(TD_HOOK_RATE_LIMITED);
	world_start(w, &config);
}

static void open_limited(struct world *w, struct td_rate per_ip, struct td_rate per_uuid)
{
	struct td_engine_config config = config_for(16);

	config.rate_per_ip = per_ip;
	config.rate_per_uuid = per_uuid;
	config.hooks = HOOK(TD_HOOK_RATE_LIMITED);
	world_start(w, &config);
}

static void make_clients(struct world *w, struct client *c, unsigned count)
{
	for (unsigned n = 0; n < count; n++) {
		c[n] = client_number(n);
		assert_true(client_greet(w, &c[n]));
	}
}

static unsigned established(const struct world *w)
{
	return (unsigned)td_engine_counters(w->e)->established;
}

static void test_a_burst_gets_in_at_once_the_others_in_order(void **state)
{
	static struct client c[MANY];
	struct world w;
	const struct td_rate rate = { TD_MS(200), TD_ENGINE_BURST };
	uint32_t turn = 100;

	(void)state;
	open_world(&w, MANY, rate);
	make_clients(&w, c, MANY);
	for (unsigned n = 0; n < MANY; n++)
		client_prepare(&w, &c[n]);
	assert_int_equal(established(&w), 100);
	assert_int_equal(td_engine_counters(w.e)->parked, MANY - 100);
	for (unsigned n = 100; n < MANY; n++)
		assert_int_equal(client_unread(&w, &c[n]), 0);
	clients_wait(&w, c, MANY, TD_SECONDS(20));
	assert_int_equal(established(&w), 200);
	clients_wait(&w, c, MANY, TD_SECONDS(8));
	assert_int_equal(established(&w), MANY);
	assert_int_equal(check_applicants(w.e), 0);
	/* In order of arrival, and no two in one interval. */
	for (size_t i = 0; i < w.deed_count; i++) {
		const struct deed *d = &w.deeds[i];

		if (d->action.kind != TD_ACTION_CREATE || d->session.peer_tunnel_id <= 100)
			continue;
		assert_int_equal(d->session.peer_tunnel_id, ++turn);
		assert_int_equal(d->at.us, TD_SECONDS(1000) + (turn - 100) * TD_MS(200));
	}
	assert_int_equal(turn, MANY);
	world_end(&w);
}

static void test_newcomers_do_not_overtake_the_queue(void **state)
{
	const struct td_rate rate = { TD_SECONDS(1), 1 };
	struct client c[3];
	struct world w;

	(void)state;
	open_world(&w, 8, rate);
	make_clients(&w, c, 3);
	client_prepare(&w, &c[0]);
	client_prepare(&w, &c[1]);
	/* The token is there, but nobody ticked: it is not for whoever comes first now. */
	w.now = td_time_add(w.now, TD_SECONDS(1));
	client_prepare(&w, &c[2]);
	assert_int_equal(td_engine_tunnels(w.e), 1);
	world_pass(&w, TD_MS(1));
	assert_true(client_handle(&w, &c[1]).generation != 0);
	assert_true(client_handle(&w, &c[2]).generation == 0);
	world_end(&w);
}

static void test_who_gave_up_is_forgotten_at_its_turn(void **state)
{
	const struct td_rate rate = { TD_SECONDS(5), 1 };
	struct client c[4];
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, 8, rate);
	make_clients(&w, c, 4);
	for (unsigned n = 0; n < 4; n++)
		client_prepare(&w, &c[n]);
	assert_int_equal(check_applicants(w.e), 3);
	world_pass(&w, TD_MS(1000));
	client_prepare(&w, &c[2]); /* heard exactly 4 s before */
	world_pass(&w, TD_MS(4000));
	assert_false(client_hears(&w, &c[1], TD_MSG_TUNNEL, &msg));
	assert_true(client_hears(&w, &c[2], TD_MSG_TUNNEL, &msg));
	assert_int_equal(established(&w), 2);
	assert_int_equal(check_applicants(w.e), 1);
	world_pass(&w, TD_SECONDS(5));
	assert_int_equal(established(&w), 2);
	assert_int_equal(check_applicants(w.e), 0);
	world_end(&w);
}

static void test_a_waiting_one_is_not_kept_for_ever(void **state)
{
	const struct td_rate rate = { TD_SECONDS(1000), 1 };
	struct client c[2];
	struct world w;

	(void)state;
	open_world(&w, 8, rate);
	make_clients(&w, c, 2);
	client_prepare(&w, &c[0]);
	client_prepare(&w, &c[1]);
	world_pass(&w, TD_SECONDS(10));
	client_prepare(&w, &c[1]);
	world_pass(&w, TD_SECONDS(20) - 1);
	assert_int_equal(check_applicants(w.e), 1);
	world_pass(&w, 1);
	assert_int_equal(check_applicants(w.e), 0);
	world_end(&w);
}

static void test_error_leaves_the_queue(void **state)
{
	const struct td_rate rate = { TD_SECONDS(1), 1 };
	struct client c[5];
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, 8, rate);
	make_clients(&w, c, 5);
	for (unsigned n = 0; n < 5; n++)
		client_prepare(&w, &c[n]);
	client_send_type(&w, &c[2], TD_MSG_ERROR); /* from the middle */
	client_send_type(&w, &c[4], TD_MSG_ERROR); /* from the end */
	client_send_type(&w, &c[1], TD_MSG_ERROR); /* from the front */
	assert_int_equal(check_applicants(w.e), 1);
	world_pass(&w, TD_SECONDS(1));
	assert_true(client_hears(&w, &c[3], TD_MSG_TUNNEL, &msg));
	world_end(&w);
}

static void test_per_ip(void **state)
{
	const struct td_rate rate = { TD_SECONDS(3), 2 };
	struct client c[5];
	struct td_msg msg;
	struct world w;

	(void)state;
	open_limited(&w, rate, NO_LIMIT);
	for (unsigned n = 0; n < 5; n++) {
		c[n] = client_number(n);
		if (n < 4) {
			c[n].flow.peer = c[0].flow.peer; /* behind one NAT */
			c[n].flow.peer.port = (uint16_t)(50000 + n);
		}
		assert_true(client_greet(&w, &c[n]));
		client_prepare(&w, &c[n]);
	}
	assert_true(client_hears(&w, &c[0], TD_MSG_TUNNEL, &msg));
	assert_true(client_hears(&w, &c[1], TD_MSG_TUNNEL, &msg));
	assert_true(client_hears(&w, &c[4], TD_MSG_TUNNEL, &msg)); /* another address */
	assert_int_equal(client_unread(&w, &c[2]), 0);
	/* The hook, once for each. */
	assert_int_equal(world_count(&w, TD_ACTION_HOOK, TD_HOOK_RATE_LIMITED), 2);
	assert_string_equal(world_last(&w, TD_ACTION_HOOK, TD_HOOK_RATE_LIMITED)->session.uuid,
			    "node-3");
	clients_wait(&w, c, 4, TD_SECONDS(4));
	assert_int_equal(established(&w), 4);
	clients_wait(&w, c, 4, TD_SECONDS(4));
	assert_int_equal(established(&w), 5);
	assert_int_equal(world_count(&w, TD_ACTION_HOOK, TD_HOOK_RATE_LIMITED), 2);
	world_end(&w);
}

static void test_an_ipv6_host_has_its_64(void **state)
{
	const struct td_rate rate = { TD_SECONDS(3), 1 };
	struct client same = client_ipv6(1, 2), one = client_ipv6(1, 1), other = client_ipv6(2, 1);
	struct world w;

	(void)state;
	open_limited(&w, rate, NO_LIMIT);
	assert_true(client_join(&w, &one));
	assert_false(client_join(&w, &same));
	assert_true(client_join(&w, &other));
	world_end(&w);
}

static void test_per_uuid(void **state)
{
	const struct td_rate rate = { TD_SECONDS(3), 2 };
	struct client c = client_number(0), other = client_number(9);
	struct td_msg msg;
	struct world w;

	(void)state;
	open_limited(&w, NO_LIMIT, rate);
	for (uint8_t n = 0; n < 2; n++) {
		c.flow.peer.ip[3] = n;
		assert_true(client_join(&w, &c));
		client_send_type(&w, &c, TD_MSG_ERROR);
	}
	c.flow.peer.ip[3] = 2;
	assert_false(client_join(&w, &c));
	assert_true(client_join(&w, &other));
	clients_wait(&w, &c, 1, TD_SECONDS(4));
	assert_true(client_hears(&w, &c, TD_MSG_TUNNEL, &msg));
	world_end(&w);
}

static void test_the_hook_is_bounded(void **state)
{
	const struct td_rate rate = { TD_SECONDS(3000), 1 };
	struct world w;

	(void)state;
	open_limited(&w, rate, NO_LIMIT);
	for (unsigned n = 0; n < 60; n++) {
		struct client c = client_number(n);

		c.flow.peer.ip[3] = 0;
		c.flow.peer.port = (uint16_t)(1000 + n);
		client_join(&w, &c);
	}
	assert_int_equal(world_count(&w, TD_ACTION_HOOK, TD_HOOK_RATE_LIMITED), 20);
	/* More for those that come later, ten a second. */
	world_pass(&w, TD_MS(100));
	for (unsigned n = 60; n < 63; n++) {
		struct client c = client_number(n);

		c.flow.peer.ip[3] = 0;
		c.flow.peer.port = (uint16_t)(1000 + n);
		client_join(&w, &c);
	}
	assert_int_equal(world_count(&w, TD_ACTION_HOOK, TD_HOOK_RATE_LIMITED), 21);
	world_end(&w);
}

/* A place that is taken again before the shell asked what to do is another's. */
static void test_the_hook_is_for_the_limited_only(void **state)
{
	const struct td_rate rate = { TD_SECONDS(3000), 1 };
	struct client limited = client_number(1), bad = client_number(2), first = client_number(1);
	struct td_msg error = { .type = TD_MSG_ERROR, .reason = TD_ERROR_CLIENT_OTHER_SIDE };
	struct td_msg prepare = { .type = TD_MSG_PREPARE };
	uint8_t bytes[TD_MSG_MAX_SIZE];
	struct world w;

	(void)state;
	open_limited(&w, rate, NO_LIMIT);
	first.flow.peer.port++;
	assert_true(client_join(&w, &first));
	assert_true(client_greet(&w, &limited) && client_greet(&w, &bad));
	memcpy(prepare.prepare.cookie, limited.cookie, sizeof(limited.cookie));
	prepare.prepare.uuid_len = 1;
	prepare.prepare.uuid = "x";
	td_engine_rx(w.e, &limited.flow, bytes,
		     td_msg_put(&prepare, TD_FROM_CLIENT, bytes, sizeof(bytes)), w.now);
	td_engine_rx(w.e, &limited.flow, bytes,
		     td_msg_put(&error, TD_FROM_CLIENT, bytes, sizeof(bytes)), w.now);
	memcpy(prepare.prepare.cookie, bad.cookie, sizeof(bad.cookie));
	prepare.prepare.uuid = "-";
	td_engine_rx(w.e, &bad.flow, bytes,
		     td_msg_put(&prepare, TD_FROM_CLIENT, bytes, sizeof(bytes)), w.now);
	world_settle(&w);
	assert_int_equal(world_count(&w, TD_ACTION_HOOK, TD_HOOK_RATE_LIMITED), 0);
	world_end(&w);
}

static void test_a_bad_uuid_is_refused_late_and_never_a_hook(void **state)
{
	static const char *const bad[] = { "", "-x", "a b", "a\n", "$(x)", "ä", "a;b", "`", "\"" };
	struct world w;

	(void)state;
	open_limited(&w, (struct td_rate){ TD_SECONDS(9), 1 }, NO_LIMIT);
	for (unsigned n = 0; n < sizeof(bad) / sizeof(bad[0]); n++) {
		struct client c = client_number(n);
		struct td_msg msg;

		client_rename(&c, bad[n]);
		assert_false(client_join(&w, &c));
		clients_wait(&w, &c, 1, TD_SECONDS(8));
		assert_int_equal(client_unread(&w, &c), 0);
		world_pass(&w, TD_SECONDS(2));
		assert_true(client_hears(&w, &c, TD_MSG_ERROR, &msg));
		assert_int_not_equal(msg.reason, TD_ERROR_NONE);
	}
	assert_int_equal(td_engine_counters(w.e)->rx_bad_uuid, 9);
	assert_int_equal(td_engine_counters(w.e)->refused, 9);
	assert_int_equal(w.deed_count, 0);
	world_end(&w);
}

static void test_a_nul_in_the_uuid_is_bad(void **state)
{
	struct client c = client_number(0);
	struct world w;

	(void)state;
	open_world(&w, 4, NO_LIMIT);
	c.uuid[2] = '\0';
	assert_false(client_join(&w, &c));
	assert_int_equal(td_engine_counters(w.e)->rx_bad_uuid, 1);
	world_end(&w);
}

static void test_the_longest_uuid(void **state)
{
	struct client c = client_number(0);
	struct world w;

	(void)state;
	open_world(&w, 4, NO_LIMIT);
	memset(c.uuid, 'u', 238);
	c.uuid_len = 238;
	assert_true(client_join(&w, &c));
	world_end(&w);
}

static void test_who_is_silent_is_not_refused(void **state)
{
	struct client c = client_number(0);
	struct world w;

	(void)state;
	open_world(&w, 4, NO_LIMIT);
	client_rename(&c, "-");
	assert_false(client_join(&w, &c));
	world_pass(&w, TD_SECONDS(30));
	assert_int_equal(client_unread(&w, &c), 0);
	assert_int_equal(check_applicants(w.e), 0);
	world_end(&w);
}

static void test_another_wish_on_the_same_flow_counts_anew(void **state)
{
	struct client c = client_number(0);
	struct world w;

	(void)state;
	open_world(&w, 4, NO_LIMIT);
	client_rename(&c, "-");
	assert_false(client_join(&w, &c));
	client_rename(&c, "good");
	assert_true(client_join(&w, &c));
	assert_int_equal(check_applicants(w.e), 0);
	world_end(&w);
}

static void test_no_place_to_wait(void **state)
{
	const struct td_rate rate = { TD_SECONDS(1000), 1 };
	struct world w;

	(void)state;
	open_world(&w, 4, rate);
	for (unsigned n = 0; n < 1 + 63 + 10; n++) {
		struct client c = client_number(n);

		client_join(&w, &c);
	}
	assert_int_equal(check_applicants(w.e), 63);
	assert_int_equal(td_engine_counters(w.e)->parked_overflow, 10);
	world_pass(&w, TD_SECONDS(21));
	assert_int_equal(check_applicants(w.e), 0);
	world_end(&w);
}

/* Whoever need not wait needs no place to. */
static void test_waiting_ones_do_not_lock_out_the_others(void **state)
{
	struct client good = client_number(1000);
	struct world w;

	(void)state;
	open_world(&w, 4, NO_LIMIT);
	assert_true(client_greet(&w, &good));
	for (unsigned n = 0; n < 100; n++) {
		struct client bad = client_number(n);

		client_rename(&bad, "-");
		client_join(&w, &bad);
	}
	assert_true(td_engine_counters(w.e)->parked_overflow > 0);
	assert_true(client_join(&w, &good));
	world_end(&w);
}

/* What cannot be sent waits, in bounded memory. */
static void test_a_refusal_waits_for_the_socket(void **state)
{
	struct client c = client_number(0);
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, 4, NO_LIMIT);
	client_rename(&c, "-");
	assert_false(client_join(&w, &c));
	clients_wait(&w, &c, 1, TD_SECONDS(8));
	w.blocked = true;
	world_pass(&w, TD_SECONDS(100));
	assert_int_equal(check_applicants(w.e), 1);
	w.blocked = false;
	world_settle(&w);
	assert_true(client_hears(&w, &c, TD_MSG_ERROR, &msg));
	assert_int_equal(check_applicants(w.e), 0);
	world_end(&w);
}

static void test_many_addresses_share_the_table(void **state)
{
	const struct td_rate rate = { TD_SECONDS(60), 1 };
	struct world w;

	(void)state;
	open_limited(&w, rate, rate);
	for (unsigned n = 0; n < 5000; n++) {
		struct client c = client_number(n);

		assert_true(client_join(&w, &c));
		client_send_type(&w, &c, TD_MSG_ERROR);
		if (n % 100 == 0)
			world_forget(&w);
	}
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_burst_gets_in_at_once_the_others_in_order),
		cmocka_unit_test(test_newcomers_do_not_overtake_the_queue),
		cmocka_unit_test(test_who_gave_up_is_forgotten_at_its_turn),
		cmocka_unit_test(test_a_waiting_one_is_not_kept_for_ever),
		cmocka_unit_test(test_error_leaves_the_queue),
		cmocka_unit_test(test_per_ip),
		cmocka_unit_test(test_an_ipv6_host_has_its_64),
		cmocka_unit_test(test_per_uuid),
		cmocka_unit_test(test_the_hook_is_bounded),
		cmocka_unit_test(test_the_hook_is_for_the_limited_only),
		cmocka_unit_test(test_a_bad_uuid_is_refused_late_and_never_a_hook),
		cmocka_unit_test(test_a_nul_in_the_uuid_is_bad),
		cmocka_unit_test(test_the_longest_uuid),
		cmocka_unit_test(test_who_is_silent_is_not_refused),
		cmocka_unit_test(test_another_wish_on_the_same_flow_counts_anew),
		cmocka_unit_test(test_no_place_to_wait),
		cmocka_unit_test(test_waiting_ones_do_not_lock_out_the_others),
		cmocka_unit_test(test_a_refusal_waits_for_the_socket),
		cmocka_unit_test(test_many_addresses_share_the_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
