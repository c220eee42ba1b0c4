/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A client: the core's machine or a model of a deployed one, and the program around it, which is
 * strict: it never sends from a closed socket, has one interface, and runs hooks in order.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client_check.h"
#include "core/client_machine.h"
#include "core/l2tp.h"
#include "sim.h"

#define STALE_US TD_SECONDS(45) /* so old can be what counts say */

struct td_time sim_client_now(const struct sim_client *c)
{
	return (struct td_time){ c->sim->now.us + c->clock_us };
}

/* --- data path --- */

static int64_t path_delay(struct sim *s)
{
	if (!s->trouble || !sim_chance(s, 100))
		return sim_between(s, 0, TD_MS(30));
	return sim_between(s, 0, TD_SECONDS(sim_chance(s, 200) ? 40 : 3));
}

static void path_done(struct sim *s, const struct sim_event *e)
{
	struct sim_client *c = &s->clients[e->node];
	struct sim_local *local = &c->local;

	if (!c->running || c->life != e->life)
		return;
	if (e->kind == TD_CLIENT_CREATE && local->creating && local->sequence == e->sequence) {
		local->creating = false;
		local->present = e->err == 0;
	} else if (e->kind == TD_CLIENT_DESTROY && local->destroying &&
		   local->sequence == e->sequence) {
		local->destroying = local->present = false;
	}
	sim_log(s, "client %u: action %d ends with %d", c->number, e->kind, e->err);
	td_client_result(c->machine, e->sequence, e->err, sim_client_now(c));
	sim_client_settle(c);
}

static void answer(struct sim_client *c, const struct td_client_action *a, int64_t delay_us,
		   int err)
{
	struct sim *s = c->sim;
	int times = 1 + (s->trouble && sim_chance(s, 30)); /* some say it twice */

	while (times-- > 0) {
		struct sim_event *e = sim_at(s, delay_us, path_done, 0);

		e->node = c->number;
		e->life = c->life;
		e->sequence = a->sequence;
		e->kind = (int)a->kind;
		e->err = err;
		delay_us += sim_between(s, 0, TD_SECONDS(20));
	}
}

static void make(struct sim_client *c, const struct td_client_action *a)
{
	struct sim *s = c->sim;
	struct sim_local *local = &c->local;
	const bool fails = s->trouble && sim_chance(s, 50);

	sim_check(s, !local->present && !local->creating && !local->destroying);
	sim_check(s, c->sockets[a->slot].open);
	sim_check(s, td_addr_equal(&a->session->flow.peer, &c->sockets[a->slot].remote));
	*local = (struct sim_local){ .creating = true,
				     .slot = a->slot,
				     .sequence = a->sequence,
				     .session = *a->session,
				     .mtu = a->session->mtu };
	answer(c, a, path_delay(s), fails ? -EBUSY : 0);
}

static void unmake(struct sim_client *c, const struct td_client_action *a)
{
	struct sim_local *local = &c->local;

	sim_check(c->sim, local->present && !local->destroying && !local->up_ran);
	sim_check(c->sim, a->slot == local->slot);
	local->destroying = true;
	local->sequence = a->sequence;
	answer(c, a, path_delay(c->sim), 0);
}

static void set_mtu(struct sim_client *c, const struct td_client_action *a)
{
	const bool fails = c->sim->trouble && sim_chance(c->sim, 50);

	sim_check(c->sim, c->local.present && !c->local.destroying);
	sim_check(c->sim, a->session->mtu >= 1280 && a->session->mtu <= TD_MTU_MAX);
	if (!fails)
		c->local.mtu = a->session->mtu;
	answer(c, a, path_delay(c->sim), fails ? -EINVAL : 0);
}

static void hook(struct sim_client *c, enum td_hook which)
{
	sim_check(c->sim, c->local.present && !c->local.destroying);
	sim_check(c->sim, which == TD_HOOK_UP || which == TD_HOOK_DOWN);
	sim_check(c->sim, c->local.up_ran == (which == TD_HOOK_DOWN));
	c->local.up_ran = which == TD_HOOK_UP;
}

/* --- sockets and names --- */

static void open_socket(struct sim_client *c, const struct td_client_action *a)
{
	struct sim *s = c->sim;
	const bool fails = s->trouble && sim_chance(s, 20);

	sim_check(s, a->addr.family != TD_FAMILY_NONE);
	sim_check(s, a->broker == a->slot / TD_ADDRESSES_MAX);
	if (!fails)
		sim_open_socket(c, a->slot, &a->addr);
	answer(c, a, s->trouble && sim_chance(s, 100) ? TD_MS(200) : 0, fails ? -ENETUNREACH : 0);
}

static void close_socket(struct sim_client *c, uint32_t slot)
{
	if (c->local.present || c->local.creating)
		sim_check(c->sim, slot != c->local.slot);
	sim_close_socket(c, slot);
}

static void resolved(struct sim *s, const struct sim_event *e)
{
	struct sim_client *c = &s->clients[e->node];
	struct sim_name name = s->names[e->slot];

	if (!c->running || c->life != e->life)
		return;
	c->lookups--;
	if (s->trouble && sim_chance(s, 50))
		name.count = 0;
	td_client_resolved(c->machine, e->slot, name.addr, name.count, sim_client_now(c));
	sim_client_settle(c);
}

