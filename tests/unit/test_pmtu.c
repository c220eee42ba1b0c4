/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The path MTU search against a model of a path and of the peer behind it, in virtual time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/l2tp.h"
#include "core/pmtu.h"
#include "faults.h"

#define FLYING_MAX 512

struct flying {
	struct td_time at;
	uint16_t size; /* 0: free */
};

struct path {
	struct td_pmtu pmtu;
	struct td_rng rng;     /* the search's */
	struct td_rng network; /* the path's */
	struct td_time now;
	uint16_t carries; /* largest UDP payload */
	int64_t rtt_us;
	int64_t reorder_us; /* added at random */
	unsigned int loss_percent, duplicate_percent;
	unsigned int sent, notified;
	uint16_t last_probe, last_mtu;
	struct flying flying[FLYING_MAX];
};

static void setup(struct path *t, uint16_t carries, int64_t rtt_us, uint16_t max_mtu, uint64_t seed)
{
	memset(t, 0, sizeof(*t));
	td_rng_init(&t->rng, seed);
	td_rng_init(&t->network, seed ^ 0x5eed);
	t->now.us = TD_SECONDS(1000);
	t->carries = carries;
	t->rtt_us = rtt_us;
	td_pmtu_init(&t->pmtu, max_mtu, &t->rng);
	td_pmtu_start(&t->pmtu, t->now);
}

static void fly(struct path *t, uint16_t size)
{
	int64_t delay_us = t->rtt_us + td_rng_between(&t->network, 0, t->reorder_us);

	for (int i = 0; i < FLYING_MAX; i++) {
		if (t->flying[i].size != 0)
			continue;
		t->flying[i] = (struct flying){ td_time_add(t->now, delay_us), size };
		return;
	}
	fail_msg("too many probes in flight");
}

static bool chance(struct path *t, unsigned int percent)
{
	return percent > 0 && td_rng_below(&t->network, 100) < percent;
}

static void drain(struct path *t)
{
	uint16_t size, mtu;

	while ((size = td_pmtu_next_probe(&t->pmtu, t->now)) != 0) {
		t->sent++;
		t->last_probe = size;
		if (size > t->carries || chance(t, t->loss_percent))
			continue;
		fly(t, size);
		if (chance(t, t->duplicate_percent))
			fly(t, size);
	}
	while (td_pmtu_next_notify(&t->pmtu, &mtu)) {
		t->notified++;
		t->last_mtu = mtu;
	}
}

/* The next thing that happens, unless it is later than end. */
static bool step(struct path *t, struct td_time end)
{
	struct flying *next = NULL;
	struct td_time at = td_pmtu_deadline(&t->pmtu);

	drain(t);
	for (int i = 0; i < FLYING_MAX; i++)
		if (t->flying[i].size != 0 && (next == NULL || t->flying[i].at.us < next->at.us))
			next = &t->flying[i];
	at = td_pmtu_deadline(&t->pmtu);
	if (next != NULL && next->at.us <= at.us)
		at = next->at;
	else
		next = NULL;
	if (at.us > end.us)
		return false;
	t->now = at;
	if (next != NULL) {
		td_pmtu_ack(&t->pmtu, next->size, t->now);
		next->size = 0;
	} else {
		td_pmtu_tick(&t->pmtu, t->now);
	}
	drain(t);
	return true;
}

static void run_for(struct path *t, int64_t us)
{
	struct td_time end = td_time_add(t->now, us);

	while (step(t, end))
		;
	t->now = end;
}

/* Until the search has come to an end; returns how long that took. */
static int64_t run_search(struct path *t)
{
	const struct td_time start = t->now;

	while (t->pmtu.state == TD_PMTU_SEARCHING)
		assert_true(step(t, td_time_add(start, TD_SECONDS(600))));
	return td_time_since(t->now, start);
}

static void check_exact(uint16_t carries, int64_t rtt_us, uint16_t max_mtu)
{
	const uint16_t max = (uint16_t)(max_mtu + TD_INNER_OVERHEAD);
	const uint16_t expected = carries < max ? carries : max;
	struct path t;

	setup(&t, carries, rtt_us, max_mtu, (uint64_t)carries << 32 | (uint64_t)rtt_us);
	assert_true(run_search(&t) < TD_SECONDS(2));
	assert_int_equal(t.pmtu.state, TD_PMTU_SETTLED);
	assert_int_equal(t.pmtu.measured_size, expected);
	assert_int_equal(t.notified, 1);
	assert_int_equal(t.last_mtu, expected - TD_INNER_OVERHEAD);
	assert_true(t.sent <= 8 * 8);
}

