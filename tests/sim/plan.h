/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What plan.c, faults.c and fleet.c share. */
#ifndef TD_TESTS_PLAN_H
#define TD_TESTS_PLAN_H

#include "sim.h"

#define PLAN_TROUBLE_US TD_SECONDS(240)

#define PLAN_HOOKS (TUNNEL_HOOKS | HOOK(TD_HOOK_RATE_LIMITED))

/* --- plan.c --- */
void plan_make_world(struct sim *s, uint32_t clients, uint32_t brokers, uint32_t nat_share);
void plan_pass(struct sim *s, int64_t us);
void plan_close_all(struct sim *s);

static inline struct sim_client *plan_some_client(struct sim *s)
{
	return &s->clients[sim_below(s, s->client_count)];
}

static inline struct sim_broker *plan_some_broker(struct sim *s)
{
	return &s->brokers[sim_below(s, s->broker_count)];
}

/* --- faults_way.c --- */
void plan_draw_way(struct sim *s, struct sim_way *way);
/* The broker's own addresses, and no others. */
void plan_name(struct sim *s, uint32_t broker);
void plan_cut(struct sim *s);
void plan_swallow_data(struct sim *s);
void plan_change_link(struct sim *s);
void plan_change_name(struct sim *s);
void plan_forget_nat(struct sim *s);

/* --- faults.c --- */
void plan_start_client(struct sim *s, const struct sim_event *e);
void plan_start_broker(struct sim *s, const struct sim_event *e);
void plan_next_fault(struct sim *s, const struct sim_event *e);

#endif
