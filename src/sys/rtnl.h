/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Links, limits and changes of the network over rtnetlink (libmnl).
 *
 * The calls on td_rtnl are synchronous, wait for the kernel's RTNL lock (but for the first two), and
 * return 0 or -errno as the kernel answered: -ENODEV, no such interface, nor one of index 0; -EPERM, no
 * CAP_NET_ADMIN.
 */
#ifndef TD_SYS_RTNL_H
#define TD_SYS_RTNL_H

#include <stdbool.h>
#include <stdint.h>

#include "sys/loop.h"
#include "sys/netlink.h"

struct td_rtnl {
	struct td_netlink netlink;
};

/* rx: what came in by the link. Bytes are those of its frames. */
struct td_link_stats {
	uint64_t rx_packets, tx_packets;
	uint64_t rx_bytes, tx_bytes;
	uint64_t rx_errors, tx_errors;
};

int td_rtnl_open(struct td_rtnl *rtnl) __attribute__((warn_unused_result));
void td_rtnl_close(struct td_rtnl *rtnl);
/*
 * The index of the interface of that name (up to 15 bytes); 0: there is none. And is there one of that
 * index? Neither takes one of the kernel's slow locks, and any thread may ask. if_nametoindex() and
 * if_indextoname() would make a socket for each question, which costs more than the answer.
 */
unsigned td_rtnl_ifindex(const struct td_rtnl *rtnl, const char *ifname);
bool td_rtnl_exists(const struct td_rtnl *rtnl, unsigned ifindex);
int td_rtnl_set_mtu(struct td_rtnl *rtnl, unsigned ifindex, uint32_t mtu)
	__attribute__((warn_unused_result));
int td_rtnl_delete(struct td_rtnl *rtnl, unsigned ifindex) __attribute__((warn_unused_result));
int td_rtnl_set_state(struct td_rtnl *rtnl, unsigned ifindex, bool up)
	__attribute__((warn_unused_result));
/* Both at once, the MTU first: each request waits for the lock that all of the kernel wants. */
int td_rtnl_start(struct td_rtnl *rtnl, unsigned ifindex, uint32_t mtu)
	__attribute__((warn_unused_result));

struct td_rtnl_link {
	unsigned ifindex, master; /* master 0: none */
	uint32_t mtu;
	bool is_up, is_bridge;
};

/* The interface of that index or, index 0, of that name (which may be NULL: none). */
int td_rtnl_get_link(struct td_rtnl *rtnl, unsigned ifindex, const char *ifname,
		     struct td_rtnl_link *link) __attribute__((warn_unused_result));
/* Joins the bridge of index master, and leaves another one; 0: none. -EXFULL: it has no port left. */
int td_rtnl_set_master(struct td_rtnl *rtnl, unsigned ifindex, unsigned master)
	__attribute__((warn_unused_result));
/* A bridge's port exchanges nothing with others of this kind, until it leaves the bridge. */
int td_rtnl_isolate(struct td_rtnl *rtnl, unsigned ifindex) __attribute__((warn_unused_result));
/*
 * A token bucket of that rate and, where the kernel has it, fq_codel in it on the interface's egress,
 * in place of what was there; 0: removes it. What counts are Ethernet frames without their checksum.
 * Either may be repeated, and a change loses no packet that waits. -ENOENT: the kernel has no TBF.
 */
int td_rtnl_set_rate(struct td_rtnl *rtnl, unsigned ifindex, uint32_t rate_kbps)
	__attribute__((warn_unused_result));

/* What the kernel counts of the link. */
int td_rtnl_stats(struct td_rtnl *rtnl, unsigned ifindex, struct td_link_stats *stats)
	__attribute__((warn_unused_result));
/* The same of every link there is. */
int td_rtnl_stats_all(struct td_rtnl *rtnl,
		      void (*each)(void *ctx, unsigned ifindex, const struct td_link_stats *stats),
		      void *ctx) __attribute__((warn_unused_result));

/*
 * Tells when addresses, routes or links change; several changes in a row are one call. What cannot
 * matter to a tunnel's transport is filtered in the kernel and wakes nobody: bridge ports, wireless
 * events, the local table, and what a routing daemon (Babel, BIRD, …) does to its mesh, its default
 * routes excepted.
 */
struct td_netwatch {
	struct td_watch watch; /* fd -1: closed */
	void (*changed)(struct td_netwatch *netwatch);
};
int td_netwatch_init(struct td_netwatch *netwatch, struct td_loop *loop)
	__attribute__((warn_unused_result));
void td_netwatch_fini(struct td_netwatch *netwatch, struct td_loop *loop);

/*
 * The messages that the above sends, for the tests; each is built in buf, of TD_RTNL_MESSAGE bytes,
 * and lacks only its sequence number.
 */
#define TD_RTNL_MESSAGE TD_NETLINK_REQUEST
struct nlmsghdr *td_rtnl_build_mtu(void *buf, unsigned ifindex, uint32_t mtu);
struct nlmsghdr *td_rtnl_build_state(void *buf, unsigned ifindex, bool up);
struct nlmsghdr *td_rtnl_build_master(void *buf, unsigned ifindex, unsigned master);
struct nlmsghdr *td_rtnl_build_isolate(void *buf, unsigned ifindex);
struct nlmsghdr *td_rtnl_build_unshape(void *buf, unsigned ifindex);
struct nlmsghdr *td_rtnl_build_rate(void *buf, unsigned ifindex, uint32_t rate_kbps);
struct nlmsghdr *td_rtnl_build_leaf(void *buf, unsigned ifindex);
struct nlmsghdr *td_rtnl_build_stats(void *buf, unsigned ifindex); /* 0: of all */
/* For mnl_cb_run(); stats: struct td_link_stats *. */
int td_rtnl_parse_stats(const struct nlmsghdr *nlh, void *stats);

#endif
