/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Which bridges the interfaces of tunnels join, and their joining. For the broker only.
 *
 * A set of bridges is for one MTU, or for all that have none of their own. An interface joins the
 * first bridge of its set that takes it (one has 1023 ports); when none does it goes on alone, which
 * the log says once, not for each. It is isolated before it goes up, so that no frame passes between
 * two clients. An interface that can neither be isolated nor taken out again is an error.
 */
#ifndef TD_DATAPATH_BRIDGE_H
#define TD_DATAPATH_BRIDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/session_info.h"
#include "sys/rtnl.h"

#define TD_BRIDGES     8 /* of a set */
#define TD_BRIDGE_SETS 9 /* one for all, and those for an MTU */

struct td_bridge_list {
	uint32_t count;
	char names[TD_BRIDGES][TD_IFNAME_SIZE];
};

struct td_bridge_set {
	uint32_t mtu; /* 0: free; the first set is for every MTU that has none of its own */
	bool isolate;
	struct td_bridge_list list; /* empty: join none */
};

struct td_bridging {
	struct td_bridge_set sets[TD_BRIDGE_SETS];
};

/* Is there a bridge at all? */
bool td_bridging_any(const struct td_bridging *bridging);

struct td_bridges {
	const struct td_bridging *bridging;     /* NULL: none */
	int faults[TD_BRIDGE_SETS][TD_BRIDGES]; /* what the log has of each: -errno, 0: nothing */
};

/* Warns of bridges that are not there. bridging stays the caller's, as long as this is in use. */
void td_bridges_init(struct td_bridges *bridges, const struct td_bridging *bridging,
		     struct td_rtnl *rtnl);

/* An interface that is down joins the bridge for its MTU. -errno: it must not go up. */
int td_bridges_join(struct td_bridges *bridges, struct td_rtnl *rtnl, unsigned ifindex,
		    uint32_t mtu) __attribute__((warn_unused_result));
/*
 * Sets the MTU, and moves the interface if others are the bridges for that; if it is up, it is down
 * meanwhile. It stays where it is when somebody else has put it there. -errno: one of it failed.
 */
int td_bridges_set_mtu(struct td_bridges *bridges, struct td_rtnl *rtnl, unsigned ifindex,
		       uint32_t mtu) __attribute__((warn_unused_result));

#endif
