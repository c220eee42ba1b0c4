/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A broker: the core's engine or the model of the deployed one, and the program around it: a data
 * path and hooks (broker_path.c), a worker that is replaced.
 *
 * Each action goes through the oracle of tests/unit, and the engine's memory is looked through
 * after every event.
 */
#include <stdlib.h>
#include <string.h>

#include "core/engine_impl.h"
#include "old_wire.h"
#include "plan.h"

struct td_time sim_broker_now(const struct sim_broker *b)
{
	return (struct td_time){ b->sim->now.us + b->clock_us };
}

/* --- what it has to say and to do --- */

/* Has it, or its worker, to die right here? Then nothing more of it is drained. */
static bool step(struct sim_broker *b)
{
	return b->accident != SIM_NOTHING && b->steps > 0 && --b->steps == 0;
}

static bool dies(const struct sim_broker *b)
{
	return b->accident != SIM_NOTHING && b->steps == 0;
}

static void touch(struct sim_broker *b, struct td_handle handle)
{
	if (b->sim->check_every == 1 || handle.generation == 0)
		return;
	if (b->is_touched[handle.index])
		return;
	b->is_touched[handle.index] = true;
	b->touched[b->touched_count++] = handle.index;
}

static void check(struct sim_broker *b)
{
	const bool all = b->checks++ % b->sim->check_every == 0;

	if (b->sim->check_every == 1) {
		check_engine(b->engine);
		return;
	}
	for (uint32_t i = 0; i < b->touched_count; i++) {
		check_touched(&b->parts, b->engine, b->touched[i]);
		b->is_touched[b->touched[i]] = false;
	}
	b->touched_count = 0;
	check_rest(&b->parts, b->engine, all);
}

static bool send_all(struct sim_broker *b)
{
	uint8_t bytes[SIM_DATAGRAM];
	struct td_engine_tx to;
	bool any = false;
	size_t size;

	while (!b->blocked && !dies(b) &&
	       (size = td_engine_tx(b->engine, &to, bytes, TD_ENGINE_TX_MAX, sim_broker_now(b))) >
		       0) {
		touch(b, to.handle);
		sim_send_down(b, &to.flow, bytes, size);
		any = !step(b);
	}
	return any;
}

static void drain(struct sim_broker *b)
{
	struct td_action a;
	bool more = true;

	b->oracle.now = sim_broker_now(b);
	while (more) {
		more = send_all(b);
		while (!dies(b) && !b->behind &&
		       td_engine_next_action(b->engine, &a, sim_broker_now(b))) {
			touch(b, a.handle);
			sim_broker_act(b, &a);
			more = !step(b);
		}
	}
	check(b);
}

/* --- time --- */

static void wake(struct sim *s, const struct sim_event *e)
{
	struct sim_broker *b = &s->brokers[e->node];
	const struct td_time now = sim_broker_now(b);

	if (!b->running || b->life != e->life || b->wake_at.us != e->at.us)
		return;
	b->wake_at = TD_NEVER;
	if (b->busy_until.us > s->now.us || b->behind)
		return;
	if (b->old_model)
		old_broker_tick(&b->old, now.us);
	else
		td_engine_tick(b->engine, now);
	sim_broker_settle(b);
	if (b->running && !b->old_model)
		sim_check(s, td_engine_deadline(b->engine).us > now.us);
}

static void sleep_until(struct sim_broker *b, struct td_time deadline)
{
	struct sim *s = b->sim;
	struct td_time at = { deadline.us - b->clock_us };
	struct sim_event *e;

	if (deadline.us == TD_NEVER.us)
		return;
	if (at.us < s->now.us)
		at = s->now;
	if (at.us >= b->wake_at.us)
		return;
	b->wake_at = at;
	e = sim_at(s, at.us - s->now.us, wake, 0);
	e->node = b->number;
	e->life = b->life;
}

