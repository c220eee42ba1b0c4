/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A world for the client machine, in virtual time: its program (sockets, lookups, data path, hooks),
 * a network that loses, repeats and reorders, and brokers of several makes.
 *
 * What no program may ever be asked is checked at each step: to send from a closed socket, to make
 * a second interface, to close the socket of a living tunnel, to run hooks out of order, to look up
 * more than eight names at once. And after each step: is the machine's memory consistent?
 */
#ifndef TD_TESTS_CLIENT_WORLD_H
#define TD_TESTS_CLIENT_WORLD_H

#define ALL_FEATURES                                                                       \
	(TD_FEATURE_UNIQUE_SESSION_ID | TD_FEATURE_DATA_COOKIES | TD_FEATURE_DATA_COUNTS | \
	 TD_FEATURE_SPARSE_KEEPALIVES)

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client_check.h"
#include "core/client.h"
#include "core/l2tp.h"

#define WORLD_BROKERS  12
#define WORLD_SLOTS    (WORLD_BROKERS * TD_ADDRESSES_MAX)
#define WORLD_EVENTS   1024
#define WORLD_LOGS     4096
#define WORLD_DATAGRAM 1600

enum world_kind {
	WORLD_NOTHING,
	WORLD_TO_CLIENT,
	WORLD_TO_BROKER,
	WORLD_RESULT,
	WORLD_RESOLVED,
};

struct world_event {
	enum world_kind kind;
	struct td_time at;
	uint32_t slot, port; /* of datagrams */
	uint32_t sequence, broker;
	int err;
	size_t size;
	uint8_t bytes[WORLD_DATAGRAM];
};

struct world_broker {
	/* how it is */
	unsigned int address_count;
	uint16_t load;
	int64_t rtt_us, lookup_us;
	bool dead, deaf_to_usage, refuses, parks, old, forgets_features, ignores_limit,
		has_keepalives;
	uint32_t blackholes; /* set of addresses that lead nowhere */
	bool late_mute;      /* answers what it is asked, but never TUNNEL */
	uint16_t fixed_mtu;
	uint32_t shares; /* features beyond those of deployed brokers */
	/* what it saw */
	unsigned int got[256];
	struct td_time last[256]; /* when it got that type last */
	uint8_t last_reason;
	uint32_t tunnel_port, tunnel_slot, tunnel_id; /* port 0: no tunnel */
	struct td_time keepalive_at;
	uint16_t keepalives;
	struct td_msg prepare, limit, keepalive;
	char uuid[TD_UUID_MAX + 1]; /* of the last PREPARE */
};

struct world_socket {
	bool open;
	uint32_t port; /* fresh with each opening */
	struct td_addr addr;
};

struct world {
	struct td_client *c;
	struct td_client_config config;
	struct td_time now;
	struct td_rng rng;
	struct world_broker broker[WORLD_BROKERS];
	struct world_socket socket[WORLD_SLOTS];
	struct world_event event[WORLD_EVENTS];
	int event_count; /* so many of them have ever been used */
	uint32_t last_port;
	/* the network and the program */
	unsigned int loss_percent, duplicate_percent;
	int64_t jitter_us;
	uint16_t path; /* largest UDP payload */
	int open_error, create_error, mtu_error;
	int64_t open_us, create_us, destroy_us, mtu_us; /* how long these take; < 0: for ever */
	bool reverse_addresses;
	bool uncountable;
	uint32_t data_sent, data_received;
	bool forgers; /* somebody makes cookies up: brokers ignore them */
	/* what the program did */
	bool has_tunnel, up_ran, creating, destroying;
	uint32_t tunnel_slot, create_sequence, destroy_sequence;
	struct td_session_info session; /* as of the last CREATE */
	uint16_t mtu;
	unsigned int creates, destroys, ups, downs, lookups, lookups_running, wakeups, sent;
	unsigned int opens, set_mtus, ticks_now, counts;
	struct td_time ticked_at;
	/* log of states */
	enum td_client_state state[WORLD_LOGS];
	struct td_time state_at[WORLD_LOGS];
	const char *why[WORLD_LOGS];
	unsigned int states;
	struct td_time last_sent[256];
	unsigned int challenges; /* sent */
};

