/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Rare things that happen to the client: what tests/coverage found that no other test did. */
#include "client_world.h"
#include "core/client_machine.h"

/* 0 means none: no action may have it. */
static void test_sequence_numbers_pass_over_zero(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 1);

	(void)state;
	world_start(w);
	w->c->sequence = UINT32_MAX - 1;
	world_until(w, TD_CLIENT_UP, TD_SECONDS(5));
	assert_true(w->c->sequence >= 1 && w->c->sequence < 100);
	world_finish(w);
}

/* Days without a network: the pause grows to its limit, and stays there. */
static void test_offline_for_days(void **state)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 2);

	(void)state;
	w->open_error = -ENETUNREACH;
	world_start(w);
	for (int hour = 0; hour < 72; hour++) {
		world_run(w, TD_SECONDS(3600));
		assert_int_equal(td_client_state(w->c), TD_CLIENT_OFFLINE);
		assert_true(w->states < 300); /* of the log */
		w->states = 0;
	}
	assert_int_equal(w->c->offline_tries, UINT8_MAX);
	w->open_error = 0;
	td_client_network_changed(w->c, w->now);
	world_until(w, TD_CLIENT_UP, TD_SECONDS(10));
	world_finish(w);
}

static void name_addresses(struct td_addr addrs[static TD_ADDRESSES_MAX], uint8_t network)
{
	for (uint8_t i = 0; i < TD_ADDRESSES_MAX; i++)
		addrs[i] = (struct td_addr){ .ip = { 192, 0, network, i },
					     .port = 8942,
					     .family = TD_FAMILY_IPV4 };
}

/* A name with as many addresses as can be, all of them others than before, while a tunnel still has
 * the socket of an old one: the last has no place. */
static void test_more_addresses_than_places(void **state)
{
	uint8_t memory[4096];
	struct td_candidates s;
	struct td_client_action action;
	struct td_addr old[TD_ADDRESSES_MAX], new[TD_ADDRESSES_MAX];

	(void)state;
	name_addresses(old, 1);
	name_addresses(new, 2);
	assert_true(td_selection_size(1) <= sizeof(memory));
	td_selection_init(&s, memory, 1);
	assert_true(td_selection_begin(&s, (struct td_time){ 0 }));
	assert_true(td_selection_next(&s, &action));
	td_selection_resolved(&s, 0, old, TD_ADDRESSES_MAX);
	td_selection_set_busy(&s, 3);
	assert_true(td_selection_begin(&s, (struct td_time){ 1 }));
	while (td_selection_next(&s, &action) && action.kind != TD_CLIENT_RESOLVE)
		if (action.kind == TD_CLIENT_OPEN)
			td_selection_opened(&s, -ENETUNREACH);
	td_selection_resolved(&s, 0, new, TD_ADDRESSES_MAX);
	for (uint32_t i = 0; i < TD_ADDRESSES_MAX; i++)
		assert_true(td_addr_equal(&s.slots[i].addr, i == 3 ? &old[3] : &new[i - (i > 3)]));
}

/* While the result is confirmed, an answer to a smaller probe of long ago confirms nothing. */
static void test_late_acknowledgement_of_a_smaller_probe(void **state)
{
	const struct td_time start = { TD_SECONDS(1000) };
	struct td_pmtu p;
	struct td_rng rng;
	struct td_time now = start;
	uint16_t size;

	(void)state;
	td_rng_init(&rng, 3);
	td_pmtu_init(&p, 1446, &rng);
	td_pmtu_start(&p, now);
	while (td_pmtu_next_probe(&p, now) != 0)
		;
	td_pmtu_ack(&p, 1472, now);
	assert_int_equal(p.state, TD_PMTU_SETTLED);
	now = td_pmtu_deadline(&p);
	td_pmtu_tick(&p, now);
	size = td_pmtu_next_probe(&p, now);
	assert_int_equal(size, 1472);
	td_pmtu_ack(&p, 1306, now);
	assert_int_equal(p.state, TD_PMTU_CONFIRMING);
	td_pmtu_ack(&p, size, now);
	assert_int_equal(p.state, TD_PMTU_SETTLED);
	assert_int_equal(p.measured_size, 1472);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sequence_numbers_pass_over_zero),
		cmocka_unit_test(test_offline_for_days),
		cmocka_unit_test(test_more_addresses_than_places),
		cmocka_unit_test(test_late_acknowledgement_of_a_smaller_probe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
