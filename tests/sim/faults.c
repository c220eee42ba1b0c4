/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What can go wrong with those who take part, drawn from the seed: crashes, restarts, clocks. */
#include "plan.h"

void plan_start_client(struct sim *s, const struct sim_event *e)
{
	struct sim_client *c = &s->clients[e->node];

	if (c->running && c->ending)
		sim_client_crash(c);
	if (!c->running)
		sim_client_start(c);
}

void plan_start_broker(struct sim *s, const struct sim_event *e)
{
	struct sim_broker *b = &s->brokers[e->node];

	if (b->running && b->stopping)
		sim_broker_crash(b);
	if (!b->running)
		sim_broker_start(b);
}

static void end_client(struct sim *s, bool orderly)
{
	struct sim_client *c = plan_some_client(s);

	if (!c->running || c->ending)
		return;
	if (!orderly && !c->old_kind && sim_chance(s, 500)) {
		c->steps = 1 + sim_below(s, 8);
		return;
	}
	sim_saw(s, orderly ? SAW_CLIENT_STOP : SAW_CLIENT_CRASH);
	if (orderly)
		sim_client_stop(c);
	else
		sim_client_crash(c);
	sim_at(s, sim_between(s, 0, TD_SECONDS(sim_chance(s, 700) ? 2 : 60)), plan_start_client, 0)
		->node = c->number;
}

static void interrupt(struct sim *s, struct sim_broker *b, enum sim_accident accident)
{
	b->accident = accident;
	b->steps = 1 + sim_below(s, 8);
}

static void end_worker(struct sim *s)
{
	struct sim_broker *b = plan_some_broker(s);

	if (!b->running || b->stopping || b->old_model)
		return;
	switch (sim_below(s, 3)) {
	case 0:
		sim_saw(s, SAW_WORKER_UPGRADE);
		sim_broker_restart_worker(b, true);
		break;
	case 1:
		sim_saw(s, SAW_WORKER_CRASH);
		sim_broker_restart_worker(b, false);
		break;
	default:
		interrupt(s, b, SIM_WORKER_CRASHES);
		break;
	}
}

static void end_broker(struct sim *s, bool orderly)
{
	struct sim_broker *b = plan_some_broker(s);

	if (!b->running || b->stopping)
		return;
	if (!orderly && !b->old_model && sim_chance(s, 500)) {
		interrupt(s, b, SIM_BROKER_CRASHES);
		return;
	}
	sim_saw(s, orderly ? SAW_BROKER_STOP : SAW_BROKER_CRASH);
	if (orderly)
		sim_broker_stop(b, sim_between(s, 0, TD_SECONDS(15)));
	else
		sim_broker_crash(b);
	sim_at(s, sim_between(s, 0, TD_SECONDS(sim_chance(s, 500) ? 3 : 90)), plan_start_broker, 0)
		->node = b->number;
}

static void jump(struct sim *s)
{
	static const int64_t spans[] = { TD_MS(300), TD_SECONDS(5), TD_SECONDS(40), TD_SECONDS(130),
					 TD_SECONDS(3700) };
	const int64_t us = sim_between(s, 0, spans[sim_below(s, 5)]);

	if (sim_chance(s, 500)) {
		struct sim_client *c = plan_some_client(s);

		sim_saw(s, SAW_CLIENT_JUMP);
		sim_log(s, "the clock of client %u jumps by %.3f s", c->number, (double)us / 1e6);
		c->clock_us += us;
		c->wake_at = TD_NEVER;
		if (c->running)
			sim_client_settle(c);
	} else {
		struct sim_broker *b = plan_some_broker(s);

		sim_saw(s, SAW_BROKER_JUMP);
		sim_log(s, "the clock of broker %u jumps by %.3f s", b->number, (double)us / 1e6);
		b->clock_us += us;
		b->wake_at = TD_NEVER;
		if (b->running)
			sim_broker_settle(b);
	}
}

static void client_goes_on(struct sim *s, const struct sim_event *e)
{
	struct sim_client *c = &s->clients[e->node];

	c->behind = false;
	if (!c->running)
		return;
	if (!c->old_kind)
		td_client_tick(c->machine, sim_client_now(c));
	sim_client_settle(c);
}

