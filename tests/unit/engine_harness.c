/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "engine_harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS_MAX 200000 /* without time passing: more is an endless loop */

/* --- the world --- */

struct td_engine_config config_for(uint32_t max_tunnels)
{
	struct td_engine_config config = {
		.max_tunnels = max_tunnels,
		.tunnel_id_base = BASE,
		.max_mtu = 1500,
		.rate = NO_LIMIT,
		.rate_per_ip = NO_LIMIT,
		.rate_per_uuid = NO_LIMIT,
		.seed = 1,
	};

	memset(config.cookie_key, 0x5a, sizeof(config.cookie_key));
	memset(config.index_key, 0xa5, sizeof(config.index_key));
	return config;
}

void world_start(struct world *w, const struct td_engine_config *config)
{
	memset(w, 0, sizeof(*w));
	w->config = *config;
	w->now = (struct td_time){ TD_SECONDS(1000) };
	w->stop_at = TD_NEVER;
	/* One byte more would be found by the address sanitizer. */
	w->memory = malloc(td_engine_size(config->max_tunnels));
	memset(w->memory, 0xee, td_engine_size(config->max_tunnels));
	w->e = td_engine_init(w->memory, config, w->now);
	w->watches = calloc(config->max_tunnels, sizeof(*w->watches));
}

void world_end(struct world *w)
{
	free(w->memory);
	free(w->watches);
	free(w->datagrams);
	free(w->deeds);
}

static void forget_path_deeds(struct world *w)
{
	for (size_t i = 0; i < w->deed_count; i++) {
		if (w->deeds[i].open && w->deeds[i].action.kind != TD_ACTION_HOOK) {
			w->deeds[i].open = false;
			w->open_count--;
		}
	}
}

void world_upgrade(struct world *w)
{
	const size_t memory_size = td_engine_size(w->config.max_tunnels);
	struct td_engine *old = w->e;
	void *old_memory = w->memory;

	w->memory = malloc(memory_size);
	memset(w->memory, 0xdd, memory_size);
	w->config.seed++; /* as random as any */
	w->e = td_engine_init(w->memory, &w->config, w->now);
	forget_path_deeds(w);
	for (uint32_t i = w->config.max_tunnels; i-- > 0;) {
		struct watch *v = &w->watches[i];
		uint8_t record[TD_RECORD_MAX];
		struct td_handle handle;
		size_t size = v->live ? td_engine_export(old, v->handle, record, w->now) : 0;

		v->path_sequence = 0;
		v->destroys = 0;
		/* The new engine does not know that the time for hooks was over. */
		v->destroying |= v->closing && td_time_reached(w->stop_at, w->now);
		v->hooks_over |= v->gone && td_time_reached(w->stop_at, w->now);
		if (size == 0) {
			*v = (struct watch){ 0 };
			continue;
		}
		assert_int_equal(td_engine_adopt(w->e, record, size, &handle, w->now), 0);
		assert_true(td_handle_equal(handle, v->handle));
	}
	free(old_memory);
	w->stopping = false;
	w->stop_at = TD_NEVER;
	world_settle(w);
}

void world_forget(struct world *w)
{
	size_t kept = 0;

	for (size_t i = 0; i < w->deed_count; i++)
		if (w->deeds[i].open)
			w->deeds[kept++] = w->deeds[i];
	w->deed_count = kept;
	w->datagram_count = 0;
}

static void *grow(void *array, size_t count, size_t *room, size_t size)
{
	if (count < *room)
		return array;
	*room = *room ? *room * 2 : 64;
	array = realloc(array, *room * size);
	assert_non_null(array);
	return array;
}

static void record_datagram(struct world *w, const struct td_engine_tx *to, const uint8_t *bytes,
			    size_t size)
{
	struct datagram d = { .flow = to->flow, .size = size, .at = w->now };

	assert_true(size >= TD_MSG_MIN_SIZE && size <= TD_ENGINE_TX_MAX);
	assert_int_equal(td_msg_parse(&d.msg, TD_FROM_BROKER, bytes, size), 0);
	w->datagrams = grow(w->datagrams, w->datagram_count, &w->datagram_room, sizeof(d));
	w->datagrams[w->datagram_count++] = d;
}

static bool drain_tx(struct world *w)
{
	uint8_t bytes[TD_ENGINE_TX_MAX];
	struct td_engine_tx to;
	const size_t before = w->datagram_count;
	size_t size;

	if (w->blocked)
		return false;
	while ((size = td_engine_tx(w->e, &to, bytes, sizeof(bytes), w->now)) > 0) {
		record_datagram(w, &to, bytes, size);
		assert_true(w->datagram_count - before < ROUNDS_MAX);
	}
	return w->datagram_count > before;
}

static bool needs_answer(const struct td_action *action)
{
	switch (action->kind) {
	case TD_ACTION_CREATE:
	case TD_ACTION_SET_MTU:
	case TD_ACTION_SET_RATE:
	case TD_ACTION_DESTROY:
		return true;
	case TD_ACTION_HOOK:
		return action->handle.generation != 0;
	case TD_ACTION_UP:
	case TD_ACTION_DOWN:
	case TD_ACTION_CHANGED:
	case TD_ACTION_FREED:
	case TD_ACTION_COUNT:
		break;
	}
	return false;
}