/* It was told to, between two of its actions: what it had not said yet it never says. */
static void die(struct sim_broker *b)
{
	struct sim *s = b->sim;
	const bool worker = b->accident == SIM_WORKER_CRASHES;

	sim_log(s, "broker %u is interrupted", b->number);
	b->accident = SIM_NOTHING;
	if (worker) {
		sim_saw(s, SAW_WORKER_CRASH_MID);
		sim_broker_restart_worker(b, false);
		return;
	}
	sim_saw(s, SAW_BROKER_CRASH_MID);
	sim_broker_crash(b);
	sim_at(s, sim_between(s, 0, TD_SECONDS(3)), plan_start_broker, 0)->node = b->number;
}

void sim_broker_settle(struct sim_broker *b)
{
	if (b->old_model) {
		sleep_until(b, (struct td_time){ old_broker_deadline(&b->old) });
		return;
	}
	drain(b);
	if (dies(b))
		die(b);
	else if (!b->behind)
		sleep_until(b, td_engine_deadline(b->engine));
}

static void rx_new(struct sim_broker *b, const struct td_flow *flow, const uint8_t *bytes,
		   size_t size)
{
	/* It may end the session of its flow, or make one. */
	const struct session *before = td_session_by_flow(b->engine, flow), *after;

	td_engine_rx(b->engine, flow, bytes, size, sim_broker_now(b));
	after = td_session_by_flow(b->engine, flow);
	if (before) {
		touch(b, td_session_handle(b->engine, before));
		/* A question from the same port, of another attempt, is a sign of life as well. */
		if (bytes[4] == OLD_MSG_USAGE || bytes[4] == OLD_MSG_COOKIE)
			b->ifaces[before - b->engine->sessions].used = b->sim->now;
	}
	if (after)
		touch(b, td_session_handle(b->engine, after));
}

void sim_broker_rx(struct sim_broker *b, const struct td_flow *flow, const uint8_t *bytes,
		   size_t size)
{
	uint8_t *copy;

	if (size == 0 || (bytes[0] & 0x80) == 0)
		return;
	copy = malloc(size);
	memcpy(copy, bytes, size);
	sim_log(b->sim, "broker %u < port %u type %02x, %zu bytes", b->number, flow->peer.port,
		bytes[4], size);
	if (b->old_model && b->old.deaf_to_usage && bytes[4] == OLD_MSG_USAGE)
		sim_saw(b->sim, SAW_DEAF);
	if (b->old_model)
		old_broker_rx(&b->old, flow, copy, size, sim_broker_now(b).us);
	else
		rx_new(b, flow, copy, size);
	free(copy);
	sim_broker_settle(b);
}

/* --- life --- */

static void old_send(void *owner, const struct td_flow *flow, const uint8_t *bytes, size_t size)
{
	sim_send_down(owner, flow, bytes, size);
}

static void start_old(struct sim_broker *b)
{
	b->old.send = old_send;
	b->old.owner = b;
	b->old.max_tunnels = b->config.max_tunnels;
	b->old.id_base = b->config.tunnel_id_base;
	b->old.fixed_mtu = b->config.fixed_mtu;
	b->old.first_keepalive_us = b->old.first_probe_us = -1;
	b->old.tunnels = calloc(b->config.max_tunnels, sizeof(*b->old.tunnels));
	old_broker_start(&b->old, td_rng_next(&b->sim->rng));
}

void sim_broker_new_engine(struct sim_broker *b)
{
	const size_t size = td_engine_size(b->config.max_tunnels);

	b->config.seed = td_rng_next(&b->sim->rng);
	b->memory = malloc(size);
	memset(b->memory, b->sim->fill, size);
	b->engine = td_engine_init(b->memory, &b->config, sim_broker_now(b));
	b->oracle.config = b->config;
	b->oracle.stop_at = TD_NEVER;
	b->oracle.stopping = false;
	b->oracle.now = sim_broker_now(b);
	b->touched_count = 0;
	memset(b->is_touched, 0, b->config.max_tunnels * sizeof(*b->is_touched));
	if (b->sim->check_every > 1)
		check_begin(&b->parts, b->engine);
}

