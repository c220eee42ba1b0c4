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

#define OLD_MTU_US  TD_SECONDS(60) /* by then a deployed client has measured */
#define OLD_CALM_US TD_SECONDS(30) /* after the healing, nobody has begun before it */
#define TELL_US     TD_SECONDS(5)
#define WATCH_US    TD_SECONDS(5)
/* The broker's timeout, and how long the network keeps what a client sent last. */
#define UNUSED_US TD_SECONDS(120 + 25 + 5)

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

/* Deployed peers measure rarely, one in five brokers never does, and what they say is said once. So
 * no more is asked of them than of a tunnel that lost nothing, when they have measured. */
static bool old_has_measured(const struct sim *s, const struct sim_client *c,
			     const struct sim_view *mine)
{
	const struct sim_broker *b = &s->brokers[mine->broker];
	const struct old_tunnel *t = b->old_model ? old_broker_tunnel(&b->old, &mine->flow) : NULL;

	return td_time_since(mine->since, s->heal_at) > OLD_CALM_US &&
	       td_time_since(s->now, mine->since) > OLD_MTU_US &&
	       (t ? t->measured != 0 : c->old.measured != 0);
}

/* Both have the same MTU, and it passes. */
static bool mtus_agree(const struct sim *s, const struct sim_client *c, const struct sim_view *mine,
		       const struct sim_view *theirs)
{
	const struct sim_broker *b = &s->brokers[mine->broker];
	const struct sim_link *link = sim_link(s, c->number, mine->broker);
	const uint16_t fits = least(room(&link->up, mine), room(&link->down, mine));
	const uint16_t most =
		(uint16_t)(least(c->config.max_mtu, b->config.max_mtu) - cookie_size(mine));
	const uint16_t best = least(fits, most);
	const bool calm = mine->since.us > s->heal_at.us && theirs->since.us > s->heal_at.us;

	if (b->config.fixed_mtu != 0)
		return true; /* each to its own: the operator knows best */
	if (b->old_model || c->old_kind)
		return !old_has_measured(s, c, mine) || mine->mtu == theirs->mtu;
	if (!calm && still_searches(c, b, &mine->flow))
		return true;
	if (mine->mtu != theirs->mtu || (mine->mtu > fits && mine->mtu > 1280))
		return false;
	return !calm || mine->mtu == (best > 1280 ? best : 1280);
}

/* Whose tunnel is it that works? */
static enum sim_saw pair(const struct sim_client *c, const struct sim_broker *b)
{
	if (!c->old_kind && b->old_model)
		return b->old.knows_features ? SAW_NEW_OLD : SAW_NEW_OLDEST;
	if (c->old_kind == &old_client_0_2)
		return SAW_OLD_0_2_NEW;
	if (c->old_kind == &old_client_0_3_0)
		return SAW_OLD_0_3_NEW;
	if (c->old_kind == &old_client_2017)
		return SAW_OLD_2017_NEW;
	return c->old_kind ? SAW_OLD_2021_NEW : SAW_NEW_NEW;
}

