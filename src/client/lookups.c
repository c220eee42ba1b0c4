/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "client/lookups.h"

#include <errno.h>
#include <stdlib.h>

#define LIMIT_US TD_SECONDS(2)

static void resolved(struct td_resolve *resolve, const struct td_addr *addrs, unsigned count)
{
	struct td_lookup *lookup = (struct td_lookup *)resolve;

	lookup->busy = false;
	lookup->owner->resolved(lookup->owner, lookup->broker, addrs, count);
}

int td_lookups_init(struct td_lookups *lookups, const struct td_options *options,
		    struct td_loop *loop)
{
	lookups->options = options;
	for (unsigned i = 0; i < TD_LOOKUPS_MAX; i++) {
		lookups->running[i].resolve.loop = loop;
		lookups->running[i].resolve.resolved = resolved;
		lookups->running[i].owner = lookups;
	}
	lookups->wanted = calloc(options->broker_count, sizeof(bool));
	return lookups->wanted != NULL ? 0 : -ENOMEM;
}

void td_lookups_fini(struct td_lookups *lookups)
{
	for (unsigned i = 0; i < TD_LOOKUPS_MAX; i++)
		if (lookups->running[i].busy)
			td_resolve_stop(&lookups->running[i].resolve);
	free(lookups->wanted);
}

void td_lookups_want(struct td_lookups *lookups, uint32_t broker)
{
	lookups->wanted[broker] = true;
}

bool td_lookups_start(struct td_lookups *lookups)
{
	struct td_lookup *lookup = lookups->running;
	uint32_t broker = 0;

	while (lookup < lookups->running + TD_LOOKUPS_MAX && lookup->busy)
		lookup++;
	while (broker < lookups->options->broker_count && !lookups->wanted[broker])
		broker++;
	if (lookup == lookups->running + TD_LOOKUPS_MAX || broker == lookups->options->broker_count)
		return false;
	const struct td_broker_name *name = &lookups->options->brokers[broker];
	lookups->wanted[broker] = false;
	lookup->broker = broker;
	lookup->busy = true;
	td_resolve_start(&lookup->resolve, name->host, name->service, LIMIT_US);
	return true;
}

struct td_time td_lookups_deadline(const struct td_lookups *lookups)
{
	struct td_time deadline = TD_NEVER;

	for (unsigned i = 0; i < TD_LOOKUPS_MAX; i++)
		if (lookups->running[i].busy)
			deadline = td_time_min(deadline,
					       td_resolve_deadline(&lookups->running[i].resolve));
	return deadline;
}

void td_lookups_tick(struct td_lookups *lookups, struct td_time now)
{
	for (unsigned i = 0; i < TD_LOOKUPS_MAX; i++)
		if (lookups->running[i].busy)
			td_resolve_tick(&lookups->running[i].resolve, now);
}
