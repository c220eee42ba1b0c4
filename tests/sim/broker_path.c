/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A broker's data path and hooks, which hesitate, fail, repeat themselves and answer the dead. It
 * judges what CREATE made and DESTROY removed.
 */
#include <errno.h>
#include <string.h>

#include "plan.h"

#define CREATE_LIMIT TD_SECONDS(15) /* so long the engine waits */

/* --- data path --- */

static void make(struct sim_broker *b, uint32_t index, const struct td_session_info *session)
{
	struct sim_iface *iface = &b->ifaces[index];

	for (uint32_t i = 0; i < b->config.max_tunnels; i++) {
		const struct td_session_info *other = &b->ifaces[i].session;

		if (!b->ifaces[i].present)
			continue;
		sim_check(b->sim, other->tunnel_id != session->tunnel_id);
		sim_check(b->sim, strcmp(other->ifname, session->ifname) != 0);
		sim_check(b->sim, !td_flow_equal(&other->flow, &session->flow));
	}
	*iface = (struct sim_iface){ .present = true,
				     .session = *session,
				     .mtu = session->mtu,
				     .made = b->sim->now,
				     .used = b->sim->now };
}

/* What DESTROY finds: the interface, or nothing if there is a reason for that. */
static int unmake(struct sim_broker *b, uint32_t index, int err)
{
	struct sim_iface *iface = &b->ifaces[index];

	if (!iface->present) {
		sim_check(b->sim, iface->gone);
		return -ENODEV;
	}
	if (err == 0 || iface->failures == 2) {
		iface->present = false;
		return 0;
	}
	iface->failures++;
	return err;
}

static int perform(struct sim_broker *b, const struct sim_event *e,
		   const struct td_session_info *session)
{
	switch ((enum td_action_kind)e->kind) {
	case TD_ACTION_CREATE:
		if (e->err == 0)
			make(b, e->handle.index, session);
		return e->err;
	case TD_ACTION_DESTROY:
		return unmake(b, e->handle.index, e->err);
	case TD_ACTION_SET_MTU:
		if (e->err == 0)
			b->ifaces[e->handle.index].mtu = session->mtu;
		return e->err;
	case TD_ACTION_SET_RATE:
	case TD_ACTION_HOOK:
	case TD_ACTION_UP:
	case TD_ACTION_DOWN:
	case TD_ACTION_CHANGED:
	case TD_ACTION_FREED:
	case TD_ACTION_COUNT:
		break;
	}
	return e->err;
}

static void report(struct sim_broker *b, const struct sim_event *e, int err)
{
	const struct deed deed = {
		.action = { .kind = (enum td_action_kind)e->kind,
			    .handle = e->handle,
			    .sequence = e->sequence },
		.err = err,
	};

	sim_log(b->sim, "broker %u: action %d of %u ends with %d", b->number, e->kind,
		e->handle.index, err);
	b->oracle.now = sim_broker_now(b);
	oracle_answer(&b->oracle, &deed);
	td_engine_result(b->engine, e->handle, e->sequence, err, sim_broker_now(b));
	sim_broker_settle(b);
}

/* slot: the worker that asked. */
static void done(struct sim *s, const struct sim_event *e)
{
	struct sim_broker *b = &s->brokers[e->node];
	struct td_session_info session;

	if (!b->running || b->life != e->life || b->worker != e->slot ||
	    sim_defer(s, e, b->busy_until))
		return;
	if (e->order < b->newest_asked)
		sim_saw(s, SAW_OUT_OF_ORDER);
	else
		b->newest_asked = e->order;
	memcpy(&session, e->bytes, sizeof(session));
	report(b, e, perform(b, e, &session));
}

/* The same result once more: nothing is done any more. */
static void done_again(struct sim *s, const struct sim_event *e)
{
	struct sim_broker *b = &s->brokers[e->node];

	if (!b->running || b->life != e->life || b->worker != e->slot ||
	    sim_defer(s, e, b->busy_until))
		return;
	sim_saw(s, td_engine_session(b->engine, e->handle) ? SAW_TWICE : SAW_TOO_LATE);
	report(b, e, e->err);
}

static struct sim_event *answer(struct sim_broker *b, const struct td_action *a, int64_t delay_us,
				int err, void (*run)(struct sim *, const struct sim_event *))
{
	struct sim_event *e = sim_at(b->sim, delay_us, run, sizeof(*a->session));

	e->node = b->number;
	e->life = b->life;
	e->slot = b->worker;
	e->handle = a->handle;
	e->sequence = a->sequence;
	e->kind = (int)a->kind;
	e->err = err;
	memcpy(e->bytes, a->session, sizeof(*a->session));
	return e;
}

/* --- hooks: they belong to the parent, and outlive a worker --- */

static void tell_hook(struct sim_broker *b, struct td_hook_run *run)
{
	const struct sim_event e = { .kind = TD_ACTION_HOOK,
				     .handle = run->handle,
				     .sequence = run->sequence };

	td_hook_runs_told(&b->runs, run);
	report(b, &e, run->result);
}

void sim_broker_tell_hooks(struct sim_broker *b)
{
	const uint32_t life = b->life;

	for (uint32_t i = 0; i < b->runs.count && b->running && b->life == life; i++)
		if (b->runs.runs[i].untold)
			tell_hook(b, &b->runs.runs[i]);
}

