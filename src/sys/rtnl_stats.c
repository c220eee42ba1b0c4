/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* RTM_GETSTATS: the counters of a link and nothing else, so thousands of them are soon told. */
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <string.h>

#include "sys/rtnl.h"

#define SAME(ours, theirs) \
	(offsetof(struct td_link_stats, ours) == offsetof(struct rtnl_link_stats64, theirs))
_Static_assert(SAME(rx_packets, rx_packets) && SAME(tx_packets, tx_packets) &&
		       SAME(rx_bytes, rx_bytes) && SAME(tx_bytes, tx_bytes) &&
		       SAME(rx_errors, rx_errors) && SAME(tx_errors, tx_errors),
	       "the kernel's begin like ours");

struct nlmsghdr *td_rtnl_build_stats(void *buf, unsigned ifindex)
{
	struct nlmsghdr *nlh = td_netlink_begin(buf, RTM_GETSTATS, 0, sizeof(struct if_stats_msg));
	struct if_stats_msg *msg = NLMSG_DATA(nlh);

	msg->ifindex = ifindex;
	msg->filter_mask = IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64);
	return nlh;
}

static int find(const struct nlattr *attr, void *stats)
{
	const size_t size = sizeof(struct td_link_stats);

	if ((attr->nla_type & NLA_TYPE_MASK) == IFLA_STATS_LINK_64 &&
	    attr->nla_len >= sizeof(*attr) + size)
		memcpy(stats, attr + 1, size);
	return MNL_CB_OK;
}

int td_rtnl_parse_stats(const struct nlmsghdr *nlh, void *stats)
{
	return mnl_attr_parse(nlh, sizeof(struct if_stats_msg), find, stats);
}

int td_rtnl_stats(struct td_rtnl *rtnl, unsigned ifindex, struct td_link_stats *stats)
{
	_Alignas(struct nlmsghdr) char buf[TD_NETLINK_REQUEST];

	return td_netlink_transact(&rtnl->netlink, td_rtnl_build_stats(buf, ifindex),
				   td_rtnl_parse_stats, stats);
}

struct all {
	void (*each)(void *ctx, unsigned ifindex, const struct td_link_stats *stats);
	void *ctx;
};

static int parse_one(const struct nlmsghdr *nlh, void *ctx)
{
	const struct all *all = ctx;
	const struct if_stats_msg *msg = mnl_nlmsg_get_payload(nlh);
	struct td_link_stats stats = { 0 };

	if (nlh->nlmsg_type == RTM_NEWSTATS && mnl_nlmsg_get_payload_len(nlh) >= sizeof(*msg) &&
	    td_rtnl_parse_stats(nlh, &stats) >= 0)
		all->each(all->ctx, msg->ifindex, &stats);
	return MNL_CB_OK;
}

int td_rtnl_stats_all(struct td_rtnl *rtnl,
		      void (*each)(void *ctx, unsigned ifindex, const struct td_link_stats *stats),
		      void *ctx)
{
	_Alignas(struct nlmsghdr) char buf[TD_NETLINK_REQUEST];
	struct all all = { each, ctx };

	return td_netlink_dump(&rtnl->netlink, td_rtnl_build_stats(buf, 0), parse_one, &all);
}
