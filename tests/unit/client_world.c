/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "client_world.h"

struct td_addr world_addr(uint32_t broker, uint32_t index)
{
	struct td_addr addr = { .port = 8942,
				.family = index % 2 ? TD_FAMILY_IPV6 : TD_FAMILY_IPV4 };

	addr.ip[0] = 192;
	addr.ip[1] = (uint8_t)broker;
	addr.ip[2] = (uint8_t)index;
	return addr;
}

static struct world_event *world_add(struct world *w, enum world_kind kind, int64_t delay_us)
{
	for (int i = 0; i < WORLD_EVENTS; i++) {
		struct world_event *e = &w->event[i];

		if (e->kind != WORLD_NOTHING)
			continue;
		if (i >= w->event_count)
			w->event_count = i + 1;
		memset(e, 0, offsetof(struct world_event, bytes));
		e->kind = kind;
		e->at = td_time_add(w->now, delay_us);
		return e;
	}
	fail_msg("too many events");
	abort();
}

static bool world_chance(struct world *w, unsigned int percent)
{
	return percent > 0 && td_rng_below(&w->rng, 100) < percent;
}

void world_fly(struct world *w, enum world_kind kind, uint32_t broker, uint32_t slot, uint32_t port,
	       const uint8_t *bytes, size_t size)
{
	int copies =
		world_chance(w, w->loss_percent) ? 0 : 1 + world_chance(w, w->duplicate_percent);

	if (size > w->path)
		return;
	assert_true(size <= WORLD_DATAGRAM);
	while (copies-- > 0) {
		struct world_event *e = world_add(w, kind,
						  w->broker[broker].rtt_us / 2 +
							  td_rng_between(&w->rng, 0, w->jitter_us));

		e->slot = slot;
		e->port = port;
		e->broker = broker;
		e->size = size;
		memcpy(e->bytes, bytes, size);
	}
}

void world_transmit(struct world *w)
{
	uint8_t bytes[9100];
	uint32_t slot = UINT32_MAX;
	size_t size;

	while ((size = td_client_tx(w->c, &slot, bytes, sizeof(bytes), w->now)) > 0) {
		struct world_socket *s = &w->socket[slot];
		uint8_t type = bytes[4];

		assert_true(slot < WORLD_SLOTS);
		assert_true(s->open);
		assert_true(size >= TD_MSG_MIN_SIZE);
		w->sent++;
		w->last_sent[type] = w->now;
		if (type == TD_MSG_PMTUD && size < 2 * TD_MSG_CHALLENGE_SIZE) {
			assert_int_not_equal(size, w->challenge_size); /* no repetition */
			w->challenge_size = size;
			w->challenges++;
		}
		world_fly(w, WORLD_TO_BROKER, s->addr.ip[1], slot, s->port, bytes, size);
	}
}

void world_result(struct world *w, uint32_t sequence, int64_t delay_us, int err)
{
	struct world_event *e;

	if (delay_us == 0) {
		td_client_result(w->c, sequence, err, w->now);
	} else if (delay_us > 0) {
		e = world_add(w, WORLD_RESULT, delay_us);
		e->sequence = sequence;
		e->err = err;
	}
}

void world_tunnel_done(struct world *w, uint32_t sequence, int err)
{
	if (sequence == w->create_sequence && w->creating) {
		w->creating = false;
		w->has_tunnel = err == 0;
	} else if (sequence == w->destroy_sequence && w->destroying) {
		w->destroying = false;
		w->has_tunnel = false;
	}
}

void world_hook(struct world *w, enum td_hook hook)
{
	assert_true(w->has_tunnel && !w->destroying);
	if (hook == TD_HOOK_UP) {
		assert_false(w->up_ran);
		w->ups++;
	} else {
		assert_int_equal(hook, TD_HOOK_DOWN);
		assert_true(w->up_ran);
		w->downs++;
	}
	w->up_ran = hook == TD_HOOK_UP;
}

void world_make(struct world *w, const struct td_client_action *a)
{
	assert_false(w->has_tunnel || w->creating || w->destroying);
	assert_true(w->socket[a->slot].open);
	assert_memory_equal(&a->session->flow.peer, &w->socket[a->slot].addr,
			    sizeof(struct td_addr));
	w->creates++;
	w->creating = true;
	w->tunnel_slot = a->slot;
	w->create_sequence = a->sequence;
	w->session = *a->session;
	w->mtu = a->session->mtu;
	if (w->create_us == 0)
		world_tunnel_done(w, a->sequence, w->create_error);
	world_result(w, a->sequence, w->create_us, w->create_error);
}

