/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Messages of an established tunnel: limits, MTU in both modes, keepalives. */
#include <errno.h>
#include <string.h>

#include "engine_harness.h"

static void open_world(struct world *w, uint16_t fixed_mtu)
{
	struct td_engine_config config = config_for(4);

	config.fixed_mtu = fixed_mtu;
	config.hooks = HOOK(TD_HOOK_MTU_CHANGED);
	world_start(w, &config);
}

static void notify(struct world *w, const struct client *c, uint16_t mtu)
{
	client_send(w, c, &(struct td_msg){ .type = TD_MSG_PMTU_NTFY, .mtu = mtu });
}

static void probe(struct world *w, const struct client *c, uint16_t size)
{
	client_send(w, c, &(struct td_msg){ .type = TD_MSG_PMTUD, .size = size });
}

static uint16_t mtu_of(const struct world *w, const struct client *c)
{
	return td_engine_session(w->e, client_handle(w, c))->mtu;
}

static unsigned acknowledged(struct world *w, const struct client *c, uint16_t sequence)
{
	unsigned count = 0;
	struct td_msg msg;

	while (client_hears(w, c, TD_MSG_REL_ACK, &msg)) {
		assert_int_equal(msg.sequence, sequence);
		count++;
	}
	return count;
}

/* --- LIMIT --- */

static void test_limit_is_acknowledged_always_and_applied_once(void **state)
{
	struct client c = client_number(0);
	struct world w;

	(void)state;
	open_world(&w, 0);
	assert_true(client_join(&w, &c));
	for (unsigned n = 0; n < 10; n++) {
		client_send_limit(&w, &c, 7, 2048);
		assert_int_equal(acknowledged(&w, &c, 7), 1);
	}
	assert_int_equal(world_count(&w, TD_ACTION_SET_RATE, ANY_HOOK), 1);
	assert_int_equal(world_last(&w, TD_ACTION_SET_RATE, ANY_HOOK)->action.rate_kbps, 2048);
	client_send_limit(&w, &c, 8, 0);
	assert_int_equal(acknowledged(&w, &c, 8), 1);
	assert_int_equal(world_count(&w, TD_ACTION_SET_RATE, ANY_HOOK), 2);
	assert_int_equal(world_last(&w, TD_ACTION_SET_RATE, ANY_HOOK)->action.rate_kbps, 0);
	world_end(&w);
}

static void test_limits_while_one_is_being_set(void **state)
{
	struct client c = client_number(0);
	struct world w;

	(void)state;
	open_world(&w, 0);
	w.path[TD_ACTION_SET_RATE].delay_us = HOLD;
	assert_true(client_join(&w, &c));
	for (uint16_t n = 1; n <= 5; n++) {
		client_send_limit(&w, &c, n, 1000u * n);
		assert_int_equal(acknowledged(&w, &c, n), 1);
	}
	assert_int_equal(world_count(&w, TD_ACTION_SET_RATE, ANY_HOOK), 1);
	w.path[TD_ACTION_SET_RATE] = (struct manners){ 0, -EOPNOTSUPP };
	world_answer(&w, world_open(&w, TD_ACTION_SET_RATE, ANY_HOOK), -EIO);
	assert_int_equal(world_count(&w, TD_ACTION_SET_RATE, ANY_HOOK), 2);
	assert_int_equal(world_last(&w, TD_ACTION_SET_RATE, ANY_HOOK)->action.rate_kbps, 5000);
	assert_int_equal(td_engine_tunnels(w.e), 1); /* that it failed is no reason to end */
	world_end(&w);
}

