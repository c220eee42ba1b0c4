/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The client machine from outside: its memory, its deadline, and what happens around it. */
#include "core/client.h"

#include <string.h>

#include "base/assert.h"
#include "core/client_machine.h"

/* Between two attempts because the network changed. One that still asks gets the time to ask twice:
 * on a mesh router routes change all the time. */
#define ATTEMPT_GAP_US TD_SECONDS(2)
#define ASKING_GAP_US  TD_SECONDS(5)

size_t td_client_size(uint32_t broker_count)
{
	return sizeof(struct td_client) + td_selection_size(broker_count);
}

struct td_client *td_client_init(void *memory, const struct td_client_config *config,
				 struct td_time now)
{
	struct td_client *c = memory;
	struct td_session_info *s = &c->session;

	memset(c, 0, sizeof(*c));
	c->config = *config;
	c->farewell_slot = TD_NO_SLOT;
	td_rng_init(&c->rng, config->seed);
	td_relq_init(&c->limit);
	td_pmtu_init(&c->pmtu, config->max_mtu, &c->rng);
	td_assert(strlen(config->uuid) <= TD_CLIENT_UUID_MAX);
	s->uuid_len = (uint8_t)strlen(config->uuid);
	memcpy(s->uuid, config->uuid, s->uuid_len);
	td_assert(strlen(config->ifname) < sizeof(s->ifname));
	memcpy(s->ifname, config->ifname, strlen(config->ifname));
	td_selection_init(&c->candidates, c + 1, config->broker_count);
	td_machine_attempt(c, false, "start", now);
	return c;
}

struct td_time td_client_deadline(const struct td_client *c)
{
	struct td_time state = td_time_min(c->deadline, c->again);
	struct td_time broker = td_time_min(c->choose_at, td_time_min(c->silent_at, c->missed_at));
	struct td_time tunnel =
		td_time_min(td_relq_deadline(&c->limit), td_pmtu_deadline(&c->pmtu));

	return td_time_min(td_time_min(state, broker), tunnel);
}

void td_client_resolved(struct td_client *c, uint32_t broker, const struct td_addr *addrs,
			uint32_t count, struct td_time now)
{
	td_selection_resolved(&c->candidates, broker, addrs, count);
	if (c->state == TD_CLIENT_SELECTING)
		td_machine_try_to_choose(c, now);
}

void td_client_path_changed(struct td_client *c, struct td_time now)
{
	if (c->state == TD_CLIENT_UP)
		td_machine_give_up(c, TD_ERROR_CLIENT_SHUTDOWN, TD_BLAME_NOBODY,
				   "the way to the broker changed", now);
}

/* Marks were earned on the old network; who refused us is not asked sooner. */
void td_client_network_changed(struct td_client *c, struct td_time now)
{
	bool asking = c->state == TD_CLIENT_SELECTING;
	struct td_time next = td_time_add(c->began, asking ? ASKING_GAP_US : ATTEMPT_GAP_US);

	if (c->state == TD_CLIENT_WAITING || c->state == TD_CLIENT_OFFLINE)
		td_selection_unmark_all(&c->candidates);
	else if (!asking || td_selection_outlook(&c->candidates) != TD_OUTLOOK_WAITING)
		return;
	c->offline_tries = 0;
	if (td_time_reached(next, now))
		next = now;
	c->deadline = td_time_min(c->deadline, td_selection_ready(&c->candidates, next, next));
}

void td_client_counted(struct td_client *c, uint32_t sent, uint32_t received)
{
	c->counted = true;
	c->data_sent = sent;
	c->data_received = received;
}

void td_client_lost(struct td_client *c, struct td_time now)
{
	if (c->state == TD_CLIENT_UP)
		td_machine_give_up(c, TD_ERROR_CLIENT_FAILURE, TD_BLAME_REFUSAL,
				   "the interface disappeared", now);
}

enum td_client_state td_client_state(const struct td_client *c)
{
	return c->state;
}
