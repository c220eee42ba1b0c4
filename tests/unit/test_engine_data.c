/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The engine and data packets: session ids, cookies and counts, docs/PROTOCOL.md 3.5 and 3.8. */
#include "engine_harness.h"

#define COOKIES TD_FEATURE_DATA_COOKIES
#define COUNTS  TD_FEATURE_DATA_COUNTS

static void open_world(struct world *w, bool shared, uint16_t fixed_mtu)
{
	struct td_engine_config config = config_for(4);

	config.shared_session_id = shared;
	config.fixed_mtu = fixed_mtu;
	world_start(w, &config);
}

/* Client n joins with those features; what it is told, and its session. */
static const struct td_session_info *join(struct world *w, unsigned n, uint32_t features,
					  struct td_msg *tunnel)
{
	struct client c = client_number(n);

	c.features = features;
	memset(c.data_cookie, 'A' + (int)n, sizeof(c.data_cookie));
	assert_true(client_greet(w, &c));
	client_prepare(w, &c);
	assert_true(client_hears(w, &c, TD_MSG_TUNNEL, tunnel));
	return &world_last(w, TD_ACTION_CREATE, ANY_HOOK)->session;
}

static void test_cookies(void **state)
{
	const struct td_session_info *s;
	struct td_msg one, other;
	struct world w;

	(void)state;
	open_world(&w, false, 0);
	s = join(&w, 0, UNIQUE | COOKIES, &one);
	assert_int_equal(one.tunnel.features, UNIQUE | COOKIES);
	assert_memory_equal(s->peer_cookie, "AAAAAAAA", TD_DATA_COOKIE);
	assert_memory_equal(s->cookie, one.tunnel.data_cookie, TD_DATA_COOKIE);
	assert_int_equal(s->mtu, 1438);
	join(&w, 1, UNIQUE | COOKIES, &other);
	assert_memory_not_equal(one.tunnel.data_cookie, other.tunnel.data_cookie, TD_DATA_COOKIE);
	s = join(&w, 2, UNIQUE, &other);
	assert_int_equal(other.tunnel.features, UNIQUE);
	assert_int_equal(s->mtu, 1446);
	world_end(&w);
}

/* Chosen for a path, and for packets without cookies. */
static void test_no_cookies_with_a_fixed_mtu(void **state)
{
	const struct td_session_info *s;
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, true, 1406);
	s = join(&w, 0, UNIQUE | COOKIES | COUNTS, &msg);
	assert_int_equal(msg.tunnel.features, UNIQUE | COUNTS);
	assert_int_equal(td_session_cookie_size(s), 0);
	assert_int_equal(s->mtu, 1406);
	assert_int_equal(s->session_id, 1);
	world_end(&w);
}

/* A repetition is one only with the same cookie: the client's data path was made with it. */
static void test_another_cookie_is_another_client(void **state)
{
	struct client c = client_number(0);
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, false, 0);
	c.features = UNIQUE | COOKIES;
	assert_true(client_join(&w, &c));
	client_prepare(&w, &c);
	assert_true(client_hears(&w, &c, TD_MSG_TUNNEL, &msg));
	assert_int_equal(world_count(&w, TD_ACTION_CREATE, ANY_HOOK), 1);
	c.data_cookie[7]++;
	client_prepare(&w, &c);
	world_settle(&w);
	assert_true(client_hears(&w, &c, TD_MSG_TUNNEL, &msg));
	assert_int_equal(world_count(&w, TD_ACTION_CREATE, ANY_HOOK), 2);
	world_end(&w);
}

static void test_shared_session_id(void **state)
{
	const struct td_session_info *s;
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, true, 0);
	/* The client uses what it is told for both of the broker's ids. */
	s = join(&w, 0, UNIQUE, &msg);
	assert_int_equal(s->tunnel_id, 100);
	assert_int_equal(s->session_id, 1);
	assert_int_equal(s->peer_session_id, s->peer_tunnel_id);
	assert_string_equal(s->ifname, "l2tp100-1");
	assert_int_equal(msg.tunnel.id, 1);
	/* One that takes 1 for session id anyway may know its tunnel's. */
	s = join(&w, 1, 0, &msg);
	assert_int_equal(s->session_id, 1);
	assert_int_equal(msg.tunnel.id, 101);
	/* And who has cookies needs no company. */
	s = join(&w, 2, UNIQUE | COOKIES, &msg);
	assert_int_equal(s->session_id, 102);
	assert_int_equal(msg.tunnel.id, 102);
	world_upgrade(&w);
	s = td_engine_session(w.e, world_last(&w, TD_ACTION_CREATE, ANY_HOOK)->action.handle);
	assert_int_equal(s->session_id, 102);
	assert_memory_equal(s->cookie, msg.tunnel.data_cookie, TD_DATA_COOKIE);
	assert_memory_equal(s->peer_cookie, "CCCCCCCC", TD_DATA_COOKIE);
	assert_int_equal(s->features, UNIQUE | COOKIES);
	world_end(&w);
}

