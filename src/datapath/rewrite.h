/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Receive scaling: tunnels of one public port on sockets of private ports, so that the kernel finds
 * each by its port alone and needs not look through all of them (docs/decisions/0015).
 *
 * A table of nf_tables, "inet tunneldigger_INSTANCE", rewrites ports: of what comes in on a known
 * flow the destination port to the tunnel's own, behind all filters; of what goes out from there
 * the source port to the public one, before all filters. What it does not know it leaves alone.
 * The table belongs to a socket: other programs cannot change it, and it lives until the last
 * process that has the socket closes it. So one that takes tunnels over from an earlier one, and has
 * its socket, finds the table at work, and leaves it so until its own takes its place in one step,
 * with the tunnels that it has taken over and no others.
 *
 * All calls wait for the kernel, and are made by one thread at a time. A program that opens none,
 * which is the client, links none of it.
 */
#ifndef TD_DATAPATH_REWRITE_H
#define TD_DATAPATH_REWRITE_H

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

struct td_rewrite {
	/* td_rewrite_add(), td_rewrite_remove() */
	int (*add)(struct td_rewrite *rewrite, const struct td_flow *flow, uint16_t port);
	int (*remove)(struct td_rewrite *rewrite, const struct td_flow *flow, uint16_t port);
};

struct td_rewrite_setup {
	int socket;           /* of td_rewrite_socket(), also an error; stays the caller's */
	uint32_t instance;    /* tells the brokers of one network namespace apart */
	uint32_t max_tunnels; /* so many may be added */
};

/* What a table belongs to, or -errno; -ENOTSUP: this program was built without it. */
int td_rewrite_socket(void) __attribute__((warn_unused_result));
/*
 * Asks the kernel whether the table can be made. -errno, and in why the sentence for the operator. A
 * table that is there goes on; what is added now is for the one that td_rewrite_start() makes.
 */
int td_rewrite_open(struct td_rewrite **rewrite, const struct td_rewrite_setup *setup, char *why,
		    size_t size) __attribute__((warn_unused_result));
/* Makes the table, with what has been added so far, in place of one that is there. Once. */
int td_rewrite_start(struct td_rewrite *rewrite) __attribute__((warn_unused_result));
/* Removes the table. NULL: does nothing. */
void td_rewrite_close(struct td_rewrite *rewrite);

/*
 * From now on datagrams of this flow come to that port of flow->local, and what leaves from there has
 * the port of flow->local. In case of an error nothing has changed. -EEXIST: that flow, or that port,
 * has been added already (before td_rewrite_start() the caller sees to it that it has not).
 */
static inline int td_rewrite_add(struct td_rewrite *rewrite, const struct td_flow *flow,
				 uint16_t port)
{
	return rewrite->add(rewrite, flow, port);
}

/* 0: it is not there, or not there any more. */
static inline int td_rewrite_remove(struct td_rewrite *rewrite, const struct td_flow *flow,
				    uint16_t port)
{
	return rewrite->remove(rewrite, flow, port);
}

#endif