static void look_up(struct sim_client *c, uint32_t broker)
{
	struct sim *s = c->sim;
	const int64_t us = sim_between(s, TD_MS(1), TD_SECONDS(s->trouble ? 4 : 1) / 4);
	struct sim_event *e = sim_at(s, us, resolved, 0);

	sim_check(s, broker < s->broker_count && ++c->lookups <= TD_LOOKUPS_MAX);
	e->node = c->number;
	e->life = c->life;
	e->slot = broker;
}

/* --- the machine --- */

static void note_state(struct sim_client *c, const struct td_client_action *a)
{
	sim_log(c->sim, "client %u: state %d, broker %u: %s", c->number, a->state, a->broker,
		a->why);
	sim_check(c->sim, a->why != NULL);
	if (a->state == TD_CLIENT_CLOSING && strstr(a->why, "data does not")) {
		/* It must not be somebody's fancy. */
		sim_check(c->sim, c->sim->trouble || c->sim->lied ||
					  td_time_since(c->sim->now, c->sim->heal_at) < STALE_US);
		c->rebuilt++;
	}
	c->up_since = TD_NEVER;
	if (a->state == TD_CLIENT_UP) {
		c->sent_up = c->sent;
		c->up_since = c->sim->now;
		c->changes++;
	}
}

/* So many data packets, sent since the last time; how many of them arrive? */
static uint32_t pass(struct sim *s, const struct sim_way *way, uint32_t count)
{
	uint32_t arrived = 0;

	while (!way->cut && !way->no_data && count-- > 0)
		arrived += !sim_chance(s, way->loss);
	return arrived;
}

/* What both ends have sent each other through their tunnel since they counted last. */
static void exchange_data(struct sim_client *c)
{
	struct sim *s = c->sim;
	const struct td_session_info *info = &c->local.session;
	const struct sim_view mine = sim_client_view(c);
	const uint32_t up = sim_below(s, 20), down = sim_below(s, 20);
	struct sim_iface *there = NULL;
	bool same;

	c->local.sent += up;
	if (mine.up && mine.broker < s->broker_count)
		there = sim_broker_iface(&s->brokers[mine.broker], &mine.flow);
	if (!there)
		return;
	there->sent += down;
	same = td_session_cookie_size(&there->session) == td_session_cookie_size(info) &&
	       memcmp(there->session.cookie, info->peer_cookie, td_session_cookie_size(info)) ==
		       0 &&
	       memcmp(there->session.peer_cookie, info->cookie, td_session_cookie_size(info)) == 0;
	if (!same || there->session.session_id != info->peer_session_id)
		return;
	there->received += pass(s, &sim_link(s, c->number, mine.broker)->up, up);
	c->local.received += pass(s, &sim_link(s, c->number, mine.broker)->down, down);
}

static void act(struct sim_client *c, const struct td_client_action *a)
{
	switch (a->kind) {
	case TD_CLIENT_RESOLVE:
		look_up(c, a->broker);
		break;
	case TD_CLIENT_OPEN:
		open_socket(c, a);
		break;
	case TD_CLIENT_CLOSE:
		close_socket(c, a->slot);
		break;
	case TD_CLIENT_CREATE:
		make(c, a);
		break;
	case TD_CLIENT_SET_MTU:
		set_mtu(c, a);
		break;
	case TD_CLIENT_DESTROY:
		unmake(c, a);
		break;
	case TD_CLIENT_COUNT:
		exchange_data(c);
		td_client_counted(c->machine, c->local.sent, c->local.received);
		break;
	case TD_CLIENT_HOOK:
		hook(c, a->hook);
		break;
	case TD_CLIENT_STATE:
		note_state(c, a);
		break;
	}
}

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
	if (c->old_kind) {
		old_client_tick(&c->old, now.us);
	} else {
		td_client_tick(c->machine, now);
		sim_client_settle(c);
		sim_check(s, td_client_deadline(c->machine).us > now.us);
		return;
	}
	sim_client_settle(c);
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

void sim_client_settle(struct sim_client *c)
{
	struct td_client_action a;

	if (c->old_kind) {
		sleep_until(c, (struct td_time){ old_client_deadline(&c->old) });
		return;
	}
	send_all(c);
	while (td_client_next_action(c->machine, &a, sim_client_now(c))) {
		act(c, &a);
		send_all(c);
	}
	check(c);
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
	c->up_since = up ? c->sim->now : TD_NEVER;
	c->changes += up;
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
	c->ending = false;
	c->life++;
	c->wake_at = c->up_since = TD_NEVER;
	c->lookups = 0;
	memset(&c->local, 0, sizeof(c->local));
	if (sim_chance(s, 300) && !s->old_brokers) /* behind the same ports */
		c->port = c->first_port;
	c->config.seed = td_rng_next(&s->rng);
	if (sim_chance(s, 100)) /* another configuration */
		c->config.tunnel_id = 1 + sim_below(s, 3);
	if (c->old_kind) {
		old_client_start(&c->old, c->old_kind, &old_program, c, c->uuid,
				 c->config.tunnel_id, s->broker_count, c->config.seed, now.us);
		c->old.limit_kbps = c->config.limit_kbps;
	} else {
		c->machine = malloc(td_client_size(s->broker_count));
		memset(c->machine, 0xee, td_client_size(s->broker_count));
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
	memset(c->sockets, 0, sizeof(c->sockets));
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
		view.tunnel_id = old->tunnel_id;
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