static void broker_goes_on(struct sim *s, const struct sim_event *e)
{
	struct sim_broker *b = &s->brokers[e->node];

	b->behind = false;
	if (!b->running)
		return;
	if (!b->old_model)
		td_engine_tick(b->engine, sim_broker_now(b));
	sim_broker_settle(b);
}

/* Now it hears all that came meanwhile, and then goes on: these events have been put off to the same
 * time, in their order. */
static void catch_up(struct sim *s, const struct sim_event *e)
{
	const bool client = e->kind != 0;

	if (client)
		s->clients[e->node].behind = s->clients[e->node].life == e->life;
	else
		s->brokers[e->node].behind = s->brokers[e->node].life == e->life;
	sim_at(s, 0, client ? client_goes_on : broker_goes_on, 0)->node = e->node;
}

/* A machine that has no time for it. */
static void stall(struct sim *s)
{
	const int64_t left_us = PLAN_TROUBLE_US - s->now.us;
	const int64_t wish_us = sim_between(s, 0, TD_SECONDS(sim_chance(s, 300) ? 90 : 3));
	const int64_t us = wish_us < left_us ? wish_us : left_us;
	const bool client = sim_chance(s, 500);
	struct sim_client *c = plan_some_client(s);
	struct sim_broker *b = plan_some_broker(s);
	struct td_time *busy_until = client ? &c->busy_until : &b->busy_until;
	struct sim_event *e;

	if (busy_until->us > s->now.us)
		return;
	*busy_until = td_time_add(s->now, us);
	e = sim_at(s, us, catch_up, 0);
	e->kind = client;
	e->node = client ? c->number : b->number;
	e->life = client ? c->life : b->life;
	sim_saw(s, client ? SAW_CLIENT_STALL : SAW_BROKER_STALL);
	sim_log(s, "%s %u has no time for %.3f s", client ? "client" : "broker", e->node,
		(double)us / 1e6);
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
	struct sim_broker *b = plan_some_broker(s);

	sim_log(s, "broker %u cannot send", b->number);
	sim_saw(s, SAW_BLOCKED);
	b->blocked = true;
	sim_at(s, sim_between(s, 0, TD_SECONDS(5)), unblock, 0)->node = b->number;
}

static void tell_client(struct sim *s)
{
	struct sim_client *c = plan_some_client(s);
	const uint32_t what = sim_below(s, 3);

	if (!c->running || c->old_kind)
		return;
	if (what == 2 && (!c->local.present || c->local.destroying))
		return;
	sim_log(s, "client %u is told of change %u", c->number, what);
	sim_saw(s, what == 2 ? SAW_CLIENT_LOST_IFACE : SAW_CLIENT_TOLD);
	if (what == 2)
		c->local.gone = true;
	if (what == 0)
		td_client_network_changed(c->machine, sim_client_now(c));
	else if (what == 1)
		td_client_path_changed(c->machine, sim_client_now(c));
	else
		td_client_lost(c->machine, sim_client_now(c));
	sim_client_settle(c);
}

static void crash_client(struct sim *s)
{
	end_client(s, false);
}

static void stop_client(struct sim *s)
{
	end_client(s, true);
}

static void crash_broker(struct sim *s)
{
	end_broker(s, false);
}

static void stop_broker(struct sim *s)
{
	end_broker(s, true);
}

static void lose_or_block(struct sim *s)
{
	struct sim_broker *b = plan_some_broker(s);

	if (b->running && sim_chance(s, 500))
		sim_broker_lose(b);
	else
		block(s);
}

/* What comes twice here comes twice as often. */
static void (*const faults[])(struct sim *s) = {
	crash_client,      crash_client,     stop_client,     crash_broker,     stop_broker,
	end_worker,        end_worker,       plan_forget_nat, plan_forget_nat,  plan_cut,
	plan_swallow_data, plan_change_link, stall,           plan_change_name, jump,
	tell_client,       lose_or_block,
};

#define FAULTS (sizeof(faults) / sizeof(faults[0]))

void plan_next_fault(struct sim *s, const struct sim_event *e)
{
	(void)e;
	if (!s->trouble)
		return;
	faults[sim_below(s, FAULTS)](s);
	sim_at(s, sim_between(s, 0, TD_SECONDS(16)), plan_next_fault, 0);
}
