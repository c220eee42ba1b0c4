/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Name lookups for any number of brokers, a few at a time: each may be a child process.
 */
#ifndef TD_CLIENT_LOOKUPS_H
#define TD_CLIENT_LOOKUPS_H

#include <stdbool.h>
#include <stdint.h>

#include "client/options.h"
#include "sys/resolver.h"

#define TD_LOOKUPS_MAX 8

struct td_lookups {
	const struct td_options *options;
	void (*resolved)(struct td_lookups *lookups, uint32_t broker, const struct td_addr *addrs,
			 unsigned count);
	bool *wanted; /* per broker */
	struct td_lookup {
		struct td_resolve resolve; /* first: resolver.c hands this back */
		struct td_lookups *owner;
		uint32_t broker;
		bool busy;
	} running[TD_LOOKUPS_MAX];
};

/* options outlive this. 0 or -ENOMEM. */
int td_lookups_init(struct td_lookups *lookups, const struct td_options *options,
		    struct td_loop *loop) __attribute__((warn_unused_result));
/* Ends the children; resolved() is not called any more. */
void td_lookups_fini(struct td_lookups *lookups);
void td_lookups_want(struct td_lookups *lookups, uint32_t broker);
/* Starts one that is wanted, if there is room; resolved() may be called. False: nothing to start.
 */
bool td_lookups_start(struct td_lookups *lookups);
struct td_time td_lookups_deadline(const struct td_lookups *lookups);
void td_lookups_tick(struct td_lookups *lookups, struct td_time now);

#endif