static inline struct td_addr world_addr(uint32_t broker, uint32_t index)
{
	struct td_addr addr = { .port = 8942,
				.family = index % 2 ? TD_FAMILY_IPV6 : TD_FAMILY_IPV4 };

	addr.ip[0] = 192;
	addr.ip[1] = (uint8_t)broker;
	addr.ip[2] = (uint8_t)index;
	return addr;
}

static inline struct world_event *world_add(struct world *w, enum world_kind kind, int64_t delay_us)
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

static inline bool world_chance(struct world *w, unsigned int percent)
{
	return percent > 0 && td_rng_below(&w->rng, 100) < percent;
}

static inline void world_fly(struct world *w, enum world_kind kind, uint32_t broker, uint32_t slot,
			     uint32_t port, const uint8_t *bytes, size_t size)
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

/* The broker says something through this slot and port. */
static inline void world_say(struct world *w, uint32_t slot, uint32_t port,
			     const struct td_msg *msg)
{
	uint8_t bytes[WORLD_DATAGRAM];
	size_t size = td_msg_put(msg, TD_FROM_BROKER, bytes, sizeof(bytes));

	assert_true(size > 0);
	world_fly(w, WORLD_TO_CLIENT, slot / TD_ADDRESSES_MAX, slot, port, bytes, size);
}

/* … in the tunnel that it has. */
static inline void world_tell(struct world *w, uint32_t broker, const struct td_msg *msg)
{
	world_say(w, w->broker[broker].tunnel_slot, w->broker[broker].tunnel_port, msg);
}

static inline void world_tell_error(struct world *w, uint32_t broker)
{
	world_tell(w, broker,
		   &(struct td_msg){ .type = TD_MSG_ERROR, .reason = TD_ERROR_BROKER_SHUTDOWN });
	w->broker[broker].tunnel_port = 0;
}

static inline void world_broker_prepare(struct world *w, uint32_t broker, uint32_t slot,
					uint32_t port, const struct td_msg *msg)
{
	struct world_broker *b = &w->broker[broker];
	bool again = b->tunnel_port == port;
	struct td_msg reply = { .type = TD_MSG_TUNNEL };

	b->prepare = *msg;
	b->prepare.prepare.uuid = memcpy(b->uuid, msg->prepare.uuid, msg->prepare.uuid_len);
	b->uuid[msg->prepare.uuid_len] = '\0';
	if (msg->prepare.cookie[0] != 0xc0 || msg->prepare.cookie[1] != (uint8_t)broker ||
	    msg->prepare.cookie[2] != (uint8_t)port || msg->prepare.cookie[3] != (uint8_t)slot) {
		if (w->forgers)
			return;
		fail_msg("cookie of another socket");
	}
	if (b->parks)
		return;
	if (b->refuses) {
		reply = (struct td_msg){ .type = TD_MSG_ERROR };
		world_say(w, slot, port, &reply);
		return;
	}
	if (!again) {
		b->tunnel_port = port;
		b->tunnel_slot = slot;
		b->tunnel_id++;
		b->keepalive_at = td_time_add(w->now, TD_SECONDS(4));
	}
	if (b->late_mute)
		return;
	reply.tunnel.id = b->tunnel_id;
	reply.tunnel.has_features = !b->old && !(again && b->forgets_features);
	reply.tunnel.features = msg->prepare.features & (TD_FEATURE_UNIQUE_SESSION_ID | b->shares);
	memcpy(reply.tunnel.data_cookie, "broker's", TD_DATA_COOKIE);
	world_say(w, slot, port, &reply);
	reply = (struct td_msg){ .type = TD_MSG_PMTU_NTFY, .mtu = b->fixed_mtu };
	if (b->fixed_mtu)
		world_say(w, slot, port, &reply);
}

