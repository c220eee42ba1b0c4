/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Life of the broker engine: its memory, datagrams in and out, time, actions, shutdown. What may
 * become a tunnel is decided in admission.c, what a tunnel does in session.c. The handshake of
 * docs/PROTOCOL.md section 3 up to a valid cookie is here, and stores nothing.
 */
#include "core/engine.h"

#include <sodium/crypto_shorthash.h>
#include <string.h>

#include "base/assert.h"
#include "core/cookie.h"
#include "core/engine_impl.h"
#include "core/l2tp.h"

_Static_assert(TD_ENGINE_KEY == crypto_shorthash_KEYBYTES, "key of another size");

/* At shutdown, so many sessions are ended at once, and then the next after a while. */
#define STOP_BATCH 32
#define STOP_PAUSE TD_MS(5)

#define TUNNEL_ID_MAX 99999 /* so that interface names fit */

#define APPLICANTS_MIN 64
#define LIMIT_SETS_MIN 128

/* --- memory --- */

struct layout {
	size_t sessions, applicants, heap, by_flow, by_uuid, applicants_by_flow, ip, uuid, end;
	uint32_t applicants_max, timers_max, session_cells, applicant_cells, limit_sets;
};

static size_t reserve(size_t *end, size_t count, size_t size)
{
	size_t at = (*end + 15) & ~(size_t)15;

	*end = at + count * size;
	return at;
}

static struct layout lay_out(uint32_t max_tunnels)
{
	struct layout l = { .end = sizeof(struct td_engine) };

	l.applicants_max = max_tunnels < APPLICANTS_MIN ? APPLICANTS_MIN : max_tunnels;
	l.timers_max = max_tunnels + l.applicants_max + 3;
	l.session_cells = td_index_cells(max_tunnels);
	l.applicant_cells = td_index_cells(l.applicants_max);
	l.limit_sets = LIMIT_SETS_MIN;
	while (l.limit_sets * LIMIT_WAYS / 2 < max_tunnels)
		l.limit_sets *= 2;
	l.sessions = reserve(&l.end, max_tunnels, sizeof(struct session));
	l.applicants = reserve(&l.end, l.applicants_max, sizeof(struct applicant));
	l.heap = reserve(&l.end, l.timers_max, sizeof(struct td_timer_place));
	l.by_flow = reserve(&l.end, l.session_cells, sizeof(struct td_index_cell));
	l.by_uuid = reserve(&l.end, l.session_cells, sizeof(struct td_index_cell));
	l.applicants_by_flow = reserve(&l.end, l.applicant_cells, sizeof(struct td_index_cell));
	l.ip = reserve(&l.end, (size_t)l.limit_sets * LIMIT_WAYS, sizeof(struct limit_cell));
	l.uuid = reserve(&l.end, (size_t)l.limit_sets * LIMIT_WAYS, sizeof(struct limit_cell));
	return l;
}

size_t td_engine_size(uint32_t max_tunnels)
{
	return lay_out(max_tunnels).end;
}

struct td_engine *td_engine_init(void *memory, const struct td_engine_config *config,
				 struct td_time now)
{
	const struct layout l = lay_out(config->max_tunnels);
	struct td_engine *e = memory;
	uint8_t *bytes = memory;

	td_assert(config->max_tunnels >= 1 && config->max_tunnels <= UINT16_MAX);
	td_assert(config->tunnel_id_base >= 1 &&
		  config->tunnel_id_base <= TUNNEL_ID_MAX + 1 - config->max_tunnels);
	td_assert(config->max_mtu >= TD_MTU_MIN && config->max_mtu <= TD_MTU_MAX);
	(void)now;
	memset(memory, 0, l.end);
	e->config = *config;
	td_rng_init(&e->rng, config->seed);
	td_timers_init(&e->timers, (void *)(bytes + l.heap), l.timers_max);
	e->sessions = (void *)(bytes + l.sessions);
	e->applicants = (void *)(bytes + l.applicants);
	e->applicants_max = l.applicants_max;
	td_index_init(&e->by_flow, (void *)(bytes + l.by_flow), l.session_cells);
	td_index_init(&e->by_uuid, (void *)(bytes + l.by_uuid), l.session_cells);
	td_index_init(&e->applicants_by_flow, (void *)(bytes + l.applicants_by_flow),
		      l.applicant_cells);
	e->by_ip_limits = (struct limit_table){ (void *)(bytes + l.ip), l.limit_sets - 1 };
	e->by_uuid_limits = (struct limit_table){ (void *)(bytes + l.uuid), l.limit_sets - 1 };