static void start_new(struct sim_broker *b)
{
	const uint32_t max = b->config.max_tunnels;

	if (!b->ifaces) {
		b->ifaces = calloc(max, sizeof(*b->ifaces));
		b->records = calloc(max, sizeof(*b->records));
		b->record_sizes = calloc(max, sizeof(*b->record_sizes));
		b->oracle.watches = calloc(max, sizeof(*b->oracle.watches));
		b->touched = calloc(max, sizeof(*b->touched));
		b->is_touched = calloc(max, sizeof(*b->is_touched));
		sim_check(b->sim, td_hook_runs_init(&b->runs, max) == 0);
	}
	for (uint32_t i = 0; i < max; i++)
		td_hook_runs_forget(&b->runs, i);
	memset(b->ifaces, 0, max * sizeof(*b->ifaces));
	memset(b->record_sizes, 0, max * sizeof(*b->record_sizes));
	memset(b->oracle.watches, 0, max * sizeof(*b->oracle.watches));
	for (int i = 0; i < TD_ENGINE_KEY; i++) {
		b->config.cookie_key[i] = (uint8_t)sim_below(b->sim, 256);
		b->config.index_key[i] = (uint8_t)sim_below(b->sim, 256);
	}
	sim_broker_new_engine(b);
}

void sim_broker_start(struct sim_broker *b)
{
	sim_log(b->sim, "broker %u starts%s", b->number, b->old_model ? ", the deployed one" : "");
	b->running = true;
	b->stopping = b->blocked = b->behind = false;
	b->busy_until = b->sim->now;
	b->accident = SIM_NOTHING;
	b->life++;
	b->wake_at = TD_NEVER;
	if (b->old_model)
		start_old(b);
	else
		start_new(b);
	sim_broker_settle(b);
}

/* The whole machine, interfaces included. */
void sim_broker_crash(struct sim_broker *b)
{
	sim_log(b->sim, "broker %u is gone", b->number);
	b->running = false;
	free(b->memory);
	b->memory = NULL;
	b->engine = NULL;
	if (b->old_model)
		free(b->old.tunnels);
}

void sim_broker_stop(struct sim_broker *b, int64_t limit_us)
{
	sim_log(b->sim, "broker %u is to end", b->number);
	if (b->stopping)
		return;
	b->stopping = true;
	b->accident = SIM_NOTHING;
	b->oracle.stopping = true;
	b->oracle.stop_at = td_time_add(sim_broker_now(b), limit_us);
	if (b->old_model)
		old_broker_stop(&b->old);
	else
		td_engine_shutdown(b->engine, limit_us, sim_broker_now(b));
	sim_broker_settle(b);
}

bool sim_broker_ended(const struct sim_broker *b)
{
	return b->old_model ? b->old.used == 0 : td_engine_idle(b->engine);
}

/* --- what it has --- */

struct sim_iface *sim_broker_iface(const struct sim_broker *b, const struct td_flow *flow)
{
	const struct session *s =
		b->running && !b->old_model ? td_session_by_flow(b->engine, flow) : NULL;
	const uint32_t slot = s ? td_session_handle(b->engine, s).index : 0;
	const struct watch *v = &b->oracle.watches[slot];

	return s && v->live && v->up && !v->closing && b->ifaces[slot].present ? &b->ifaces[slot]
									       : NULL;
}

static void view_old(struct sim_view *view, const struct sim_broker *b,
		     const struct old_tunnel *old)
{
	view->up = true;
	view->tunnel_id = old->id;
	view->session_id = old->features ? old->id : 1;
	view->peer_tunnel_id = old->peer_id;
	view->peer_session_id = old->features ? old->peer_id : 1;
	view->mtu = old_broker_mtu(&b->old, old);
}

struct sim_view sim_broker_view(const struct sim_broker *b, const struct td_flow *flow)
{
	struct sim_view view = { .broker = b->number, .flow = *flow };
	const struct old_tunnel *old = b->old_model ? old_broker_tunnel(&b->old, flow) : NULL;
	const struct sim_iface *iface = sim_broker_iface(b, flow);

	if (old)
		view_old(&view, b, old);
	if (iface) {
		view.up = true;
		sim_view_session(&view, &iface->session);
		view.mtu = iface->mtu;
		view.since = iface->made;
	}
	return view;
}

uint32_t sim_broker_tunnels(const struct sim_broker *b)
{
	return b->old_model ? b->old.used : td_engine_tunnels(b->engine);
}
