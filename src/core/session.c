/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * One tunnel at the broker, from admission to the end of its last hook.
 *
 *	FREE -> CREATING -> UP -> CLOSING -> DESTROYING -> DOWN -> FREE
 *	             `-> ABANDONED ---------^
 *
 * A session has what is wanted and what is; whenever the shell asks, td_session_action() names the
 * next step from the one to the other. At most one action of the data path and one hook are
 * outstanding. Hooks run in the order up, mtu-changed, pre-down, down; only pre-down delays
 * anything, and that for a bounded time. The slot, and with it tunnel id and interface name, is
 * free again when the interface is gone and the last hook has ended.
 */
#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/text.h"
#include "core/engine_impl.h"
#include "core/l2tp.h"

#define SILENCE_LIMIT   TD_SECONDS(120) /* nothing heard: the client is gone */
#define CREATE_LIMIT    TD_SECONDS(15)  /* of the data path; by then the client has given up */
#define KEEPALIVE_MIN   TD_MS(4650)
#define KEEPALIVE_MAX   TD_MS(5050)   /* to which the grid adds up to 200 ms */
#define KEEPALIVE_GRID  TD_MS(200)    /* what is due together costs one turn of the shell's loop */
#define KEEPALIVE_MORE  TD_SECONDS(5) /* where they are sparse */
#define SEARCH_MIN      TD_MS(200)    /* deployed clients need a moment after TUNNEL */
#define SEARCH_MAX      TD_MS(700)
#define SEARCH_EACH     TD_MS(30)     /* later for each newcomer, who comes first */
#define SEARCH_WAIT     TD_SECONDS(4) /* later at most */
#define CHALLENGES      3
#define CHALLENGE_PAUSE TD_SECONDS(1)

/* --- names and lookup --- */

static uint32_t number_of(const struct td_engine *e, const struct session *s)
{
	return (uint32_t)(s - e->sessions);
}

struct td_handle td_session_handle(const struct td_engine *e, const struct session *s)
{
	return (struct td_handle){ number_of(e, s), s->generation };
}

struct session *td_session_get(const struct td_engine *e, struct td_handle handle)
{
	struct session *s;

	if (handle.index >= e->config.max_tunnels)
		return NULL;
	s = &e->sessions[handle.index];
	return s->state != SESSION_FREE && s->generation == handle.generation ? s : NULL;
}

struct session *td_session_by_flow(const struct td_engine *e, const struct td_flow *flow)
{
	struct td_index_pos pos = td_index_find(&e->by_flow, td_engine_hash_flow(e, flow));

	for (; pos.number != TD_INDEX_NONE; pos = td_index_next(&e->by_flow, pos))
		if (td_flow_equal(&e->sessions[pos.number].info.flow, flow))
			return &e->sessions[pos.number];
	return NULL;
}

struct session *td_session_by_uuid(const struct td_engine *e, const char *uuid, size_t len)
{
	struct td_index_pos pos = td_index_find(&e->by_uuid, td_engine_hash(e, uuid, len));

	for (; pos.number != TD_INDEX_NONE; pos = td_index_next(&e->by_uuid, pos)) {
		const struct td_session_info *info = &e->sessions[pos.number].info;

		if (info->uuid_len == len && memcmp(info->uuid, uuid, len) == 0)
			return &e->sessions[pos.number];
	}
	return NULL;
}

bool td_session_slot_free(const struct session *s)
{
	return s->state == SESSION_FREE && !(s->notes & NOTE_FREED);
}

bool td_session_alive(const struct session *s)
{
	return s->state == SESSION_CREATING || s->state == SESSION_UP;
}

bool td_session_recorded(const struct td_engine *e, const struct session *s)
{
	return !(s->notes & NOTE_CHANGED) && e->keeping != number_of(e, s);
}

bool td_session_is(const struct session *s, const struct td_msg *prepare)
{
	return td_session_alive(s) && s->info.uuid_len == prepare->prepare.uuid_len &&
	       memcmp(s->info.uuid, prepare->prepare.uuid, s->info.uuid_len) == 0 &&
	       s->asked_tunnel_id == prepare->prepare.tunnel_id &&
	       s->asked_features == prepare->prepare.features &&
	       memcmp(s->info.peer_cookie, prepare->prepare.data_cookie, TD_DATA_COOKIE) == 0;
}

/* --- what is to be done --- */

void td_session_send(struct td_engine *e, struct session *s, unsigned what)
{
	s->send |= (uint8_t)what;
	td_engine_append(&e->sending, &e->sessions[0].sending, sizeof(*s), number_of(e, s));
}

void td_session_send_tunnel(struct td_engine *e, struct session *s)
{
	td_session_send(e, s, SEND_TUNNEL | (e->config.fixed_mtu ? SEND_NOTIFY : 0));
}

void td_session_act(struct td_engine *e, struct session *s)
{
	td_engine_append(&e->acting, &e->sessions[0].acting, sizeof(*s), number_of(e, s));
}

void td_session_note(struct td_engine *e, struct session *s, unsigned what)
{
	s->notes |= (uint8_t)what;
	td_session_act(e, s);
}

void td_session_want_hook(struct td_engine *e, struct session *s, enum td_hook hook)
{
	if (e->config.hooks & DUE(hook)) {
		s->hooks_due |= DUE(hook);
		td_session_act(e, s);
	}
}

void td_session_rearm(struct td_engine *e, struct session *s)
{
	struct td_time at = td_time_min(s->until, s->retry_at);

	if (s->state == SESSION_UP) {
		at = td_time_min(at, td_time_add(s->heard_at, SILENCE_LIMIT));
		at = td_time_min(at, td_time_min(s->keepalive_at, s->search_at));
		at = td_time_min(at, td_time_min(s->challenge_at, td_pmtu_deadline(&s->pmtu)));
	}
	td_timer_start(&e->timers, &s->owner.timer, at);
}

void td_session_drain_pmtu(struct td_engine *e, struct session *s)
{
	s->mtu_wanted = td_pmtu_inner_mtu(&s->pmtu);
	if (s->mtu_wanted != s->info.mtu)
		td_session_act(e, s);
	td_session_send(e, s, 0);
}

/* --- states --- */

static struct td_time next_keepalive(struct td_engine *e, const struct session *s,
				     struct td_time now)
{
	const bool sparse = (s->info.features & TD_FEATURE_SPARSE_KEEPALIVES) != 0;
	const int64_t pause_us = td_rng_between(&e->rng, KEEPALIVE_MIN, KEEPALIVE_MAX);

	return td_time_round_up(td_time_add(now, pause_us + (sparse ? KEEPALIVE_MORE : 0)),
				KEEPALIVE_GRID);
}

static struct td_time first_search(struct td_engine *e, struct td_time now)
{
	const int64_t wait_us = SEARCH_EACH * e->creating;

	return td_time_add(now, td_rng_between(&e->rng, SEARCH_MIN, SEARCH_MAX) +
					(wait_us < SEARCH_WAIT ? wait_us : SEARCH_WAIT));
}

static void enter_up(struct td_engine *e, struct session *s, struct td_time now)
{
	s->heard_at = now;
	s->keepalive_at = next_keepalive(e, s, now);
	s->challenge_at = TD_NEVER;
	s->search_at = TD_NEVER;
	if (e->config.fixed_mtu == 0)
		s->search_at = first_search(e, now);
}

static void release_flow(struct td_engine *e, struct session *s)
{
	td_index_remove(&e->by_flow, td_engine_hash_flow(e, &s->info.flow), number_of(e, s));
}

/* The only place that changes a session's state. */
void td_session_enter(struct td_engine *e, struct session *s, enum session_state state,
		      struct td_time now)
{
	e->creating -= s->state == SESSION_CREATING;
	e->creating += state == SESSION_CREATING;
	s->state = state;
	s->until = TD_NEVER;
	s->retry_at = TD_NEVER;
	s->path_begun = false;
	switch (state) {
	case SESSION_CREATING:
		s->until = td_time_add(now, CREATE_LIMIT);
		break;
	case SESSION_UP:
		enter_up(e, s, now);
		break;
	case SESSION_ABANDONED:
		s->path_begun = true;
		break;
	case SESSION_CLOSING:
		td_pmtu_stop(&s->pmtu);
		s->until = td_time_min(td_time_add(now, TD_ENGINE_PRE_DOWN_LIMIT), e->stop_at);
		break;
	case SESSION_DESTROYING:
		s->destroy_tries = 0;
		break;
	case SESSION_DOWN:
		/* The hook's end is waited for, however long it takes: until then nobody else
		 * gets the interface's name. */
		s->until = e->stop_at;
		release_flow(e, s);
		td_admission_released(e, &s->info.flow, now);
		break;
	case SESSION_FREE:
		td_session_note(e, s, NOTE_FREED);
		break;
	}
	td_session_count(e, s, now);
	td_session_note(e, s, NOTE_CHANGED);
	td_session_rearm(e, s);
}

/* Goes on when nothing has to be waited for any more. */
void td_session_advance(struct td_engine *e, struct session *s, struct td_time now)
{
	const uint8_t before_destroy = DUE(TD_HOOK_UP) | DUE(TD_HOOK_PRE_DOWN);
	const bool running = s->hook_sequence != 0;

	if (s->state == SESSION_CLOSING && !(s->hooks_due & before_destroy) && !running)
		td_session_enter(e, s, SESSION_DESTROYING, now);
	/* Until the last word is said: the slot's next owner would say it, or nobody. */
	if (s->state == SESSION_DOWN && s->hooks_due == 0 && !running && s->send == 0)
		td_session_enter(e, s, SESSION_FREE, now);
}

static uint32_t take_slot(struct td_engine *e)
{
	uint32_t slot;

	/* Adoption takes slots without unlinking them: those are passed over. */
	do {
		slot = td_engine_shift(&e->free_sessions, &e->sessions[0].idle,
				       sizeof(struct session));
		td_assert(slot != SLOT_NONE);
	} while (!td_session_slot_free(&e->sessions[slot]));
	return slot;
}

static void index_session(struct td_engine *e, struct session *s, bool by_uuid)
{
	td_index_add(&e->by_flow, td_engine_hash_flow(e, &s->info.flow), number_of(e, s));
	if (by_uuid)
		td_index_add(&e->by_uuid, td_engine_hash(e, s->info.uuid, s->info.uuid_len),
			     number_of(e, s));
}

/* Back to the state of a slot that was never used, except for what outlives a session. */
static void clear(struct session *s)
{
	const struct session kept = *s;

	memset(s, 0, sizeof(*s));
	s->owner = kept.owner;
	s->idle = kept.idle;
	s->sending = kept.sending;
	s->acting = kept.acting;
	s->generation = kept.generation;
	s->until = s->retry_at = TD_NEVER;
}

void td_session_admit(struct td_engine *e, const struct applicant *a, struct td_time now)
{
	struct session *s = &e->sessions[take_slot(e)];

	clear(s);
	e->used++;
	s->generation = s->generation == UINT32_MAX ? 1 : s->generation + 1;
	s->info.flow = a->flow;
	s->asked_tunnel_id = a->tunnel_id;
	s->asked_features = a->features;
	s->info.uuid_len = a->uuid_len;
	memcpy(s->info.uuid, a->uuid, sizeof(s->info.uuid));
	memcpy(s->info.peer_cookie, a->data_cookie, sizeof(s->info.peer_cookie));
	td_session_negotiate(e, s);
	td_session_complete(e, s);
	s->info.mtu = s->mtu_told = s->mtu_wanted;
	s->heard_at = a->heard_at;
	index_session(e, s, true);
	td_session_enter(e, s, SESSION_CREATING, now);
}

void td_session_resume(struct td_engine *e, struct session *s, enum session_state state,
		       struct td_time now)
{
	const uint16_t measured_size = s->pmtu.measured_size, peer_mtu = s->pmtu.peer_mtu;

	td_session_complete(e, s);
	if (measured_size >= TD_MTU_MIN + TD_INNER_OVERHEAD && measured_size <= s->pmtu.max_size)
		s->pmtu.measured_size = measured_size;
	td_pmtu_notified(&s->pmtu, peer_mtu);
	s->mtu_wanted = e->config.fixed_mtu ? s->mtu_wanted : td_pmtu_inner_mtu(&s->pmtu);
	/* What hooks were told last is what is certain: the rest is set, and told, again. */
	s->hooks_due &= (uint8_t)(e->config.hooks & ~(uint32_t)DUE(TD_HOOK_MTU_CHANGED));
	s->mtu_failed = true; /* who knows: the one who asked for it is gone */
	e->used++;
	s->state = state;
	index_session(e, s, td_session_alive(s));
	td_session_enter(e, s, state, now);
	s->notes = 0;
	td_session_advance(e, s, now);
}

void td_session_note_end(struct td_engine *e, struct session *s, enum td_end end, int err)
{
	s->end = end;
	s->err = err;
	e->counters.ended[end]++;
	td_session_note(e, s, NOTE_DOWN);
}

void td_session_close(struct td_engine *e, struct session *s, enum td_end end, uint8_t error,
		      struct td_time now)
{
	if (td_session_alive(s)) {
		td_index_remove(&e->by_uuid, td_engine_hash(e, s->info.uuid, s->info.uuid_len),
				number_of(e, s));
		s->send = 0;
		if (error != TD_ERROR_NONE) {
			s->error_reason = error;
			td_session_send(e, s, SEND_ERROR);
		}
	}
	switch (s->state) {
	case SESSION_CREATING:
		td_session_enter(e, s, s->path_begun ? SESSION_ABANDONED : SESSION_DOWN, now);
		break;
	case SESSION_UP:
		td_session_note_end(e, s, end, 0);
		/* Who never came up does not go down. */
		if (s->hooks_due & DUE(TD_HOOK_UP))
			s->hooks_due = 0;
		else
			s->hooks_due = (uint8_t)e->config.hooks &
				       (DUE(TD_HOOK_PRE_DOWN) | DUE(TD_HOOK_DOWN));
		td_session_enter(e, s, SESSION_CLOSING, now);
		break;
	case SESSION_CLOSING:
	case SESSION_DOWN:
		s->until = td_time_min(s->until, e->stop_at);
		td_session_rearm(e, s);
		break;
	case SESSION_FREE:
	case SESSION_ABANDONED:
	case SESSION_DESTROYING:
		break;
	}
	td_session_advance(e, s, now);
}

/* --- time --- */

void td_session_challenge(struct td_engine *e, struct session *s, struct td_time now)
{
	if (s->state != SESSION_UP)
		return;
	/* Newcomers that follow each other closely leave it as many chances, at the same pace. */
	if (s->challenges == 0)
		s->challenge_at = now;
	s->challenges = CHALLENGES;
	td_session_rearm(e, s);
}

static bool unfinished(const struct session *s, enum td_hook hook)
{
	return (s->hooks_due & DUE(hook)) || (s->hook_sequence != 0 && s->hook_running == hook);
}

static void expire_state(struct td_engine *e, struct session *s, struct td_time now)
{
	s->until = TD_NEVER;
	switch (s->state) {
	case SESSION_CREATING:
		td_session_note_end(e, s, TD_END_FAILED, -ETIMEDOUT);
		td_admission_refuse(e, s, now);
		td_session_close(e, s, TD_END_FAILED, TD_ERROR_NONE, now);
		break;
	case SESSION_CLOSING:
		e->counters.hooks_skipped += unfinished(s, TD_HOOK_PRE_DOWN);
		s->hooks_due &= (uint8_t)~DUE(TD_HOOK_PRE_DOWN);
		td_session_enter(e, s, SESSION_DESTROYING, now);
		break;
	case SESSION_DOWN:
		e->counters.hooks_skipped += unfinished(s, TD_HOOK_DOWN);
		s->hooks_due = 0;
		s->hook_sequence = 0;
		break;
	case SESSION_FREE:
	case SESSION_ABANDONED:
	case SESSION_UP:
	case SESSION_DESTROYING:
		break;
	}
	td_session_advance(e, s, now);
}

static void timer_up(struct td_engine *e, struct session *s, struct td_time now)
{
	if (td_time_reached(td_time_add(s->heard_at, SILENCE_LIMIT), now)) {
		td_session_close(e, s, TD_END_TIMEOUT, TD_ERROR_BROKER_TIMEOUT, now);
		return;
	}
	if (td_time_reached(s->keepalive_at, now)) {
		s->keepalive_at = next_keepalive(e, s, now);
		s->keepalives++;
		td_session_send(e, s, SEND_KEEPALIVE);
	}
	if (td_time_reached(s->challenge_at, now)) {
		s->challenges--;
		s->challenge_at = s->challenges ? td_time_add(now, CHALLENGE_PAUSE) : TD_NEVER;
		td_session_send(e, s, SEND_CHALLENGE);
	}
	if (td_time_reached(s->search_at, now)) {
		s->search_at = TD_NEVER;
		td_pmtu_start(&s->pmtu, now);
		td_session_drain_pmtu(e, s);
	}
	if (td_time_reached(td_pmtu_deadline(&s->pmtu), now)) {
		td_pmtu_tick(&s->pmtu, now);
		td_session_drain_pmtu(e, s);
	}
}

void td_session_timer(struct td_engine *e, struct session *s, struct td_time now)
{
	if (td_time_reached(s->until, now))
		expire_state(e, s, now);
	if (s->state == SESSION_UP)
		timer_up(e, s, now);
	if (td_time_reached(s->retry_at, now)) {
		s->retry_at = TD_NEVER;
		s->path_begun = false;
		td_session_act(e, s);
	}
	td_session_rearm(e, s);
}
