/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Export and adoption: upgrade and crash recovery. Records are input, and may be damaged. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine_harness.h"

static int setup(void **state)
{
	static struct world w;
	struct td_engine_config config = config_for(4);

	config.hooks = TUNNEL_HOOKS;
	world_start(&w, &config);
	*state = &w;
	return 0;
}

static int teardown(void **state)
{
	world_end(*state);
	return 0;
}

static size_t export(const struct world *w, const struct client *c, uint8_t record[TD_RECORD_MAX])
{
	return td_engine_export(w->e, client_handle(w, c), record, w->now);
}

/* An engine of its own, to adopt into; freed by the caller together with its memory. */
static struct td_engine *fresh(const struct world *w)
{
	void *memory = malloc(td_engine_size(w->config.max_tunnels));

	return td_engine_init(memory, &w->config, w->now);
}

static int adopt(struct td_engine *e, const struct world *w, const uint8_t *record, size_t size)
{
	struct td_handle handle;
	uint8_t *copy = malloc(size + (size == 0)); /* reading beyond it is found */
	int err;

	memcpy(copy, record, size);
	err = td_engine_adopt(e, copy, size, &handle, w->now);
	free(copy);
	check_engine(e);
	return err;
}

static void notify(struct world *w, const struct client *c, uint16_t mtu)
{
	client_send(w, c, &(struct td_msg){ .type = TD_MSG_PMTU_NTFY, .mtu = mtu });
}

static void test_round_trip_of_everything(void **state)
{
	struct world *w = *state;
	struct client c = client_ipv6(3, 4);
	struct td_session_info before;
	struct td_handle handle;

	c.flow.local.scope = c.flow.peer.scope = 7;
	assert_true(client_join(w, &c));
	notify(w, &c, 1400);
	handle = client_handle(w, &c);
	before = *td_engine_session(w->e, handle);
	world_upgrade(w);
	assert_non_null(td_engine_session(w->e, handle));
	assert_memory_equal(td_engine_session(w->e, handle), &before, sizeof(before));
	assert_int_equal(td_engine_tunnels(w->e), 1);
}

static void test_adopted_lives_on(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);
	struct td_msg msg;

	w->path_size = 1426;
	assert_true(client_join(w, &c));
	for (int s = 0; s < 30; s += 5) {
		world_pass(w, TD_SECONDS(5));
		client_send_type(w, &c, TD_MSG_KEEPALIVE);
	}
	assert_int_equal(td_engine_session(w->e, client_handle(w, &c))->mtu, 1400);
	while (client_hears(w, &c, TD_MSG_KEEPALIVE, &msg))
		;
	const uint32_t last = msg.keepalive.counter;
	const struct td_handle handle = client_handle(w, &c);

	w->path_size = 1401;
	world_upgrade(w);
	world_forget(w);
	assert_int_equal(td_engine_session(w->e, handle)->mtu, 1400);
	for (int s = 0; s < 10; s += 5) {
		world_pass(w, TD_SECONDS(5));
		client_send_type(w, &c, TD_MSG_KEEPALIVE);
	}
	assert_true(client_hears(w, &c, TD_MSG_KEEPALIVE, &msg));
	assert_int_equal(msg.keepalive.counter, last + 1);
	/* It measured anew. */
	assert_int_equal(world_last(w, TD_ACTION_HOOK, TD_HOOK_MTU_CHANGED)->action.old_mtu, 1400);
	assert_int_equal(world_last(w, TD_ACTION_HOOK, TD_HOOK_MTU_CHANGED)->session.mtu, 1375);
	assert_int_equal(world_count(w, TD_ACTION_CREATE, ANY_HOOK), 0);
	client_prepare(w, &c);
	assert_true(client_hears(w, &c, TD_MSG_TUNNEL, &msg));
	assert_int_equal(msg.tunnel.id, BASE);
	client_send_type(w, &c, TD_MSG_ERROR);
	assert_true(td_engine_idle(w->e));
}

