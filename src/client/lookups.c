/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "client/lookups.h"

#include "base/assert.h"

#define LIMIT_US TD_SECONDS(2)

static void resolved(struct td_resolve *resolve, const struct td_addr *addrs, unsigned count)
{
	struct td_lookup *lookup = (struct td_lookup *)resolve;

	lookup->owner->resolved(lookup->owner, lookup->broker, addrs, count);
}

void td_lookups_start(struct td_lookups *lookups, uint32_t broker,
		      const struct td_broker_name *name)
{
	struct td_lookup *lookup = lookups->running;

	while (lookup->resolve.child.pid != 0) {
		lookup++;
		td_assert(lookup < lookups->running + TD_LOOKUPS_MAX);
	}
	*lookup = (struct td_lookup){
		.resolve = { .loop = lookups->loop, .resolved = resolved },
		.owner = lookups,
		.broker = broker,
	};
	td_resolve_start(&lookup->resolve, name->host, name->service, LIMIT_US);
}

struct td_time td_lookups_deadline(const struct td_lookups *lookups)
{
	struct td_time deadline = TD_NEVER;

	for (unsigned i = 0; i < TD_LOOKUPS_MAX; i++)
		deadline = td_time_min(deadline, td_resolve_deadline(&lookups->running[i].resolve));
	return deadline;
}

void td_lookups_tick(struct td_lookups *lookups, struct td_time now)
{
	for (unsigned i = 0; i < TD_LOOKUPS_MAX; i++)
		td_resolve_tick(&lookups->running[i].resolve, now);
}