static void record_deed(struct world *w, const struct td_action *action)
{
	struct deed d = { .action = *action, .session = *action->session, .at = w->now };

	d.due = TD_NEVER;
	if (needs_answer(action)) {
		const struct manners *manners = action->kind == TD_ACTION_HOOK
							? &w->hook[action->hook]
							: &w->path[action->kind];

		d.open = true;
		d.err = manners->err;
		if (manners->delay_us != HOLD)
			d.due = td_time_add(w->now, manners->delay_us);
		w->open_count++;
	}
	w->deeds = grow(w->deeds, w->deed_count, &w->deed_room, sizeof(d));
	w->deeds[w->deed_count++] = d;
}

static void report_counts(struct world *w)
{
	w->counts++;
	for (uint32_t i = 0; i < w->config.max_tunnels && !w->uncountable; i++)
		td_engine_counted(w->e, w->watches[i].handle, w->data_sent, w->data_received,
				  w->now);
}

static bool drain_actions(struct world *w)
{
	const size_t before = w->deed_count;
	struct td_action action;

	while (td_engine_next_action(w->e, &action, w->now)) {
		if (action.kind == TD_ACTION_COUNT) {
			report_counts(w);
			continue;
		}
		oracle_action(w, &action);
		record_deed(w, &action);
		assert_true(w->deed_count - before < ROUNDS_MAX);
	}
	return w->deed_count > before;
}

static void give_answer(struct world *w, struct deed *deed)
{
	deed->open = false;
	w->open_count--;
	oracle_answer(w, deed);
	td_engine_result(w->e, deed->action.handle, deed->action.sequence, deed->err, w->now);
}

static bool answer_due(struct world *w)
{
	bool any = false;

	for (size_t i = 0; w->open_count > 0 && i < w->deed_count; i++) {
		if (!w->deeds[i].open || !td_time_reached(w->deeds[i].due, w->now))
			continue;
		give_answer(w, &w->deeds[i]);
		any = true;
	}
	return any;
}

/* Clients acknowledge the probes that fit through the path. */
static bool acknowledge(struct world *w, size_t from)
{
	bool any = false;

	for (size_t i = from; i < w->datagram_count; i++) {
		const struct datagram d = w->datagrams[i];
		struct td_msg ack = { .type = TD_MSG_PMTUD_ACK, .size = (uint16_t)d.size };
		uint8_t bytes[TD_MSG_MIN_SIZE];

		if (d.msg.type != TD_MSG_PMTUD || d.size > w->path_size)
			continue;
		td_engine_rx(w->e, &d.flow, bytes,
			     td_msg_put(&ack, TD_FROM_CLIENT, bytes, sizeof(bytes)), w->now);
		any = true;
	}
	return any;
}

void world_settle(struct world *w)
{
	bool busy = true;

	for (unsigned rounds = 0; busy; rounds++) {
		const size_t from = w->datagram_count;

		assert_true(rounds < ROUNDS_MAX);
		busy = drain_tx(w);
		busy = drain_actions(w) || busy;
		busy = answer_due(w) || busy;
		busy = acknowledge(w, from) || busy;
	}
	check_engine(w->e);
}

static struct td_time next_event(const struct world *w)
{
	struct td_time next = td_engine_deadline(w->e);

	for (size_t i = 0; w->open_count > 0 && i < w->deed_count; i++)
		if (w->deeds[i].open)
			next = td_time_min(next, w->deeds[i].due);
	return next;
}

void world_pass(struct world *w, int64_t us)
{
	const struct td_time end = td_time_add(w->now, us);

	world_settle(w);
	for (unsigned rounds = 0;; rounds++) {
		const struct td_time next = next_event(w);

		if (!td_time_reached(next, end))
			break;
		if (next.us > w->now.us) {
			w->now = next;
			rounds = 0;
		}
		assert_true(rounds < 100);
		td_engine_tick(w->e, w->now);
		if (td_time_reached(td_engine_deadline(w->e), w->now))
			fail_msg("a timer is still in the past after tick");
		world_settle(w);
	}
	w->now = end;
}

void world_shutdown(struct world *w, int64_t limit_us)
{
	if (!w->stopping)
		w->stop_at = td_time_add(w->now, limit_us);
	w->stopping = true;
	td_engine_shutdown(w->e, limit_us, w->now);
	world_settle(w);
}

static bool is(const struct deed *d, enum td_action_kind kind, enum td_hook hook)
{
	return d->action.kind == kind && (hook == ANY_HOOK || d->action.hook == hook);
}

bool world_is_open(struct world *w, enum td_action_kind kind, enum td_hook hook)
{
	for (size_t i = 0; i < w->deed_count; i++)
		if (w->deeds[i].open && is(&w->deeds[i], kind, hook))
			return true;
	return false;
}

struct deed *world_open(struct world *w, enum td_action_kind kind, enum td_hook hook)
{
	struct deed *found = NULL;

	for (size_t i = 0; i < w->deed_count; i++) {
		if (!w->deeds[i].open || !is(&w->deeds[i], kind, hook))
			continue;
		assert_null(found);
		found = &w->deeds[i];
	}
	assert_non_null(found);
	return found;
}

void world_answer(struct world *w, struct deed *deed, int err)
{
	assert_true(deed->open);
	deed->err = err;
	give_answer(w, deed);
	world_settle(w);
}

unsigned world_count(const struct world *w, enum td_action_kind kind, enum td_hook hook)
{
	unsigned count = 0;

	for (size_t i = 0; i < w->deed_count; i++)
		count += is(&w->deeds[i], kind, hook);
	return count;
}

const struct deed *world_last(const struct world *w, enum td_action_kind kind, enum td_hook hook)
{
	for (size_t i = w->deed_count; i > 0; i--)
		if (is(&w->deeds[i - 1], kind, hook))
			return &w->deeds[i - 1];
	return NULL;
}
