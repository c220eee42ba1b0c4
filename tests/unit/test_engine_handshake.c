/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The handshake: nothing is stored before a valid cookie, no reply is larger than its request. */
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

static void test_usage_tells_the_load(void **state)
{
	struct world *w = *state;
	struct client c[3] = { client_number(0), client_number(1), client_number(2) };
	struct td_msg msg;

	client_send_type(w, &c[2], TD_MSG_USAGE);
	assert_true(client_hears(w, &c[2], TD_MSG_USAGE, &msg));
	assert_int_equal(msg.usage.load, 0);
	assert_true(client_join(w, &c[0]) && client_join(w, &c[1]));
	client_send_type(w, &c[2], TD_MSG_USAGE);
	assert_true(client_hears(w, &c[2], TD_MSG_USAGE, &msg));
	assert_int_equal(msg.usage.load, 32767);
	/* One that has a tunnel may ask as well; it is no new wish. */
	client_send_type(w, &c[0], TD_MSG_USAGE);
	assert_true(client_hears(w, &c[0], TD_MSG_USAGE, &msg));
	assert_int_equal(td_engine_tunnels(w->e), 2);
}

static void test_nothing_is_stored_before_a_cookie(void **state)
{
	struct world *w = *state;
	struct td_time idle = td_engine_deadline(w->e);

	for (unsigned n = 0; n < 500; n++) {
		struct client c = client_number(n);

		client_send_type(w, &c, TD_MSG_USAGE);
		client_send_type(w, &c, TD_MSG_COOKIE);
		client_prepare(w, &c); /* with eight zeros for a cookie */
		client_send_type(w, &c, TD_MSG_KEEPALIVE);
		client_send_type(w, &c, TD_MSG_ERROR);
	}
	assert_int_equal(td_engine_tunnels(w->e), 0);
	assert_int_equal(check_applicants(w->e), 0);
	assert_int_equal(td_engine_deadline(w->e).us, idle.us);
	assert_int_equal(w->deed_count, 0);
	assert_int_equal(td_engine_counters(w->e)->rx_bad_cookie, 500);
	assert_int_equal(td_engine_counters(w->e)->rx_unknown_flow, 1000);
}

/* Whatever a stranger sends, in whatever length, is answered by nothing larger. */
static void test_no_amplification(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	for (unsigned type = 0; type < 256; type++) {
		for (uint8_t size = 0; size < 64; size++) {
			uint8_t bytes[64] = { 0x80,          0x73,
					      0xa7,          0x01,
					      (uint8_t)type, size > 6 ? (uint8_t)(size - 6) : 0 };

			world_forget(w);
			client_send_bytes(w, &c, bytes, size);
			assert_true(w->datagram_count <= 1);
			if (w->datagram_count == 1) {
				assert_true(w->datagrams[0].size <= size);
				assert_true(type == TD_MSG_COOKIE || type == TD_MSG_USAGE);
			}
		}
	}
	assert_int_equal(check_applicants(w->e), 0);
}

static void test_tunnel_is_not_larger_than_prepare(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);
	/* The shortest there can be: a uuid of one byte, neither id nor features. */
	uint8_t bytes[16] = { 0x80, 0x73, 0xa7, 0x01, TD_MSG_PREPARE, 10 };

	assert_true(client_greet(w, &c));
	memcpy(bytes + 6, c.cookie, sizeof(c.cookie));
	bytes[14] = 1;
	bytes[15] = 'x';
	world_forget(w);
	client_send_bytes(w, &c, bytes, sizeof(bytes));
	assert_int_equal(w->datagram_count, 1);
	assert_int_equal(w->datagrams[0].msg.type, TD_MSG_TUNNEL);
	assert_true(w->datagrams[0].size <= sizeof(bytes));
}

