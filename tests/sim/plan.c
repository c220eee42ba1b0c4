/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What a seed means. Who takes part:
 *
 *	seed % 4    0, 1: clients and brokers run the core   2: some clients are deployed ones
 *	            3: some brokers are
 *
 * Then four minutes of trouble: faults of all kinds, one every few seconds. Then the network
 * heals, and every client has to have a working tunnel within LIVE_US, and to keep it; nobody may
 * have a tunnel that is not used any more. At last all is closed, and nothing may be left.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define TROUBLE_US TD_SECONDS(240)
#define LIVE_US    TD_SECONDS(180) /* from the healing to a tunnel for everybody */
#define KEEP_US    TD_SECONDS(120) /* … which then stays */
#define STOP_US    TD_SECONDS(60)

/* Deployed ones sit out 60 s of silence, then 15 or 30 s at each broker that does not answer. */
#define OLD_LIVE_US TD_SECONDS(300)

#define HOOKS (TUNNEL_HOOKS | HOOK(TD_HOOK_RATE_LIMITED))

/* --- links --- */

static void draw_way(struct sim *s, struct sim_way *way)
{
	static const uint32_t losses[] = { 0, 0, 10, 50, 100, 200, 400, 600 };
	static const uint16_t mtus[] = { 1500, 1500, 1492, 1480, 1456, 1420, 1400, 1354, 1334 };

	*way = (struct sim_way){ .delay_us = sim_between(s, TD_MS(1), TD_MS(120)) };
	if (sim_chance(s, 50))
		way->delay_us = sim_between(s, TD_MS(200), TD_MS(900));
	way->jitter_us = sim_chance(s, 500) ? sim_between(s, 0, way->delay_us) : 0;
	way->loss = losses[sim_below(s, 8)];
	way->duplicate = sim_chance(s, 300) ? sim_below(s, 300) : 0;
	way->reorder = sim_chance(s, 300) ? sim_below(s, 200) : 0;
	way->corrupt = sim_chance(s, 200) ? sim_below(s, 100) : 0;
	way->lies = s->seed % 16 == 5;
	way->mtu = mtus[sim_below(s, 9)];
}

static void mend_way(struct sim_way *way)
{
	way->loss = way->duplicate = way->reorder = way->corrupt = 0;
	way->lies = way->cut = false;
}

/* --- faults --- */

static struct sim_client *some_client(struct sim *s)
{
	return &s->clients[sim_below(s, s->client_count)];
}

static struct sim_broker *some_broker(struct sim *s)
{
	return &s->brokers[sim_below(s, s->broker_count)];
}

static void start_client(struct sim *s, const struct sim_event *e)
{
	struct sim_client *c = &s->clients[e->node];

	if (c->running && c->ending)
		sim_client_crash(c);
	if (!c->running)
		sim_client_start(c);
}

static void start_broker(struct sim *s, const struct sim_event *e)
{
	struct sim_broker *b = &s->brokers[e->node];

	if (b->running && b->stopping)
		sim_broker_crash(b);
	if (!b->running)
		sim_broker_start(b);
}

static void end_client(struct sim *s, bool orderly)
{
	struct sim_client *c = some_client(s);

	if (!c->running || c->ending)
		return;
	if (orderly)
		sim_client_stop(c);
	else
		sim_client_crash(c);
	sim_at(s, sim_between(s, 0, TD_SECONDS(sim_chance(s, 700) ? 2 : 60)), start_client, 0)
		->node = c->number;
}

static void end_broker(struct sim *s, bool orderly)
{
	struct sim_broker *b = some_broker(s);

	if (!b->running || b->stopping)
		return;
	if (orderly)
		sim_broker_stop(b, sim_between(s, 0, TD_SECONDS(15)));
	else
		sim_broker_crash(b);
	sim_at(s, sim_between(s, 0, TD_SECONDS(sim_chance(s, 500) ? 3 : 90)), start_broker, 0)
		->node = b->number;
}

static void mend_link(struct sim *s, const struct sim_event *e)
{
	struct sim_link *link = sim_link(s, e->node, e->slot);

	link->up.cut = link->down.cut = false;
}