static struct td_msg last_keepalive(struct world *w, unsigned n)
{
	const struct client c = client_number(n);
	struct td_msg msg = { 0 };

	while (client_hears(w, &c, TD_MSG_KEEPALIVE, &msg))
		;
	assert_int_equal(msg.type, TD_MSG_KEEPALIVE);
	return msg;
}

static void test_counts(void **state)
{
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, false, 0);
	join(&w, 0, UNIQUE | COUNTS, &msg);
	join(&w, 1, UNIQUE, &msg);
	w.data_sent = 0xffffffff;
	w.data_received = 3;
	world_pass(&w, TD_SECONDS(10));
	assert_false(last_keepalive(&w, 0).keepalive.counted); /* not yet */
	world_pass(&w, TD_SECONDS(20));
	assert_in_range(w.counts, 1, 2);
	msg = last_keepalive(&w, 0);
	assert_true(msg.keepalive.counted);
	assert_int_equal(msg.keepalive.data_sent, 0xffffffff);
	assert_int_equal(msg.keepalive.data_received, 3);
	assert_false(last_keepalive(&w, 1).keepalive.counted);
	/* What is older than the client believes is not told. */
	w.uncountable = true;
	world_pass(&w, TD_SECONDS(40));
	assert_false(last_keepalive(&w, 0).keepalive.counted);
	world_end(&w);
}

static void test_newcomers_do_not_put_counting_off(void **state)
{
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, false, 0);
	join(&w, 0, UNIQUE | COUNTS, &msg);
	world_pass(&w, TD_SECONDS(10));
	join(&w, 1, UNIQUE | COUNTS, &msg);
	world_pass(&w, TD_SECONDS(6));
	assert_int_equal(w.counts, 1);
	world_end(&w);
}

static void test_nobody_to_count_for(void **state)
{
	struct client c = client_number(0);
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, false, 0);
	join(&w, 1, UNIQUE, &msg);
	c.features = COUNTS;
	assert_true(client_join(&w, &c));
	world_pass(&w, TD_SECONDS(20));
	assert_int_equal(w.counts, 1);
	client_send_type(&w, &c, TD_MSG_ERROR);
	world_pass(&w, TD_SECONDS(60));
	assert_int_equal(w.counts, 1);
	world_end(&w);
}

static void test_the_client_ends_it_for_its_data(void **state)
{
	struct client c = client_number(0);
	struct td_msg msg = { .type = TD_MSG_KEEPALIVE };
	const struct deed *down;
	struct world w;

	(void)state;
	open_world(&w, false, 0);
	c.features = UNIQUE | COUNTS;
	assert_true(client_join(&w, &c));
	w.data_sent = 40;
	w.data_received = 30;
	msg.keepalive.counted = true;
	msg.keepalive.data_sent = 31;
	msg.keepalive.data_received = 0;
	client_send(&w, &c, &msg);
	world_pass(&w, TD_SECONDS(20));
	msg = (struct td_msg){ .type = TD_MSG_ERROR, .reason = TD_ERROR_CLIENT_DATA };
	client_send(&w, &c, &msg);
	down = world_last(&w, TD_ACTION_DOWN, ANY_HOOK);
	assert_int_equal(down->action.end, TD_END_DATA);
	assert_int_equal(down->action.counts.sent, 40);
	assert_int_equal(down->action.counts.received, 30);
	assert_int_equal(down->action.counts.peer_sent, 31);
	assert_int_equal(down->action.counts.peer_received, 0);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cookies),
		cmocka_unit_test(test_no_cookies_with_a_fixed_mtu),
		cmocka_unit_test(test_another_cookie_is_another_client),
		cmocka_unit_test(test_shared_session_id),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_newcomers_do_not_put_counting_off),
		cmocka_unit_test(test_nobody_to_count_for),
		cmocka_unit_test(test_the_client_ends_it_for_its_data),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