void world_remove(struct world *w, const struct td_client_action *a)
{
	assert_true(w->has_tunnel && !w->destroying && !w->up_ran);
	assert_int_equal(a->slot, w->tunnel_slot);
	w->destroys++;
	w->destroying = true;
	w->destroy_sequence = a->sequence;
	if (w->destroy_us == 0)
		world_tunnel_done(w, a->sequence, 0);
	world_result(w, a->sequence, w->destroy_us, 0);
}

void world_open(struct world *w, const struct td_client_action *a)
{
	struct world_socket *s = &w->socket[a->slot];

	assert_false(s->open);
	assert_int_not_equal(a->addr.family, TD_FAMILY_NONE);
	assert_int_equal(a->broker, a->slot / TD_ADDRESSES_MAX);
	w->opens++;
	s->open = w->open_error == 0;
	s->addr = a->addr;
	s->port = ++w->last_port;
	world_result(w, a->sequence, w->open_us, w->open_error);
}

void world_close(struct world *w, uint32_t slot)
{
	assert_true(w->socket[slot].open);
	if (slot == w->tunnel_slot)
		assert_false(w->has_tunnel || w->creating || w->destroying);
	w->socket[slot].open = false;
}

void world_lookup(struct world *w, uint32_t broker)
{
	struct world_event *e = world_add(w, WORLD_RESOLVED, w->broker[broker].lookup_us);

	e->broker = broker;
	w->lookups++;
	assert_true(++w->lookups_running <= 8);
}

void world_log(struct world *w, const struct td_client_action *a)
{
	assert_true(w->states < WORLD_LOGS);
	assert_non_null(a->why);
	assert_true(strlen(a->why) > 0);
	w->state[w->states] = a->state;
	w->state_at[w->states] = w->now;
	w->why[w->states] = a->why;
	w->states++;
}

bool world_said(const struct world *w, const char *why)
{
	for (unsigned int i = 0; i < w->states; i++)
		if (strcmp(w->why[i], why) == 0)
			return true;
	return false;
}

/* Over what the last action has left behind: what an action does not have is zero. */
static bool world_next_action(struct world *w, struct td_client_action *a)
{
	memset(a, 0xee, sizeof(*a));
	if (!td_client_next_action(w->c, a, w->now))
		return false;
	if (a->kind == TD_CLIENT_RESOLVE || a->kind == TD_CLIENT_OPEN ||
	    a->kind == TD_CLIENT_CLOSE || a->kind == TD_CLIENT_STATE)
		assert_null(a->session);
	else
		assert_ptr_equal(a->session, &w->c->session);
	if (a->kind != TD_CLIENT_STATE)
		assert_null(a->why);
	assert_int_equal(a->sequence != 0,
			 a->kind == TD_CLIENT_OPEN || a->kind == TD_CLIENT_CREATE ||
				 a->kind == TD_CLIENT_SET_MTU || a->kind == TD_CLIENT_DESTROY);
	return true;
}

void world_act(struct world *w)
{
	struct td_client_action a;

	while (world_next_action(w, &a)) {
		switch (a.kind) {
		case TD_CLIENT_RESOLVE:
			world_lookup(w, a.broker);
			break;
		case TD_CLIENT_OPEN:
			world_open(w, &a);
			break;
		case TD_CLIENT_CLOSE:
			world_close(w, a.slot);
			break;
		case TD_CLIENT_CREATE:
			world_make(w, &a);
			break;
		case TD_CLIENT_SET_MTU:
			assert_true(w->has_tunnel && !w->destroying);
			w->set_mtus++;
			w->mtu = a.session->mtu;
			world_result(w, a.sequence, w->mtu_us, w->mtu_error);
			break;
		case TD_CLIENT_DESTROY:
			world_remove(w, &a);
			break;
		case TD_CLIENT_COUNT:
			w->counts++;
			if (!w->uncountable)
				td_client_counted(w->c, w->data_sent, w->data_received);
			break;
		case TD_CLIENT_HOOK:
			world_hook(w, a.hook);
			break;
		case TD_CLIENT_STATE:
			world_log(w, &a);
			break;
		}
		world_transmit(w);
	}
}

void world_drain(struct world *w)
{
	world_transmit(w);
	world_act(w);
	world_transmit(w);
	check_client(w->c);
	if (w->c->local.state == TD_LOCAL_ABSENT)
		assert_false(w->has_tunnel || w->creating || w->destroying);
}

static void world_resolved(struct world *w, uint32_t broker)
{
	struct td_addr addrs[32];
	unsigned int count = w->broker[broker].address_count;

	for (unsigned int i = 0; i < count; i++)
		addrs[w->reverse_addresses ? count - 1 - i : i] = world_addr(broker, i);
	w->lookups_running--;
	td_client_resolved(w->c, broker, addrs, count, w->now);
}

