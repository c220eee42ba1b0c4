/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What the engine promises about its actions, checked for each of them: at most one action of the
 * data path and one hook at a time per session; hooks in the order up, mtu-changed, pre-down, down;
 * pre-down before DESTROY, down after its result; ids and names not used again before the last of
 * it has ended.
 */
#include <errno.h>
#include <string.h>

#include "engine_harness.h"

#define PRE_DOWN_LIMIT TD_SECONDS(10)
#define DESTROY_TRIES  3 /* then it counts as gone */

static bool configured(const struct world *w, enum td_hook hook)
{
	return (w->config.hooks & HOOK(hook)) != 0;
}

static bool out_of_time(const struct world *w, struct td_time since, int64_t limit_us)
{
	return td_time_reached(td_time_add(since, limit_us), w->now) ||
	       td_time_reached(w->stop_at, w->now);
}

static void watch_create(struct world *w, struct watch *v, const struct td_action *action)
{
	const struct td_session_info *info = action->session;

	assert_false(v->live);
	assert_int_equal(info->tunnel_id, w->config.tunnel_id_base + action->handle.index);
	assert_int_equal(memcmp(info->ifname, "l2tp", 4), 0);
	assert_true(strlen(info->ifname) < TD_IFNAME_SIZE);
	for (uint32_t i = 0; i < w->config.max_tunnels; i++) {
		assert_false(w->watches[i].live &&
			     strcmp(w->watches[i].session.ifname, info->ifname) == 0);
		assert_false(w->watches[i].live &&
			     w->watches[i].session.tunnel_id == info->tunnel_id);
	}
	*v = (struct watch){ .live = true, .handle = action->handle, .session = *info };
	v->created_at = w->now;
	v->mtu_told = info->mtu;
}

/* Pre-down came first, unless up never ran, or the time for it. */
static void watch_destroy(const struct world *w, const struct watch *v)
{
	const bool was_up =
		v->up && (!configured(w, TD_HOOK_UP) || v->hooks_seen & HOOK(TD_HOOK_UP));

	if (!was_up || !configured(w, TD_HOOK_PRE_DOWN))
		return;
	if (!out_of_time(w, v->down_at, PRE_DOWN_LIMIT)) {
		assert_true(v->hooks_seen & HOOK(TD_HOOK_PRE_DOWN));
		assert_int_equal(v->hook_sequence, 0);
	}
}

static void watch_path(struct world *w, struct watch *v, const struct td_action *action)
{
	assert_int_equal(v->path_sequence, 0);
	assert_int_not_equal(action->sequence, 0);
	if (action->kind == TD_ACTION_CREATE)
		watch_create(w, v, action);
	assert_true(v->live);
	if (action->kind == TD_ACTION_SET_MTU || action->kind == TD_ACTION_SET_RATE)
		assert_true(v->created && !v->closing && !v->gone);
	if (action->kind == TD_ACTION_DESTROY) {
		assert_true(v->created && !v->gone);
		if (!v->destroying)
			watch_destroy(w, v);
		v->destroying = true;
	}
	v->path_sequence = action->sequence;
}

static void watch_mtu_hook(const struct world *w, struct watch *v, const struct td_action *action)
{
	assert_false(v->hooks_seen & HOOK(TD_HOOK_PRE_DOWN));
	assert_false(v->closing);
	if (configured(w, TD_HOOK_UP))
		assert_true(v->hooks_seen & HOOK(TD_HOOK_UP));
	assert_int_equal(action->old_mtu, v->mtu_told);
	assert_int_not_equal(action->old_mtu, action->session->mtu);
	v->mtu_told = action->session->mtu;
}

static void watch_hook(struct world *w, struct watch *v, const struct td_action *action)
{
	assert_true(v->live && v->created && configured(w, action->hook));
	assert_int_equal(v->hook_sequence, 0);
	assert_int_not_equal(action->sequence, 0);
	assert_false(w->stopping && td_time_reached(w->stop_at, w->now));
	switch (action->hook) {
	case TD_HOOK_UP:
		assert_int_equal(v->hooks_seen, 0);
		v->mtu_told = action->session->mtu;
		break;
	case TD_HOOK_MTU_CHANGED:
		watch_mtu_hook(w, v, action);
		break;
	case TD_HOOK_PRE_DOWN:
		assert_true(v->closing && !v->gone);
		assert_false(v->hooks_seen & HOOK(TD_HOOK_PRE_DOWN));
		break;
	case TD_HOOK_DOWN:
		assert_true(v->gone);
		assert_false(v->hooks_seen & HOOK(TD_HOOK_DOWN));
		break;
	case TD_HOOK_RATE_LIMITED:
	case TD_HOOK_COUNT:
		fail_msg("this hook belongs to no session");
		break;
	}
	v->hooks_seen |= HOOK(action->hook);
	v->hook = action->hook;
	v->hook_sequence = action->sequence;
}

static void watch_freed(const struct world *w, struct watch *v)
{
	const bool hooks_over = v->hooks_over || td_time_reached(w->stop_at, w->now);

	if (v->live) {
		assert_int_equal(v->path_sequence, 0);
		assert_true(!v->created || v->gone);
		assert_true(v->hook_sequence == 0 || hooks_over);
		if (v->gone && configured(w, TD_HOOK_DOWN) &&
		    v->hooks_seen & HOOK(TD_HOOK_PRE_DOWN))
			assert_true(v->hooks_seen & HOOK(TD_HOOK_DOWN) || hooks_over);
	}
	*v = (struct watch){ 0 };
}

void oracle_action(struct world *w, const struct td_action *action)
{
	struct watch *v;

	if (action->kind == TD_ACTION_HOOK && action->hook == TD_HOOK_RATE_LIMITED) {
		assert_int_equal(action->handle.generation, 0);
		assert_true(configured(w, TD_HOOK_RATE_LIMITED));
		return;
	}
	assert_true(action->handle.index < w->config.max_tunnels);
	assert_int_not_equal(action->handle.generation, 0);
	v = &w->watches[action->handle.index];
	if (v->live)
		assert_true(td_handle_equal(v->handle, action->handle));
	switch (action->kind) {
	case TD_ACTION_CREATE:
	case TD_ACTION_SET_MTU:
	case TD_ACTION_SET_RATE:
	case TD_ACTION_DESTROY:
		watch_path(w, v, action);
		break;
	case TD_ACTION_HOOK:
		watch_hook(w, v, action);
		break;
	case TD_ACTION_DOWN:
		assert_false(v->closing);
		assert_true(v->up || action->end == TD_END_FAILED);
		v->closing = true;
		v->down_at = w->now;
		break;
	case TD_ACTION_FREED:
		watch_freed(w, v);
		break;
	case TD_ACTION_UP:
		assert_true(v->created && !v->up);
		v->up = true;
		break;
	case TD_ACTION_CHANGED:
	case TD_ACTION_COUNT:
		break;
	}
}

void oracle_answer(struct world *w, const struct deed *deed)
{
	struct watch *v = &w->watches[deed->action.handle.index];

	if (!v->live || !td_handle_equal(v->handle, deed->action.handle))
		return;
	if (deed->action.sequence == v->hook_sequence) {
		v->hook_sequence = 0;
		return;
	}
	if (deed->action.sequence != v->path_sequence)
		return;
	v->path_sequence = 0;
	if (deed->action.kind == TD_ACTION_CREATE && deed->err == 0)
		v->created = true;
	if (deed->action.kind == TD_ACTION_DESTROY) {
		v->destroys++;
		v->gone = deed->err == 0 || deed->err == -ENODEV || v->destroys == DESTROY_TRIES;
	}
}
