/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The limit is a token bucket (TBF), with fq_codel in it against the delay that a full queue would
 * add. TBF takes apart the packets of up to 64 kB that TCP hands down and network cards put together;
 * HTB, which does not, has such a one pass at once and then nothing for half a second at 1 Mbit/s.
 * And it can be changed while its queue is full.
 */
#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "core/l2tp.h"
#include "sys/rtnl.h"

#define ROOT (1U << 16)
#define LEAF (2U << 16)
/* Of any MTU, with VLAN tags: a bucket that does not hold a frame would never let it pass. */
#define FRAME_MAX   (TD_MTU_MAX + TD_ETH_HEADER + 8)
#define BURST_PER_S 100 /* 10 ms of the rate may pass at once, so that timers need not be finer */
/* Bytes that may wait where the kernel has no fq_codel: 200 ms of the rate. */
#define QUEUE_PER_S 5
#define QUEUE_MIN   (2 * FRAME_MAX)
#define QUEUE_MAX   (32U << 20)
#define FLOWS       256 /* of fq_codel: 17 kB for each interface; by default there are 1024 */

static struct nlmsghdr *begin_index(void *buf, uint16_t type, unsigned char family,
				    unsigned ifindex)
{
	struct nlmsghdr *nlh = td_netlink_begin(buf, type, 0, sizeof(struct ifinfomsg));
	struct ifinfomsg *link = NLMSG_DATA(nlh);

	link->ifi_family = family;
	link->ifi_index = (int)ifindex;
	return nlh;
}

struct nlmsghdr *td_rtnl_build_mtu(void *buf, unsigned ifindex, uint32_t mtu)
{
	struct nlmsghdr *nlh = begin_index(buf, RTM_NEWLINK, AF_UNSPEC, ifindex);

	mnl_attr_put_u32(nlh, IFLA_MTU, mtu);
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

static struct nlmsghdr *begin_tc(void *buf, uint16_t type, uint16_t flags, unsigned ifindex,
				 uint32_t parent, uint32_t handle)
{
	struct nlmsghdr *nlh = td_netlink_begin(buf, type, flags, sizeof(struct tcmsg));
	struct tcmsg *tc = NLMSG_DATA(nlh);

	tc->tcm_family = AF_UNSPEC;
	tc->tcm_ifindex = (int)ifindex;
	tc->tcm_parent = parent;
	tc->tcm_handle = handle;
	return nlh;
}

struct nlmsghdr *td_rtnl_build_unshape(void *buf, unsigned ifindex)
{
	return begin_tc(buf, RTM_DELQDISC, 0, ifindex, TC_H_ROOT, 0);
}

static uint64_t at_least(uint64_t value, uint64_t least)
{
	return value < least ? least : value;
}

static uint32_t at_most(uint64_t value, uint32_t most)
{
	return value > most ? most : (uint32_t)value;
}

struct nlmsghdr *td_rtnl_build_rate(void *buf, unsigned ifindex, uint32_t rate_kbps)
{
	struct nlmsghdr *nlh =
		begin_tc(buf, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, ifindex, TC_H_ROOT, ROOT);
	const uint64_t rate = (uint64_t)rate_kbps * 1000 / 8;
	const struct tc_tbf_qopt opt = {
		.rate = { .linklayer = TC_LINKLAYER_ETHERNET, .rate = at_most(rate, UINT32_MAX) },
		.limit = at_most(at_least(rate / QUEUE_PER_S, QUEUE_MIN), QUEUE_MAX),
	};
	struct nlattr *options;

	mnl_attr_put_strz(nlh, TCA_KIND, "tbf");
	options = mnl_attr_nest_start(nlh, TCA_OPTIONS);
	mnl_attr_put(nlh, TCA_TBF_PARMS, sizeof(opt), &opt);
	mnl_attr_put_u32(nlh, TCA_TBF_BURST,
			 at_most(at_least(rate / BURST_PER_S, FRAME_MAX), UINT32_MAX));
	if (rate > UINT32_MAX)
		mnl_attr_put_u64(nlh, TCA_TBF_RATE64, rate);
	mnl_attr_nest_end(nlh, options);
	return nlh;
}

struct nlmsghdr *td_rtnl_build_leaf(void *buf, unsigned ifindex)
{
	struct nlmsghdr *nlh =
		begin_tc(buf, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, ifindex, ROOT | 1, LEAF);
	struct nlattr *options;

