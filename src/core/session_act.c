/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What a session asks of the shell, one thing at a time, and what becomes of the results. An action
 * of the data path and a hook may be under way at the same time, two of either never.
 */
#include <errno.h>

#include "core/engine_impl.h"

#define DESTROY_TRIES 3
#define DESTROY_PAUSE TD_SECONDS(1)
#define MTU_PAUSE     TD_SECONDS(15)

/* Of MTU and rate limit, per session: each costs a netlink request and perhaps a hook, and the
 * client asks for it with a single datagram. */
static const struct td_rate change_rate = { TD_SECONDS(1), 8 };

static uint32_t next_sequence(struct session *s)
{
	if (++s->sequence == 0) /* which means none */
		s->sequence = 1;
	return s->sequence;
}

static bool mtu_due(const struct session *s)
{
	return s->mtu_wanted != s->info.mtu || (s->mtu_failed && s->retry_at.us == TD_NEVER.us);
}

/* Is there a change to make to the interface, and not one too many? */
static bool may_change(struct td_engine *e, struct session *s, struct td_time now)
{
	const struct td_time ready = td_bucket_ready(&s->changes, &change_rate);

	if (!mtu_due(s) && s->rate_wanted == s->rate_asked)
		return false;
	if (!td_time_reached(ready, now)) {
		s->retry_at = ready;
		td_session_rearm(e, s);
		return false;
	}
	td_bucket_take(&s->changes, &change_rate, now);
	return true;
}

static void change_interface(struct session *s, struct td_action *action)
{
	if (mtu_due(s)) {
		action->kind = TD_ACTION_SET_MTU;
		s->info.mtu = s->mtu_wanted;
		s->mtu_failed = false;
	} else {
		action->kind = TD_ACTION_SET_RATE;
		s->rate_asked = action->rate_kbps = s->rate_wanted;
	}
	s->notes |= NOTE_CHANGED;
}

static bool path_action(struct td_engine *e, struct session *s, struct td_action *action,
			struct td_time now)
{
	if (s->path_sequence != 0 || s->path_begun)
		return false;
	switch (s->state) {
	case SESSION_CREATING:
		action->kind = TD_ACTION_CREATE;
		s->path_begun = true;
		break;
	case SESSION_UP:
		if (!may_change(e, s, now))
			return false;
		change_interface(s, action);
		break;
	case SESSION_DESTROYING:
		action->kind = TD_ACTION_DESTROY;
		s->path_begun = true;
		break;
	case SESSION_FREE:
	case SESSION_ABANDONED:
	case SESSION_CLOSING:
	case SESSION_DOWN:
		return false;
	}
	s->path_action = action->kind;
	action->sequence = s->path_sequence = next_sequence(s);
	return true;
}

/* Must it wait, although it is the next hook? */
static bool hook_waits(const struct session *s, enum td_hook hook)
{
	if (hook == TD_HOOK_MTU_CHANGED) /* for the MTU to tell */
		return s->path_sequence != 0 && s->path_action == TD_ACTION_SET_MTU;
	return hook == TD_HOOK_DOWN && s->state != SESSION_DOWN;
}

static void start_hook(struct session *s, enum td_hook hook, struct td_action *action)
{
	s->hooks_due &= (uint8_t)~DUE(hook);
	s->hook_running = hook;
	action->kind = TD_ACTION_HOOK;
	action->hook = hook;
	action->old_mtu = s->mtu_told;
	action->sequence = s->hook_sequence = next_sequence(s);
	if (hook == TD_HOOK_UP || hook == TD_HOOK_MTU_CHANGED) {
		s->mtu_told = s->info.mtu;
		s->hooks_due &= (uint8_t)~DUE(TD_HOOK_MTU_CHANGED);
	}
}

static bool hook_action(struct session *s, struct td_action *action, struct td_time now)
{
	static const enum td_hook order[] = { TD_HOOK_UP, TD_HOOK_MTU_CHANGED, TD_HOOK_PRE_DOWN,
					      TD_HOOK_DOWN };

	/* None begins when the time for hooks is over. */
	if (s->hook_sequence != 0 || (s->send & SEND_TUNNEL) || td_time_reached(s->until, now))
		return false;
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		const enum td_hook hook = order[i];

		if (!(s->hooks_due & DUE(hook)))
			continue;
		if (hook_waits(s, hook))
			return false;
		start_hook(s, hook, action);
		return true;
	}
	return false;
}

