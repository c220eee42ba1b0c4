/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What can go wrong between those who take part: links, middleboxes, NATs, names. */
#include "plan.h"

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

void plan_change_link(struct sim *s)
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

void plan_change_name(struct sim *s)
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
		name->addr[name->count++] = plan_some_broker(s)->addr[0];
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

void plan_forget_nat(struct sim *s)
{
	struct sim_client *c = plan_some_client(s);

	sim_log(s, "the NAT of client %u forgets", c->number);
	sim_rebind(c, sim_chance(s, 500));
}

void plan_cut(struct sim *s)
{
	obstruct(s, false);
}

void plan_swallow_data(struct sim *s)
{
	obstruct(s, true);
}