static const int64_t rtts[] = { 0, 1, TD_MS(1), TD_MS(15), TD_MS(60), TD_MS(123), TD_MS(200) };
#define RTTS (sizeof(rtts) / sizeof(rtts[0]))

static void test_every_size_is_found_to_the_byte(void **state)
{
	(void)state;
	for (uint16_t carries = 1306; carries <= 1500; carries++) {
		for (unsigned int i = 0; i < RTTS; i++) {
			check_exact(carries, rtts[i], 1446);
			check_exact(carries, rtts[i], 1500);
			check_exact(carries, rtts[i], 9000);
		}
	}
}

static void test_jumbo_sizes_are_found_to_the_byte(void **state)
{
	(void)state;
	for (unsigned int carries = 1306; carries <= 9100; carries += 7)
		for (unsigned int i = 0; i < RTTS; i++)
			check_exact((uint16_t)carries, rtts[i], 9000);
}

/* The interface stays at 1280, but that is known instead of supposed. */
static void test_path_below_the_floor(void **state)
{
	struct path t;

	(void)state;
	for (unsigned int carries = 548; carries < 1306; carries += 3) {
		check_exact((uint16_t)carries, TD_MS(20), 1446);
		setup(&t, (uint16_t)carries, TD_MS(60), 1446, carries);
		run_search(&t);
		assert_int_equal(td_pmtu_inner_mtu(&t.pmtu), 1280);
	}
}

static void test_smallest_range(void **state)
{
	(void)state;
	check_exact(1306, 0, 1280);
	check_exact(1472, TD_MS(20), 1280);
	check_exact(1306, TD_MS(20), 1281);
	check_exact(1307, TD_MS(20), 1281);
	check_exact(9026, TD_MS(20), 9000);
	check_exact(9025, TD_MS(200), 9000);
}

static void test_unrestricted_path_is_settled_in_one_round_trip(void **state)
{
	struct path t;

	(void)state;
	setup(&t, 1472, TD_MS(80), 1446, 1);
	assert_int_equal(run_search(&t), TD_MS(80));
	assert_int_equal(t.pmtu.measured_size, 1472);
	assert_true(t.sent <= TD_PMTU_FAN);
}

static void test_slow_paths_take_longer_but_stay_right(void **state)
{
	static const int64_t slow[] = { TD_MS(350), TD_MS(499),  TD_MS(501),
					TD_MS(900), TD_MS(1400), TD_MS(1900) };
	struct path t;

	(void)state;
	for (uint16_t carries = 1306; carries <= 1472; carries += 3) {
		for (unsigned int i = 0; i < sizeof(slow) / sizeof(slow[0]); i++) {
			setup(&t, carries, slow[i], 1446, carries);
			assert_true(run_search(&t) < TD_SECONDS(30));
			run_for(&t, TD_SECONDS(30));
			assert_int_equal(t.pmtu.state, TD_PMTU_SETTLED);
			assert_int_equal(t.pmtu.measured_size, carries);
		}
	}
}

static void test_acks_from_a_peer_with_a_one_second_loop(void **state)
{
	struct path t;

	(void)state;
	for (uint16_t carries = 1306; carries <= 1472; carries++) {
		setup(&t, carries, TD_MS(20), 1446, carries);
		t.reorder_us = TD_SECONDS(1);
		run_search(&t);
		run_for(&t, TD_SECONDS(20));
		assert_int_equal(t.pmtu.state, TD_PMTU_SETTLED);
		assert_int_equal(t.pmtu.measured_size, carries);
	}
}