	e->free_sessions = e->sending = e->acting = SLOT_LIST_EMPTY;
	e->keeping = SLOT_NONE;
	for (uint32_t i = 0; i < config->max_tunnels; i++) {
		e->sessions[i].owner.kind = OWNER_SESSION;
		/* So that a result for an engine before this one fits no session of this one. */
		e->sessions[i].generation = (uint32_t)td_rng_between(&e->rng, 0, INT32_MAX);
		td_engine_append(&e->free_sessions, &e->sessions[0].idle, sizeof(struct session),
				 i);
	}
	e->stop_at = TD_NEVER;
	e->pacer.kind = OWNER_PACER;
	e->counter.kind = OWNER_COUNTER;
	td_admission_init(e);
	return e;
}

uint64_t td_engine_hash64(const struct td_engine *e, const void *bytes, size_t size)
{
	uint8_t hash[crypto_shorthash_BYTES];
	uint64_t value;

	crypto_shorthash(hash, bytes, size, e->config.index_key);
	memcpy(&value, hash, sizeof(value));
	return value;
}

uint32_t td_engine_hash(const struct td_engine *e, const void *bytes, size_t size)
{
	return (uint32_t)td_engine_hash64(e, bytes, size);
}

uint32_t td_engine_hash_flow(const struct td_engine *e, const struct td_flow *flow)
{
	const struct td_addr *local = &flow->local, *peer = &flow->peer;
	struct {
		uint8_t local[4], peer[4];
		uint16_t local_port, peer_port;
	} key = { .local_port = local->port, .peer_port = peer->port };

	_Static_assert(sizeof(key) == 12, "no padding is hashed");
	if (peer->family != TD_FAMILY_IPV4)
		return td_engine_hash(e, flow, sizeof(*flow));
	memcpy(key.local, local->ip, sizeof(key.local));
	memcpy(key.peer, peer->ip, sizeof(key.peer));
	return td_engine_hash(e, &key, sizeof(key));
}

/* --- lists of slots --- */

static struct slot_link *link_of(struct slot_link *links, size_t stride, uint32_t slot)
{
	return (struct slot_link *)(void *)((uint8_t *)links + stride * slot);
}

void td_engine_append(struct slot_list *list, struct slot_link *links, size_t stride, uint32_t slot)
{
	struct slot_link *link = link_of(links, stride, slot);

	if (link->linked)
		return;
	*link = (struct slot_link){ SLOT_NONE, true };
	if (list->last == SLOT_NONE)
		list->first = slot;
	else
		link_of(links, stride, list->last)->next = slot;
	list->last = slot;
}

uint32_t td_engine_shift(struct slot_list *list, struct slot_link *links, size_t stride)
{
	uint32_t slot = list->first;
	struct slot_link *link;

	if (slot == SLOT_NONE)
		return SLOT_NONE;
	link = link_of(links, stride, slot);
	list->first = link->next;
	if (list->first == SLOT_NONE)
		list->last = SLOT_NONE;
	link->linked = false;
	return slot;
}

/* --- datagrams in --- */

void td_engine_reply(struct td_engine *e, const struct td_flow *flow, struct td_handle handle,
		     const struct td_msg *msg)
{
	e->reply_to = (struct td_engine_tx){ *flow, handle };
	e->reply_size = td_msg_put(msg, TD_FROM_BROKER, e->reply, sizeof(e->reply));
	td_assert(e->reply_size > 0);
}

static bool full(const struct td_engine *e)
{
	return e->used == e->config.max_tunnels;
}

/* USAGE and COOKIE: answered from nothing but the datagram, or not at all. */
static void rx_greeting(struct td_engine *e, const struct td_flow *flow, const struct session *s,
			const struct td_msg *msg, struct td_time now)
{
	struct td_msg reply = { .type = msg->type };

	if (e->stopping)
		return;
	if (full(e) && !s && !td_admission_find(e, flow)) {
		e->counters.silent_full++;
		return;
	}
	if (msg->type == TD_MSG_USAGE)
		reply.usage.load =
			(uint16_t)((uint64_t)e->used * UINT16_MAX / e->config.max_tunnels);
	else
		td_cookie_make(reply.cookie, e->config.cookie_key, flow, now);
	td_engine_reply(e, flow, TD_NO_HANDLE, &reply);
}