static void cut_link(struct sim *s)
{
	const uint32_t client = sim_below(s, s->client_count);
	const uint32_t broker = sim_below(s, s->broker_count), which = sim_below(s, 3);
	struct sim_event *e = sim_at(s, sim_between(s, 0, TD_SECONDS(150)), mend_link, 0);

	sim_link(s, client, broker)->up.cut = which != 1;
	sim_link(s, client, broker)->down.cut = which != 0;
	e->node = client;
	e->slot = broker;
	sim_log(s, "cut %u between client %u and broker %u", which, client, broker);
}

static void change_link(struct sim *s)
{
	const uint32_t client = sim_below(s, s->client_count);
	struct sim_link *link = sim_link(s, client, sim_below(s, s->broker_count));

	sim_log(s, "another way for client %u", client);
	draw_way(s, &link->up);
	draw_way(s, &link->down);
}

static struct td_addr dead_addr(struct sim *s)
{
	return (struct td_addr){ .ip = { 203, 0, 113, (uint8_t)sim_below(s, 4) },
				 .port = 8942,
				 .family = TD_FAMILY_IPV4 };
}

static void name_truly(struct sim *s, uint32_t b)
{
	s->names[b] = (struct sim_name){ .count = s->two_stacks ? 2 : 1,
					 .addr = { s->brokers[b].addr[0], s->brokers[b].addr[1] } };
}

static void change_name(struct sim *s)
{
	const uint32_t b = sim_below(s, s->broker_count);
	struct sim_name *name = &s->names[b];

	name_truly(s, b);
	switch (sim_below(s, 4)) {
	case 0:
		name->count = 0;
		break;
	case 1:
		name->addr[name->count++] = dead_addr(s);
		break;
	case 2:
		name->count = 1;
		name->addr[0] = dead_addr(s);
		break;
	default:
		name->addr[name->count++] = some_broker(s)->addr[0];
		break;
	}
	if (name->count == 2 && td_addr_equal(&name->addr[0], &name->addr[1]))
		name->count = 1;
	if (name->count == 3 && td_addr_equal(&name->addr[0], &name->addr[2]))
		name->count = 2;
	sim_log(s, "name %u: %u answers", b, name->count);
}

static void jump(struct sim *s)
{
	static const int64_t spans[] = { TD_MS(300), TD_SECONDS(5), TD_SECONDS(40), TD_SECONDS(130),
					 TD_SECONDS(3700) };
	const int64_t us = sim_between(s, 0, spans[sim_below(s, 5)]);

	if (sim_chance(s, 500)) {
		struct sim_client *c = some_client(s);

		sim_log(s, "the clock of client %u jumps by %.3f s", c->number, (double)us / 1e6);
		c->clock_us += us;
		c->wake_at = TD_NEVER;
		if (c->running)
			sim_client_settle(c);
	} else {
		struct sim_broker *b = some_broker(s);

		sim_log(s, "the clock of broker %u jumps by %.3f s", b->number, (double)us / 1e6);
		b->clock_us += us;
		b->wake_at = TD_NEVER;
		if (b->running)
			sim_broker_settle(b);
	}
}

static void unblock(struct sim *s, const struct sim_event *e)
{
	struct sim_broker *b = &s->brokers[e->node];

	b->blocked = false;
	if (b->running)
		sim_broker_settle(b);
}

static void block(struct sim *s)
{
	struct sim_broker *b = some_broker(s);

	sim_log(s, "broker %u cannot send", b->number);
	b->blocked = true;
	sim_at(s, sim_between(s, 0, TD_SECONDS(5)), unblock, 0)->node = b->number;
}

static void tell_client(struct sim *s)
{
	struct sim_client *c = some_client(s);
	const uint32_t what = sim_below(s, 3);

	if (!c->running || c->old_kind)
		return;
	sim_log(s, "client %u is told of change %u", c->number, what);
	if (what == 0)
		td_client_network_changed(c->machine, sim_client_now(c));
	else if (what == 1)
		td_client_path_changed(c->machine, sim_client_now(c));
	else
		td_client_lost(c->machine, sim_client_now(c));
	sim_client_settle(c);
}