static void test_adopted_times_out(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	assert_true(client_join(w, &c));
	world_upgrade(w);
	world_pass(w, TD_SECONDS(120) - 1);
	assert_int_equal(td_engine_tunnels(w->e), 1);
	world_pass(w, 1);
	assert_true(td_engine_idle(w->e));
	assert_int_equal(world_count(w, TD_ACTION_HOOK, TD_HOOK_DOWN), 1);
}

static void test_half_made_tunnels_are_not_exported(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);
	uint8_t record[TD_RECORD_MAX];

	w->path[TD_ACTION_CREATE].delay_us = HOLD;
	assert_false(client_join(w, &c));
	assert_int_equal(export(w, &c, record), 0); /* CREATING */
	client_send_type(w, &c, TD_MSG_ERROR);
	assert_int_equal(export(w, &c, record), 0); /* ABANDONED */
	world_answer(w, world_open(w, TD_ACTION_CREATE, ANY_HOOK), -EIO);
	assert_int_equal(export(w, &c, record), 0); /* FREE */
	assert_int_equal(td_engine_export(w->e, TD_NO_HANDLE, record, w->now), 0);
	assert_int_equal(td_engine_export(w->e, (struct td_handle){ 4, 1 }, record, w->now), 0);
}

static void test_running_hooks_go_on(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->hook[TD_HOOK_UP].delay_us = TD_SECONDS(5);
	w->hook[TD_HOOK_PRE_DOWN].delay_us = TD_SECONDS(5);
	w->hook[TD_HOOK_DOWN].delay_us = TD_SECONDS(5);
	w->path[TD_ACTION_DESTROY].delay_us = TD_SECONDS(5);
	assert_true(client_join(w, &c));
	world_upgrade(w); /* UP, up running */
	client_send_type(w, &c, TD_MSG_ERROR);
	world_upgrade(w); /* CLOSING, up running */
	world_pass(w, TD_SECONDS(6));
	assert_true(world_is_open(w, TD_ACTION_HOOK, TD_HOOK_PRE_DOWN));
	world_upgrade(w); /* CLOSING, pre-down running */
	world_pass(w, TD_SECONDS(5));
	assert_true(world_is_open(w, TD_ACTION_DESTROY, ANY_HOOK));
	world_upgrade(w); /* DESTROYING, under way: begins again */
	assert_int_equal(world_count(w, TD_ACTION_DESTROY, ANY_HOOK), 2);
	world_pass(w, TD_SECONDS(5));
	assert_true(world_is_open(w, TD_ACTION_HOOK, TD_HOOK_DOWN));
	world_upgrade(w); /* DOWN, down running */
	assert_int_equal(td_engine_tunnels(w->e), 1);
	world_pass(w, TD_SECONDS(5));
	assert_true(td_engine_idle(w->e));
	assert_int_equal(world_count(w, TD_ACTION_HOOK, ANY_HOOK), 3);
}

/* The client came back while the down hook still runs: two sessions of one flow. */
static void test_flow_of_a_session_that_is_down_is_free(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	w->hook[TD_HOOK_DOWN].delay_us = TD_SECONDS(20);
	assert_true(client_join(w, &c));
	client_send_type(w, &c, TD_MSG_ERROR);
	assert_true(client_join(w, &c));
	assert_int_equal(td_engine_tunnels(w->e), 2);
	world_upgrade(w); /* adopts the living one first */
	assert_int_equal(td_engine_tunnels(w->e), 2);
	world_pass(w, TD_SECONDS(20));
	assert_int_equal(td_engine_tunnels(w->e), 1);
}

static void test_work_under_way_begins_again(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	assert_true(client_join(w, &c));
	w->path[TD_ACTION_SET_MTU].delay_us = HOLD;
	notify(w, &c, 1400);
	client_send_limit(w, &c, 1, 2000);
	world_upgrade(w);
	world_answer(w, world_open(w, TD_ACTION_SET_MTU, ANY_HOOK), 0);
	assert_int_equal(world_last(w, TD_ACTION_SET_RATE, ANY_HOOK)->action.rate_kbps, 2000);
	assert_int_equal(world_last(w, TD_ACTION_HOOK, TD_HOOK_MTU_CHANGED)->session.mtu, 1400);
}

