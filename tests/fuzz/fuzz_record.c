/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Records of sessions, as a worker gets them from the one before it: refused, or taken over; then
 * they say the same when they are exported again, the engine stays consistent with whatever they
 * claimed, and comes to an end.
 *
 * Input: what the shell answers (bit 0 hooks fail, bit 1 the data path fails, bit 2 the MTU is
 * fixed), the hooks that are configured, then (u8 length, record)… Length 0: a genuine record, of
 * which tunnel, how many of its bytes are changed, (place, value)…; so that what is tested does not
 * end at a version that is refused, whatever becomes of their form.
 */
#include <errno.h>

#include "../unit/engine_harness.h"
#include "fuzz.h"

#define TUNNELS 6
#define ROUNDS  10000 /* more is an endless loop */

static struct record {
	uint8_t bytes[TD_RECORD_MAX];
	size_t size;
} genuine[TUNNELS];

struct shell {
	struct td_engine *e;
	struct td_time now;
	int hook_result, path_result;
};

static int result_of(const struct shell *s, const struct td_action *action)
{
	if (action->kind == TD_ACTION_HOOK)
		return s->hook_result;
	/* What is to be removed may be gone, but it does not fail for ever. */
	return action->kind == TD_ACTION_DESTROY && s->path_result ? -ENODEV : s->path_result;
}

static void drain(struct shell *s)
{
	uint8_t bytes[TD_ENGINE_TX_MAX];
	struct td_engine_tx to;
	struct td_action action;
	struct td_msg msg;
	unsigned rounds = 0;
	size_t size;

	do {
		while ((size = td_engine_tx(s->e, &to, bytes, sizeof(bytes), s->now)) > 0) {
			assert_int_equal(td_msg_parse(&msg, TD_FROM_BROKER, bytes, size), 0);
			assert_true(++rounds < ROUNDS);
		}
		if (!td_engine_next_action(s->e, &action, s->now))
			break;
		assert_true(++rounds < ROUNDS);
		assert_true(action.handle.index < TUNNELS);
		td_engine_result(s->e, action.handle, action.sequence, result_of(s, &action),
				 s->now);
	} while (true);
	check_engine(s->e);
}

static void pass(struct shell *s, int64_t us)
{
	const struct td_time end = td_time_add(s->now, us);

	for (unsigned rounds = 0; td_time_reached(td_engine_deadline(s->e), end); rounds++) {
		assert_true(rounds < ROUNDS);
		if (td_engine_deadline(s->e).us > s->now.us)
			s->now = td_engine_deadline(s->e);
		td_engine_tick(s->e, s->now);
		assert_false(td_time_reached(td_engine_deadline(s->e), s->now));
		drain(s);
	}
	s->now = end;
}

static struct td_engine *engine_new(const struct td_engine_config *config, struct td_time now)
{
	void *memory = malloc(td_engine_size(config->max_tunnels));

	assert_non_null(memory);
	memset(memory, 0xee, td_engine_size(config->max_tunnels));
	return td_engine_init(memory, config, now);
}

/* One that was taken over can be exported again, and another engine takes it as well and says the
 * same; unless nothing was left to do for it, so that it came to its end at once. */
static void expect_same(const struct shell *s, const struct td_engine_config *config,
			struct td_handle handle)
{
	uint8_t record[TD_RECORD_MAX], again[TD_RECORD_MAX];
	const size_t size = td_engine_export(s->e, handle, record, s->now);
	struct td_engine *other;
	struct td_handle also;

	assert_int_equal(size > 0, td_engine_session(s->e, handle) != NULL);
	if (size == 0)
		return;
	other = engine_new(config, s->now);
	assert_int_equal(td_engine_adopt(other, record, size, &also, s->now), 0);
	assert_true(td_handle_equal(handle, also));
	assert_int_equal(td_engine_export(other, also, again, s->now), size);
	assert_memory_equal(record, again, size);
	free(other);
}

static void make_genuine(void)
{
	struct td_engine_config config = config_for(TUNNELS);
	struct world w;

	config.hooks = TUNNEL_HOOKS;
	world_start(&w, &config);
	for (unsigned n = 0; n < TUNNELS; n++) {
		struct client c = n % 3 ? client_number(n) : client_ipv6(1, n);

		if (n % 2)
			c.features |= TD_FEATURE_DATA_COOKIES | TD_FEATURE_DATA_COUNTS |
				      TD_FEATURE_SPARSE_KEEPALIVES;
		assert_true(client_join(&w, &c));
		genuine[n].size =
			td_engine_export(w.e, client_handle(&w, &c), genuine[n].bytes, w.now);
		assert_true(genuine[n].size > 0);
	}
	world_end(&w);
}

static struct record read_record(struct td_reader *r)
{
	struct record record = { .size = td_read_u8(r) };

	if (record.size > 0) {
		struct td_reader piece = fuzz_piece(r, record.size);

		record.size = piece.left;
		td_read_bytes(&piece, record.bytes, record.size);
		return record;
	}
	record = genuine[td_read_u8(r) % TUNNELS];
	for (unsigned changes = td_read_u8(r) % 16; changes > 0; changes--) {
		const size_t place = td_read_u8(r) % record.size;

		record.bytes[place] = td_read_u8(r);
	}
	return record;
}

static void adopt_all(struct shell *s, const struct td_engine_config *config, struct td_reader *r)
{
	while (r->left > 0) {
		const struct record input = read_record(r);
		uint8_t *record = fuzz_copy(input.bytes, input.size);
		struct td_handle handle;
		const int err = td_engine_adopt(s->e, record, input.size, &handle, s->now);

		assert_true(err == 0 || err == -EINVAL || err == -EEXIST);
		if (err == 0)
			expect_same(s, config, handle);
		check_engine(s->e);
		free(record);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct td_reader r = td_reader_init(bytes, size);
	struct td_engine_config config = config_for(TUNNELS);
	struct shell s = { .now = { TD_SECONDS(1000) } };
	const uint8_t manners = td_read_u8(&r);

	if (genuine[0].size == 0)
		make_genuine();
	s.hook_result = manners & 1 ? -EIO : 0;
	s.path_result = manners & 2 ? -EIO : 0;
	config.fixed_mtu = manners & 4 ? 1364 : 0;
	config.hooks = td_read_u8(&r) & TUNNEL_HOOKS;
	s.e = engine_new(&config, s.now);
	adopt_all(&s, &config, &r);
	drain(&s);
	pass(&s, TD_SECONDS(30));
	td_engine_shutdown(s.e, TD_SECONDS(5), s.now);
	drain(&s);
	pass(&s, TD_SECONDS(600));
	assert_true(td_engine_idle(s.e));
	free(s.e);
	return 0;
}
