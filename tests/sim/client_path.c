/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What a client's machine asks for: a data path that hesitates and fails, hooks, lookups, sockets.
 * It is strict: there is one interface, which is made once and removed once, hooks come in order,
 * and nothing is sent from a closed socket.
 */
#include <errno.h>
#include <string.h>

#include "core/client_machine.h"
#include "core/l2tp.h"
#include "sim.h"

#define CREATE_LIMIT TD_SECONDS(15) /* so long the machine waits */
#define STALE_US     TD_SECONDS(45) /* so old can be what counts say */

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

	if (!c->running || c->life != e->life || sim_defer(s, e, c->busy_until))
		return;
	if (e->kind == TD_CLIENT_CREATE && local->creating && local->sequence == e->sequence) {
		local->creating = false;
		local->present = e->err == 0;
	} else if (e->kind == TD_CLIENT_DESTROY && local->destroying &&
		   local->sequence == e->sequence) {
		local->destroying = local->present = false;
	}
	if (c->machine->local.given_up && e->kind == TD_CLIENT_CREATE)
		sim_saw(s, SAW_CLIENT_TOO_LATE);
	sim_log(s, "client %u: action %d ends with %d", c->number, e->kind, e->err);
	td_client_result(c->machine, e->sequence, e->err, sim_client_now(c));
	sim_client_settle(c);
}

static void answer(struct sim_client *c, const struct td_client_action *a, int64_t delay_us,
		   int err)
{
	struct sim *s = c->sim;
	int times = 1 + (s->trouble && sim_chance(s, 30)); /* some say it twice */

	if (times > 1)
		sim_saw(s, SAW_CLIENT_TWICE);
	if (err != 0)
		sim_saw(s, SAW_CLIENT_FAILED);
	if (a->kind == TD_CLIENT_CREATE && delay_us > CREATE_LIMIT)
		sim_saw(s, SAW_CLIENT_TIMED_OUT);
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
	answer(c, a, path_delay(c->sim), local->gone ? -ENODEV : 0);
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

	if (!c->running || c->life != e->life || sim_defer(s, e, c->busy_until))
		return;
	c->lookups--;
	if (s->trouble && sim_chance(s, 50)) {
		name.count = 0;
		sim_saw(s, SAW_NO_LOOKUP);
	}
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

/* --- what the machine asks for --- */

/* The interface that the broker has for the flow of the client's tunnel, or NULL. */
static struct sim_iface *other_end(const struct sim_client *c)
{
	const struct sim_view mine = sim_client_view(c);

	return mine.up && mine.broker < c->sim->broker_count
		       ? sim_broker_iface(&c->sim->brokers[mine.broker], &mine.flow)
		       : NULL;
}

/* Do the two ends take each other's data packets? */
static bool same_session(const struct td_session_info *mine, const struct td_session_info *there)
{
	const size_t size = td_session_cookie_size(mine);

	return td_session_cookie_size(there) == size &&
	       memcmp(there->cookie, mine->peer_cookie, size) == 0 &&
	       memcmp(there->peer_cookie, mine->cookie, size) == 0 &&
	       there->session_id == mine->peer_session_id;
}

static void note_state(struct sim_client *c, const struct td_client_action *a)
{
	sim_log(c->sim, "client %u: state %d, broker %u: %s", c->number, a->state, a->broker,
		a->why);
	sim_check(c->sim, a->why != NULL);
	if (a->state == TD_CLIENT_CLOSING && strstr(a->why, "data does not")) {
		const struct sim_iface *there = other_end(c);

		/* It must not be somebody's fancy. */
		sim_check(c->sim, !there || !same_session(&c->local.session, &there->session) ||
					  c->sim->trouble || c->sim->lied ||
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
	struct sim_iface *there = other_end(c);

	c->local.sent += up;
	if (!there)
		return;
	there->sent += down;
	if (!same_session(info, &there->session))
		return;
	there->received += pass(s, &sim_link(s, c->number, mine.broker)->up, up);
	c->local.received += pass(s, &sim_link(s, c->number, mine.broker)->down, down);
}

void sim_client_act(struct sim_client *c, const struct td_client_action *a)
{
	sim_digest(c->sim, (const uint32_t[]){ a->kind, a->state, a->slot, a->sequence }, 16);
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