/* Types 0x80 to 0xff, limits of another type or cut off: acknowledged, and nothing else. */
static void test_whatever_is_reliable_is_acknowledged(void **state)
{
	static const uint8_t odd_limits[][8] = {
		{ 0, 9 },                   /* nothing but the number */
		{ 0, 9, 1 },                /* cut off */
		{ 0, 9, 1, 4, 0, 0, 8 },    /* cut off later */
		{ 0, 9, 2, 4, 0, 0, 8, 0 }, /* another type */
		{ 0, 9, 1, 3, 0, 0, 8, 0 }, /* another length */
	};
	static const uint8_t odd_sizes[] = { 2, 3, 7, 8, 8 };
	struct client c = client_number(0);
	struct world w;

	(void)state;
	open_world(&w, 0);
	assert_true(client_join(&w, &c));
	for (unsigned type = 0x80; type < 0x100; type++) {
		const uint8_t bytes[12] = { 0x80, 0x73, 0xa7, 1, (uint8_t)type, 2, 0x12, 0x34 };

		client_send_bytes(&w, &c, bytes, sizeof(bytes));
		assert_int_equal(acknowledged(&w, &c, 0x1234), 1);
	}
	for (size_t i = 0; i < sizeof(odd_sizes); i++) {
		uint8_t bytes[14] = { 0x80, 0x73, 0xa7, 1, TD_MSG_LIMIT, odd_sizes[i] };

		memcpy(bytes + 6, odd_limits[i], sizeof(odd_limits[i]));
		client_send_bytes(&w, &c, bytes, sizeof(bytes));
		assert_int_equal(acknowledged(&w, &c, 9), 1);
	}
	assert_int_equal(world_count(&w, TD_ACTION_SET_RATE, ANY_HOOK), 0);
	world_end(&w);
}

/* --- what is ignored --- */

static void test_garbage_changes_nothing(void **state)
{
	struct client c = client_number(0);
	struct world w;

	(void)state;
	open_world(&w, 0);
	assert_true(client_join(&w, &c));
	world_forget(&w);
	for (unsigned type = 0; type < 0x80; type++) {
		const bool known = type >= TD_MSG_COOKIE && type <= TD_MSG_USAGE;
		const uint8_t bytes[12] = { 0x80, 0x73, 0xa7, 1, (uint8_t)type, 6 };
		uint8_t other[12];

		if (!known || type == TD_MSG_TUNNEL || type == TD_MSG_REL_ACK)
			client_send_bytes(&w, &c, bytes, sizeof(bytes));
		for (int at = 1; at < 4; at++) { /* magic and version */
			memcpy(other, bytes, sizeof(other));
			other[at]++;
			client_send_bytes(&w, &c, other, sizeof(other));
		}
		memcpy(other, bytes, sizeof(other));
		other[5] = 7; /* beyond the end */
		client_send_bytes(&w, &c, other, sizeof(other));
	}
	for (uint8_t size = 0; size < 6; size++)
		client_send_bytes(&w, &c, (const uint8_t[]){ 0x80, 0x73, 0xa7, 1, 5, 0 }, size);
	assert_int_equal(client_unread(&w, &c), 0);
	assert_int_equal(w.deed_count, 0);
	assert_int_equal(td_engine_counters(w.e)->rx_malformed, 4 * 128 + (128 - 10) + 2 + 6);
	/* None of it was a sign of life. */
	world_pass(&w, TD_SECONDS(120));
	assert_true(td_engine_idle(w.e));
	world_end(&w);
}

/* --- keepalives --- */

static unsigned keepalives_in(unsigned seconds, uint32_t features, int64_t min_us, int64_t max_us)
{
	struct client c = client_number(0);
	int64_t last_us;
	unsigned count = 0;
	struct world w;

	open_world(&w, 1400);
	c.features = features;
	assert_true(client_join(&w, &c));
	last_us = w.now.us;
	for (unsigned s = 0; s < seconds; s += 50) {
		world_pass(&w, TD_SECONDS(50));
		client_send_type(&w, &c, TD_MSG_KEEPALIVE);
	}
	for (size_t i = 0; i < w.datagram_count; i++) {
		const struct datagram *d = &w.datagrams[i];

		if (d->msg.type != TD_MSG_KEEPALIVE)
			continue;
		assert_in_range(d->at.us - last_us, min_us, max_us);
		assert_int_equal(d->msg.keepalive.counter, count++);
		last_us = d->at.us;
	}
	world_end(&w);
	return count;
}