/* The up hook was told of an MTU that was still being set when the worker ended. */
static void test_mtu_is_set_again(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	assert_true(client_greet(w, &c));
	w->blocked = true;
	client_prepare(w, &c);
	w->path[TD_ACTION_SET_MTU].delay_us = HOLD;
	notify(w, &c, 1400);
	w->blocked = false;
	world_pass(w, TD_MS(1));
	assert_int_equal(world_count(w, TD_ACTION_HOOK, TD_HOOK_UP), 1);
	world_upgrade(w);
	world_answer(w, world_open(w, TD_ACTION_SET_MTU, ANY_HOOK), 0);
	assert_int_equal(world_last(w, TD_ACTION_SET_MTU, ANY_HOOK)->session.mtu, 1400);
}

/* A hook was due, and the new worker's configuration has it no more (the oracle watches, too). */
static void test_hooks_of_another_configuration(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);

	assert_true(client_greet(w, &c));
	w->blocked = true;
	client_prepare(w, &c);
	assert_int_equal(world_count(w, TD_ACTION_HOOK, ANY_HOOK), 0);
	w->config.hooks = 0;
	world_upgrade(w);
	w->blocked = false;
	world_pass(w, TD_MS(1));
	assert_int_equal(td_engine_tunnels(w->e), 1);
	assert_int_equal(world_count(w, TD_ACTION_HOOK, ANY_HOOK), 0);
}

static void test_no_slot_twice(void **state)
{
	struct world *w = *state;
	struct client a = client_number(0), b = client_number(1);
	uint8_t record[TD_RECORD_MAX], other[TD_RECORD_MAX];
	struct td_engine *e = fresh(w);
	size_t size;

	assert_true(client_join(w, &a) && client_join(w, &b));
	size = export(w, &a, record);
	assert_int_equal(adopt(e, w, record, size), 0);
	assert_int_equal(adopt(e, w, record, size), -EEXIST);
	/* Another slot, but the same flow and UUID. */
	memcpy(other, record, size);
	other[5] = 1;                    /* index */
	other[13] = (uint8_t)(BASE + 1); /* tunnel id */
	other[17] = 1;                   /* session id */
	assert_int_equal(adopt(e, w, other, size), -EEXIST);
	/* … and only the same UUID. */
	other[40] ^= 0x40; /* in the peer's address */
	assert_int_equal(adopt(e, w, other, size), -EEXIST);
	size = export(w, &b, other);
	assert_int_equal(adopt(e, w, other, size), 0);
	assert_int_equal(td_engine_tunnels(e), 2);
	free(e);
}

static void test_other_configuration(void **state)
{
	struct world *w = *state;
	struct client c[4];
	uint8_t record[TD_RECORD_MAX];
	struct td_engine *e;
	size_t size;

	for (unsigned n = 0; n < 4; n++) {
		c[n] = client_number(n);
		assert_true(client_join(w, &c[n]));
	}
	size = export(w, &c[3], record);
	w->config.max_tunnels = 3; /* its slot is no more */
	e = fresh(w);
	assert_int_equal(adopt(e, w, record, size), -EINVAL);
	free(e);
	w->config.max_tunnels = 4;
	w->config.tunnel_id_base = BASE + 1; /* its id is another's */
	e = fresh(w);
	assert_int_equal(adopt(e, w, record, size), -EINVAL);
	free(e);
	w->config.tunnel_id_base = BASE;
}

