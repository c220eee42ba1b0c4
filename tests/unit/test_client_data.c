/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The client machine and its data packets: cookies and counts, docs/PROTOCOL.md 3.5 and 3.8. */
#include "client_world.h"

#define NEW (ALL_FEATURES & ~TD_FEATURE_UNIQUE_SESSION_ID)

static struct world *world_with(uint32_t shares, uint64_t seed)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, seed);

	w->broker[0].shares = shares;
	w->broker[0].has_keepalives = false;
	world_up(w);
	return w;
}

static void keepalive(struct world *w, uint32_t sent, uint32_t received)
{
	struct td_msg msg = { .type = TD_MSG_KEEPALIVE };

	msg.keepalive.counted = true;
	msg.keepalive.data_sent = sent;
	msg.keepalive.data_received = received;
	world_tell(w, 0, &msg);
	world_run(w, TD_SECONDS(5));
}

static void test_cookies(void **state)
{
	struct world *w = world_with(NEW, 50);
	const struct td_msg *prepare = &w->broker[0].prepare;

	(void)state;
	assert_int_equal(w->session.features, ALL_FEATURES);
	assert_memory_equal(w->session.cookie, prepare->prepare.data_cookie, TD_DATA_COOKIE);
	assert_memory_equal(w->session.peer_cookie, "broker's", TD_DATA_COOKIE);
	/* The MTU has room for them. */
	assert_int_equal(w->session.mtu, 1438);
	world_run(w, TD_SECONDS(3));
	assert_int_equal(w->mtu, w->path - 34 < 1438 ? w->path - 34 : 1438);
	world_finish(w);
}

static void test_each_attempt_has_another_cookie(void **state)
{
	uint8_t first[TD_DATA_COOKIE];
	struct world *w = world_with(NEW, 51);

	(void)state;
	memcpy(first, w->session.cookie, sizeof(first));
	world_tell_error(w, 0);
	world_run(w, TD_SECONDS(20));
	assert_int_equal(td_client_state(w->c), TD_CLIENT_UP);
	assert_memory_not_equal(first, w->session.cookie, sizeof(first));
	world_finish(w);
}

static void test_the_same_cookie_in_each_repetition(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 52);
	uint8_t first[TD_DATA_COOKIE];

	(void)state;
	w->broker[0].shares = NEW;
	w->broker[0].parks = true;
	world_start(w);
	world_run(w, TD_SECONDS(1));
	memcpy(first, w->broker[0].prepare.prepare.data_cookie, sizeof(first));
	world_run(w, TD_SECONDS(4));
	assert_true(w->broker[0].got[TD_MSG_PREPARE] > 1);
	assert_memory_equal(first, w->broker[0].prepare.prepare.data_cookie, sizeof(first));
	world_finish(w);
}

static void test_a_deployed_broker(void **state)
{
	struct world *w = world_with(0, 53);

	(void)state;
	assert_int_equal(td_session_cookie_size(&w->session), 0);
	assert_int_equal(w->session.mtu, 1446);
	for (unsigned i = 0; i < 100; i++)
		keepalive(w, 100 * i, 0); /* means nothing to us */
	assert_int_equal(w->counts, 0);
	assert_int_equal(td_client_state(w->c), TD_CLIENT_UP);
	assert_int_equal(w->creates, 1);
	world_finish(w);
}

static void test_counts_are_told(void **state)
{
	struct world *w = world_with(NEW, 54);
	struct td_msg msg;

	(void)state;
	w->broker[0].has_keepalives = true;
	w->data_sent = 0xfffffff0;
	w->data_received = 77;
	world_run(w, TD_SECONDS(17));
	assert_true(w->counts >= 2);
	msg = w->broker[0].keepalive;
	assert_true(msg.keepalive.counted);
	assert_int_equal(msg.keepalive.data_sent, 0xfffffff0);
	assert_int_equal(msg.keepalive.data_received, 77);
	world_finish(w);
}

static bool rebuilt_within(struct world *w, unsigned seconds, unsigned up, unsigned down,
			   bool up_arrives, bool down_arrives)
{
	const unsigned creates = w->creates;
	uint32_t sent = 0, received = 0;

	for (unsigned s = 0; s < seconds && w->creates == creates; s += 5) {
		w->data_sent += up;
		sent += down;
		received += up_arrives ? up : 0;
		w->data_received += down_arrives ? down : 0;
		keepalive(w, sent, received);
	}
	return w->creates != creates;
}

static void test_a_dead_direction(bool up_arrives, bool down_arrives, const char *why)
{
	struct world *w = world_with(NEW, 55);

	assert_true(rebuilt_within(w, 120, 5, 5, up_arrives, down_arrives));
	assert_int_equal(w->broker[0].last_reason, TD_ERROR_CLIENT_DATA);
	assert_true(world_said(w, why));
	/* The next one is as dead: each is given longer. */
	assert_false(rebuilt_within(w, 70, 5, 5, up_arrives, down_arrives));
	assert_true(rebuilt_within(w, 120, 5, 5, up_arrives, down_arrives));
	/* It works now. */
	assert_false(rebuilt_within(w, 600, 5, 5, true, true));
	assert_true(rebuilt_within(w, 120, 5, 5, up_arrives, down_arrives));
	world_finish(w);
}

static void test_nothing_arrives_here(void **state)
{
	(void)state;
	test_a_dead_direction(true, false, "the broker's data does not reach us");
}

static void test_nothing_arrives_there(void **state)
{
	(void)state;
	test_a_dead_direction(false, true, "our data does not reach the broker");
}

static void test_silence_is_not_death(void **state)
{
	struct world *w = world_with(NEW, 56);

	(void)state;
	assert_false(rebuilt_within(w, 1200, 0, 0, false, false));
	assert_false(rebuilt_within(w, 1200, 5, 0, true, false));
	assert_false(rebuilt_within(w, 1200, 0, 5, false, true));
	/* Whoever cannot count says nothing. */
	w->uncountable = true;
	world_tell_error(w, 0);
	world_run(w, TD_SECONDS(10));
	assert_false(rebuilt_within(w, 600, 5, 5, false, false));
	assert_false(w->broker[0].keepalive.keepalive.counted);
	world_finish(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cookies),
		cmocka_unit_test(test_each_attempt_has_another_cookie),
		cmocka_unit_test(test_the_same_cookie_in_each_repetition),
		cmocka_unit_test(test_a_deployed_broker),
		cmocka_unit_test(test_counts_are_told),
		cmocka_unit_test(test_nothing_arrives_here),
		cmocka_unit_test(test_nothing_arrives_there),
		cmocka_unit_test(test_silence_is_not_death),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
