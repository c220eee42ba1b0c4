/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A client: the core's machine (what it asks for: client_path.c) or a model of a deployed one. */
#include <stdlib.h>
#include <string.h>

#include "client_check.h"
#include "core/client_machine.h"
#include "plan.h"

struct td_time sim_client_now(const struct sim_client *c)
{
	return (struct td_time){ c->sim->now.us + c->clock_us };
}

/* --- the machine --- */

static void send_all(struct sim_client *c)
{
	uint8_t bytes[SIM_DATAGRAM];
	uint32_t slot;
	size_t size;

	while ((size = td_client_tx(c->machine, &slot, bytes, sizeof(bytes), sim_client_now(c))) >
	       0)
		sim_send_up(c, slot, bytes, size);
}

/* What holds whenever nothing more is to be drained. */
static void check(struct sim_client *c)
{
	const bool absent = c->machine->local.state == TD_LOCAL_ABSENT;

	check_client(c->machine);
	sim_check(c->sim, c->machine->candidates.lookups_running == c->lookups);
	sim_check(c->sim, absent == (!c->local.present && !c->local.creating));
}

static void wake(struct sim *s, const struct sim_event *e)
{
	struct sim_client *c = &s->clients[e->node];
	const struct td_time now = sim_client_now(c);

	if (!c->running || c->life != e->life || c->wake_at.us != e->at.us)
		return;
	c->wake_at = TD_NEVER;
	if (c->busy_until.us > s->now.us || c->behind)
		return;
	if (c->old_kind)
		old_client_tick(&c->old, now.us);
	else
		td_client_tick(c->machine, now);
	sim_client_settle(c);
	if (c->machine)
		sim_check(s, td_client_deadline(c->machine).us > now.us);
}

static void sleep_until(struct sim_client *c, struct td_time deadline)
{
	struct sim *s = c->sim;
	struct td_time at = { deadline.us - c->clock_us };
	struct sim_event *e;

	if (deadline.us == TD_NEVER.us || !c->running)
		return;
	if (at.us < s->now.us)
		at = s->now;
	if (at.us >= c->wake_at.us)
		return;
	c->wake_at = at;
	e = sim_at(s, at.us - s->now.us, wake, 0);
	e->node = c->number;
	e->life = c->life;
}

/* Its sockets are those that the machine knows of. */
static void check_sockets(struct sim_client *c)
{
	const struct td_candidates *s = &c->machine->candidates;

	for (uint32_t i = 0; i < s->slot_count; i++)
		if (s->slots[i].socket != TD_SOCKET_OPENING)
			sim_check(c->sim,
				  c->sockets[i].open == (s->slots[i].socket == TD_SOCKET_OPEN));
}

/* It was told to, between two of its actions. */
static bool dies(struct sim_client *c)
{
	struct sim *s = c->sim;

	if (c->steps == 0 || --c->steps > 0)
		return false;
	sim_log(s, "client %u is interrupted", c->number);
	sim_saw(s, SAW_CLIENT_CRASH_MID);
	sim_client_crash(c);
	sim_at(s, sim_between(s, 0, TD_SECONDS(2)), plan_start_client, 0)->node = c->number;
	return true;
}

void sim_client_settle(struct sim_client *c)
{
	struct td_client_action a;

	if (c->old_kind) {
		sleep_until(c, (struct td_time){ old_client_deadline(&c->old) });
		return;
	}
	if (c->behind)
		return;
	send_all(c);
	while (td_client_next_action(c->machine, &a, sim_client_now(c))) {
		sim_client_act(c, &a);
		if (dies(c))
			return;
		send_all(c);
	}
	check(c);
	check_sockets(c);
	sleep_until(c, td_client_deadline(c->machine));
}

void sim_client_rx(struct sim_client *c, uint32_t slot, const uint8_t *bytes, size_t size)
{
	uint8_t *copy;

	if (size == 0 || (bytes[0] & 0x80) == 0)
		return;      /* for the data path */
	copy = malloc(size); /* so that whoever reads beyond the end is found */
	memcpy(copy, bytes, size);
	sim_log(c->sim, "client %u slot %u < type %02x, %zu bytes", c->number, slot, bytes[4],
		size);
	if (c->old_kind)
		old_client_rx(&c->old, slot / TD_ADDRESSES_MAX, copy, size, sim_client_now(c).us);
	else
		td_client_rx(c->machine, slot, copy, size, sim_client_now(c));
	free(copy);
	sim_client_settle(c);
}

/* --- the model's program --- */

static bool old_open(void *owner, uint32_t broker)
{
	struct sim_client *c = owner;
	const struct sim_name *name = &c->sim->names[broker];

	for (uint32_t i = 0; i < name->count; i++) {
		if (name->addr[i].family != TD_FAMILY_IPV4)
			continue;
		sim_open_socket(c, broker * TD_ADDRESSES_MAX, &name->addr[i]);
		return true;
	}
	return false;
}