static void test_a_tunnel(void **state)
{
	struct world *w = *state;
	struct client c = client_number(6);
	const struct td_session_info *info;
	struct td_msg msg;

	assert_true(client_greet(w, &c));
	client_prepare(w, &c);
	assert_true(client_hears(w, &c, TD_MSG_TUNNEL, &msg));
	assert_int_equal(msg.tunnel.id, BASE);
	assert_true(msg.tunnel.has_features);
	assert_int_equal(msg.tunnel.features, UNIQUE);
	info = td_engine_session(w->e, client_handle(w, &c));
	assert_non_null(info);
	assert_int_equal(info->tunnel_id, BASE);
	assert_int_equal(info->session_id, BASE);
	assert_int_equal(info->peer_tunnel_id, 7);
	assert_int_equal(info->peer_session_id, 7);
	assert_int_equal(info->mtu, 1446);
	assert_string_equal(info->ifname, "l2tp100-100");
	assert_string_equal(info->uuid, "node-6");
	assert_int_equal(info->uuid_len, 6);
	assert_true(td_flow_equal(&info->flow, &c.flow));
	assert_int_equal(td_engine_counters(w->e)->established, 1);
	assert_int_equal(world_count(w, TD_ACTION_UP, ANY_HOOK), 1);
}

static void test_without_features_session_ids_are_1(void **state)
{
	struct world *w = *state;
	struct client c = client_number(6);
	const struct td_session_info *info;
	struct td_msg msg;

	c.features = 0;
	assert_true(client_greet(w, &c));
	client_prepare(w, &c);
	assert_true(client_hears(w, &c, TD_MSG_TUNNEL, &msg));
	assert_false(msg.tunnel.has_features);
	info = td_engine_session(w->e, client_handle(w, &c));
	assert_int_equal(info->tunnel_id, BASE);
	assert_int_equal(info->session_id, 1);
	assert_int_equal(info->peer_tunnel_id, 7);
	assert_int_equal(info->peer_session_id, 1);
	assert_string_equal(info->ifname, "l2tp100-1");
}

static void test_only_shared_features_are_echoed(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);
	struct td_msg msg;

	c.features = 0xffffffff;
	assert_true(client_greet(w, &c));
	client_prepare(w, &c);
	assert_true(client_hears(w, &c, TD_MSG_TUNNEL, &msg));
	assert_int_equal(msg.tunnel.features, UNIQUE | TD_FEATURE_DATA_COOKIES |
						      TD_FEATURE_DATA_COUNTS |
						      TD_FEATURE_SPARSE_KEEPALIVES);
}

/* Incumbents leave the features out here, and then the two ends use different session ids. */
static void test_repeated_prepare_gets_the_same_answer(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);
	struct td_msg msg;

	assert_true(client_join(w, &c));
	for (int i = 0; i < 3; i++) {
		client_prepare(w, &c);
		assert_true(client_hears(w, &c, TD_MSG_TUNNEL, &msg));
		assert_int_equal(msg.tunnel.id, BASE);
		assert_int_equal(msg.tunnel.features, UNIQUE);
	}
	assert_int_equal(td_engine_tunnels(w->e), 1);
	assert_int_equal(world_count(w, TD_ACTION_CREATE, ANY_HOOK), 1);
}

static void test_prepare_repeated_while_creating_is_one_wish(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);
	struct td_msg msg;

	w->path[TD_ACTION_CREATE].delay_us = TD_SECONDS(5);
	assert_false(client_join(w, &c));
	world_pass(w, TD_SECONDS(2));
	client_prepare(w, &c);
	world_pass(w, TD_SECONDS(2));
	client_prepare(w, &c);
	assert_int_equal(client_unread(w, &c), 0);
	world_pass(w, TD_SECONDS(1));
	assert_true(client_hears(w, &c, TD_MSG_TUNNEL, &msg));
	assert_false(client_hears(w, &c, TD_MSG_TUNNEL, &msg));
	assert_int_equal(world_count(w, TD_ACTION_CREATE, ANY_HOOK), 1);
}

static bool accepted_after(struct world *w, unsigned n, int64_t us)
{
	struct client c = client_number(n);
	struct td_msg msg;

	assert_true(client_greet(w, &c));
	world_pass(w, us);
	client_prepare(w, &c);
	return client_hears(w, &c, TD_MSG_TUNNEL, &msg);
}

static void test_a_cookie_lives_128_to_192_s(void **state)
{
	struct world *w = *state;

	assert_true(accepted_after(w, 0, TD_SECONDS(128)));
	assert_false(accepted_after(w, 1, TD_SECONDS(192)));
	assert_int_equal(td_engine_counters(w->e)->rx_bad_cookie, 1);
	assert_false(accepted_after(w, 2, TD_SECONDS(64 * 256))); /* the epoch's low byte again */
}