static void test_keepalives(void **state)
{
	const uint32_t deployed = TD_FEATURE_UNIQUE_SESSION_ID;

	(void)state;
	assert_in_range(keepalives_in(300, deployed, TD_MS(4750), TD_MS(5250)), 57, 63);
	assert_in_range(keepalives_in(300, deployed | TD_FEATURE_SPARSE_KEEPALIVES, TD_MS(9650),
				      TD_MS(10250)),
			29, 31);
}

static bool probed_within(struct world *w, const struct client *c, int64_t us)
{
	struct td_msg msg;

	for (int64_t passed = 0; passed < us; passed += TD_MS(100))
		world_pass(w, TD_MS(100));
	return client_hears(w, c, TD_MSG_PMTUD, &msg);
}

/* So many are there, and not yet made. */
static void join_slowly(struct world *w, unsigned count)
{
	static unsigned number = 1000;

	w->path[TD_ACTION_CREATE].delay_us = HOLD;
	while (count-- > 0) {
		struct client c = client_number(number++);

		assert_false(client_join(w, &c));
	}
	w->path[TD_ACTION_CREATE].delay_us = 0;
}

/* The more of them there are the longer, but not for ever. */
static void test_the_search_waits_for_newcomers(void **state)
{
	struct client up[] = { client_number(0), client_number(1), client_number(2) };
	struct td_engine_config config = config_for(1024);
	struct world w;

	(void)state;
	world_start(&w, &config);
	assert_true(client_join(&w, &up[0]));
	assert_true(probed_within(&w, &up[0], TD_MS(800)));
	join_slowly(&w, 50);
	assert_true(client_join(&w, &up[1]));
	assert_false(probed_within(&w, &up[1], TD_MS(1600)));
	assert_true(probed_within(&w, &up[1], TD_MS(700)));
	join_slowly(&w, 250);
	assert_true(client_join(&w, &up[2]));
	assert_false(probed_within(&w, &up[2], TD_MS(4100)));
	assert_true(probed_within(&w, &up[2], TD_MS(700)));
	world_end(&w);
}

/* Whenever clients came, what is due to them is due at the same moments. */
static void test_keepalives_meet(void **state)
{
	struct client a = client_number(0), b = client_number(1);
	unsigned count = 0;
	struct world w;

	(void)state;
	open_world(&w, 1400);
	assert_true(client_join(&w, &a));
	world_pass(&w, 12345);
	assert_true(client_join(&w, &b));
	world_pass(&w, TD_SECONDS(100));
	for (size_t i = 0; i < w.datagram_count; i++) {
		if (w.datagrams[i].msg.type != TD_MSG_KEEPALIVE)
			continue;
		assert_int_equal(w.datagrams[i].at.us % TD_MS(200), 0);
		count++;
	}
	assert_in_range(count, 36, 42);
	world_end(&w);
}

static void test_keepalives_do_not_pile_up(void **state)
{
	struct client c = client_number(0);
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, 1400);
	assert_true(client_join(&w, &c));
	w.blocked = true;
	world_pass(&w, TD_SECONDS(60));
	w.blocked = false;
	world_settle(&w);
	assert_true(client_hears(&w, &c, TD_MSG_KEEPALIVE, &msg));
	assert_false(client_hears(&w, &c, TD_MSG_KEEPALIVE, &msg));
	world_end(&w);
}

/* --- a fixed MTU --- */

