/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What can go wrong, drawn from the seed: links, names, clocks, crashes, restarts, middleboxes. */
#include "plan.h"

/* --- links --- */

void plan_draw_way(struct sim *s, struct sim_way *way)
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

/* --- faults --- */

static struct sim_client *some_client(struct sim *s)
{
	return &s->clients[sim_below(s, s->client_count)];
}

static struct sim_broker *some_broker(struct sim *s)
{
	return &s->brokers[sim_below(s, s->broker_count)];
}

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
	struct sim_client *c = some_client(s);

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
	struct sim_broker *b = some_broker(s);

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
	struct sim_broker *b = some_broker(s);

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

static void mend_link(struct sim *s, const struct sim_event *e)
{
	struct sim_link *link = sim_link(s, e->node, e->slot);

	link->up.cut = link->down.cut = false;
	link->up.no_data = link->down.no_data = false;
}

/* The broker that the client has a tunnel to, most often. */
static uint32_t broker_of(struct sim *s, uint32_t client)
{
	const struct sim_view view = sim_client_view(&s->clients[client]);

	return view.up && view.broker < s->broker_count && sim_chance(s, 750)
		       ? view.broker
		       : sim_below(s, s->broker_count);
}

/* In one direction or in both: nothing passes any more, or no data packet, as middleboxes do that do
 * not know them. */
static void obstruct(struct sim *s, bool data_only)
{
	static const enum sim_saw cuts[] = { SAW_CUT_UP, SAW_CUT_DOWN, SAW_CUT_BOTH };
	static const enum sim_saw no_data[] = { SAW_NO_DATA_UP, SAW_NO_DATA_DOWN,
						SAW_NO_DATA_BOTH };
	const uint32_t client = sim_below(s, s->client_count);
	const uint32_t broker = broker_of(s, client), which = sim_below(s, 3);
	struct sim_link *link = sim_link(s, client, broker);
	struct sim_event *e = sim_at(s, sim_between(s, 0, TD_SECONDS(150)), mend_link, 0);

	if (data_only) {
		link->up.no_data = which != 1;
		link->down.no_data = which != 0;
	} else {
		link->up.cut = which != 1;
		link->down.cut = which != 0;
	}
	e->node = client;
	e->slot = broker;
	sim_saw(s, data_only ? no_data[which] : cuts[which]);
	sim_log(s, "%s %u between client %u and broker %u", data_only ? "no data" : "cut", which,
		client, broker);
}

static void change_link(struct sim *s)
{
	const uint32_t client = sim_below(s, s->client_count);
	struct sim_link *link = sim_link(s, client, broker_of(s, client));
	struct sim_way way;

	sim_log(s, "another way for client %u", client);
	plan_draw_way(s, &way);
	if (sim_chance(s, 500)) { /* the same, but a narrower or wider part in it */
		link->up.mtu = link->down.mtu = way.mtu;
		sim_saw(s, SAW_OTHER_MTU);
		return;
	}
	sim_saw(s, SAW_OTHER_WAY);
	link->up = way;
	plan_draw_way(s, &link->down);
}

static struct td_addr dead_addr(struct sim *s)
{
	return (struct td_addr){ .ip = { 203, 0, 113, (uint8_t)sim_below(s, 4) },
				 .port = 8942,
				 .family = TD_FAMILY_IPV4 };
}

void plan_name(struct sim *s, uint32_t b)
{
	s->names[b] = (struct sim_name){ .count = s->two_stacks ? 2 : 1,
					 .addr = { s->brokers[b].addr[0], s->brokers[b].addr[1] } };
}

static void change_name(struct sim *s)
{
	static const enum sim_saw saws[] = { SAW_NAME_NONE, SAW_NAME_MORE, SAW_NAME_DEAD,
					     SAW_NAME_OTHER, SAW_NAME_BACK };
	const uint32_t b = sim_below(s, s->broker_count);
	struct sim_name *name = &s->names[b];
	const uint32_t what = sim_below(s, 5);

	plan_name(s, b);
	sim_saw(s, saws[what]);
	switch (what) {
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
	case 3:
		name->addr[name->count++] = some_broker(s)->addr[0];
		break;
	default:
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

		sim_saw(s, SAW_CLIENT_JUMP);
		sim_log(s, "the clock of client %u jumps by %.3f s", c->number, (double)us / 1e6);
		c->clock_us += us;
		c->wake_at = TD_NEVER;
		if (c->running)
			sim_client_settle(c);
	} else {
		struct sim_broker *b = some_broker(s);

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
	struct sim_client *c = some_client(s);
	struct sim_broker *b = some_broker(s);
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
	struct sim_broker *b = some_broker(s);

	sim_log(s, "broker %u cannot send", b->number);
	sim_saw(s, SAW_BLOCKED);
	b->blocked = true;
	sim_at(s, sim_between(s, 0, TD_SECONDS(5)), unblock, 0)->node = b->number;
}

static void tell_client(struct sim *s)
{
	struct sim_client *c = some_client(s);
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

static void forget_nat(struct sim *s)
{
	struct sim_client *c = some_client(s);

	sim_log(s, "the NAT of client %u forgets", c->number);
	sim_rebind(c, sim_chance(s, 500));
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

static void cut(struct sim *s)
{
	obstruct(s, false);
}

static void swallow_data(struct sim *s)
{
	obstruct(s, true);
}

static void lose_or_block(struct sim *s)
{
	struct sim_broker *b = some_broker(s);

	if (b->running && sim_chance(s, 500))
		sim_broker_lose(b);
	else
		block(s);
}

/* What comes twice here comes twice as often. */
static void (*const faults[])(struct sim *s) = {
	crash_client, crash_client, stop_client, crash_broker, stop_broker,   end_worker,
	end_worker,   forget_nat,   forget_nat,  cut,          swallow_data,  change_link,
	stall,        change_name,  jump,        tell_client,  lose_or_block,
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