static void fault(struct sim *s)
{
	struct sim_broker *b = some_broker(s);
	struct sim_client *c = some_client(s);

	switch (sim_below(s, 16)) {
	case 0:
	case 1:
		end_client(s, false);
		break;
	case 2:
		end_client(s, true);
		break;
	case 3:
		end_broker(s, false);
		break;
	case 4:
		end_broker(s, true);
		break;
	case 5:
	case 6:
		if (b->running)
			sim_broker_restart_worker(b, sim_chance(s, 500));
		break;
	case 7:
	case 8:
		sim_log(s, "the NAT of client %u forgets", c->number);
		sim_rebind(c, sim_chance(s, 500));
		break;
	case 9:
	case 10:
		cut_link(s);
		break;
	case 11:
		change_link(s);
		break;
	case 12:
		change_name(s);
		break;
	case 13:
		jump(s);
		break;
	case 14:
		if (b->running && sim_chance(s, 500))
			sim_broker_lose(b);
		else
			block(s);
		break;
	default:
		tell_client(s);
		break;
	}
}

static void next_fault(struct sim *s, const struct sim_event *e)
{
	(void)e;
	if (!s->trouble)
		return;
	fault(s);
	sim_at(s, sim_between(s, 0, TD_SECONDS(16)), next_fault, 0);
}

/* --- who takes part --- */

static void place_broker(struct sim *s, uint32_t n)
{
	struct sim_broker *b = &s->brokers[n];

	*b = (struct sim_broker){ .sim = s, .number = n };
	b->addr[0] = (struct td_addr){ .ip = { 198, 51, 100, (uint8_t)(1 + n) },
				       .port = 8942,
				       .family = TD_FAMILY_IPV4 };
	b->addr[1] = (struct td_addr){ .ip = { 0x20, 0x01, 0x0d, 0xb8, 0xff },
				       .port = 8942,
				       .family = TD_FAMILY_IPV6 };
	b->addr[1].ip[15] = (uint8_t)(1 + n);
	b->clock_us = sim_between(s, TD_SECONDS(1), TD_SECONDS(100000));
	b->config = (struct td_engine_config){
		.tunnel_id_base = 1 + sim_below(s, 1000),
		.max_mtu = 1446,
		.rate = NO_LIMIT,
		.rate_per_ip = NO_LIMIT,
		.rate_per_uuid = NO_LIMIT,
	};
	name_truly(s, n);
}

static void draw_broker(struct sim *s, struct sim_broker *b)
{
	struct td_engine_config *config = &b->config;

	config->max_tunnels = s->client_count + sim_below(s, 2 * s->client_count) + 1;
	config->hooks = sim_chance(s, 700) ? HOOKS : sim_below(s, 1u << TD_HOOK_COUNT);
	config->fixed_mtu = sim_chance(s, 150) ? 1364 : 0;
	config->max_mtu = sim_chance(s, 200) ? 1474 : 1446;
	if (sim_chance(s, 400))
		config->rate = (struct td_rate){ TD_MS(200), 1 + sim_below(s, 10) };
	if (sim_chance(s, 200))
		config->rate_per_ip = (struct td_rate){ TD_SECONDS(1), 2 + sim_below(s, 5) };
	if (sim_chance(s, 200))
		config->rate_per_uuid = (struct td_rate){ TD_SECONDS(2), 2 + sim_below(s, 3) };
	b->old_model = s->seed % 4 == 3 && sim_chance(s, 600);
	b->old.deaf_to_usage = sim_chance(s, 300);
	b->old.knows_features = sim_chance(s, 800);
	b->old.gap_us = sim_chance(s, 300) ? TD_MS(200) : 0;
	s->old_brokers = s->old_brokers || b->old_model;
	if (b->old_model) /* it has no idea of a UUID: old tunnels stay beside new ones */
		config->max_tunnels = 40 * s->client_count + 40;
}

