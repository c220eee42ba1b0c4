/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Links, limits and changes of the network over rtnetlink (libmnl). All calls are synchronous and
 * return 0 or -errno.
 */
#ifndef TD_SYS_RTNL_H
#define TD_SYS_RTNL_H

#include <stdbool.h>
#include <stdint.h>

#include "sys/loop.h"

struct mnl_socket;

struct td_rtnl {
	struct mnl_socket *nl;
	uint32_t sequence;
};

int td_rtnl_open(struct td_rtnl *rtnl) __attribute__((warn_unused_result));
void td_rtnl_close(struct td_rtnl *rtnl);
int td_rtnl_set_mtu(struct td_rtnl *rtnl, const char *ifname, uint32_t mtu)
	__attribute__((warn_unused_result));
int td_rtnl_set_up(struct td_rtnl *rtnl, const char *ifname) __attribute__((warn_unused_result));
/* HTB with one class of that rate and fq_codel in it on the interface's egress; 0: removes it. */
int td_rtnl_set_rate(struct td_rtnl *rtnl, const char *ifname, uint32_t rate_kbps)
	__attribute__((warn_unused_result));

/* Tells when addresses, routes or links change; several changes in a row are one call. */
struct td_netwatch {
	struct td_watch watch;
	struct mnl_socket *nl;
	void (*changed)(struct td_netwatch *netwatch);
};
int td_netwatch_init(struct td_netwatch *netwatch, struct td_loop *loop)
	__attribute__((warn_unused_result));
void td_netwatch_fini(struct td_netwatch *netwatch, struct td_loop *loop);

#endif
