/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Is the engine's memory consistent? Looks inside; for use between any two calls into it. */
#include <stdlib.h>
#include <string.h>

#include "core/engine_impl.h"
#include "engine_harness.h"

static bool counted(const struct session *s)
{
	return s->state != SESSION_FREE || (s->notes & NOTE_FREED);
}

static bool owns_flow(const struct session *s)
{
	return s->state != SESSION_FREE && s->state != SESSION_DOWN;
}

/* The timer is not later than anything that it is for. */
static void check_timer(const struct td_engine *e, const struct session *s)
{
	const uint32_t place = s->owner.timer.place;
	struct td_time at = td_time_min(s->until, s->retry_at);

	if (s->state == SESSION_UP) {
		at = td_time_min(at, td_time_min(s->keepalive_at, s->search_at));
		at = td_time_min(at, td_time_min(s->challenge_at, td_pmtu_deadline(&s->pmtu)));
	}
	if (s->state != SESSION_FREE && at.us != TD_NEVER.us)
		assert_true(place != 0 && e->timers.heap[place - 1].at.us <= at.us);
}

static void check_session(const struct td_engine *e, const struct session *s)
{
	check_timer(e, s);
	if (owns_flow(s))
		assert_ptr_equal(td_session_by_flow(e, &s->info.flow), s);
	if (td_session_alive(s))
		assert_ptr_equal(td_session_by_uuid(e, s->info.uuid, s->info.uuid_len), s);
	if (s->state == SESSION_FREE) {
		assert_false(td_timer_running(&s->owner.timer));
		assert_true((s->notes & ~NOTE_FREED) == 0 || (s->notes & NOTE_FREED));
	}
	/* What has something to say is in the list of those that are asked; before it says TUNNEL,
	 * in that of those whose record is to be kept. */
	if (s->send != 0)
		assert_true(s->sending.linked ||
			    ((s->send & SEND_TUNNEL) && !td_session_recorded(e, s) &&
			     (s->acting.linked || !(s->notes & NOTE_CHANGED))));
	if (s->state == SESSION_FREE) {
		assert_int_equal(s->send, 0);
		assert_true(!(s->notes & NOTE_FREED) || s->acting.linked);
	}
	if (s->hook_sequence != 0)
		assert_int_not_equal(s->hook_sequence, s->path_sequence);
	assert_int_equal(s->owner.kind, OWNER_SESSION);
	/* Nobody waits for ever but for the shell: every other state has a limit. */
	if (s->state == SESSION_CREATING || s->state == SESSION_UP || s->state == SESSION_CLOSING)
		assert_true(td_timer_running(&s->owner.timer));
	if (s->state == SESSION_DOWN)
		assert_true(s->hook_sequence != 0 || s->acting.linked || s->send != 0 ||
			    td_timer_running(&s->owner.timer));
	if (s->state == SESSION_ABANDONED)
		assert_int_not_equal(s->path_sequence, 0);
	if (s->state == SESSION_DESTROYING)
		assert_true(s->path_sequence != 0 || td_timer_running(&s->owner.timer) ||
			    s->acting.linked);
}

/* What a session adds to the engine's counts. */
static struct engine_sums part_of(const struct session *s)
{
	return (struct engine_sums){
		.used = counted(s),
		.flows = owns_flow(s),
		.alive = td_session_alive(s),
		.creating = s->state == SESSION_CREATING,
		.counting = s->counting,
	};
}

static void add(struct engine_sums *to, const struct engine_sums *part)
{
	to->used += part->used;
	to->flows += part->flows;
	to->alive += part->alive;
	to->creating += part->creating;
	to->counting += part->counting;
}

static void subtract(struct engine_sums *from, const struct engine_sums *part)
{
	from->used -= part->used;
	from->flows -= part->flows;
	from->alive -= part->alive;
	from->creating -= part->creating;
	from->counting -= part->counting;
}

static void check_sums(const struct td_engine *e, const struct engine_sums *sums)
{
	assert_int_equal(e->used, sums->used);
	assert_int_equal(e->by_flow.count, sums->flows);
	assert_int_equal(e->by_uuid.count, sums->alive);
	assert_int_equal(e->creating, sums->creating);
	assert_int_equal(e->counting, sums->counting);
	assert_true(e->timers.count <= e->timers.capacity);
	assert_true(e->stop_cursor <= e->config.max_tunnels);
	assert_true(e->reply_size <= sizeof(e->reply));
}

static void check_sessions(const struct td_engine *e)
{
	struct engine_sums sums = { 0 };

	for (uint32_t i = 0; i < e->config.max_tunnels; i++) {
		const struct session *s = &e->sessions[i];
		const struct engine_sums part = part_of(s);

		check_session(e, s);
		add(&sums, &part);
		if (!counted(s))
			assert_true(s->idle.linked);
	}
	check_sums(e, &sums);
}

static const struct slot_link *link_at(const struct slot_link *links, size_t stride, uint32_t slot)
{
	return (const struct slot_link *)(const void *)((const uint8_t *)links + stride * slot);
}

/* Follows a list: as long as there are linked slots, and no longer. */
static void check_list(const struct slot_list *list, const struct slot_link *links, size_t stride,
		       uint32_t slots)
{
	uint32_t linked = 0, listed = 0, last = SLOT_NONE;

	for (uint32_t i = 0; i < slots; i++)
		linked += link_at(links, stride, i)->linked;
	for (uint32_t i = list->first; i != SLOT_NONE; i = link_at(links, stride, i)->next) {
		assert_true(i < slots && link_at(links, stride, i)->linked);
		assert_true(++listed <= slots);
		last = i;
	}
	assert_int_equal(listed, linked);
	assert_int_equal(list->last, last);
}