static inline void world_broker_tunnel(struct world *w, uint32_t broker, const struct td_msg *msg)
{
	struct world_broker *b = &w->broker[broker];
	struct td_msg reply = { .type = TD_MSG_REL_ACK };

	switch ((int)msg->type) {
	case TD_MSG_PMTUD:
		reply.type = b->fixed_mtu ? TD_MSG_PMTU_NTFY : TD_MSG_PMTUD_ACK;
		reply.size = b->fixed_mtu ? b->fixed_mtu : msg->size;
		world_tell(w, broker, &reply);
		break;
	case TD_MSG_LIMIT:
		b->limit = *msg;
		reply.sequence = msg->limit.sequence;
		if (!b->ignores_limit)
			world_tell(w, broker, &reply);
		break;
	case TD_MSG_ERROR:
		b->tunnel_port = 0;
		break;
	case TD_MSG_KEEPALIVE:
		b->keepalive = *msg;
		break;
	default:
		break;
	}
}

static inline void world_broker_rx(struct world *w, const struct world_event *e)
{
	struct world_broker *b = &w->broker[e->broker];
	struct td_msg msg, reply;

	assert_int_equal(td_msg_parse(&msg, TD_FROM_CLIENT, e->bytes, e->size), 0);
	if (b->dead || (b->blackholes & 1u << e->slot % TD_ADDRESSES_MAX))
		return;
	b->got[msg.type]++;
	b->last[msg.type] = w->now;
	if (msg.type == TD_MSG_ERROR)
		b->last_reason = msg.reason;
	reply = (struct td_msg){ .type = msg.type };
	if (msg.type == TD_MSG_USAGE && !b->deaf_to_usage) {
		assert_int_equal(msg.usage.features & ~TD_FEATURE_DATA_COOKIES,
				 ALL_FEATURES & ~TD_FEATURE_DATA_COOKIES);
		reply.usage.load = b->load;
		world_say(w, e->slot, e->port, &reply);
	} else if (msg.type == TD_MSG_COOKIE) {
		reply.cookie[0] = 0xc0;
		reply.cookie[1] = (uint8_t)e->broker;
		reply.cookie[2] = (uint8_t)e->port;
		reply.cookie[3] = (uint8_t)e->slot;
		world_say(w, e->slot, e->port, &reply);
	} else if (msg.type == TD_MSG_PREPARE) {
		world_broker_prepare(w, e->broker, e->slot, e->port, &msg);
	} else if (b->tunnel_port == e->port) {
		world_broker_tunnel(w, e->broker, &msg);
	}
}

static inline void world_transmit(struct world *w)
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
		w->challenges += type == TD_MSG_PMTUD && size < 2 * TD_MSG_CHALLENGE_SIZE;
		world_fly(w, WORLD_TO_BROKER, s->addr.ip[1], slot, s->port, bytes, size);
	}
}

static inline void world_result(struct world *w, uint32_t sequence, int64_t delay_us, int err)
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

static inline void world_tunnel_done(struct world *w, uint32_t sequence, int err)
{
	if (sequence == w->create_sequence && w->creating) {
		w->creating = false;
		w->has_tunnel = err == 0;
	} else if (sequence == w->destroy_sequence && w->destroying) {
		w->destroying = false;
		w->has_tunnel = false;
	}
}

static inline void world_hook(struct world *w, enum td_hook hook)
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

static inline void world_make(struct world *w, const struct td_client_action *a)
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

static inline void world_remove(struct world *w, const struct td_client_action *a)
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

static inline void world_open(struct world *w, const struct td_client_action *a)
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

static inline void world_close(struct world *w, uint32_t slot)
{
	assert_true(w->socket[slot].open);
	if (slot == w->tunnel_slot)
		assert_false(w->has_tunnel || w->creating || w->destroying);
	w->socket[slot].open = false;
}

static inline void world_lookup(struct world *w, uint32_t broker)
{
	struct world_event *e = world_add(w, WORLD_RESOLVED, w->broker[broker].lookup_us);

	e->broker = broker;
	w->lookups++;
	assert_true(++w->lookups_running <= 8);
}

static inline void world_log(struct world *w, const struct td_client_action *a)
{
	assert_true(w->states < WORLD_LOGS);
	assert_non_null(a->why);
	assert_true(strlen(a->why) > 0);
	w->state[w->states] = a->state;
	w->state_at[w->states] = w->now;
	w->why[w->states] = a->why;
	w->states++;
}

static inline bool world_said(const struct world *w, const char *why)
{
	for (unsigned int i = 0; i < w->states; i++)
		if (strcmp(w->why[i], why) == 0)
			return true;
	return false;
}