	mnl_attr_put_strz(nlh, TCA_KIND, "fq_codel");
	options = mnl_attr_nest_start(nlh, TCA_OPTIONS);
	mnl_attr_put_u32(nlh, TCA_FQ_CODEL_FLOWS, FLOWS);
	mnl_attr_nest_end(nlh, options);
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

unsigned td_rtnl_ifindex(const struct td_rtnl *rtnl, const char *ifname)
{
	struct ifreq request = { 0 };

	strncpy(request.ifr_name, ifname, sizeof(request.ifr_name) - 1);
	return ioctl(rtnl->netlink.fd, SIOCGIFINDEX, &request) < 0 ? 0
								   : (unsigned)request.ifr_ifindex;
}

bool td_rtnl_exists(const struct td_rtnl *rtnl, unsigned ifindex)
{
	struct ifreq request = { .ifr_ifindex = (int)ifindex };

	return ioctl(rtnl->netlink.fd, SIOCGIFNAME, &request) == 0 || errno != ENODEV;
}

int td_rtnl_set_mtu(struct td_rtnl *rtnl, unsigned ifindex, uint32_t mtu)
{
	_Alignas(struct nlmsghdr) char buf[TD_NETLINK_REQUEST];

	return transact(rtnl, td_rtnl_build_mtu(buf, ifindex, mtu));
}

int td_rtnl_start(struct td_rtnl *rtnl, unsigned ifindex, uint32_t mtu)
{
	_Alignas(struct nlmsghdr) char buf[TD_NETLINK_REQUEST];
	struct nlmsghdr *nlh = td_rtnl_build_state(buf, ifindex, true);

	mnl_attr_put_u32(nlh, IFLA_MTU, mtu);
	return transact(rtnl, nlh);
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

	if (ifindex == 0 && !ifname)
		return -ENODEV;
	if (ifindex == 0)
		mnl_attr_put_strz(nlh, IFLA_IFNAME, ifname);
	mnl_attr_put_u32(nlh, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	memset(link, 0, sizeof(*link));
	err = td_netlink_transact(&rtnl->netlink, nlh, read_link, link);
	return err == 0 && link->ifindex == 0 ? -EPROTO : err;
}

/* ENOENT: there is none of ours, only the device's default. */
static int unshape(struct td_rtnl *rtnl, unsigned ifindex)
{
	_Alignas(struct nlmsghdr) char buf[TD_NETLINK_REQUEST];
	int err = transact(rtnl, td_rtnl_build_unshape(buf, ifindex));

	return err == -ENOENT ? 0 : err;
}

static int shape(struct td_rtnl *rtnl, unsigned ifindex, uint32_t rate_kbps)
{
	_Alignas(struct nlmsghdr) char buf[TD_NETLINK_REQUEST];
	int err = transact(rtnl, td_rtnl_build_rate(buf, ifindex, rate_kbps));

	if (err < 0)
		return err;
	/* ENOENT: no such kind here; the limit works without, only with more delay. */
	err = transact(rtnl, td_rtnl_build_leaf(buf, ifindex));
	return err == -ENOENT || err == -EEXIST ? 0 : err;
}

int td_rtnl_set_rate(struct td_rtnl *rtnl, unsigned ifindex, uint32_t rate_kbps)
{
	int err;

	if (rate_kbps == 0)
		return unshape(rtnl, ifindex);
	err = shape(rtnl, ifindex, rate_kbps);
	if (err < 0 && unshape(rtnl, ifindex) < 0)
		return err; /* the first fault says more */
	return err;
}