static void check_lists(const struct td_engine *e)
{
	const uint32_t sessions = e->config.max_tunnels;

	check_list(&e->free_sessions, &e->sessions[0].idle, sizeof(struct session), sessions);
	check_list(&e->sending, &e->sessions[0].sending, sizeof(struct session), sessions);
	check_list(&e->acting, &e->sessions[0].acting, sizeof(struct session), sessions);
	check_list(&e->applicants_sending, &e->applicants[0].sending, sizeof(struct applicant),
		   e->applicants_max);
	check_list(&e->applicants_acting, &e->applicants[0].acting, sizeof(struct applicant),
		   e->applicants_max);
}

unsigned check_applicants(const struct td_engine *e)
{
	unsigned waiting = 0, queued = 0, spare = 0, queue = 0;

	for (uint32_t i = 0; i < e->applicants_max; i++) {
		const struct applicant *a = &e->applicants[i];

		assert_int_equal(a->owner.kind, OWNER_APPLICANT);
		assert_true(td_timer_running(&a->owner.timer) ==
			    (a->wait != WAIT_NOTHING && a->wait != WAIT_ERROR));
		if (a->wait == WAIT_ERROR)
			assert_true(a->sending.linked);
		if (a->wait != WAIT_NOTHING)
			assert_ptr_equal(td_admission_find(e, &a->flow), a);
		waiting += a->wait != WAIT_NOTHING;
		queue += a->wait == WAIT_TURN;
	}
	for (uint32_t i = e->free_applicants; i != SLOT_NONE; i = e->applicants[i].after) {
		assert_int_equal(e->applicants[i].wait, WAIT_NOTHING);
		assert_true(++spare <= e->applicants_max);
	}
	for (uint32_t i = e->queue_first, before = SLOT_NONE; i != SLOT_NONE;
	     before = i, i = e->applicants[i].after) {
		assert_int_equal(e->applicants[i].wait, WAIT_TURN);
		assert_int_equal(e->applicants[i].before, before);
		assert_true(++queued <= e->applicants_max);
		if (e->applicants[i].after == SLOT_NONE)
			assert_int_equal(e->queue_last, i);
	}
	assert_int_equal(queued, queue);
	assert_int_equal(spare + waiting, e->applicants_max);
	assert_int_equal(e->applicants_by_flow.count, waiting);
	assert_true(td_timer_running(&e->queue_owner.timer) == (queue > 0));
	return waiting;
}

static void check_timers(const struct td_engine *e)
{
	const struct td_timers *t = &e->timers;

	for (uint32_t i = 0; i < t->count; i++) {
		assert_int_equal(t->heap[i].timer->place, i + 1);
		if (i > 0)
			assert_true(t->heap[i].at.us >= t->heap[(i - 1) / TD_TIMER_ARITY].at.us);
	}
}

void check_engine(const struct td_engine *e)
{
	check_sessions(e);
	check_lists(e);
	check_applicants(e);
	check_timers(e);
}

/* --- of a large engine, what an event touched --- */

void check_begin(struct engine_parts *p, const struct td_engine *e)
{
	const uint32_t count = e->config.max_tunnels;

	p->parts = realloc(p->parts, count * sizeof(*p->parts));
	p->sums = (struct engine_sums){ 0 };
	for (uint32_t i = 0; i < count; i++) {
		p->parts[i] = part_of(&e->sessions[i]);
		add(&p->sums, &p->parts[i]);
	}
}

static void check_place(const struct td_timers *t, const struct td_timer *timer)
{
	const uint32_t at = timer->place - 1;

	if (timer->place == 0)
		return;
	assert_true(at < t->count);
	assert_ptr_equal(t->heap[at].timer, timer);
	if (at > 0)
		assert_true(t->heap[(at - 1) / TD_TIMER_ARITY].at.us <= t->heap[at].at.us);
	for (uint32_t nth = 1; nth <= TD_TIMER_ARITY && TD_TIMER_ARITY * at + nth < t->count; nth++)
		assert_true(t->heap[TD_TIMER_ARITY * at + nth].at.us >= t->heap[at].at.us);
}

void check_touched(struct engine_parts *p, const struct td_engine *e, uint32_t index)
{
	const struct session *s = &e->sessions[index];
	const struct applicant *a = td_admission_find(e, &s->info.flow);

	check_session(e, s);
	check_place(&e->timers, &s->owner.timer);
	if (a)
		check_place(&e->timers, &a->owner.timer);
	subtract(&p->sums, &p->parts[index]);
	p->parts[index] = part_of(s);
	add(&p->sums, &p->parts[index]);
}

void check_rest(const struct engine_parts *p, const struct td_engine *e, bool all)
{
	check_sums(e, &p->sums);
	if (!all)
		return;
	check_engine(e);
	for (uint32_t i = 0; i < e->config.max_tunnels; i++) {
		const struct engine_sums part = part_of(&e->sessions[i]);

		assert_memory_equal(&p->parts[i], &part, sizeof(part)); /* nobody else changed */
	}
}

uint32_t check_hash(const struct td_engine *e, const void *bytes, size_t size)
{
	return td_engine_hash(e, bytes, size);
}

uint32_t check_hash_flow(const struct td_engine *e, const struct td_flow *flow)
{
	return td_engine_hash_flow(e, flow);
}
