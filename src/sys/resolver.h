/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Names to addresses without blocking the loop: getaddrinfo() in a short-lived child of the same
 * process group, which is killed after a time limit. Numeric addresses and ports need no child.
 */
#ifndef TD_SYS_RESOLVER_H
#define TD_SYS_RESOLVER_H

#include <stdint.h>

#include "base/addr.h"
#include "sys/loop.h"

#define TD_RESOLVER_ADDRESSES 16

struct td_resolve {
	struct td_loop *loop;
	/* The addresses (in the resolver's order, no duplicates), or none. May be called before
	 * start() returns. */
	void (*resolved)(struct td_resolve *resolve, const struct td_addr *addrs, unsigned count);
	/* resolver.c's own */
	struct td_watch watch;
	struct td_child child;
	struct td_time deadline;
};

/* host, service: as getaddrinfo(); a service may be a number or a name (udp). */
void td_resolve_start(struct td_resolve *resolve, const char *host, const char *service,
		      int64_t limit_us);
/* Gives up; resolved() is not called. */
void td_resolve_stop(struct td_resolve *resolve);
struct td_time td_resolve_deadline(const struct td_resolve *resolve); /* TD_NEVER: idle */
void td_resolve_tick(struct td_resolve *resolve, struct td_time now);

/* "host:port", "[v6]:port", split at the last colon, in place. 0 or -EINVAL. */
int td_split_host_port(char *text, char **host, char **service) __attribute__((warn_unused_result));

#endif
