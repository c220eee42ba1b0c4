/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The limit is the one that operators know from the Python broker: an HTB root "1:" whose default
 * class "1:1" has the rate, with fq_codel against the delay that a full queue would add. A change
 * removes all of it first: HTB cannot be changed in place, and a half-made one never stays.
 */
#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "sys/rtnl.h"

#define ROOT      (1U << 16)
#define CLASS     (ROOT | 1)
#define FRAME_MAX 1600
#define TICK_NS   64 /* of the traffic control's clock, since Linux 2.6.31 */

static struct nlmsghdr *begin(void *buf, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	return nlh;
}

static struct nlmsghdr *begin_link(void *buf, const char *ifname, unsigned flags)
{
	struct nlmsghdr *nlh = begin(buf, RTM_NEWLINK, 0);
	struct ifinfomsg *link = mnl_nlmsg_put_extra_header(nlh, sizeof(*link));

	link->ifi_family = AF_UNSPEC;
	link->ifi_flags = flags;
	link->ifi_change = flags;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, ifname);
	return nlh;
}

struct nlmsghdr *td_rtnl_build_mtu(void *buf, const char *ifname, uint32_t mtu)
{
	struct nlmsghdr *nlh = begin_link(buf, ifname, 0);

	mnl_attr_put_u32(nlh, IFLA_MTU, mtu);
	return nlh;
}

struct nlmsghdr *td_rtnl_build_up(void *buf, const char *ifname)
{
	return begin_link(buf, ifname, IFF_UP);
}

static struct nlmsghdr *begin_index(void *buf, uint16_t type, unsigned char family,
				    unsigned ifindex)
{
	struct nlmsghdr *nlh = begin(buf, type, 0);
	struct ifinfomsg *link = mnl_nlmsg_put_extra_header(nlh, sizeof(*link));

	link->ifi_family = family;
	link->ifi_index = (int)ifindex;
	return nlh;
}

struct nlmsghdr *td_rtnl_build_state(void *buf, unsigned ifindex, bool up)
{
	struct nlmsghdr *nlh = begin_index(buf, RTM_NEWLINK, AF_UNSPEC, ifindex);
	struct ifinfomsg *link = mnl_nlmsg_get_payload(nlh);

	link->ifi_flags = up ? IFF_UP : 0;
	link->ifi_change = IFF_UP;
	return nlh;
}

struct nlmsghdr *td_rtnl_build_master(void *buf, unsigned ifindex, unsigned master)
{
	struct nlmsghdr *nlh = begin_index(buf, RTM_NEWLINK, AF_UNSPEC, ifindex);

	mnl_attr_put_u32(nlh, IFLA_MASTER, master);
	return nlh;
}

struct nlmsghdr *td_rtnl_build_isolate(void *buf, unsigned ifindex)
{
	struct nlmsghdr *nlh = begin_index(buf, RTM_SETLINK, AF_BRIDGE, ifindex);
	/* With the flag: older kernels take a port's settings for a bare state otherwise. */
	struct nlattr *port = mnl_attr_nest_start(nlh, NLA_F_NESTED | IFLA_PROTINFO);

	mnl_attr_put_u8(nlh, IFLA_BRPORT_ISOLATED, 1);
	mnl_attr_nest_end(nlh, port);
	return nlh;
}

static struct nlmsghdr *begin_tc(void *buf, uint16_t type, uint16_t flags, int ifindex,
				 uint32_t parent, uint32_t handle)
{
	struct nlmsghdr *nlh = begin(buf, type, flags);
	struct tcmsg *tc = mnl_nlmsg_put_extra_header(nlh, sizeof(*tc));

	tc->tcm_family = AF_UNSPEC;
	tc->tcm_ifindex = ifindex;
	tc->tcm_parent = parent;
	tc->tcm_handle = handle;
	return nlh;
}

struct nlmsghdr *td_rtnl_build_unshape(void *buf, int ifindex)
{
	return begin_tc(buf, RTM_DELQDISC, 0, ifindex, TC_H_ROOT, 0);
}

struct nlmsghdr *td_rtnl_build_htb(void *buf, int ifindex)
{
	struct nlmsghdr *nlh =
		begin_tc(buf, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, ifindex, TC_H_ROOT, ROOT);
	const struct tc_htb_glob glob = { .version = 3,
					  .rate2quantum = 10,
					  .defcls = CLASS & 0xffff };
	struct nlattr *options;