static void place_client(struct sim *s, uint32_t n)
{
	struct sim_client *c = &s->clients[n];

	*c = (struct sim_client){ .sim = s, .number = n, .up_since = TD_NEVER };
	snprintf(c->uuid, sizeof(c->uuid), "node-%u", n);
	c->port = c->first_port = (uint16_t)(1024 + n % s->nat_share * 12000);
	c->clock_us = sim_between(s, TD_SECONDS(1), TD_SECONDS(100000));
	c->config = (struct td_client_config){
		.uuid = c->uuid,
		.ifname = "l2tp0",
		.tunnel_id = 1 + sim_below(s, 3),
		.broker_count = s->broker_count,
		.max_mtu = 1446,
	};
}

static void draw_client(struct sim *s, struct sim_client *c)
{
	static const struct old_client_kind *const kinds[] = { &old_client_0_3_0, &old_client_2017,
							       &old_client_2021 };

	c->config.limit_kbps = sim_chance(s, 300) ? 1024 : 0;
	c->config.max_mtu = sim_chance(s, 200) ? 1474 : 1446;
	c->config.selection = (enum td_selection)sim_below(s, 3);
	if (s->seed % 4 == 2 && sim_chance(s, 600))
		c->old_kind = kinds[sim_below(s, 3)];
	for (uint32_t b = 0; b < s->broker_count; b++) {
		draw_way(s, &sim_link(s, c->number, b)->up);
		draw_way(s, &sim_link(s, c->number, b)->down);
	}
}

static void make_world(struct sim *s, uint32_t clients, uint32_t brokers, uint32_t nat_share)
{
	s->client_count = clients;
	s->broker_count = brokers;
	s->nat_share = nat_share;
	s->clients = calloc(clients, sizeof(*s->clients));
	s->links = calloc((size_t)clients * brokers, sizeof(*s->links));
	s->check_every = 1;
	for (uint32_t b = 0; b < brokers; b++)
		place_broker(s, b);
	for (uint32_t c = 0; c < clients; c++)
		place_client(s, c);
}

void sim_plan(struct sim *s, uint64_t seed)
{
	uint32_t clients, brokers;

	s->seed = seed;
	td_rng_init(&s->rng, seed);
	clients = 1 + sim_below(s, sim_chance(s, 500) ? 4 : 20);
	brokers = 1 + sim_below(s, SIM_BROKERS);
	s->two_stacks = sim_chance(s, 300);
	make_world(s, clients, brokers, sim_chance(s, 250) ? 2 + sim_below(s, 3) : 1);
	for (uint32_t b = 0; b < brokers; b++)
		draw_broker(s, &s->brokers[b]);
	for (uint32_t c = 0; c < clients; c++)
		draw_client(s, &s->clients[c]);
}

/* --- the run --- */

static void heal(struct sim *s)
{
	sim_log(s, "the network heals");
	s->trouble = false;
	s->heal_at = s->now;
	for (uint32_t b = 0; b < s->broker_count; b++) {
		struct sim_event e = { .node = b };

		name_truly(s, b);
		s->brokers[b].blocked = false;
		if (s->brokers[b].running)
			sim_broker_settle(&s->brokers[b]);
		start_broker(s, &e);
	}
	for (uint32_t c = 0; c < s->client_count; c++) {
		struct sim_event e = { .node = c };

		for (uint32_t b = 0; b < s->broker_count; b++) {
			mend_way(&sim_link(s, c, b)->up);
			mend_way(&sim_link(s, c, b)->down);
		}
		start_client(s, &e);
	}
}

static bool any_old(const struct sim *s)
{
	return s->seed % 4 >= 2;
}

static void pass(struct sim *s, int64_t us)
{
	sim_run_until(s, td_time_add(s->now, us));
}

static void close_all(struct sim *s)
{
	const bool brokers_first = sim_chance(s, 500);

	for (int turn = 0; turn < 2; turn++) {
		for (uint32_t c = 0; (turn == 1) == brokers_first && c < s->client_count; c++)
			sim_client_stop(&s->clients[c]);
		for (uint32_t b = 0; (turn == 0) == brokers_first && b < s->broker_count; b++)
			sim_broker_stop(&s->brokers[b], TD_SECONDS(10));
		pass(s, STOP_US);
	}
}