static bool note_action(struct td_engine *e, struct session *s, struct td_action *action)
{
	if (s->notes & NOTE_UP) {
		s->notes &= (uint8_t)~NOTE_UP;
		action->kind = TD_ACTION_UP;
	} else if (s->notes & NOTE_DOWN) {
		s->notes &= (uint8_t)~NOTE_DOWN;
		action->kind = TD_ACTION_DOWN;
		action->end = s->end;
		action->err = s->err;
		action->counts = s->counts;
	} else if (s->notes & NOTE_FREED) {
		s->notes = 0;
		action->kind = TD_ACTION_FREED;
		e->used--;
		td_engine_append(&e->free_sessions, &e->sessions[0].idle, sizeof(*s),
				 action->handle.index);
	} else if (s->notes & NOTE_CHANGED) {
		s->notes &= (uint8_t)~NOTE_CHANGED;
		action->kind = TD_ACTION_CHANGED;
		e->keeping = action->handle.index;
	} else {
		return false;
	}
	return true;
}

bool td_session_action(struct td_engine *e, struct session *s, struct td_action *action,
		       struct td_time now)
{
	action->handle = td_session_handle(e, s);
	action->session = &s->info;
	/* Notes first: what is up is told before it is removed, and whoever keeps the records knows
	 * that the interface is gone before the down hook runs. */
	return note_action(e, s, action) || path_action(e, s, action, now) ||
	       hook_action(s, action, now);
}

static void mtu_is_set(struct td_engine *e, struct session *s, int err, struct td_time now)
{
	if (err != 0) {
		s->mtu_failed = true;
		s->retry_at = td_time_add(now, MTU_PAUSE);
		td_session_rearm(e, s);
	}
	if (s->mtu_told == s->info.mtu)
		s->hooks_due &= (uint8_t)~DUE(TD_HOOK_MTU_CHANGED); /* changed back */
	else if (err == 0 && (e->config.hooks & DUE(TD_HOOK_MTU_CHANGED)))
		td_session_want_hook(e, s, TD_HOOK_MTU_CHANGED);
	else if (err == 0)
		s->mtu_told = s->info.mtu; /* to nobody */
	td_session_note(e, s, NOTE_CHANGED);
}

static void created(struct td_engine *e, struct session *s, int err, struct td_time now)
{
	if (err == 0 && s->state == SESSION_CREATING) {
		td_session_enter(e, s, SESSION_UP, now);
		e->counters.established++;
		td_session_note(e, s, NOTE_UP);
		td_session_send_tunnel(e, s);
		td_session_want_hook(e, s, TD_HOOK_UP);
	} else if (err == 0) {
		td_session_enter(e, s, SESSION_DESTROYING, now); /* nobody wants it any more */
	} else if (s->state == SESSION_CREATING) {
		td_session_note_end(e, s, TD_END_FAILED, err);
		td_admission_refuse(e, s, now);
		s->path_begun = false; /* there is nothing to remove */
		td_session_close(e, s, TD_END_FAILED, TD_ERROR_NONE, now);
	} else {
		td_session_enter(e, s, SESSION_DOWN, now);
	}
}

static void destroyed(struct td_engine *e, struct session *s, int err, struct td_time now)
{
	if (err != 0 && err != -ENODEV && ++s->destroy_tries < DESTROY_TRIES) {
		s->retry_at = td_time_add(now, DESTROY_PAUSE);
		td_session_rearm(e, s);
		return;
	}
	td_session_enter(e, s, SESSION_DOWN, now);
}

static void path_result(struct td_engine *e, struct session *s, int err, struct td_time now)
{
	const enum td_action_kind action = s->path_action;

	s->path_sequence = 0;
	td_session_act(e, s);
	if (action == TD_ACTION_CREATE)
		created(e, s, err, now);
	else if (action == TD_ACTION_DESTROY)
		destroyed(e, s, err, now);
	else if (action == TD_ACTION_SET_MTU && s->state == SESSION_UP)
		mtu_is_set(e, s, err, now);
}

void td_session_result(struct td_engine *e, struct session *s, uint32_t sequence, int err,
		       struct td_time now)
{
	if (sequence == s->path_sequence) {
		path_result(e, s, err, now);
	} else if (sequence == s->hook_sequence) {
		s->hook_sequence = 0; /* a hook's failure changes nothing */
		td_session_note(e, s, NOTE_CHANGED);
	} else {
		return;
	}
	td_session_advance(e, s, now);
}