static void rx_prepare(struct td_engine *e, const struct td_flow *flow, struct session *s,
		       const struct td_msg *msg, struct td_time now)
{
	if (!td_cookie_valid(msg->prepare.cookie, e->config.cookie_key, flow, now)) {
		e->counters.rx_bad_cookie++;
		return;
	}
	if (e->stopping)
		return;
	if (s && td_session_is(s, msg)) {
		td_session_rx(e, s, msg, now);
		return;
	}
	/* A client that started again behind the same port. It must not be sent an ERROR: that
	 * would reach its new attempt. */
	if (s)
		td_session_close(e, s, TD_END_REPLACED, TD_ERROR_NONE, now);
	td_admission_prepare(e, flow, msg, now);
}

static void rx_of_tunnel(struct td_engine *e, const struct td_flow *flow, struct session *s,
			 const struct td_msg *msg, struct td_time now)
{
	/* An applicant may wait for the very session, on its own flow, to be gone. */
	struct applicant *a = msg->type == TD_MSG_ERROR ? td_admission_find(e, flow) : NULL;

	if (a)
		td_admission_drop(e, a);
	if (s)
		td_session_rx(e, s, msg, now);
	else
		e->counters.rx_unknown_flow++;
}

void td_engine_rx(struct td_engine *e, const struct td_flow *flow, const uint8_t *bytes,
		  size_t size, struct td_time now)
{
	struct session *s;
	struct td_msg msg;

	e->reply_size = 0;
	if (td_msg_parse(&msg, TD_FROM_CLIENT, bytes, size) != 0) {
		e->counters.rx_malformed++;
		return;
	}
	s = td_session_by_flow(e, flow);
	switch (msg.type) {
	case TD_MSG_COOKIE:
	case TD_MSG_USAGE:
		if (s)
			td_session_rx(e, s, &msg, now);
		rx_greeting(e, flow, s, &msg, now);
		break;
	case TD_MSG_PREPARE:
		rx_prepare(e, flow, s, &msg, now);
		break;
	case TD_MSG_ERROR:
	case TD_MSG_TUNNEL:
	case TD_MSG_KEEPALIVE:
	case TD_MSG_PMTUD:
	case TD_MSG_PMTUD_ACK:
	case TD_MSG_REL_ACK:
	case TD_MSG_PMTU_NTFY:
	case TD_MSG_LIMIT:
	case TD_MSG_RELIABLE_UNKNOWN:
		rx_of_tunnel(e, flow, s, &msg, now);
		break;
	}
}

/* --- datagrams out --- */

static size_t tx_sessions(struct td_engine *e, struct td_engine_tx *to, uint8_t *bytes,
			  size_t capacity, struct td_time now)
{
	uint32_t slot;

	while ((slot = td_engine_shift(&e->sending, &e->sessions[0].sending,
				       sizeof(struct session))) != SLOT_NONE) {
		struct session *s = &e->sessions[slot];
		size_t size = td_session_tx(e, s, bytes, capacity, now);

		if (size == 0)
			continue;
		td_engine_append(&e->sending, &e->sessions[0].sending, sizeof(struct session),
				 slot);
		*to = (struct td_engine_tx){ s->info.flow, td_session_handle(e, s) };
		return size;
	}
	return 0;
}

size_t td_engine_tx(struct td_engine *e, struct td_engine_tx *to, uint8_t *bytes, size_t capacity,
		    struct td_time now)
{
	size_t size = e->reply_size;

	if (size > 0) {
		td_assert(size <= capacity);
		*to = e->reply_to;
		memcpy(bytes, e->reply, size);
		e->reply_size = 0;
		return size;
	}
	size = td_admission_tx(e, to, bytes, capacity);
	return size > 0 ? size : tx_sessions(e, to, bytes, capacity, now);
}

/* --- actions --- */

