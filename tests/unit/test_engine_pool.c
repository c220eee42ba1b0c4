/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The engine's memory: sizes, indexes, handles, and configurations it cannot serve. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/l2tp.h"
#include "engine_harness.h"
#include "faults.h"

#define SAMPLES 300000 /* of a 32-bit hash: a dozen pairs are the same */

struct sample {
	uint32_t hash;
	unsigned n;
};

static int by_hash(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	return (x->hash > y->hash) - (x->hash < y->hash);
}

static uint32_t flow_hash(const struct td_engine *e, unsigned n)
{
	const struct client c = client_number(n);

	return check_hash_flow(e, &c.flow);
}

static uint32_t uuid_hash(const struct td_engine *e, unsigned n)
{
	const struct client c = client_number(100000 + n); /* all of one length */

	return check_hash(e, c.uuid, c.uuid_len);
}

/* Two numbers whose hashes are the same. */
static void find_pair(const struct td_engine *e,
		      uint32_t (*hash)(const struct td_engine *, unsigned), unsigned *a,
		      unsigned *b)
{
	struct sample *samples = calloc(SAMPLES, sizeof(*samples));
	size_t i = 1;

	for (unsigned n = 0; n < SAMPLES; n++)
		samples[n] = (struct sample){ hash(e, n), n };
	qsort(samples, SAMPLES, sizeof(*samples), by_hash);
	while (i < SAMPLES && samples[i].hash != samples[i - 1].hash)
		i++;
	assert_true(i < SAMPLES);
	*a = samples[i].n;
	*b = samples[i - 1].n;
	free(samples);
}

static void test_flows_of_one_hash(void **state)
{
	struct td_engine_config config = config_for(4);
	struct client a, b;
	unsigned n, m;
	struct world w;

	(void)state;
	world_start(&w, &config);
	find_pair(w.e, flow_hash, &n, &m);
	a = client_number(n);
	b = client_number(m);
	assert_true(client_join(&w, &a) && client_join(&w, &b));
	client_send_type(&w, &a, TD_MSG_ERROR);
	assert_non_null(td_engine_session(w.e, client_handle(&w, &b)));
	assert_int_equal(td_engine_tunnels(w.e), 1);
	world_end(&w);
	/* The same for those that wait. */
	config.rate = (struct td_rate){ TD_SECONDS(1), 1 };
	world_start(&w, &config);
	client_join(&w, &(struct client){ client_number(1).flow, "x", 1 });
	assert_false(client_join(&w, &a) || client_join(&w, &b));
	assert_int_equal(check_applicants(w.e), 2);
	client_send_type(&w, &b, TD_MSG_ERROR);
	client_prepare(&w, &a);
	assert_int_equal(check_applicants(w.e), 1);
	world_end(&w);
}

static void test_uuids_of_one_hash(void **state)
{
	const struct td_engine_config config = config_for(4);
	struct client a, b;
	unsigned n, m;
	struct world w;

	(void)state;
	world_start(&w, &config);
	find_pair(w.e, uuid_hash, &n, &m);
	a = client_number(100000 + n);
	b = client_number(100000 + m);
	assert_true(client_join(&w, &a) && client_join(&w, &b));
	client_send_type(&w, &a, TD_MSG_ERROR);
	assert_true(client_join(&w, &a));
	world_end(&w);
}

static void test_names_of_one_length_are_told_apart(void **state)
{
	struct td_engine_config config = config_for(4);
	struct client c = client_number(0), first = client_number(1);
	struct td_msg msg;
	struct world w;

	(void)state;
	world_start(&w, &config);
	assert_true(client_join(&w, &c));
	client_rename(&c, "node-9");
	assert_true(client_join(&w, &c));
	assert_int_equal(td_engine_counters(w.e)->ended[TD_END_REPLACED], 1);
	world_end(&w);
	config.rate = (struct td_rate){ TD_SECONDS(1), 1 };
	world_start(&w, &config);
	assert_true(client_join(&w, &first));
	assert_false(client_join(&w, &c));
	client_rename(&c, "node-8");
	client_prepare(&w, &c);
	world_pass(&w, TD_SECONDS(1));
	assert_true(client_hears(&w, &c, TD_MSG_TUNNEL, &msg));
	assert_string_equal(td_engine_session(w.e, client_handle(&w, &c))->uuid, "node-8");
	world_end(&w);
}

static void test_the_largest_pool(void **state)
{
	struct td_engine_config config = config_for(65535);
	struct td_engine *e;
	void *memory;

	(void)state;
	config.tunnel_id_base = 1;
	/* Less than 100 MB for 65535 tunnels, and for few of them next to nothing. */
	assert_in_range(td_engine_size(65535), 1, 100000000);
	assert_in_range(td_engine_size(1), 1, 100000);
	memory = malloc(td_engine_size(65535));
	e = td_engine_init(memory, &config, (struct td_time){ 0 });
	check_engine(e);
	assert_true(td_engine_idle(e));
	free(memory);
}