static void old_close(void *owner, uint32_t broker)
{
	sim_close_socket(owner, broker * TD_ADDRESSES_MAX);
}

static void old_send(void *owner, uint32_t broker, const uint8_t *bytes, size_t size)
{
	sim_send_up(owner, broker * TD_ADDRESSES_MAX, bytes, size);
}

static void old_state(void *owner, bool up)
{
	struct sim_client *c = owner;

	sim_log(c->sim, "client %u: %s", c->number, up ? "up" : "starts over");
	for (uint32_t n = 0; !up && c->old.long_up && n < c->sim->broker_count; n++)
		if (c->old.broker[n].broken && c->old.broker[n].open)
			sim_saw(c->sim, SAW_HASTY);
	c->up_since = up ? c->sim->now : TD_NEVER;
	c->changes += up;
	c->sent_up = up ? c->sent : c->sent_up;
}

static const struct old_client_program old_program = { old_open, old_close, old_send, old_state };

/* --- life --- */

void sim_client_start(struct sim_client *c)
{
	struct sim *s = c->sim;
	const struct td_time now = sim_client_now(c);

	sim_log(s, "client %u starts%s%s", c->number, c->old_kind ? ", as " : "",
		c->old_kind ? c->old_kind->name : "");
	c->running = true;
	c->ending = c->behind = false;
	c->busy_until = s->now;
	c->life++;
	c->wake_at = c->up_since = TD_NEVER;
	c->lookups = c->steps = 0;
	memset(&c->local, 0, sizeof(c->local));
	if (sim_chance(s, 300) && !s->old_brokers) /* behind the same ports */
		c->port = c->first_port;
	c->config.seed = td_rng_next(&s->rng);
	if (sim_chance(s, 100)) /* another configuration */
		c->config.tunnel_id = 1 + sim_below(s, 3);
	if (c->old_kind) {
		sim_check(s, s->broker_count <= OLD_BROKERS);
		old_client_start(&c->old, c->old_kind, &old_program, c, c->uuid,
				 c->config.tunnel_id, s->broker_count, c->config.seed, now.us);
		c->old.limit_kbps = c->config.limit_kbps;
		c->old.long_up = sim_chance(s, 400); /* the router, not the program */
	} else {
		c->machine = malloc(td_client_size(s->broker_count));
		memset(c->machine, s->fill, td_client_size(s->broker_count));
		td_client_init(c->machine, &c->config, now);
	}
	sim_client_settle(c);
}

void sim_client_crash(struct sim_client *c)
{
	sim_log(c->sim, "client %u is gone", c->number);
	c->running = false;
	c->up_since = TD_NEVER;
	free(c->machine);
	c->machine = NULL;
	memset(c->sockets, 0, sim_slots(c->sim) * sizeof(*c->sockets));
}

void sim_client_stop(struct sim_client *c)
{
	sim_log(c->sim, "client %u is to end", c->number);
	c->ending = true;
	c->up_since = TD_NEVER;
	if (c->old_kind)
		old_client_stop(&c->old);
	else
		td_client_shutdown(c->machine, sim_client_now(c));
	sim_client_settle(c);
}

bool sim_client_ended(const struct sim_client *c)
{
	return c->ending && (c->old_kind || td_client_state(c->machine) == TD_CLIENT_ENDED);
}

void sim_view_session(struct sim_view *view, const struct td_session_info *info)
{
	view->tunnel_id = info->tunnel_id;
	view->session_id = info->session_id;
	view->peer_tunnel_id = info->peer_tunnel_id;
	view->peer_session_id = info->peer_session_id;
	view->features = info->features;
	memcpy(view->cookie, info->cookie, sizeof(view->cookie));
	memcpy(view->peer_cookie, info->peer_cookie, sizeof(view->peer_cookie));
}

struct sim_view sim_client_view(const struct sim_client *c)
{
	const struct td_session_info *info = &c->local.session;
	struct sim_view view = { 0 };
	uint32_t slot;

	if (!c->running || c->up_since.us == TD_NEVER.us)
		return view;
	view.up = true;
	view.since = c->up_since;
	if (c->old_kind) {
		const struct old_client *old = &c->old;

		slot = old->chosen * TD_ADDRESSES_MAX;
		view.tunnel_id = old->kind->tunnel_id ? old->tunnel_id : 1; /* as told */
		view.peer_tunnel_id = old->peer_tunnel_id;
		view.session_id = old->session_id;
		view.peer_session_id = old->peer_session_id;
		view.mtu = old_client_mtu(old);
	} else {
		slot = c->local.slot;
		sim_view_session(&view, info);
		view.mtu = c->local.mtu;
	}
	view.flow = (struct td_flow){ .local = c->sockets[slot].remote,
				      .peer = c->sockets[slot].outside };
	view.broker = sim_broker_at(c->sim, &view.flow.local);
	return view;
}