static void test_fixed_mtu(void **state)
{
	struct client c = client_number(0);
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, 1364);
	assert_true(client_greet(&w, &c));
	world_forget(&w);
	client_prepare(&w, &c);
	assert_int_equal(w.datagram_count, 2);
	assert_int_equal(w.datagrams[0].msg.type, TD_MSG_TUNNEL);
	assert_int_equal(w.datagrams[1].msg.type, TD_MSG_PMTU_NTFY);
	assert_int_equal(w.datagrams[1].msg.mtu, 1364);
	w.datagrams[0].read = w.datagrams[1].read = true;
	/* The answer to TUNNEL's loss is complete, too. */
	client_prepare(&w, &c);
	assert_true(client_hears(&w, &c, TD_MSG_TUNNEL, &msg));
	assert_true(client_hears(&w, &c, TD_MSG_PMTU_NTFY, &msg));
	/* Every probe is answered so, and none acknowledged. */
	for (uint16_t size = 12; size < 1500; size += 100) {
		probe(&w, &c, size);
		assert_true(client_hears(&w, &c, TD_MSG_PMTU_NTFY, &msg));
		assert_int_equal(msg.mtu, 1364);
		assert_int_equal(client_unread(&w, &c), 0);
	}
	/* Notifications are ignored, none are sent but these, nothing is probed. */
	notify(&w, &c, 1300);
	client_send(&w, &c, &(struct td_msg){ .type = TD_MSG_PMTUD_ACK, .size = 1400 });
	world_pass(&w, TD_SECONDS(100));
	assert_int_equal(mtu_of(&w, &c), 1364);
	assert_false(client_hears(&w, &c, TD_MSG_PMTUD, &msg));
	assert_false(client_hears(&w, &c, TD_MSG_PMTU_NTFY, &msg));
	assert_int_equal(world_count(&w, TD_ACTION_HOOK, ANY_HOOK), 0);
	assert_int_equal(world_count(&w, TD_ACTION_SET_MTU, ANY_HOOK), 0);
	world_end(&w);
}

static void test_fixed_mtu_has_a_floor(void **state)
{
	struct client c = client_number(0);
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, 1000);
	assert_true(client_join(&w, &c));
	assert_int_equal(mtu_of(&w, &c), 1280);
	assert_true(client_hears(&w, &c, TD_MSG_PMTU_NTFY, &msg));
	assert_int_equal(msg.mtu, 1280);
	probe(&w, &c, 1000);
	assert_true(client_hears(&w, &c, TD_MSG_PMTU_NTFY, &msg));
	assert_int_equal(msg.mtu, 1280);
	world_end(&w);
}

/* --- an MTU that is measured --- */

static void test_probes_of_any_size_are_acknowledged(void **state)
{
	struct client c = client_number(0);
	struct td_msg msg;
	struct world w;

	(void)state;
	open_world(&w, 0);
	assert_true(client_join(&w, &c));
	for (uint16_t size = 12; size < 9000; size += 97) {
		probe(&w, &c, size);
		assert_true(client_hears(&w, &c, TD_MSG_PMTUD_ACK, &msg));
		assert_int_equal(msg.size, size);
	}
	world_end(&w);
}

static void test_measured_to_the_byte(void **state)
{
	static const uint16_t paths[] = { 1306, 1307, 1372, 1437, 1464, 1472, 1500 };

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		const uint16_t mtu = (uint16_t)(paths[i] - 26);
		struct client c = client_number(0);
		struct td_msg msg;
		struct world w;

		open_world(&w, 0);
		w.path_size = paths[i];
		assert_true(client_join(&w, &c));
		world_pass(&w, TD_MS(2700));
		assert_int_equal(mtu_of(&w, &c), mtu);
		assert_true(client_hears(&w, &c, TD_MSG_PMTU_NTFY, &msg));
		assert_int_equal(msg.mtu, mtu);
		assert_int_equal(world_count(&w, TD_ACTION_SET_MTU, ANY_HOOK) > 0, mtu != 1446);
		/* The peer's direction is narrower, or it did not measure, or it is mad. */
		notify(&w, &c, 0xffca);
		assert_int_equal(mtu_of(&w, &c), mtu);
		notify(&w, &c, 1);
		assert_int_equal(mtu_of(&w, &c), mtu);
		notify(&w, &c, 1290);
		assert_int_equal(mtu_of(&w, &c), mtu < 1290 ? mtu : 1290);
		notify(&w, &c, 1000);
		assert_int_equal(mtu_of(&w, &c), 1280);
		world_end(&w);
	}
}

static void test_nothing_known_is_the_default(void **state)
{
	struct client c = client_number(0);
	struct world w;

	(void)state;
	open_world(&w, 0);
	assert_true(client_join(&w, &c));
	world_pass(&w, TD_SECONDS(60));
	assert_int_equal(mtu_of(&w, &c), 1446);
	notify(&w, &c, 0xffca); /* clients of 2017 and 0.3.0 that measured nothing */
	assert_int_equal(mtu_of(&w, &c), 1446);
	assert_int_equal(world_count(&w, TD_ACTION_SET_MTU, ANY_HOOK), 0);
	world_end(&w);
}