/* Adopts it if it is let in, and lets it live for a while; whatever it is, it must end. */
static void live_through(const struct world *w, const uint8_t *record, size_t size)
{
	struct world other;
	struct td_handle handle;
	struct td_action action;
	struct td_engine_tx to;
	uint8_t bytes[TD_ENGINE_TX_MAX];

	world_start(&other, &w->config);
	other.now = w->now;
	if (td_engine_adopt(other.e, record, size, &handle, other.now) == 0) {
		check_engine(other.e);
		for (int s = 0; s < 40 && !td_engine_idle(other.e); s++) {
			unsigned rounds = 0;

			if (s == 30) /* a hook that nobody runs is waited for, else */
				td_engine_shutdown(other.e, 0, other.now);
			td_engine_tick(other.e, other.now);
			while (td_engine_tx(other.e, &to, bytes, sizeof(bytes), other.now) > 0)
				assert_true(++rounds < 1000);
			while (td_engine_next_action(other.e, &action, other.now)) {
				assert_true(++rounds < 1000);
				if (action.kind == TD_ACTION_SET_MTU)
					assert_in_range(action.session->mtu, 1280, 1500);
				td_engine_result(other.e, action.handle, action.sequence, 0,
						 other.now);
			}
			check_engine(other.e);
			other.now = td_time_add(other.now, TD_SECONDS(10));
		}
		assert_true(td_engine_idle(other.e));
	}
	world_end(&other);
}

static void damage(const struct world *w, const uint8_t *record, size_t size)
{
	uint8_t damaged[TD_RECORD_MAX + 1];

	for (size_t cut = 0; cut < size; cut++)
		live_through(w, record, cut);
	for (size_t at = 0; at < size; at++) {
		for (unsigned kind = 0; kind < 11; kind++) {
			memcpy(damaged, record, size);
			if (kind < 8)
				damaged[at] ^= (uint8_t)(1u << kind);
			else
				damaged[at] = kind == 8 ? 0 : kind == 9 ? 0xff : 0x14;
			live_through(w, damaged, size);
		}
		/* Whole fields. */
		memcpy(damaged, record, size);
		memset(damaged + at, 0xff, size - at < 4 ? size - at : 4);
		live_through(w, damaged, size);
	}
	memcpy(damaged, record, size);
	damaged[size] = 0;
	assert_int_equal(td_engine_adopt(w->e, damaged, size + 1, &(struct td_handle){ 0 }, w->now),
			 -EINVAL);
}

static void test_damaged_records_of_every_state(void **state)
{
	struct world *w = *state;

	for (int stage = 0; stage < 5; stage++) {
		struct client c = client_number(0);
		uint8_t record[TD_RECORD_MAX];
		size_t size;

		teardown(state);
		setup(state);
		w->hook[TD_HOOK_UP].delay_us = stage == 1 ? HOLD : 0;
		w->hook[TD_HOOK_PRE_DOWN].delay_us = TD_SECONDS(1);
		w->hook[TD_HOOK_DOWN].delay_us = HOLD;
		w->path[TD_ACTION_DESTROY].delay_us = TD_SECONDS(1);
		assert_true(client_join(w, &c));
		notify(w, &c, 1400);
		if (stage >= 2)
			client_send_type(w, &c, TD_MSG_ERROR);
		world_pass(w, stage == 3 ? TD_MS(1500) : stage == 4 ? TD_MS(2500) : 0);
		size = export(w, &c, record);
		assert_in_range(size, 50, TD_RECORD_MAX);
		damage(w, record, size);
	}
}

/* What an old engine had asked for ends at last, in the new one, which did not adopt that session:
 * it is not taken for the result of another one in its slot. */
static void test_results_for_the_engine_before(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);
	struct deed old;

	w->path[TD_ACTION_CREATE].delay_us = HOLD;
	assert_false(client_join(w, &c));
	old = *world_open(w, TD_ACTION_CREATE, ANY_HOOK);
	world_upgrade(w);
	assert_true(td_engine_idle(w->e));
	assert_false(client_join(w, &c));
	assert_int_equal(world_open(w, TD_ACTION_CREATE, ANY_HOOK)->action.handle.index,
			 old.action.handle.index);
	td_engine_result(w->e, old.action.handle, old.action.sequence, 0, w->now);
	assert_int_equal(world_count(w, TD_ACTION_UP, ANY_HOOK), 0);
}