	mnl_attr_put_strz(nlh, TCA_KIND, "htb");
	options = mnl_attr_nest_start(nlh, TCA_OPTIONS);
	mnl_attr_put(nlh, TCA_HTB_INIT, sizeof(glob), &glob);
	mnl_attr_nest_end(nlh, options);
	return nlh;
}

/* Bytes that may pass at once: 5 ms of the rate, so that timers need not be finer. */
static uint64_t burst_bytes(uint64_t rate)
{
	uint64_t burst = rate / 200;

	return burst < 2 * FRAME_MAX ? 2 * FRAME_MAX : burst;
}

struct nlmsghdr *td_rtnl_build_class(void *buf, int ifindex, uint32_t rate_kbps)
{
	struct nlmsghdr *nlh =
		begin_tc(buf, RTM_NEWTCLASS, NLM_F_CREATE | NLM_F_EXCL, ifindex, ROOT, CLASS);
	uint64_t rate = (uint64_t)rate_kbps * 1000 / 8;
	uint64_t ticks = burst_bytes(rate) * 1000000000 / rate / TICK_NS;
	struct tc_htb_opt opt = {
		.rate = { .linklayer = TC_LINKLAYER_ETHERNET,
			  .rate = rate > UINT32_MAX ? UINT32_MAX : (uint32_t)rate },
		.buffer = (uint32_t)ticks,
		.cbuffer = (uint32_t)ticks,
		/* Shares among classes, of which there is one; unset, the kernel derives it from the
		 * rate and complains. */
		.quantum = FRAME_MAX,
	};
	struct nlattr *options;

	opt.ceil = opt.rate;
	mnl_attr_put_strz(nlh, TCA_KIND, "htb");
	options = mnl_attr_nest_start(nlh, TCA_OPTIONS);
	mnl_attr_put(nlh, TCA_HTB_PARMS, sizeof(opt), &opt);
	if (rate > UINT32_MAX) {
		mnl_attr_put_u64(nlh, TCA_HTB_RATE64, rate);
		mnl_attr_put_u64(nlh, TCA_HTB_CEIL64, rate);
	}
	mnl_attr_nest_end(nlh, options);
	return nlh;
}

struct nlmsghdr *td_rtnl_build_leaf(void *buf, int ifindex)
{
	struct nlmsghdr *nlh =
		begin_tc(buf, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, ifindex, CLASS, 0);

	mnl_attr_put_strz(nlh, TCA_KIND, "fq_codel");
	return nlh;
}

int td_rtnl_open(struct td_rtnl *rtnl)
{
	return td_netlink_open(&rtnl->netlink, NETLINK_ROUTE);
}

void td_rtnl_close(struct td_rtnl *rtnl)
{
	td_netlink_close(&rtnl->netlink);
}

static int transact(struct td_rtnl *rtnl, struct nlmsghdr *request)
{
	return td_netlink_transact(&rtnl->netlink, request, NULL, NULL);
}

int td_rtnl_set_mtu(struct td_rtnl *rtnl, const char *ifname, uint32_t mtu)
{
	_Alignas(struct nlmsghdr) char buf[TD_NETLINK_REQUEST];

	return transact(rtnl, td_rtnl_build_mtu(buf, ifname, mtu));
}

int td_rtnl_set_up(struct td_rtnl *rtnl, const char *ifname)
{
	_Alignas(struct nlmsghdr) char buf[TD_NETLINK_REQUEST];

	return transact(rtnl, td_rtnl_build_up(buf, ifname));
}

int td_rtnl_delete(struct td_rtnl *rtnl, unsigned ifindex)
{
	_Alignas(struct nlmsghdr) char buf[TD_NETLINK_REQUEST];

	return transact(rtnl, begin_index(buf, RTM_DELLINK, AF_UNSPEC, ifindex));
}

int td_rtnl_set_state(struct td_rtnl *rtnl, unsigned ifindex, bool up)
{
	_Alignas(struct nlmsghdr) char buf[TD_NETLINK_REQUEST];

	return transact(rtnl, td_rtnl_build_state(buf, ifindex, up));
}

int td_rtnl_set_master(struct td_rtnl *rtnl, unsigned ifindex, unsigned master)
{
	_Alignas(struct nlmsghdr) char buf[TD_NETLINK_REQUEST];

	return transact(rtnl, td_rtnl_build_master(buf, ifindex, master));
}