static void check_with_loss(unsigned int percent, uint16_t max_mtu)
{
	struct path t;

	for (uint64_t seed = 0; seed < 600; seed++) {
		uint16_t carries = (uint16_t)(1306 + seed * 7919 % (max_mtu - 1280 + 50u));
		uint16_t expected = carries < max_mtu + 26 ? carries : (uint16_t)(max_mtu + 26);

		setup(&t, carries, TD_MS(40), max_mtu, seed);
		t.loss_percent = percent;
		t.duplicate_percent = 10;
		t.reorder_us = TD_MS(10);
		assert_true(run_search(&t) < TD_SECONDS(12));
		run_for(&t, TD_MS(100));
		run_search(&t);
		assert_int_equal(t.pmtu.measured_size, expected);
		assert_true(t.sent <= 61 * TD_PMTU_FAN);
	}
}

static void test_losses_do_not_lower_the_result(void **state)
{
	(void)state;
	for (unsigned int percent = 5; percent <= 20; percent += 5) {
		check_with_loss(percent, 1446);
		check_with_loss(percent, 9000);
	}
}

static void test_nothing_acknowledged_is_unknown_and_tried_again(void **state)
{
	static const int interval_s[] = { 30, 60, 120, 240, 480, 600, 600, 600 };
	struct path t;

	(void)state;
	setup(&t, 547, TD_MS(20), 1446, 3);
	for (unsigned int i = 0; i < sizeof(interval_s) / sizeof(interval_s[0]); i++) {
		struct td_time began;

		t.sent = 0;
		assert_true(run_search(&t) < TD_SECONDS(5));
		assert_int_equal(t.pmtu.state, TD_PMTU_UNKNOWN);
		assert_true(t.sent <= 3 * TD_PMTU_FAN);
		began = t.now;
		while (t.pmtu.state == TD_PMTU_UNKNOWN)
			assert_true(step(&t, TD_NEVER));
		assert_true(td_time_since(t.now, began) >= TD_SECONDS(interval_s[i]));
		assert_true(td_time_since(t.now, began) <= TD_SECONDS(interval_s[i]) * 11 / 10);
	}
	assert_int_equal(t.notified, 0);
	assert_int_equal(td_pmtu_inner_mtu(&t.pmtu), TD_MTU_DEFAULT);
	/* The path opens. */
	t.carries = 1400;
	run_search(&t);
	assert_int_equal(t.pmtu.measured_size, 1400);
	/* … and after that the intervals begin anew. */
	t.carries = 100;
	run_for(&t, TD_SECONDS(75));
	assert_int_equal(t.pmtu.state, TD_PMTU_UNKNOWN);
	assert_true(td_time_since(td_pmtu_deadline(&t.pmtu), t.now) <= TD_SECONDS(33));
}

static void test_ack_while_unknown_resumes_the_search(void **state)
{
	struct path t;

	(void)state;
	setup(&t, 100, TD_MS(20), 1446, 4);
	run_search(&t);
	assert_int_equal(t.pmtu.state, TD_PMTU_UNKNOWN);
	t.carries = 1401;
	td_pmtu_ack(&t.pmtu, 1372, t.now);
	assert_int_equal(t.pmtu.state, TD_PMTU_SEARCHING);
	run_search(&t);
	assert_int_equal(t.pmtu.measured_size, 1401);
}

static void test_result_is_confirmed_every_minute(void **state)
{
	struct path t;
	unsigned int sent;

	(void)state;
	setup(&t, 1433, TD_MS(30), 1446, 5);
	run_search(&t);
	sent = t.sent;
	run_for(&t, TD_SECONDS(500));
	assert_in_range(t.sent - sent, 7, 9);
	assert_int_equal(t.last_probe, 1433);
	assert_int_equal(t.notified - 1, t.sent - sent);
	assert_int_equal(t.pmtu.state, TD_PMTU_SETTLED);
	assert_int_equal(t.last_mtu, 1433 - 26);
}

static void test_search_is_repeated_in_ten_minutes_with_jitter(void **state)
{
	int64_t first = 0, last = 0;
	struct path t;

	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct td_time began;

		setup(&t, 1433, TD_MS(30), 1446, seed);
		run_search(&t);
		began = t.now;
		while (t.pmtu.state != TD_PMTU_SEARCHING)
			assert_true(step(&t, TD_NEVER));
		last = td_time_since(t.now, began);
		assert_in_range(last, TD_SECONDS(540), TD_SECONDS(660));
		first = seed == 0 ? last : first;
	}
	assert_int_not_equal(first, last);
}