static void world_happen(struct world *w, struct world_event *e)
{
	struct world_event event = *e;

	e->kind = WORLD_NOTHING;
	switch (event.kind) {
	case WORLD_NOTHING:
		break;
	case WORLD_TO_BROKER:
		world_broker_rx(w, &event);
		return;
	case WORLD_TO_CLIENT:
		if (!w->socket[event.slot].open || w->socket[event.slot].port != event.port)
			return;
		td_client_rx(w->c, event.slot, event.bytes, event.size, w->now);
		break;
	case WORLD_RESULT:
		world_tunnel_done(w, event.sequence, event.err);
		td_client_result(w->c, event.sequence, event.err, w->now);
		break;
	case WORLD_RESOLVED:
		world_resolved(w, event.broker);
		break;
	}
	w->wakeups++;
	world_drain(w);
}

bool world_step(struct world *w, struct td_time end)
{
	struct world_event *next = NULL;
	struct td_time at = td_time_min(td_client_deadline(w->c), world_broker_time(w));

	for (int i = 0; i < w->event_count; i++)
		if (w->event[i].kind != WORLD_NOTHING && (!next || w->event[i].at.us < next->at.us))
			next = &w->event[i];
	if (next && next->at.us > at.us)
		next = NULL;
	at = next ? next->at : at;
	if (at.us > end.us)
		return false;
	if (at.us > w->now.us)
		w->now = at;
	if (next) {
		world_happen(w, next);
		return true;
	}
	world_broker_tick(w);
	if (td_time_reached(td_client_deadline(w->c), w->now)) {
		w->wakeups++;
		w->ticks_now = w->now.us == w->ticked_at.us ? w->ticks_now + 1 : 0;
		w->ticked_at = w->now;
		assert_true(w->ticks_now < 4); /* it does not spin */
		td_client_tick(w->c, w->now);
		world_drain(w);
		assert_true(td_client_deadline(w->c).us > w->now.us);
	}
	return true;
}

void world_run(struct world *w, int64_t us)
{
	struct td_time end = td_time_add(w->now, us);

	while (world_step(w, end))
		;
	w->now = end;
}

int64_t world_until(struct world *w, enum td_client_state state, int64_t limit_us)
{
	struct td_time start = w->now, end = td_time_add(w->now, limit_us);

	while (td_client_state(w->c) != state)
		if (!world_step(w, end))
			fail_msg("state %d is not entered, but %d", (int)state,
				 (int)td_client_state(w->c));
	return td_time_since(w->now, start);
}

struct world *world_new(uint32_t brokers, enum td_selection selection, uint64_t seed)
{
	struct world *w = calloc(1, sizeof(*w));

	if (w == NULL)
		abort();
	assert_true(brokers <= WORLD_BROKERS);
	w->now.us = TD_SECONDS(100);
	td_rng_init(&w->rng, ~seed);
	w->path = 1472;
	w->tunnel_slot = UINT32_MAX;
	w->config = (struct td_client_config){
		.uuid = "node-1",
		.ifname = "l2tp0",
		.tunnel_id = 7,
		.broker_count = brokers,
		.max_mtu = TD_MTU_DEFAULT,
		.selection = selection,
		.seed = seed,
	};
	for (int i = 0; i < WORLD_BROKERS; i++)
		w->broker[i] = (struct world_broker){ .address_count = 1,
						      .rtt_us = TD_MS(20),
						      .lookup_us = TD_MS(5),
						      .tunnel_id = 100 + 10 * (uint32_t)i,
						      .has_keepalives = true };
	return w;
}

struct world *world_start(struct world *w)
{
	void *memory = malloc(td_client_size(w->config.broker_count));

	assert_non_null(memory);
	w->c = td_client_init(memory, &w->config, w->now);
	world_drain(w);
	return w;
}

struct world *world_up(struct world *w)
{
	world_start(w);
	world_until(w, TD_CLIENT_UP, TD_SECONDS(30));
	return w;
}

uint32_t world_broker_of_tunnel(const struct world *w)
{
	assert_true(w->has_tunnel);
	return w->tunnel_slot / TD_ADDRESSES_MAX;
}

void world_free(struct world *w)
{
	free(w->c);
	free(w);
}

void world_finish(struct world *w)
{
	td_client_shutdown(w->c, w->now);
	world_drain(w);
	world_until(w, TD_CLIENT_ENDED, TD_SECONDS(6));
	world_run(w, TD_SECONDS(60));
	assert_int_equal(td_client_deadline(w->c).us, TD_NEVER.us);
	assert_false(w->has_tunnel);
	assert_int_equal(w->creates - w->destroys, w->create_error ? w->creates : 0);
	assert_int_equal(w->ups, w->downs);
	for (int i = 0; i < WORLD_SLOTS; i++)
		assert_false(w->socket[i].open);
	world_free(w);
}

unsigned int world_count_states(const struct world *w, enum td_client_state state)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < w->states; i++)
		count += w->state[i] == state;
	return count;
}