int td_rtnl_isolate(struct td_rtnl *rtnl, unsigned ifindex)
{
	_Alignas(struct nlmsghdr) char buf[TD_NETLINK_REQUEST];

	return transact(rtnl, td_rtnl_build_isolate(buf, ifindex));
}

static int read_kind(const struct nlattr *attr, void *data)
{
	static const char bridge[] = "bridge";
	struct td_rtnl_link *link = data;

	if (mnl_attr_get_type(attr) == IFLA_INFO_KIND)
		link->is_bridge = mnl_attr_get_payload_len(attr) == sizeof(bridge) &&
				  memcmp(mnl_attr_get_payload(attr), bridge, sizeof(bridge)) == 0;
	return MNL_CB_OK;
}

static int read_attribute(const struct nlattr *attr, void *data)
{
	struct td_rtnl_link *link = data;

	switch (mnl_attr_get_type(attr)) {
	case IFLA_IFNAME:
		if (mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) < 0 ||
		    mnl_attr_get_payload_len(attr) > sizeof(link->ifname))
			return MNL_CB_ERROR;
		memcpy(link->ifname, mnl_attr_get_str(attr), mnl_attr_get_payload_len(attr));
		break;
	case IFLA_MTU:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) < 0)
			return MNL_CB_ERROR;
		link->mtu = mnl_attr_get_u32(attr);
		break;
	case IFLA_MASTER:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) < 0)
			return MNL_CB_ERROR;
		link->master = mnl_attr_get_u32(attr);
		break;
	case IFLA_LINKINFO:
		return mnl_attr_parse_nested(attr, read_kind, link);
	default:
		break;
	}
	return MNL_CB_OK;
}

static int read_link(const struct nlmsghdr *nlh, void *data)
{
	const struct ifinfomsg *header = NLMSG_DATA(nlh);
	struct td_rtnl_link *link = data;

	if (nlh->nlmsg_type != RTM_NEWLINK || NLMSG_PAYLOAD(nlh, 0) < sizeof(*header))
		return MNL_CB_OK;
	link->ifindex = (unsigned)header->ifi_index;
	link->is_up = (header->ifi_flags & IFF_UP) != 0;
	return mnl_attr_parse(nlh, sizeof(*header), read_attribute, link);
}

int td_rtnl_get_link(struct td_rtnl *rtnl, unsigned ifindex, const char *ifname,
		     struct td_rtnl_link *link)
{
	_Alignas(struct nlmsghdr) char buf[TD_NETLINK_REQUEST];
	struct nlmsghdr *nlh = begin_index(buf, RTM_GETLINK, AF_UNSPEC, ifindex);
	int err;

	if (ifindex == 0)
		mnl_attr_put_strz(nlh, IFLA_IFNAME, ifname);
	mnl_attr_put_u32(nlh, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	memset(link, 0, sizeof(*link));
	err = td_netlink_transact(&rtnl->netlink, nlh, read_link, link);
	return err == 0 && link->ifindex == 0 ? -EPROTO : err;
}

/* ENOENT: there is none of ours, only the device's default. */
static int unshape(struct td_rtnl *rtnl, int ifindex)
{
	_Alignas(struct nlmsghdr) char buf[TD_NETLINK_REQUEST];
	int err = transact(rtnl, td_rtnl_build_unshape(buf, ifindex));

	return err == -ENOENT ? 0 : err;
}

static int shape(struct td_rtnl *rtnl, int ifindex, uint32_t rate_kbps)
{
	_Alignas(struct nlmsghdr) char buf[TD_NETLINK_REQUEST];
	int err = transact(rtnl, td_rtnl_build_htb(buf, ifindex));

	if (err == 0)
		err = transact(rtnl, td_rtnl_build_class(buf, ifindex, rate_kbps));
	if (err < 0)
		return err;
	/* ENOENT: no such kind here; the limit works without, only with more delay. */
	err = transact(rtnl, td_rtnl_build_leaf(buf, ifindex));
	return err == -ENOENT ? 0 : err;
}

int td_rtnl_set_rate(struct td_rtnl *rtnl, const char *ifname, uint32_t rate_kbps)
{
	int ifindex = (int)if_nametoindex(ifname);
	int err;

	if (ifindex == 0)
		return -errno;
	err = unshape(rtnl, ifindex);
	if (err < 0 || rate_kbps == 0)
		return err;
	err = shape(rtnl, ifindex, rate_kbps);
	if (err < 0 && unshape(rtnl, ifindex) < 0)
		return err; /* the first fault says more */
	return err;
}