/* The shell asks for more, so it has done what it was told last. */
static void kept(struct td_engine *e)
{
	struct session *s;

	if (e->keeping == SLOT_NONE)
		return;
	s = &e->sessions[e->keeping];
	e->keeping = SLOT_NONE;
	if (s->send & SEND_TUNNEL)
		td_session_send(e, s, 0);
}

bool td_engine_next_action(struct td_engine *e, struct td_action *action, struct td_time now)
{
	uint32_t slot;

	kept(e);
	*action = (struct td_action){ 0 };
	while ((slot = td_engine_shift(&e->acting, &e->sessions[0].acting,
				       sizeof(struct session))) != SLOT_NONE) {
		if (!td_session_action(e, &e->sessions[slot], action, now))
			continue;
		if (action->kind != TD_ACTION_FREED)
			td_engine_append(&e->acting, &e->sessions[0].acting, sizeof(struct session),
					 slot);
		return true;
	}
	if (e->count_due) {
		e->count_due = false;
		action->kind = TD_ACTION_COUNT;
		return true;
	}
	return td_admission_action(e, action, now);
}

void td_engine_result(struct td_engine *e, struct td_handle handle, uint32_t sequence, int err,
		      struct td_time now)
{
	struct session *s = td_session_get(e, handle);

	if (s && sequence != 0)
		td_session_result(e, s, sequence, err, now);
}

void td_engine_counted(struct td_engine *e, struct td_handle handle, uint32_t sent,
		       uint32_t received, struct td_time now)
{
	struct session *s = td_session_get(e, handle);

	if (!s)
		return;
	s->counted = true;
	s->counted_at = now;
	s->counts.sent = sent;
	s->counts.received = received;
}

void td_engine_lost(struct td_engine *e, struct td_handle handle, struct td_time now)
{
	struct session *s = td_session_get(e, handle);

	if (s)
		td_session_close(e, s, TD_END_LOST, TD_ERROR_BROKER_FAILURE, now);
}

/* --- time --- */

static void stop_some(struct td_engine *e, struct td_time now)
{
	uint32_t ended = 0;

	while (e->stop_cursor < e->config.max_tunnels && ended < STOP_BATCH) {
		struct session *s = &e->sessions[e->stop_cursor++];

		if (s->state == SESSION_FREE)
			continue;
		td_session_close(e, s, TD_END_SHUTDOWN, TD_ERROR_BROKER_SHUTDOWN, now);
		ended++;
	}
	if (e->stop_cursor < e->config.max_tunnels)
		td_timer_start(&e->timers, &e->pacer.timer, td_time_add(now, STOP_PAUSE));
}

void td_engine_shutdown(struct td_engine *e, int64_t limit_us, struct td_time now)
{
	if (e->stopping)
		return;
	e->stopping = true;
	e->stop_at = td_time_add(now, limit_us);
	for (uint32_t i = 0; i < e->applicants_max; i++)
		if (e->applicants[i].wait != WAIT_NOTHING)
			td_admission_drop(e, &e->applicants[i]);
	stop_some(e, now);
}

bool td_engine_idle(const struct td_engine *e)
{
	return e->used == 0;
}

struct td_time td_engine_deadline(const struct td_engine *e)
{
	return td_timers_deadline(&e->timers);
}

void td_engine_tick(struct td_engine *e, struct td_time now)
{
	struct td_timer *timer;

	while ((timer = td_timers_expired(&e->timers, now)) != NULL) {
		struct owner *owner = (struct owner *)timer; /* its first member */

		switch (owner->kind) {
		case OWNER_SESSION:
			td_session_timer(e, (struct session *)owner, now);
			break;
		case OWNER_APPLICANT:
			td_admission_timer(e, (struct applicant *)owner, now);
			break;
		case OWNER_QUEUE:
			td_admission_queue_timer(e, now);
			break;
		case OWNER_PACER:
			stop_some(e, now);
			break;
		case OWNER_COUNTER:
			td_session_count_all(e, now);
			break;
		}
	}
}

/* --- for the operator --- */

const struct td_engine_counters *td_engine_counters(const struct td_engine *e)
{
	return &e->counters;
}

uint32_t td_engine_tunnels(const struct td_engine *e)
{
	return e->used;
}

const struct td_session_info *td_engine_session(const struct td_engine *e, struct td_handle handle)
{
	const struct session *s = td_session_get(e, handle);

	return s ? &s->info : NULL;
}