static void test_forged_acknowledgements_count_nothing(void **state)
{
	struct client c = client_number(0);
	struct world w;

	(void)state;
	open_world(&w, 0);
	assert_true(client_join(&w, &c));
	for (unsigned size = 0; size < 65536; size += 13)
		client_send(&w, &c,
			    &(struct td_msg){ .type = TD_MSG_PMTUD_ACK, .size = (uint16_t)size });
	assert_int_equal(mtu_of(&w, &c), 1446);
	world_end(&w);
}

static void test_changes_while_one_is_being_set_are_one(void **state)
{
	struct client c = client_number(0);
	struct world w;

	(void)state;
	open_world(&w, 0);
	w.path[TD_ACTION_SET_MTU].delay_us = HOLD;
	assert_true(client_join(&w, &c));
	for (uint16_t mtu = 1440; mtu > 1300; mtu = (uint16_t)(mtu - 10))
		notify(&w, &c, mtu);
	assert_int_equal(world_count(&w, TD_ACTION_SET_MTU, ANY_HOOK), 1);
	w.path[TD_ACTION_SET_MTU].delay_us = 0;
	world_answer(&w, world_open(&w, TD_ACTION_SET_MTU, ANY_HOOK), 0);
	assert_int_equal(world_count(&w, TD_ACTION_SET_MTU, ANY_HOOK), 2);
	assert_int_equal(mtu_of(&w, &c), 1310);
	assert_int_equal(world_last(&w, TD_ACTION_HOOK, TD_HOOK_MTU_CHANGED)->action.old_mtu, 1446);
	assert_int_equal(world_last(&w, TD_ACTION_HOOK, TD_HOOK_MTU_CHANGED)->session.mtu, 1310);
	world_end(&w);
}

/* Netlink requests and hooks cost more than the datagrams that ask for them. */
static void test_a_client_that_changes_its_mind_all_the_time(void **state)
{
	struct client c = client_number(0);
	struct world w;

	(void)state;
	open_world(&w, 0);
	assert_true(client_join(&w, &c));
	for (uint16_t n = 0; n < 1000; n++) {
		notify(&w, &c, n % 2 ? 1400 : 1300);
		client_send_limit(&w, &c, n, n);
		assert_int_equal(acknowledged(&w, &c, n), 1);
		world_pass(&w, TD_MS(10));
	}
	assert_in_range(world_count(&w, TD_ACTION_SET_MTU, ANY_HOOK), 2, 20);
	assert_in_range(world_count(&w, TD_ACTION_SET_RATE, ANY_HOOK), 2, 20);
	world_pass(&w, TD_SECONDS(2));
	assert_int_equal(mtu_of(&w, &c), 1400);
	assert_int_equal(world_last(&w, TD_ACTION_SET_RATE, ANY_HOOK)->action.rate_kbps, 999);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit_is_acknowledged_always_and_applied_once),
		cmocka_unit_test(test_limits_while_one_is_being_set),
		cmocka_unit_test(test_whatever_is_reliable_is_acknowledged),
		cmocka_unit_test(test_garbage_changes_nothing),
		cmocka_unit_test(test_keepalives),
		cmocka_unit_test(test_the_search_waits_for_newcomers),
		cmocka_unit_test(test_keepalives_meet),
		cmocka_unit_test(test_keepalives_do_not_pile_up),
		cmocka_unit_test(test_fixed_mtu),
		cmocka_unit_test(test_fixed_mtu_has_a_floor),
		cmocka_unit_test(test_probes_of_any_size_are_acknowledged),
		cmocka_unit_test(test_measured_to_the_byte),
		cmocka_unit_test(test_nothing_known_is_the_default),
		cmocka_unit_test(test_forged_acknowledgements_count_nothing),
		cmocka_unit_test(test_changes_while_one_is_being_set_are_one),
		cmocka_unit_test(test_a_client_that_changes_its_mind_all_the_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