static void test_grown_path_is_found_by_the_repeated_search(void **state)
{
	struct path t;

	(void)state;
	setup(&t, 1433, TD_MS(30), 1446, 6);
	run_search(&t);
	t.carries = 1472;
	run_for(&t, TD_SECONDS(665));
	assert_int_equal(t.pmtu.measured_size, 1472);
	assert_int_equal(t.last_mtu, 1446);
}

static void test_black_hole_is_noticed_by_the_confirmation(void **state)
{
	struct path t;
	struct td_time began;

	(void)state;
	setup(&t, 1472, TD_MS(30), 1446, 7);
	run_search(&t);
	t.carries = 1379;
	began = t.now;
	while (t.pmtu.state != TD_PMTU_SEARCHING) {
		assert_int_equal(td_pmtu_inner_mtu(&t.pmtu), 1446);
		assert_true(step(&t, TD_NEVER));
	}
	assert_in_range(td_time_since(t.now, began), TD_SECONDS(59), TD_SECONDS(67));
	/* The old measurement stays in force until there is a new one. */
	assert_int_equal(td_pmtu_inner_mtu(&t.pmtu), 1446);
	assert_true(run_search(&t) < TD_SECONDS(2));
	assert_int_equal(td_pmtu_inner_mtu(&t.pmtu), 1379 - 26);
	assert_int_equal(t.last_mtu, 1379 - 26);
}

static void test_two_lost_confirmations_are_no_black_hole(void **state)
{
	struct path t;
	unsigned int sent;

	(void)state;
	setup(&t, 1472, TD_MS(30), 1446, 8);
	run_search(&t);
	t.carries = 100;
	while (t.pmtu.state != TD_PMTU_CONFIRMING)
		assert_true(step(&t, TD_NEVER));
	sent = t.sent;
	while (t.sent == sent)
		assert_true(step(&t, TD_NEVER));
	assert_int_equal(t.pmtu.state, TD_PMTU_CONFIRMING);
	t.carries = 1472; /* from the third one on */
	while (t.pmtu.state == TD_PMTU_CONFIRMING)
		assert_true(step(&t, TD_NEVER));
	assert_int_equal(t.pmtu.state, TD_PMTU_SETTLED);
	assert_int_equal(t.sent, sent + 2);
	/* Losses count in a row only. */
	t.carries = 100;
	run_for(&t, TD_SECONDS(60));
	t.carries = 1472;
	run_for(&t, TD_SECONDS(60));
	assert_int_equal(t.pmtu.state, TD_PMTU_SETTLED);
	assert_int_equal(t.pmtu.measured_size, 1472);
}

static void test_outage_keeps_the_last_measurement(void **state)
{
	struct path t;

	(void)state;
	setup(&t, 1433, TD_MS(30), 1446, 9);
	run_search(&t);
	t.carries = 0;
	run_for(&t, TD_SECONDS(80));
	assert_int_equal(t.pmtu.state, TD_PMTU_UNKNOWN);
	assert_int_equal(td_pmtu_inner_mtu(&t.pmtu), 1433 - 26);
	t.carries = 1450;
	run_for(&t, TD_SECONDS(40));
	assert_int_equal(td_pmtu_inner_mtu(&t.pmtu), 1450 - 26);
}

static void test_hostile_acks_count_only_for_outstanding_sizes(void **state)
{
	struct path t;

	(void)state;
	setup(&t, 1400, TD_MS(50), 1446, 10);
	for (int i = 0; i < 100000 && t.pmtu.state == TD_PMTU_SEARCHING; i++) {
		td_pmtu_ack(&t.pmtu, 0, t.now);
		td_pmtu_ack(&t.pmtu, 65535, t.now);
		td_pmtu_ack(&t.pmtu, 1473, t.now);
		td_pmtu_ack(&t.pmtu, 1471, t.now);
		td_pmtu_ack(&t.pmtu, 12, t.now);
		assert_true(step(&t, TD_NEVER));
	}
	assert_int_equal(t.pmtu.measured_size, 1400);
	/* A second acknowledgement of the same size is none. */
	td_pmtu_ack(&t.pmtu, 1372, t.now);
	assert_int_equal(t.pmtu.state, TD_PMTU_SETTLED);
	td_pmtu_ack(&t.pmtu, 9026, t.now);
	assert_int_equal(t.pmtu.state, TD_PMTU_SETTLED);
}

