/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A thousand clients of one broker that goes and comes, for an hour. They return as fast as its rate
 * limit allows and no faster, and none of them sends more than SENT_PER_S while it has no tunnel.
 *
 *	seed % 4    1: new clients, ten tunnels a second    2: new ones, forty a second
 *	            3: deployed ones of all kinds, twenty   0: half of each, five a second
 */
#include <stdio.h>

#include "plan.h"

#define FLEET       1000
#define FLEET_BURST 100
#define SENT_PER_S  1  /* datagrams of a client from the restart to its tunnel, and … */
#define SENT_MORE   30 /* … keepalives, probes and questions that do not depend on time */

struct fleet {
	int64_t rate_us;   /* a tunnel every so often */
	uint32_t deployed; /* 1/1000 */
};

static const struct fleet fleets[] = {
	{ TD_MS(200), 500 },
	{ TD_MS(100), 0 },
	{ TD_MS(25), 0 },
	{ TD_MS(50), 1000 },
};

static const struct fleet *fleet_of(const struct sim *s)
{
	return &fleets[s->seed % 4];
}

static void mark(struct sim *s)
{
	for (uint32_t c = 0; c < s->client_count; c++)
		s->clients[c].sent_mark = s->clients[c].sent;
}

/* When the last of them came up. */
static struct td_time last_up(const struct sim *s)
{
	struct td_time last = { 0 };

	for (uint32_t c = 0; c < s->client_count; c++)
		if (s->clients[c].up_since.us > last.us)
			last = s->clients[c].up_since;
	return last;
}

static uint64_t most_sent(const struct sim *s)
{
	uint64_t most = 0;

	for (uint32_t c = 0; c < s->client_count; c++) {
		const uint64_t sent = s->clients[c].sent_up - s->clients[c].sent_mark;

		most = sent > most ? sent : most;
	}
	return most;
}

/* The broker is up since now. All come back in the time that the rate allows and slack_us, without a
 * storm. */
static void judge_return(struct sim *s, int64_t slack_us)
{
	const struct fleet *f = fleet_of(s);
	const struct td_time start = s->now;
	int64_t took_us, most;

	plan_pass(s, FLEET * f->rate_us + slack_us);
	sim_judge_clients(s);
	took_us = td_time_since(last_up(s), start);
	most = (int64_t)most_sent(s);
	printf("fleet %llu: back after %.1f s, the busiest sent %lld datagrams\n",
	       (unsigned long long)s->seed, (double)took_us / 1e6, (long long)most);
	sim_check(s, took_us >= (FLEET - FLEET_BURST) * f->rate_us);
	sim_check(s, most <= SENT_MORE + SENT_PER_S * (took_us / TD_SECONDS(1)));
}

static void make_fleet(struct sim *s)
{
	static const struct old_client_kind *const kinds[] = { &old_client_0_2, &old_client_0_3_0,
							       &old_client_2017, &old_client_2021 };
	struct sim_broker *b;

	plan_make_world(s, FLEET, 1, 1);
	s->check_every = 5000;
	b = &s->brokers[0];
	b->config.max_tunnels = FLEET + 200;
	b->config.hooks = PLAN_HOOKS;
	b->config.rate = (struct td_rate){ fleet_of(s)->rate_us, FLEET_BURST };
	for (uint32_t c = 0; c < FLEET; c++) {
		sim_link(s, c, 0)->up = sim_link(s, c, 0)->down =
			(struct sim_way){ .delay_us = sim_between(s, TD_MS(2), TD_MS(60)),
					  .jitter_us = TD_MS(3),
					  .loss = 5,
					  .mtu = 1500 };
		s->clients[c].config.selection = TD_SELECT_USAGE;
		if (sim_chance(s, fleet_of(s)->deployed))
			s->clients[c].old_kind = kinds[sim_below(s, 4)];
	}
}

void sim_run_fleet(struct sim *s, uint64_t seed)
{
	struct sim_broker *b;

	s->seed = seed;
	td_rng_init(&s->rng, seed);
	make_fleet(s);
	b = &s->brokers[0];
	sim_broker_start(b);
	for (uint32_t c = 0; c < FLEET; c++)
		sim_client_start(&s->clients[c]);
	sim_watch_tunnels(s, NULL);
	mark(s);
	judge_return(s, TD_SECONDS(60));
	plan_pass(s, TD_SECONDS(600));
	sim_judge_clients(s);
	/* Without a word: clients find out within a minute. */
	sim_broker_crash(b);
	mark(s);
	plan_pass(s, TD_SECONDS(10));
	sim_broker_start(b);
	judge_return(s, TD_SECONDS(130));
	plan_pass(s, TD_SECONDS(600));
	/* In order. */
	sim_broker_stop(b, TD_SECONDS(10));
	mark(s);
	plan_pass(s, TD_SECONDS(15));
	sim_broker_crash(b);
	sim_broker_start(b);
	judge_return(s, TD_SECONDS(120));
	plan_pass(s, TD_SECONDS(3600) - s->now.us);
	sim_judge_clients(s);
	sim_judge_brokers(s);
	plan_close_all(s);
	sim_judge_end(s);
}