/* Over what the last action has left behind: what an action does not have is zero. */
static inline bool world_next_action(struct world *w, struct td_client_action *a)
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

static inline void world_act(struct world *w)
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

static inline void world_drain(struct world *w)
{
	world_transmit(w);
	world_act(w);
	world_transmit(w);
	check_client(w->c);
	if (w->c->local.state == TD_LOCAL_ABSENT)
		assert_false(w->has_tunnel || w->creating || w->destroying);
}

static inline void world_resolved(struct world *w, uint32_t broker)
{
	struct td_addr addrs[32];
	unsigned int count = w->broker[broker].address_count;

	for (unsigned int i = 0; i < count; i++)
		addrs[w->reverse_addresses ? count - 1 - i : i] = world_addr(broker, i);
	w->lookups_running--;
	td_client_resolved(w->c, broker, addrs, count, w->now);
}

static inline void world_happen(struct world *w, struct world_event *e)
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

static inline struct td_time world_broker_time(struct world *w)
{
	struct td_time first = TD_NEVER;

	for (int i = 0; i < WORLD_BROKERS; i++)
		if (w->broker[i].has_keepalives && w->broker[i].tunnel_port && !w->broker[i].dead)
			first = td_time_min(first, w->broker[i].keepalive_at);
	return first;
}

static inline int64_t world_keepalive_us(const struct world_broker *b)
{
	return b->shares & TD_FEATURE_SPARSE_KEEPALIVES ? TD_SECONDS(10) : TD_SECONDS(5);
}

static inline void world_broker_tick(struct world *w)
{
	for (uint32_t i = 0; i < WORLD_BROKERS; i++) {
		struct world_broker *b = &w->broker[i];

		if (!b->has_keepalives || !b->tunnel_port || b->dead ||
		    !td_time_reached(b->keepalive_at, w->now))
			continue;
		b->keepalive_at = td_time_add(w->now, world_keepalive_us(b));
		world_tell(w, i,
			   &(struct td_msg){ .type = TD_MSG_KEEPALIVE,
					     .keepalive.counter = b->keepalives++ });
	}
}

/* The next thing that happens, unless it is later than end. */
static inline bool world_step(struct world *w, struct td_time end)
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

static inline void world_run(struct world *w, int64_t us)
{
	struct td_time end = td_time_add(w->now, us);

	while (world_step(w, end))
		;
	w->now = end;
}

/* Until that state is entered; how long it took. Fails after limit_us. */
static inline int64_t world_until(struct world *w, enum td_client_state state, int64_t limit_us)
{
	struct td_time start = w->now, end = td_time_add(w->now, limit_us);

	while (td_client_state(w->c) != state)
		if (!world_step(w, end))
			fail_msg("state %d is not entered, but %d", (int)state,
				 (int)td_client_state(w->c));
	return td_time_since(w->now, start);
}

/* brokers with one address each, 20 ms away. Change what is to be different, then world_start(). */
static inline struct world *world_new(uint32_t brokers, enum td_selection selection, uint64_t seed)
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

static inline struct world *world_start(struct world *w)
{
	void *memory = malloc(td_client_size(w->config.broker_count));

	assert_non_null(memory);
	w->c = td_client_init(memory, &w->config, w->now);
	world_drain(w);
	return w;
}

/* A world whose tunnel is up. */
static inline struct world *world_up(struct world *w)
{
	world_start(w);
	world_until(w, TD_CLIENT_UP, TD_SECONDS(30));
	return w;
}

/* Which broker the tunnel is with. */
static inline uint32_t world_broker_of_tunnel(const struct world *w)
{
	assert_true(w->has_tunnel);
	return w->tunnel_slot / TD_ADDRESSES_MAX;
}

static inline void world_free(struct world *w)
{
	free(w->c);
	free(w);
}

/* Shuts the client down and checks that nothing is left. */
static inline void world_finish(struct world *w)
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

static inline unsigned int world_count_states(const struct world *w, enum td_client_state state)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < w->states; i++)
		count += w->state[i] == state;
	return count;
}

static inline struct td_msg world_error(void)
{
	return (struct td_msg){ .type = TD_MSG_ERROR, .reason = TD_ERROR_BROKER_SHUTDOWN };
}

#endif