/* sequence: of the call, half of its token. */
static void hook_done(struct sim *s, const struct sim_event *e)
{
	struct sim_broker *b = &s->brokers[e->node];
	struct td_hook_run *run;

	if (!b->running || b->life != e->life || sim_defer(s, e, b->busy_until))
		return;
	run = td_hook_runs_end(&b->runs, (uint64_t)e->sequence << 32 | e->handle.index, e->err);
	if (run)
		tell_hook(b, run);
	else
		sim_saw(s, SAW_HOOK_TOO_LATE);
}

static int64_t delay(struct sim *s, bool hook)
{
	if (!s->trouble || sim_chance(s, 850))
		return sim_between(s, 0, hook ? TD_MS(200) : TD_MS(20));
	if (hook) {
		/* While it runs its slot is taken: not for long after the healing. */
		const int64_t left_us = PLAN_TROUBLE_US + TD_SECONDS(60) - s->now.us;
		const int64_t us = sim_between(s, 0, TD_SECONDS(sim_chance(s, 200) ? 200 : 15));

		return us < left_us ? us : left_us;
	}
	return sim_between(s, 0, TD_SECONDS(sim_chance(s, 200) ? 40 : 4));
}

static int error(struct sim *s)
{
	static const int errors[] = { -EIO, -EEXIST, -ENODEV, -EPERM, -ETIMEDOUT };

	return s->trouble && sim_chance(s, 60) ? errors[sim_below(s, 5)] : 0;
}

/* --- actions --- */

static void keep_record(struct sim_broker *b, const struct td_action *a)
{
	b->record_sizes[a->handle.index] = (uint16_t)td_engine_export(
		b->engine, a->handle, b->records[a->handle.index], sim_broker_now(b));
}

static void forget(struct sim_broker *b, uint32_t index)
{
	b->record_sizes[index] = 0;
	td_hook_runs_forget(&b->runs, index);
	sim_check(b->sim, !b->ifaces[index].present);
}

static void tell_counts(const struct sim_broker *b)
{
	for (uint32_t i = 0; i < b->config.max_tunnels; i++)
		if (b->ifaces[i].present && !(b->sim->trouble && sim_chance(b->sim, 100)))
			td_engine_counted(b->engine, b->oracle.watches[i].handle, b->ifaces[i].sent,
					  b->ifaces[i].received, sim_broker_now(b));
}

static void run_hook(struct sim_broker *b, const struct td_action *a, int err)
{
	struct sim *s = b->sim;
	const int64_t us = delay(s, true);
	struct sim_event *e;
	uint64_t token;

	keep_record(b, a);
	token = td_hook_runs_begin(&b->runs, a->handle, a->sequence);
	e = answer(b, a, us, err, hook_done);
	e->sequence = (uint32_t)(token >> 32);
	if (err != 0)
		sim_saw(s, SAW_HOOK_FAILED);
	if (us > TD_ENGINE_PRE_DOWN_LIMIT)
		sim_saw(s, SAW_HOOK_SLOW);
}

/* What was said to the slot's last session, which had the same numbers, comes now. */
static void answer_dead(struct sim_broker *b, const struct td_action *a)
{
	struct sim_event *e = answer(b, a, 0, 0, done_again);

	e->handle.generation--;
}

/* Asks the data path; now and then it says the same twice. */
static void ask_path(struct sim_broker *b, const struct td_action *a, int err)
{
	struct sim *s = b->sim;
	const int64_t us = delay(s, false);

	answer(b, a, us, err, done);
	if (s->trouble && sim_chance(s, 50))
		answer_dead(b, a);
	if (err != 0)
		sim_saw(s, SAW_FAILED);
	if (a->kind == TD_ACTION_CREATE && us > CREATE_LIMIT)
		sim_saw(s, SAW_TIMED_OUT);
	if (a->kind != TD_ACTION_DESTROY && s->trouble && sim_chance(s, 30))
		answer(b, a, sim_between(s, TD_SECONDS(40), TD_SECONDS(200)), 0, done_again);
}

void sim_broker_act(struct sim_broker *b, const struct td_action *a)
{
	struct sim *s = b->sim;
	int err = error(s);

	if (a->kind == TD_ACTION_COUNT) {
		tell_counts(b);
		return;
	}
	sim_digest(s, (const uint32_t[]){ a->kind, a->hook, a->handle.index, a->sequence }, 16);
	sim_log(s, "broker %u: action %d hook %d of %u, sequence %u, MTU %u", b->number, a->kind,
		a->hook, a->handle.index, a->sequence, a->session->mtu);
	oracle_action(&b->oracle, a);
	switch (a->kind) {
	case TD_ACTION_HOOK:
		if (a->hook != TD_HOOK_RATE_LIMITED)
			run_hook(b, a, err);
		break;
	case TD_ACTION_DESTROY:
		ask_path(b, a, err == -ENODEV ? -EBUSY : err); /* that would be a lie */
		break;
	case TD_ACTION_CREATE:
	case TD_ACTION_SET_MTU:
	case TD_ACTION_SET_RATE:
		ask_path(b, a, err);
		break;
	case TD_ACTION_CHANGED:
		keep_record(b, a);
		break;
	case TD_ACTION_FREED:
		forget(b, a->handle.index);
		break;
	case TD_ACTION_UP:
		sim_check(s, b->ifaces[a->handle.index].present || b->ifaces[a->handle.index].gone);
		break;
	case TD_ACTION_DOWN:
	case TD_ACTION_COUNT:
		break;
	}
}
