/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Rare things that happen to the engine: what tests/coverage found that no other test did. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/engine_impl.h"
#include "engine_harness.h"

/* Started anew behind the same port while it waits: only its data cookie tells. */
static void test_an_applicant_with_another_data_cookie_is_another_one(void **state)
{
	struct td_engine_config config = config_for(4);
	struct client c = client_number(0), other = client_number(1), again;
	struct td_msg msg;
	struct world w;

	(void)state;
	config.rate = (struct td_rate){ TD_SECONDS(2), 1 };
	world_start(&w, &config);
	assert_true(client_join(&w, &other));
	c.features = UNIQUE | TD_FEATURE_DATA_COOKIES;
	assert_true(client_greet(&w, &c));
	client_prepare(&w, &c);
	again = c;
	again.data_cookie[7] ^= 1;
	client_prepare(&w, &again);
	assert_int_equal(check_applicants(w.e), 1);
	world_pass(&w, TD_SECONDS(2));
	assert_true(client_hears(&w, &c, TD_MSG_TUNNEL, &msg));
	assert_memory_equal(td_engine_session(w.e, client_handle(&w, &c))->peer_cookie,
			    again.data_cookie, TD_DATA_COOKIE);
	world_end(&w);
}

/* It was limited, and gave up before the shell asked what to do. */
static void test_no_hook_for_who_is_gone(void **state)
{
	struct td_engine_config config = config_for(4);
	struct client c = client_number(0);
	const uint8_t error[] = { 0x80, 0x73, 0xa7, 1, TD_MSG_ERROR, 1, 0x11, 0, 0, 0, 0, 0 };
	struct td_msg msg = { .type = TD_MSG_PREPARE };
	struct td_action action;
	uint8_t bytes[TD_ENGINE_TX_MAX];
	struct world w;
	size_t size;

	(void)state;
	config.rate_per_ip = (struct td_rate){ TD_SECONDS(60), 1 };
	config.hooks = HOOK(TD_HOOK_RATE_LIMITED);
	world_start(&w, &config);
	assert_true(client_join(&w, &c));
	c.flow.peer.port++;
	client_rename(&c, "another");
	assert_true(client_greet(&w, &c));
	memcpy(msg.prepare.cookie, c.cookie, sizeof(c.cookie));
	msg.prepare.uuid_len = c.uuid_len;
	msg.prepare.uuid = c.uuid;
	size = td_msg_put(&msg, TD_FROM_CLIENT, bytes, sizeof(bytes));
	td_engine_rx(w.e, &c.flow, bytes, size, w.now);
	assert_int_equal(check_applicants(w.e), 1);
	td_engine_rx(w.e, &c.flow, error, sizeof(error), w.now);
	assert_int_equal(check_applicants(w.e), 0);
	assert_false(td_engine_next_action(w.e, &action, w.now));
	world_end(&w);
}

/* 0 means none: no action may have it. */
static void test_sequence_numbers_pass_over_zero(void **state)
{
	struct td_engine_config config = config_for(1);
	struct client c = client_number(0);
	struct world w;

	(void)state;
	config.hooks = 0;
	world_start(&w, &config);
	assert_true(client_join(&w, &c));
	w.e->sessions[0].sequence = UINT32_MAX;
	client_send_limit(&w, &c, 1, 1024);
	assert_int_equal(world_last(&w, TD_ACTION_SET_RATE, ANY_HOOK)->action.sequence, 1);
	client_send_limit(&w, &c, 2, 2048);
	assert_int_equal(world_last(&w, TD_ACTION_SET_RATE, ANY_HOOK)->action.sequence, 2);
	world_end(&w);
}

/* Generation 0 is no session's: a result for TD_NO_HANDLE would fit it. */
static void test_a_record_without_generation_is_refused(void **state)
{
	struct td_engine_config config = config_for(1);
	struct client c = client_number(0);
	uint8_t record[TD_RECORD_MAX];
	struct td_handle handle;
	struct world w;
	size_t size;
	void *memory;

	(void)state;
	world_start(&w, &config);
	assert_true(client_join(&w, &c));
	size = td_engine_export(w.e, client_handle(&w, &c), record, w.now);
	memset(record + 6, 0, 4); /* behind version, state and slot */
	memory = malloc(td_engine_size(1));
	assert_int_equal(td_engine_adopt(td_engine_init(memory, &config, w.now), record, size,
					 &handle, w.now),
			 -EINVAL);
	free(memory);
	world_end(&w);
}

/* It lost its interface, and the ERROR cannot be sent: its record must say that it has let go of its
 * flow, or else a new worker takes it for the owner and drops who has the flow now. */
static void test_who_cannot_say_farewell_does_not_keep_its_flow(void **state)
{
	struct td_engine_config config = config_for(2);
	uint8_t old[TD_RECORD_MAX], new[TD_RECORD_MAX];
	struct client c = client_number(0);
	struct td_handle first, handle;
	size_t old_size, new_size;
	struct td_engine *e;
	struct world w;

	(void)state;
	config.hooks = 0;
	world_start(&w, &config);
	assert_true(client_join(&w, &c));
	first = client_handle(&w, &c);
	w.blocked = true;
	td_engine_lost(w.e, first, w.now);
	world_settle(&w);
	assert_int_equal(world_count(&w, TD_ACTION_DESTROY, ANY_HOOK), 1);
	client_prepare(&w, &c);
	world_settle(&w);
	assert_int_equal(world_count(&w, TD_ACTION_CREATE, ANY_HOOK), 2);
	old_size = td_engine_export(w.e, first, old, w.now);
	new_size = td_engine_export(w.e, client_handle(&w, &c), new, w.now);
	assert_true(old_size > 0 && new_size > 0);
	e = td_engine_init(malloc(td_engine_size(2)), &config, w.now);
	assert_int_equal(td_engine_adopt(e, old, old_size, &handle, w.now), 0);
	assert_int_equal(td_engine_adopt(e, new, new_size, &handle, w.now), 0);
	check_engine(e);
	/* It is over, but nobody has been told that its slot is free. */
	assert_int_equal(td_engine_adopt(e, old, old_size, &handle, w.now), -EEXIST);
	free(e);
	w.blocked = false;
	world_settle(&w);
	assert_int_equal(td_engine_tunnels(w.e), 1);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_applicant_with_another_data_cookie_is_another_one),
		cmocka_unit_test(test_no_hook_for_who_is_gone),
		cmocka_unit_test(test_sequence_numbers_pass_over_zero),
		cmocka_unit_test(test_who_cannot_say_farewell_does_not_keep_its_flow),
		cmocka_unit_test(test_a_record_without_generation_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