void sim_run_plan(struct sim *s)
{
	uint32_t changes = 0;

	s->trouble = true;
	for (uint32_t b = 0; b < s->broker_count; b++)
		sim_broker_start(&s->brokers[b]);
	for (uint32_t c = 0; c < s->client_count; c++)
		sim_at(s, sim_between(s, 0, TD_SECONDS(20)), start_client, 0)->node = c;
	sim_at(s, TD_SECONDS(5), next_fault, 0);
	pass(s, TROUBLE_US);
	heal(s);
	pass(s, any_old(s) ? OLD_LIVE_US : LIVE_US);
	sim_judge_clients(s);
	for (uint32_t c = 0; c < s->client_count; c++)
		changes += s->clients[c].changes;
	pass(s, KEEP_US);
	sim_judge_clients(s);
	for (uint32_t c = 0; c < s->client_count; c++)
		changes -= s->clients[c].changes;
	if (!s->lied)
		sim_check(s, changes == 0);
	sim_judge_brokers(s);
	close_all(s);
	sim_judge_end(s);
}

/* --- many clients of one broker that goes and comes --- */

#define FLEET         1000
#define FLEET_RATE_US TD_MS(100)
#define FLEET_BURST   100
#define FLEET_SENT    150 /* datagrams of a client between restart and tunnel, at most */

static void mark(struct sim *s)
{
	for (uint32_t c = 0; c < s->client_count; c++)
		s->clients[c].sent_mark = s->clients[c].sent;
}

/* All come back in the time that the rate allows, without a storm. */
static void judge_return(struct sim *s, int64_t limit_us)
{
	uint64_t most = 0, sum = 0;

	pass(s, limit_us);
	for (uint32_t c = 0; c < s->client_count; c++) {
		const uint64_t sent = s->clients[c].sent_up - s->clients[c].sent_mark;

		most = sent > most ? sent : most;
		sum += sent;
	}
	if (s->verbose)
		printf("%u clients back, %llu datagrams of the busiest, %llu of all\n",
		       s->client_count, (unsigned long long)most, (unsigned long long)sum);
	sim_judge_clients(s);
	sim_check(s, most <= FLEET_SENT);
}

void sim_run_fleet(struct sim *s, uint64_t seed)
{
	const int64_t all_us = FLEET * FLEET_RATE_US;
	struct sim_broker *b = &s->brokers[0];

	s->seed = seed;
	td_rng_init(&s->rng, seed);
	make_world(s, FLEET, 1, 1);
	s->check_every = 5000;
	b->config.max_tunnels = FLEET + 200;
	b->config.hooks = HOOKS;
	b->config.rate = (struct td_rate){ FLEET_RATE_US, FLEET_BURST };
	for (uint32_t c = 0; c < FLEET; c++) {
		sim_link(s, c, 0)->up = sim_link(s, c, 0)->down =
			(struct sim_way){ .delay_us = sim_between(s, TD_MS(2), TD_MS(60)),
					  .jitter_us = TD_MS(3),
					  .loss = 5,
					  .mtu = 1500 };
		s->clients[c].config.selection = TD_SELECT_USAGE;
	}
	sim_broker_start(b);
	for (uint32_t c = 0; c < FLEET; c++)
		sim_client_start(&s->clients[c]);
	mark(s);
	judge_return(s, all_us + TD_SECONDS(60));
	pass(s, TD_SECONDS(600));
	sim_judge_clients(s);
	/* Without a word: clients find out within a minute. */
	sim_broker_crash(b);
	mark(s);
	pass(s, TD_SECONDS(10));
	sim_broker_start(b);
	judge_return(s, all_us + TD_SECONDS(130));
	pass(s, TD_SECONDS(600));
	/* In order. */
	sim_broker_stop(b, TD_SECONDS(10));
	mark(s);
	pass(s, TD_SECONDS(15));
	sim_broker_crash(b);
	sim_broker_start(b);
	judge_return(s, all_us + TD_SECONDS(120));
	pass(s, TD_SECONDS(3600) - s->now.us);
	sim_judge_clients(s);
	sim_judge_brokers(s);
	close_all(s);
	sim_judge_end(s);
}