static void test_a_cookie_is_good_for_its_flow_only(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	assert_true(client_greet(w, &c));
	for (int part = 0; part < 4; part++) {
		struct client other = c;

		if (part == 0)
			other.flow.peer.port++;
		else if (part == 1)
			other.flow.peer.ip[3]++;
		else if (part == 2)
			other.flow.local.port++;
		else
			other.cookie[7] ^= 1;
		client_prepare(w, &other);
		assert_int_equal(client_unread(w, &other), 0);
	}
	assert_int_equal(td_engine_counters(w->e)->rx_bad_cookie, 4);
	assert_int_equal(check_applicants(w->e), 0);
}

static void test_full_is_silent_to_strangers(void **state)
{
	struct world *w = *state;
	struct client c[5], late = client_number(9);
	struct td_msg msg;

	assert_true(client_greet(w, &late));
	for (unsigned n = 0; n < 5; n++)
		c[n] = client_number(n);
	for (unsigned n = 0; n < 4; n++)
		assert_true(client_join(w, &c[n]));
	client_send_type(w, &c[4], TD_MSG_USAGE);
	client_send_type(w, &c[4], TD_MSG_COOKIE);
	assert_int_equal(client_unread(w, &c[4]), 0);
	assert_int_equal(td_engine_counters(w->e)->silent_full, 2);
	/* Established ones are not affected. */
	client_send_type(w, &c[1], TD_MSG_USAGE);
	assert_true(client_hears(w, &c[1], TD_MSG_USAGE, &msg));
	assert_int_equal(msg.usage.load, 65535);
	assert_true(client_greet(w, &c[1]));
	client_send_type(w, &c[1], TD_MSG_PMTUD);
	assert_true(client_hears(w, &c[1], TD_MSG_PMTUD_ACK, &msg));
	/* One that has a cookie already is refused, but late. */
	client_prepare(w, &late);
	for (int s = 2; s < 10; s += 2) {
		world_pass(w, TD_SECONDS(2));
		client_prepare(w, &late);
		assert_int_equal(client_unread(w, &late), 0);
	}
	client_send_type(w, &late, TD_MSG_USAGE); /* an applicant is no stranger */
	assert_true(client_hears(w, &late, TD_MSG_USAGE, &msg));
	world_pass(w, TD_SECONDS(2));
	assert_true(client_hears(w, &late, TD_MSG_ERROR, &msg));
	assert_int_equal(msg.reason, TD_ERROR_BROKER_FAILURE);
	assert_int_equal(td_engine_counters(w->e)->refused, 1);
	assert_int_equal(client_unread(w, &late), 0);
}

static void test_ids_are_used_in_turn(void **state)
{
	struct world *w = *state;
	uint32_t last = 0;

	for (unsigned n = 0; n < 9; n++) {
		struct client c = client_number(n);
		uint32_t id;

		assert_true(client_join(w, &c));
		id = world_last(w, TD_ACTION_CREATE, ANY_HOOK)->session.tunnel_id;
		assert_true(id >= BASE && id < BASE + 4);
		assert_int_not_equal(id, last);
		last = id;
		client_send_type(w, &c, TD_MSG_ERROR);
		assert_int_equal(td_engine_tunnels(w->e), 0);
	}
}

static void test_longest_names_fit(void **state)
{
	struct td_engine_config config = config_for(1);
	struct client c = client_number(0);
	struct world w;

	(void)state;
	config.tunnel_id_base = 99999;
	world_start(&w, &config);
	assert_true(client_join(&w, &c));
	assert_string_equal(world_last(&w, TD_ACTION_CREATE, ANY_HOOK)->session.ifname,
			    "l2tp99999-99999");
	world_end(&w);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_usage_tells_the_load),
		TEST(test_nothing_is_stored_before_a_cookie),
		TEST(test_no_amplification),
		TEST(test_tunnel_is_not_larger_than_prepare),
		TEST(test_a_tunnel),
		TEST(test_without_features_session_ids_are_1),
		TEST(test_only_shared_features_are_echoed),
		TEST(test_repeated_prepare_gets_the_same_answer),
		TEST(test_prepare_repeated_while_creating_is_one_wish),
		TEST(test_a_cookie_lives_128_to_192_s),
		TEST(test_a_cookie_is_good_for_its_flow_only),
		TEST(test_full_is_silent_to_strangers),
		TEST(test_ids_are_used_in_turn),
		cmocka_unit_test(test_longest_names_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