static void test_search_is_bounded_against_a_lying_peer(void **state)
{
	struct path t;

	(void)state;
	setup(&t, 0, 0, 9000, 11);
	drain(&t);
	td_pmtu_ack(&t.pmtu, 1306, t.now);
	while (t.pmtu.state == TD_PMTU_SEARCHING) {
		drain(&t);
		if (t.pmtu.fan_count == 4) /* nothing but what verifies the result */
			td_pmtu_ack(&t.pmtu, t.last_probe, t.now);
		else
			assert_true(step(&t, TD_NEVER));
	}
	assert_true(t.sent <= 60 * TD_PMTU_FAN);
	assert_true(td_time_since(t.now, (struct td_time){ TD_SECONDS(1000) }) < TD_SECONDS(60));
}

static void test_late_ack_lifts_a_settled_result(void **state)
{
	struct path t;

	(void)state;
	setup(&t, 1410, TD_MS(20), 1446, 12);
	run_search(&t);
	t.carries = 1420;
	td_pmtu_ack(&t.pmtu, 1411, t.now); /* verified in vain: still outstanding */
	assert_int_equal(t.pmtu.state, TD_PMTU_SEARCHING);
	run_search(&t);
	assert_int_equal(t.pmtu.measured_size, 1420);
	assert_int_equal(t.notified, 2);
}

static void test_probes_that_could_not_be_sent_say_nothing(void **state)
{
	struct path t;

	(void)state;
	setup(&t, 1472, TD_MS(20), 1446, 13);
	assert_int_equal(td_pmtu_next_probe(&t.pmtu, t.now), 1472);
	assert_int_equal(td_pmtu_next_probe(&t.pmtu, t.now), 1464);
	td_pmtu_ack(&t.pmtu, 1464, t.now);
	t.now = td_pmtu_deadline(&t.pmtu);
	td_pmtu_tick(&t.pmtu, t.now); /* the rest was never sent */
	assert_int_equal(t.pmtu.low, 1464);
	assert_int_equal(t.pmtu.high, 1472);
	for (int i = 0; i < 200 && t.pmtu.state == TD_PMTU_SEARCHING; i++) {
		t.now = td_pmtu_deadline(&t.pmtu);
		td_pmtu_tick(&t.pmtu, t.now);
	}
	assert_int_equal(t.pmtu.measured_size, 1464);
}

static void test_start_anew_forgets_what_was_outstanding(void **state)
{
	struct path t;

	(void)state;
	setup(&t, 0, TD_MS(20), 9000, 14);
	drain(&t);
	td_pmtu_start(&t.pmtu, t.now);
	td_pmtu_ack(&t.pmtu, 9026, t.now);
	assert_int_equal(t.pmtu.measured_size, 0);
	drain(&t);
	td_pmtu_ack(&t.pmtu, 9026, t.now);
	assert_int_equal(t.pmtu.measured_size, 9026);
}

static void test_stopped_does_nothing(void **state)
{
	struct path t;

	(void)state;
	setup(&t, 1472, TD_MS(20), 1446, 15);
	run_search(&t);
	drain(&t);
	td_pmtu_stop(&t.pmtu);
	assert_int_equal(t.pmtu.state, TD_PMTU_IDLE);
	assert_int_equal(td_pmtu_deadline(&t.pmtu).us, TD_NEVER.us);
	td_pmtu_tick(&t.pmtu, t.now);
	td_pmtu_ack(&t.pmtu, 1464, t.now);
	assert_int_equal(td_pmtu_next_probe(&t.pmtu, t.now), 0);
	assert_int_equal(t.pmtu.measured_size, 1472);
	td_pmtu_tick(&t.pmtu, TD_NEVER);
	assert_int_equal(t.pmtu.state, TD_PMTU_IDLE);
}

static void test_tick_before_the_time_does_nothing(void **state)
{
	struct path t;

	(void)state;
	setup(&t, 0, 0, 1446, 16);
	drain(&t);
	for (int i = 0; i < 10; i++)
		td_pmtu_tick(&t.pmtu, t.now);
	drain(&t);
	assert_true(t.sent <= TD_PMTU_FAN);
}

