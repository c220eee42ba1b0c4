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
	struct td_child child;
	int answer; /* reading end of the child's pipe */
	struct td_time deadline;
};

/*
 * host, service: as getaddrinfo(); a service may be a number or a name (udp). One at a time for
 * each struct td_resolve, which is all zero but for the fields above before its first use.
 */
void td_resolve_start(struct td_resolve *resolve, const char *host, const char *service,
		      int64_t limit_us);
/* Gives up; resolved() is not called. */
void td_resolve_stop(struct td_resolve *resolve);
struct td_time td_resolve_deadline(const struct td_resolve *resolve); /* TD_NEVER: idle */
void td_resolve_tick(struct td_resolve *resolve, struct td_time now);

/*
 * "host:port", "[v6]:port", "v6:port", split at the last colon, in place. 0, or -EINVAL: a part is
 * missing or the port is a number beyond 65535 (which getaddrinfo() would cut to 16 bits).
 */
int td_split_host_port(char *text, char **host, char **service) __attribute__((warn_unused_result));

#endif