static void judge_client(struct sim *s, const struct sim_client *c)
{
	const struct sim_view mine = sim_client_view(c);
	struct sim_view theirs = { 0 };

	if (mine.up && mine.broker < s->broker_count)
		theirs = sim_broker_view(&s->brokers[mine.broker], &mine.flow);
	if (!mine.up || !agree(&mine, &theirs) || !mtus_agree(s, c, &mine, &theirs)) {
		fprintf(stderr, "client %u%s, broker %u%s\n", c->number,
			c->old_kind ? " (deployed)" : "", mine.broker,
			s->brokers[mine.broker % s->broker_count].old_model ? " (deployed)" : "");
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
	sim_saw(s, pair(c, &s->brokers[mine.broker]));
}

static bool tells_mtu(const struct sim *s, const struct sim_client *c)
{
	const struct sim_view mine = sim_client_view(c);
	struct sim_view theirs;

	if (!mine.up || mine.broker >= s->broker_count)
		return false;
	theirs = sim_broker_view(&s->brokers[mine.broker], &mine.flow);
	return theirs.up && !mtus_agree(s, c, &mine, &theirs);
}

void sim_judge_clients(struct sim *s)
{
	/* One end may have measured just now, and the other does not know yet. */
	for (uint32_t c = 0; !s->lied && c < s->client_count; c++) {
		if (!tells_mtu(s, &s->clients[c]))
			continue;
		sim_run_until(s, td_time_add(s->now, TELL_US));
		break;
	}
	for (uint32_t c = 0; !s->lied && c < s->client_count; c++)
		judge_client(s, &s->clients[c]);
}

static void watch_iface(struct sim *s, const struct sim_broker *b, uint32_t index)
{
	struct sim_iface *iface = &b->ifaces[index];
	const struct watch *v = &b->oracle.watches[index];
	uint32_t slot, client;

	if (!iface->present || !v->up || v->closing)
		return;
	client = sim_client_at(s, &iface->session.flow.peer, &slot);
	if (client < s->client_count &&
	    td_addr_equal(&s->clients[client].sockets[slot].remote, &iface->session.flow.local))
		iface->used = s->now;
	if (b->busy_until.us >= s->now.us) /* then it hears all that was sent meanwhile */
		iface->used = s->now;
	if (s->lied || td_time_since(s->now, iface->used) <= UNUSED_US)
		return;
	fprintf(stderr, "broker %u, tunnel %u, port %u\n", b->number, iface->session.tunnel_id,
		iface->session.flow.peer.port);
	sim_failed(s, __FILE_NAME__, __LINE__, "a tunnel that nobody uses");
}

void sim_watch_tunnels(struct sim *s, const struct sim_event *e)
{
	(void)e;
	for (uint32_t n = 0; n < s->broker_count; n++) {
		const struct sim_broker *b = &s->brokers[n];

		for (uint32_t i = 0; b->running && !b->old_model && i < b->config.max_tunnels; i++)
			watch_iface(s, b, i);
	}
	sim_at(s, WATCH_US, sim_watch_tunnels, 0);
}

void sim_judge_brokers(struct sim *s)
{
	uint32_t tunnels = 0;

	for (uint32_t b = 0; b < s->broker_count; b++)
		tunnels += sim_broker_tunnels(&s->brokers[b]);
	if (!s->lied)
		sim_check(s, tunnels == s->client_count);
}

static bool is_empty(const struct td_index *index)
{
	for (uint32_t i = 0; i <= index->mask; i++)
		if (index->cells[i].number != TD_INDEX_NONE)
			return false;
	return true;
}

/* All of its memory is as it was before the first client came, but for what is only remembered. */
static void judge_engine(const struct sim *s, const struct sim_broker *b)
{
	const struct td_engine *e = b->engine;

	sim_check(s, td_engine_idle(e));
	sim_check(s, check_applicants(e) == 0);
	sim_check(s, td_engine_deadline(e).us == TD_NEVER.us);
	sim_check(s, e->by_flow.count == 0 && e->by_uuid.count == 0 && e->timers.count == 0);
	sim_check(s, is_empty(&e->by_flow) && is_empty(&e->by_uuid));
	sim_check(s, is_empty(&e->applicants_by_flow) && e->queue_first == SLOT_NONE);
	sim_check(s, e->sending.first == SLOT_NONE && e->acting.first == SLOT_NONE);
	sim_check(s, e->counting == 0 && e->reply_size == 0);
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
		sim_check(s, s->clients[c].lookups == 0);
		if (!s->clients[c].old_kind)
			sim_check(s, td_client_deadline(s->clients[c].machine).us == TD_NEVER.us);
		for (uint32_t slot = 0; slot < sim_slots(s); slot++)
			sim_check(s, !s->clients[c].sockets[slot].open);
	}
	for (uint32_t b = 0; b < s->broker_count; b++) {
		sim_check(s, sim_broker_ended(&s->brokers[b]));
		if (!s->brokers[b].old_model)
			judge_engine(s, &s->brokers[b]);
	}
}
