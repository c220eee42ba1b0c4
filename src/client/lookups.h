/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The name lookups that the client machine asks for, TD_LOOKUPS_MAX at once. */
#ifndef TD_CLIENT_LOOKUPS_H
#define TD_CLIENT_LOOKUPS_H

#include <stdint.h>

#include "client/options.h"
#include "sys/resolver.h"

struct td_lookups {
	struct td_loop *loop;
	void (*resolved)(struct td_lookups *lookups, uint32_t broker, const struct td_addr *addrs,
			 unsigned count);
	struct td_lookup {
		struct td_resolve resolve; /* first: resolver.c hands this back */
		struct td_lookups *owner;
		uint32_t broker;
	} running[TD_LOOKUPS_MAX];
};

/* resolved() may be called before this returns. */
void td_lookups_start(struct td_lookups *lookups, uint32_t broker,
		      const struct td_broker_name *name);
struct td_time td_lookups_deadline(const struct td_lookups *lookups);
void td_lookups_tick(struct td_lookups *lookups, struct td_time now);

#endif
