/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What must be true once the network has healed for a while. Nothing of it is promised when
 * something corrupt was delivered: whoever can forge datagrams decides what a tunnel is.
 */
#include <stdio.h>
#include <string.h>

#include "core/client_machine.h"
#include "core/engine_impl.h"
#include "sim.h"

static void show(const char *who, const struct sim_view *v)
{
	fprintf(stderr, "%s: %s tunnel %u session %u, peer's %u and %u, MTU %u\n", who,
		v->up ? "up" : "down", v->tunnel_id, v->session_id, v->peer_tunnel_id,
		v->peer_session_id, v->mtu);
}

/* The tunnel id that was told may be the one that all share. */
static bool knows_id_of(const struct sim_view *c, const struct sim_view *b)
{
	return c->peer_tunnel_id == b->tunnel_id || c->peer_tunnel_id == b->session_id;
}

static bool cookies_agree(const struct sim_view *c, const struct sim_view *b)
{
	if (c->features == 0 || b->features == 0) /* a model of a deployed one */
		return !((c->features | b->features) & TD_FEATURE_DATA_COOKIES);
	if (c->features != b->features)
		return false;
	return !(c->features & TD_FEATURE_DATA_COOKIES) ||
	       (memcmp(c->cookie, b->peer_cookie, TD_DATA_COOKIE) == 0 &&
		memcmp(c->peer_cookie, b->cookie, TD_DATA_COOKIE) == 0);
}

static bool agree(const struct sim_view *c, const struct sim_view *b)
{
	return b->up && c->tunnel_id == b->peer_tunnel_id && knows_id_of(c, b) &&
	       c->session_id == b->peer_session_id && c->peer_session_id == b->session_id &&
	       cookies_agree(c, b);
}

static int cookie_size(const struct sim_view *v)
{
	return v->features & TD_FEATURE_DATA_COOKIES ? TD_DATA_COOKIE : 0;
}

static uint16_t room(const struct sim_way *way, const struct sim_view *v)
{
	return (uint16_t)(way->mtu - (v->flow.local.family == TD_FAMILY_IPV4 ? 28 : 48) - 26 -
			  cookie_size(v));
}

static uint16_t least(uint16_t a, uint16_t b)
{
	return a < b ? a : b;
}

/* A search that found nothing at all is repeated after 30 s to 10 minutes, each time later. */
static bool still_searches(const struct sim_client *c, const struct sim_broker *b,
			   const struct td_flow *flow)
{
	return c->machine->pmtu.state == TD_PMTU_UNKNOWN ||
	       td_session_by_flow(b->engine, flow)->pmtu.state == TD_PMTU_UNKNOWN;
}

/* Both have the same MTU, and it passes. Deployed peers measure rarely, and not all of them. */
static bool mtus_agree(const struct sim *s, const struct sim_client *c, const struct sim_view *mine,
		       const struct sim_view *theirs)
{
	const struct sim_broker *b = &s->brokers[mine->broker];
	const struct sim_link *link = sim_link(s, c->number, mine->broker);
	const uint16_t fits = least(room(&link->up, mine), room(&link->down, mine));
	const uint16_t most =
		(uint16_t)(least(c->config.max_mtu, b->config.max_mtu) - cookie_size(mine));

	if (b->config.fixed_mtu != 0)
		return true; /* each to its own: the operator knows best */
	if (b->old_model || c->old_kind || still_searches(c, b, &mine->flow))
		return true;
	if (mine->mtu != theirs->mtu || (mine->mtu > fits && mine->mtu > 1280))
		return false;
	return mine->since.us < s->heal_at.us || mine->mtu == least(fits, most) ||
	       mine->mtu == 1280;
}

static void judge_client(const struct sim *s, const struct sim_client *c)
{
	const struct sim_view mine = sim_client_view(c);
	struct sim_view theirs = { 0 };

	if (mine.up && mine.broker < s->broker_count)
		theirs = sim_broker_view(&s->brokers[mine.broker], &mine.flow);
	if (!mine.up || !agree(&mine, &theirs) || !mtus_agree(s, c, &mine, &theirs)) {
		fprintf(stderr, "client %u%s, broker %u%s\n", c->number,
			c->old_kind ? " (deployed)" : "", mine.broker,
			s->brokers[mine.broker % SIM_BROKERS].old_model ? " (deployed)" : "");
		show("client", &mine);
		show("broker", &theirs);
		if (mine.broker < s->broker_count)
			fprintf(stderr, "IP packets of %u up, %u down\n",
				sim_link(s, c->number, mine.broker)->up.mtu,
				sim_link(s, c->number, mine.broker)->down.mtu);
	}
	sim_check(s, mine.up);
	sim_check(s, agree(&mine, &theirs));
	sim_check(s, mtus_agree(s, c, &mine, &theirs));
}

void sim_judge_clients(struct sim *s)
{
	for (uint32_t c = 0; !s->lied && c < s->client_count; c++)
		judge_client(s, &s->clients[c]);
}

void sim_judge_brokers(struct sim *s)
{
	uint32_t tunnels = 0;

	for (uint32_t b = 0; b < s->broker_count; b++)
		tunnels += sim_broker_tunnels(&s->brokers[b]);
	if (!s->lied)
		sim_check(s, tunnels == s->client_count);
}

static void judge_engine(const struct sim *s, const struct sim_broker *b)
{
	const struct td_engine *e = b->engine;

	sim_check(s, td_engine_idle(e));
	sim_check(s, check_applicants(e) == 0);
	sim_check(s, td_engine_deadline(e).us == TD_NEVER.us);
	sim_check(s, e->by_flow.count == 0 && e->by_uuid.count == 0 && e->timers.count == 0);
	for (uint32_t i = 0; i < b->config.max_tunnels; i++) {
		sim_check(s, !b->oracle.watches[i].live && !b->ifaces[i].present);
		sim_check(s, b->record_sizes[i] == 0);
	}
}

void sim_judge_end(struct sim *s)
{
	for (uint32_t c = 0; c < s->client_count; c++) {
		sim_check(s, sim_client_ended(&s->clients[c]));
		sim_check(s, !s->clients[c].local.present && !s->clients[c].local.up_ran);
		for (uint32_t slot = 0; slot < SIM_SLOTS; slot++)
			sim_check(s, !s->clients[c].sockets[slot].open);
	}
	for (uint32_t b = 0; b < s->broker_count; b++) {
		sim_check(s, sim_broker_ended(&s->brokers[b]));
		if (!s->brokers[b].old_model)
			judge_engine(s, &s->brokers[b]);
	}
}