/* A hook that its state does not have to run, and a UUID that must not reach a script. */
static void test_impossible_records(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);
	uint8_t record[TD_RECORD_MAX];
	struct td_engine *e = fresh(w);
	size_t size;

	assert_true(client_join(w, &c));
	size = export(w, &c, record);
	record[size - c.uuid_len - 2] = HOOK(TD_HOOK_DOWN);
	assert_int_equal(adopt(e, w, record, size), -EINVAL);
	record[size - c.uuid_len - 2] = HOOK(TD_HOOK_UP);
	record[size - 1] = '$';
	assert_int_equal(adopt(e, w, record, size), -EINVAL);
	record[size - 1] = 'x';
	assert_int_equal(adopt(e, w, record, size), 0);
	free(e);
}

static void test_unknown_version(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0);
	uint8_t record[TD_RECORD_MAX];
	struct td_engine *e = fresh(w);
	size_t size;

	assert_true(client_join(w, &c));
	size = export(w, &c, record);
	record[0]++;
	assert_int_equal(adopt(e, w, record, size), -EINVAL);
	free(e);
}

/* The slots of adopted sessions are in the list of free ones until they are passed over. */
static void test_adopted_slots_are_freed_and_used_again(void **state)
{
	struct world *w = *state;
	struct client c[8];

	for (unsigned n = 0; n < 8; n++)
		c[n] = client_number(n);
	for (unsigned n = 0; n < 3; n++)
		assert_true(client_join(w, &c[n]));
	world_upgrade(w);
	client_send_type(w, &c[1], TD_MSG_ERROR);
	for (unsigned n = 4; n < 6; n++)
		assert_true(client_join(w, &c[n]));
	assert_int_equal(td_engine_tunnels(w->e), 4);
	for (unsigned n = 0; n < 6; n++)
		client_send_type(w, &c[n], TD_MSG_ERROR);
	assert_true(td_engine_idle(w->e));
	for (unsigned n = 0; n < 4; n++)
		assert_true(client_join(w, &c[n]));
}

/* Its ERROR could not be sent yet: the slot is not free, though its list says so. */
static void test_an_adopted_slot_is_not_taken_before_it_is_free(void **state)
{
	struct world *w = *state;
	struct client c = client_number(0), other = client_number(1);
	uint8_t record[TD_RECORD_MAX];
	struct td_handle handle;
	struct td_msg msg;
	size_t size;

	assert_true(client_join(w, &c));
	size = export(w, &c, record);
	world_upgrade(w);
	assert_true(client_greet(w, &other));
	w->blocked = true;
	world_pass(w, TD_SECONDS(125)); /* ended, but for its ERROR */
	assert_int_equal(td_engine_adopt(w->e, record, size, &handle, w->now), -EEXIST);
	client_prepare(w, &other);
	assert_int_equal(td_engine_tunnels(w->e), 2);
	w->blocked = false;
	world_settle(w);
	assert_true(client_hears(w, &c, TD_MSG_ERROR, &msg));
	assert_true(client_hears(w, &other, TD_MSG_TUNNEL, &msg));
	assert_int_equal(td_engine_tunnels(w->e), 1);
	client_send_type(w, &other, TD_MSG_ERROR);
	assert_true(td_engine_idle(w->e));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_round_trip_of_everything),
		TEST(test_adopted_lives_on),
		TEST(test_adopted_times_out),
		TEST(test_half_made_tunnels_are_not_exported),
		TEST(test_running_hooks_go_on),
		TEST(test_flow_of_a_session_that_is_down_is_free),
		TEST(test_work_under_way_begins_again),
		TEST(test_mtu_is_set_again),
		TEST(test_hooks_of_another_configuration),
		TEST(test_no_slot_twice),
		TEST(test_other_configuration),
		TEST(test_damaged_records_of_every_state),
		TEST(test_results_for_the_engine_before),
		TEST(test_impossible_records),
		TEST(test_unknown_version),
		TEST(test_adopted_slots_are_freed_and_used_again),
		TEST(test_an_adopted_slot_is_not_taken_before_it_is_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