static void test_interface_mtu(void **state)
{
	static const uint16_t absurd[] = { 0, 1, 68, 513, 9217, 0xffca, 65535 };
	struct td_rng rng;
	struct td_pmtu p;

	(void)state;
	td_rng_init(&rng, 1);
	td_pmtu_init(&p, 1446, &rng);
	assert_int_equal(td_pmtu_inner_mtu(&p), 1446);
	td_pmtu_notified(&p, 1400);
	assert_int_equal(td_pmtu_inner_mtu(&p), 1400);
	for (unsigned int i = 0; i < sizeof(absurd) / sizeof(absurd[0]); i++) {
		td_pmtu_notified(&p, absurd[i]);
		assert_int_equal(td_pmtu_inner_mtu(&p), 1400);
	}
	td_pmtu_notified(&p, 514);
	assert_int_equal(td_pmtu_inner_mtu(&p), 1280);
	td_pmtu_notified(&p, 9216);
	assert_int_equal(td_pmtu_inner_mtu(&p), 1446);
	p.accepted_mtu = 9000;
	assert_int_equal(td_pmtu_inner_mtu(&p), 9000);
	p.measured_size = 1380;
	assert_int_equal(td_pmtu_inner_mtu(&p), 1354);
	td_pmtu_notified(&p, 1353);
	assert_int_equal(td_pmtu_inner_mtu(&p), 1353);
	td_pmtu_notified(&p, 1355);
	assert_int_equal(td_pmtu_inner_mtu(&p), 1354);

	td_pmtu_init(&p, 1280, &rng);
	assert_int_equal(td_pmtu_inner_mtu(&p), 1280);
	td_pmtu_init(&p, 9000, &rng);
	assert_int_equal(td_pmtu_inner_mtu(&p), 1446);
	td_pmtu_notified(&p, 1500);
	assert_int_equal(td_pmtu_inner_mtu(&p), 1500);
}

static void too_small(void)
{
	struct td_pmtu p;

	td_pmtu_init(&p, TD_MTU_MIN - 1, NULL);
}

static void too_large(void)
{
	struct td_pmtu p;

	td_pmtu_init(&p, TD_MTU_MAX + 1, NULL);
}

static void test_range_is_asserted(void **state)
{
	(void)state;
	assert_true(faults(too_small));
	assert_true(faults(too_large));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_size_is_found_to_the_byte),
		cmocka_unit_test(test_jumbo_sizes_are_found_to_the_byte),
		cmocka_unit_test(test_path_below_the_floor),
		cmocka_unit_test(test_smallest_range),
		cmocka_unit_test(test_unrestricted_path_is_settled_in_one_round_trip),
		cmocka_unit_test(test_slow_paths_take_longer_but_stay_right),
		cmocka_unit_test(test_acks_from_a_peer_with_a_one_second_loop),
		cmocka_unit_test(test_losses_do_not_lower_the_result),
		cmocka_unit_test(test_nothing_acknowledged_is_unknown_and_tried_again),
		cmocka_unit_test(test_ack_while_unknown_resumes_the_search),
		cmocka_unit_test(test_result_is_confirmed_every_minute),
		cmocka_unit_test(test_search_is_repeated_in_ten_minutes_with_jitter),
		cmocka_unit_test(test_grown_path_is_found_by_the_repeated_search),
		cmocka_unit_test(test_black_hole_is_noticed_by_the_confirmation),
		cmocka_unit_test(test_two_lost_confirmations_are_no_black_hole),
		cmocka_unit_test(test_outage_keeps_the_last_measurement),
		cmocka_unit_test(test_hostile_acks_count_only_for_outstanding_sizes),
		cmocka_unit_test(test_search_is_bounded_against_a_lying_peer),
		cmocka_unit_test(test_late_ack_lifts_a_settled_result),
		cmocka_unit_test(test_probes_that_could_not_be_sent_say_nothing),
		cmocka_unit_test(test_start_anew_forgets_what_was_outstanding),
		cmocka_unit_test(test_stopped_does_nothing),
		cmocka_unit_test(test_tick_before_the_time_does_nothing),
		cmocka_unit_test(test_interface_mtu),
		cmocka_unit_test(test_range_is_asserted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
