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

#include "plan.h"

#define LIVE_US TD_SECONDS(150) /* from the healing to a tunnel for everybody */
#define KEEP_US TD_SECONDS(120) /* … which then stays */
#define STOP_US TD_SECONDS(60)

/* Deployed ones sit out 60 s of silence, then 15 or 30 s at each broker that does not answer. */
#define OLD_LIVE_US TD_SECONDS(300)

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
	plan_name(s, n);
}

static void draw_broker(struct sim *s, struct sim_broker *b)
{
	struct td_engine_config *config = &b->config;

	config->max_tunnels = s->client_count + 1; /* a slot is soon used again */
	if (sim_chance(s, 600))
		config->max_tunnels += sim_below(s, 2 * s->client_count);
	config->hooks = sim_chance(s, 700) ? PLAN_HOOKS : sim_below(s, 1u << TD_HOOK_COUNT);
	config->fixed_mtu = sim_chance(s, 150) ? 1364 : 0;
	config->max_mtu = sim_chance(s, 200) ? 1474 : 1446;
	if (sim_chance(s, 400))
		config->rate = (struct td_rate){ TD_MS(200), 1 + sim_below(s, 10) };
	if (sim_chance(s, 200))
		config->rate_per_ip = (struct td_rate){ TD_SECONDS(1), 2 + sim_below(s, 5) };
	if (sim_chance(s, 200))
		config->rate_per_uuid = (struct td_rate){ TD_SECONDS(2), 2 + sim_below(s, 3) };
	config->shared_session_id = s->seed % 3 == 0;
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
	c->sockets = calloc(sim_slots(s), sizeof(*c->sockets));
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
	static const struct old_client_kind *const kinds[] = { &old_client_0_2, &old_client_0_3_0,
							       &old_client_2017, &old_client_2021 };

	c->config.limit_kbps = sim_chance(s, 300) ? 1024 : 0;
	c->config.max_mtu = sim_chance(s, 200) ? 1474 : 1446;
	c->config.selection = (enum td_selection)sim_below(s, 3);
	if (s->seed % 4 == 2 && sim_chance(s, 600))
		c->old_kind = kinds[sim_below(s, 4)];
	for (uint32_t b = 0; b < s->broker_count; b++) {
		plan_draw_way(s, &sim_link(s, c->number, b)->up);
		plan_draw_way(s, &sim_link(s, c->number, b)->down);
	}
}

void plan_make_world(struct sim *s, uint32_t clients, uint32_t brokers, uint32_t nat_share)
{
	s->client_count = clients;
	s->broker_count = brokers;
	s->nat_share = nat_share;
	s->clients = calloc(clients, sizeof(*s->clients));
	s->brokers = calloc(brokers, sizeof(*s->brokers));
	s->names = calloc(brokers, sizeof(*s->names));
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
	brokers = 1 + sim_below(s, 4);
	clients = s->want_clients ? s->want_clients : clients;
	brokers = s->want_brokers ? s->want_brokers : brokers;
	s->two_stacks = sim_chance(s, 300);
	plan_make_world(s, clients, brokers, sim_chance(s, 250) ? 2 + sim_below(s, 3) : 1);
	for (uint32_t b = 0; b < brokers; b++)
		draw_broker(s, &s->brokers[b]);
	for (uint32_t c = 0; c < clients; c++)
		draw_client(s, &s->clients[c]);
}

/* --- the run --- */

static void mend_way(struct sim_way *way)
{
	way->loss = way->duplicate = way->reorder = way->corrupt = 0;
	way->lies = way->cut = way->no_data = false;
}

static void heal(struct sim *s)
{
	sim_log(s, "the network heals");
	s->trouble = false;
	s->heal_at = s->now;
	for (uint32_t b = 0; b < s->broker_count; b++) {
		struct sim_event e = { .node = b };

		plan_name(s, b);
		s->brokers[b].blocked = false;
		s->brokers[b].accident = SIM_NOTHING;
		if (s->brokers[b].running)
			sim_broker_settle(&s->brokers[b]);
		plan_start_broker(s, &e);
	}
	for (uint32_t c = 0; c < s->client_count; c++) {
		struct sim_event e = { .node = c };

		for (uint32_t b = 0; b < s->broker_count; b++) {
			mend_way(&sim_link(s, c, b)->up);
			mend_way(&sim_link(s, c, b)->down);
		}
		s->clients[c].steps = 0;
		plan_start_client(s, &e);
	}
}

static bool any_old(const struct sim *s)
{
	return s->seed % 4 >= 2;
}

void plan_pass(struct sim *s, int64_t us)
{
	sim_run_until(s, td_time_add(s->now, us));
}

void plan_close_all(struct sim *s)
{
	const bool brokers_first = sim_chance(s, 500);

	for (int turn = 0; turn < 2; turn++) {
		for (uint32_t c = 0; (turn == 1) == brokers_first && c < s->client_count; c++)
			sim_client_stop(&s->clients[c]);
		for (uint32_t b = 0; (turn == 0) == brokers_first && b < s->broker_count; b++)
			sim_broker_stop(&s->brokers[b], TD_SECONDS(10));
		plan_pass(s, STOP_US);
	}
}

void sim_run_plan(struct sim *s)
{
	uint32_t changes = 0;

	s->trouble = true;
	for (uint32_t b = 0; b < s->broker_count; b++)
		sim_broker_start(&s->brokers[b]);
	for (uint32_t c = 0; c < s->client_count; c++)
		sim_at(s, sim_between(s, 0, TD_SECONDS(20)), plan_start_client, 0)->node = c;
	sim_at(s, TD_SECONDS(5), plan_next_fault, 0);
	sim_watch_tunnels(s, NULL);
	plan_pass(s, PLAN_TROUBLE_US);
	heal(s);
	plan_pass(s, any_old(s) ? OLD_LIVE_US : LIVE_US);
	sim_judge_clients(s);
	for (uint32_t c = 0; c < s->client_count; c++)
		changes += s->clients[c].changes;
	plan_pass(s, KEEP_US);
	sim_judge_clients(s);
	for (uint32_t c = 0; c < s->client_count; c++)
		changes -= s->clients[c].changes;
	if (!s->lied)
		sim_check(s, changes == 0);
	sim_judge_brokers(s);
	plan_close_all(s);
	sim_judge_end(s);
}
