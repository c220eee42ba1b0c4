/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Many clients of one broker that goes and comes: they return as fast as its rate limit allows, and
 * none of them sends more than a question every two seconds, keepalives and probes. */
#include <stdio.h>

#include "plan.h"

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

	plan_pass(s, limit_us);
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
	plan_make_world(s, FLEET, 1, 1);
	s->check_every = 5000;
	b->config.max_tunnels = FLEET + 200;
	b->config.hooks = PLAN_HOOKS;
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
	plan_pass(s, TD_SECONDS(600));
	sim_judge_clients(s);
	/* Without a word: clients find out within a minute. */
	sim_broker_crash(b);
	mark(s);
	plan_pass(s, TD_SECONDS(10));
	sim_broker_start(b);
	judge_return(s, all_us + TD_SECONDS(130));
	plan_pass(s, TD_SECONDS(600));
	/* In order. */
	sim_broker_stop(b, TD_SECONDS(10));
	mark(s);
	plan_pass(s, TD_SECONDS(15));
	sim_broker_crash(b);
	sim_broker_start(b);
	judge_return(s, all_us + TD_SECONDS(120));
	plan_pass(s, TD_SECONDS(3600) - s->now.us);
	sim_judge_clients(s);
	sim_judge_brokers(s);
	plan_close_all(s);
	sim_judge_end(s);
}