static void test_many_at_once(void **state)
{
	const struct td_engine_config config = config_for(3000);
	static struct client c[3000];
	void *memory = malloc(td_engine_size(3000));
	struct td_engine *e = td_engine_init(memory, &config, (struct td_time){ 0 });
	struct td_time now = { TD_SECONDS(1) };

	(void)state;
	for (unsigned n = 0; n < 3000; n++) {
		struct td_msg msg = { .type = TD_MSG_COOKIE };
		uint8_t bytes[TD_MSG_MAX_SIZE];
		struct td_engine_tx to;
		struct td_action action;
		size_t size;

		c[n] = client_number(n);
		td_engine_rx(e, &c[n].flow, bytes,
			     td_msg_put(&msg, TD_FROM_CLIENT, bytes, sizeof(bytes)), now);
		size = td_engine_tx(e, &to, bytes, sizeof(bytes), now);
		assert_int_equal(td_msg_parse(&msg, TD_FROM_BROKER, bytes, size), 0);
		memcpy(c[n].cookie, msg.cookie, sizeof(c[n].cookie));
		msg = (struct td_msg){ .type = TD_MSG_PREPARE };
		memcpy(msg.prepare.cookie, c[n].cookie, sizeof(c[n].cookie));
		msg.prepare.uuid_len = c[n].uuid_len;
		msg.prepare.uuid = c[n].uuid;
		td_engine_rx(e, &c[n].flow, bytes,
			     td_msg_put(&msg, TD_FROM_CLIENT, bytes, sizeof(bytes)), now);
		while (td_engine_next_action(e, &action, now))
			if (action.kind == TD_ACTION_CREATE)
				td_engine_result(e, action.handle, action.sequence, 0, now);
		while (td_engine_tx(e, &to, bytes, sizeof(bytes), now) > 0)
			;
	}
	assert_int_equal(td_engine_counters(e)->established, 3000);
	check_engine(e);
	free(memory);
}

/* The last generation is followed by the first, never by "none". */
static void test_generations_begin_again(void **state)
{
	const struct td_engine_config config = config_for(1);
	struct client c = client_number(0);
	uint8_t record[TD_RECORD_MAX];
	struct td_handle handle;
	struct world w;
	size_t size;

	(void)state;
	world_start(&w, &config);
	assert_true(client_join(&w, &c));
	size = td_engine_export(w.e, client_handle(&w, &c), record, w.now);
	world_end(&w);
	world_start(&w, &config);
	memset(record + 6, 0xff, 4);
	assert_int_equal(td_engine_adopt(w.e, record, size, &handle, w.now), 0);
	assert_int_equal(handle.generation, UINT32_MAX);
	w.watches[0] =
		(struct watch){ .live = true, .created = true, .up = true, .handle = handle };
	world_settle(&w);
	client_send_type(&w, &c, TD_MSG_ERROR);
	assert_true(td_engine_idle(w.e));
	assert_true(client_join(&w, &c));
	assert_int_equal(client_handle(&w, &c).generation, 1);
	world_end(&w);
}

/* A late refusal needs a place to wait in; without one, the client hears nothing. */
static void test_no_place_for_a_refusal(void **state)
{
	struct td_engine_config config = config_for(2);
	struct client c = client_number(900);
	struct world w;

	(void)state;
	world_start(&w, &config);
	w.path[TD_ACTION_CREATE] = (struct manners){ TD_SECONDS(1), -EIO };
	assert_false(client_join(&w, &c));
	for (unsigned n = 0; n < 64; n++) {
		struct client bad = client_number(n);

		client_rename(&bad, "-");
		client_join(&w, &bad);
	}
	world_pass(&w, TD_SECONDS(1));
	client_prepare(&w, &c);
	world_pass(&w, TD_SECONDS(15));
	assert_int_equal(client_unread(&w, &c), 0);
	assert_true(td_engine_idle(w.e));
	world_end(&w);
}

/* --- configurations that are faults of the caller --- */

static struct td_engine_config wrong;

static void init_wrong(void)
{
	void *memory = malloc(td_engine_size(wrong.max_tunnels));

	td_engine_init(memory, &wrong, (struct td_time){ 0 });
	free(memory);
}

static void test_wrong_configurations(void **state)
{
	(void)state;
	wrong = config_for(4);
	assert_false(faults(init_wrong));
	wrong.max_tunnels = 0;
	assert_true(faults(init_wrong));
	wrong.max_tunnels = 65536;
	assert_true(faults(init_wrong));
	wrong = config_for(4);
	wrong.tunnel_id_base = 0;
	assert_true(faults(init_wrong));
	wrong.tunnel_id_base = 99996;
	assert_false(faults(init_wrong));
	wrong.tunnel_id_base = 99997;
	assert_true(faults(init_wrong));
	wrong = config_for(4);
	wrong.max_mtu = TD_MTU_MIN - 1;
	assert_true(faults(init_wrong));
	wrong.max_mtu = TD_MTU_MAX + 1;
	assert_true(faults(init_wrong));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flows_of_one_hash),
		cmocka_unit_test(test_uuids_of_one_hash),
		cmocka_unit_test(test_names_of_one_length_are_told_apart),
		cmocka_unit_test(test_the_largest_pool),
		cmocka_unit_test(test_many_at_once),
		cmocka_unit_test(test_generations_begin_again),
		cmocka_unit_test(test_no_place_for_a_refusal),
		cmocka_unit_test(test_wrong_configurations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
