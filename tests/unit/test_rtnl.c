/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Messages attribute by attribute, and their effect in a network namespace of our own. */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include <libmnl/libmnl.h>
#include <linux/if_bridge.h>
#include <linux/if_tun.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "sys/rtnl.h"

#define LOOPBACK 1 /* its index in every namespace */

static _Alignas(struct nlmsghdr) char buf[TD_RTNL_MESSAGE];
static bool in_namespace;

static const struct nlattr *find_between(const void *from, const void *end, uint16_t type)
{
	const struct nlattr *attr = from;

	while (mnl_attr_ok(attr, (int)((const char *)end - (const char *)attr))) {
		if (mnl_attr_get_type(attr) == type)
			return attr;
		attr = mnl_attr_next(attr);
	}
	return NULL;
}

static const struct nlattr *find(const struct nlmsghdr *nlh, size_t header, uint16_t type)
{
	return find_between(mnl_nlmsg_get_payload_offset(nlh, header),
			    mnl_nlmsg_get_payload_tail(nlh), type);
}

static const struct nlattr *find_nested(const struct nlattr *nest, uint16_t type)
{
	const char *from = mnl_attr_get_payload(nest);

	return find_between(from, from + mnl_attr_get_payload_len(nest), type);
}

static void assert_header(const struct nlmsghdr *nlh, uint16_t type, uint16_t flags)
{
	assert_int_equal(nlh->nlmsg_type, type);
	assert_int_equal(nlh->nlmsg_flags, NLM_F_REQUEST | NLM_F_ACK | flags);
	assert_true(nlh->nlmsg_len <= TD_RTNL_MESSAGE);
}

static const struct ifinfomsg *assert_link(const struct nlmsghdr *nlh, uint16_t type,
					   unsigned char family)
{
	const struct ifinfomsg *link = mnl_nlmsg_get_payload(nlh);

	assert_header(nlh, type, 0);
	assert_int_equal(link->ifi_family, family);
	assert_int_equal(link->ifi_index, 42);
	return link;
}

static void test_build_mtu(void **state)
{
	const struct nlmsghdr *nlh = td_rtnl_build_mtu(buf, 42, 1364);
	/* no NLM_F_CREATE: it must be there */
	const struct ifinfomsg *link = assert_link(nlh, RTM_NEWLINK, AF_UNSPEC);

	(void)state;
	assert_int_equal(link->ifi_change, 0);
	assert_int_equal(mnl_attr_get_u32(find(nlh, sizeof(*link), IFLA_MTU)), 1364);
}

static void test_build_port(void **state)
{
	const struct nlmsghdr *nlh = td_rtnl_build_state(buf, 42, true);
	const struct ifinfomsg *link = assert_link(nlh, RTM_NEWLINK, AF_UNSPEC);
	const struct nlattr *port;

	(void)state;
	assert_int_equal(link->ifi_flags, IFF_UP);
	assert_int_equal(link->ifi_change, IFF_UP);
	link = assert_link(td_rtnl_build_state(buf, 42, false), RTM_NEWLINK, AF_UNSPEC);
	assert_int_equal(link->ifi_flags, 0);
	assert_int_equal(link->ifi_change, IFF_UP);

	nlh = td_rtnl_build_master(buf, 42, 7);
	link = assert_link(nlh, RTM_NEWLINK, AF_UNSPEC);
	assert_int_equal(link->ifi_change, 0);
	assert_int_equal(mnl_attr_get_u32(find(nlh, sizeof(*link), IFLA_MASTER)), 7);

	nlh = td_rtnl_build_isolate(buf, 42);
	link = assert_link(nlh, RTM_SETLINK, AF_BRIDGE);
	port = find(nlh, sizeof(*link), IFLA_PROTINFO);
	assert_true(port->nla_type & NLA_F_NESTED);
	assert_int_equal(mnl_attr_get_u8(find_nested(port, IFLA_BRPORT_ISOLATED)), 1);
}

static void assert_tc(const struct nlmsghdr *nlh, uint32_t parent, uint32_t handle)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(nlh);

	assert_int_equal(tc->tcm_ifindex, 42);
	assert_int_equal(tc->tcm_parent, parent);
	assert_int_equal(tc->tcm_handle, handle);
}

static const struct nlattr *rate_options(uint32_t kbps, struct tc_tbf_qopt *opt)
{
	const struct nlmsghdr *nlh = td_rtnl_build_rate(buf, 42, kbps);
	const struct nlattr *options = find(nlh, sizeof(struct tcmsg), TCA_OPTIONS);
	const struct nlattr *parms = find_nested(options, TCA_TBF_PARMS);

	assert_header(nlh, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE);
	assert_tc(nlh, TC_H_ROOT, 0x10000);
	assert_string_equal(mnl_attr_get_str(find(nlh, sizeof(struct tcmsg), TCA_KIND)), "tbf");
	assert_int_equal(mnl_attr_get_payload_len(parms), sizeof(*opt));
	memcpy(opt, mnl_attr_get_payload(parms), sizeof(*opt));
	return options;
}

static void test_build_rate(void **state)
{
	const struct nlattr *options;
	struct tc_tbf_qopt opt;

	(void)state;
	options = rate_options(16000, &opt);
	assert_int_equal(opt.rate.rate, 2000000);
	assert_int_equal(opt.limit, 400000);
	assert_int_equal(mnl_attr_get_u32(find_nested(options, TCA_TBF_BURST)), 20000);
	assert_null(find_nested(options, TCA_TBF_RATE64));

	options =
		rate_options(1, &opt); /* the smallest: 125 bytes a second, and room for a frame */
	assert_int_equal(opt.rate.rate, 125);
	assert_int_equal(mnl_attr_get_u32(find_nested(options, TCA_TBF_BURST)), 9022);
	assert_int_equal(opt.limit, 18044);

	options = rate_options(UINT32_MAX, &opt); /* 537 GB/s do not fit into 32 bits */
	assert_int_equal(opt.rate.rate, UINT32_MAX);
	assert_int_equal(mnl_attr_get_u64(find_nested(options, TCA_TBF_RATE64)), 536870911875);
	assert_int_equal(mnl_attr_get_u32(find_nested(options, TCA_TBF_BURST)), UINT32_MAX);
	assert_int_equal(opt.limit, 32 << 20);
}

static void test_build_leaf(void **state)
{
	const struct nlmsghdr *nlh = td_rtnl_build_leaf(buf, 42);

	(void)state;
	assert_header(nlh, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL);
	assert_tc(nlh, 0x10001, 0x20000);
	assert_string_equal(mnl_attr_get_str(find(nlh, sizeof(struct tcmsg), TCA_KIND)),
			    "fq_codel");

	nlh = td_rtnl_build_unshape(buf, 42);
	assert_header(nlh, RTM_DELQDISC, 0);
	assert_tc(nlh, TC_H_ROOT, 0);
}

/* A TAP device, which needs no module that a small kernel lacks; -1: skip. */
static int make_tap(const char *name)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (!in_namespace || fd < 0) {
		print_message("not root, or no /dev/net/tun\n");
		skip();
	}
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	return fd;
}

static struct ifreq query(unsigned long request, const char *name)
{
	struct ifreq ifr = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, request, &ifr), 0);
	close(fd);
	return ifr;
}

static void test_link(void **state)
{
	int tap = make_tap("tdu0");
	const unsigned ifindex = if_nametoindex("tdu0");
	struct td_rtnl rtnl;

	(void)state;
	assert_int_equal(td_rtnl_open(&rtnl), 0);
	assert_int_equal(td_rtnl_set_mtu(&rtnl, ifindex, 1331), 0);
	assert_int_equal(query(SIOCGIFMTU, "tdu0").ifr_mtu, 1331);
	assert_false(query(SIOCGIFFLAGS, "tdu0").ifr_flags & IFF_UP);
	assert_int_equal(td_rtnl_set_state(&rtnl, ifindex, true), 0);
	assert_int_equal(td_rtnl_set_state(&rtnl, ifindex, true), 0);
	assert_true(query(SIOCGIFFLAGS, "tdu0").ifr_flags & IFF_UP);
	assert_int_equal(td_rtnl_set_mtu(&rtnl, ifindex, 10), -EINVAL);
	assert_int_equal(td_rtnl_start(&rtnl, ifindex, 10), -EINVAL);
	assert_int_equal(td_rtnl_start(&rtnl, 999999, 1400), -ENODEV);
	assert_int_equal(td_rtnl_set_mtu(&rtnl, 999999, 1400), -ENODEV);
	assert_int_equal(td_rtnl_set_rate(&rtnl, 999999, 1000), -ENODEV);
	assert_int_equal(td_rtnl_set_rate(&rtnl, 999999, 0), -ENODEV);
	td_rtnl_close(&rtnl);
	close(tap);
}

static void test_start(void **state)
{
	int tap = make_tap("tdu0");
	struct td_rtnl rtnl;

	(void)state;
	assert_int_equal(td_rtnl_open(&rtnl), 0);
	assert_int_equal(td_rtnl_start(&rtnl, if_nametoindex("tdu0"), 1332), 0);
	assert_int_equal(query(SIOCGIFMTU, "tdu0").ifr_mtu, 1332);
	assert_true(query(SIOCGIFFLAGS, "tdu0").ifr_flags & IFF_UP);
	td_rtnl_close(&rtnl);
	close(tap);
}

static void test_names(void **state)
{
	int tap = make_tap("fifteen-letters");
	const unsigned ifindex = if_nametoindex("fifteen-letters");
	struct td_rtnl rtnl;

	(void)state;
	assert_int_equal(td_rtnl_open(&rtnl), 0);
	assert_int_equal(td_rtnl_ifindex(&rtnl, "fifteen-letters"), ifindex);
	assert_true(td_rtnl_exists(&rtnl, ifindex));
	assert_int_equal(td_rtnl_ifindex(&rtnl, "fifteen-letter"), 0);
	assert_int_equal(td_rtnl_ifindex(&rtnl, ""), 0);
	assert_false(td_rtnl_exists(&rtnl, 999999));
	assert_false(td_rtnl_exists(&rtnl, 0));
	close(tap);
	assert_int_equal(td_rtnl_ifindex(&rtnl, "fifteen-letters"), 0);
	assert_false(td_rtnl_exists(&rtnl, ifindex));
	td_rtnl_close(&rtnl);
}

static void test_get_link(void **state)
{
	int tap = make_tap("tdu2");
	const unsigned ifindex = if_nametoindex("tdu2");
	struct td_rtnl_link link;
	struct td_rtnl rtnl;

	(void)state;
	assert_int_equal(td_rtnl_open(&rtnl), 0);
	assert_int_equal(td_rtnl_set_mtu(&rtnl, ifindex, 1330), 0);
	assert_int_equal(td_rtnl_get_link(&rtnl, 0, "tdu2", &link), 0);
	assert_int_equal(link.ifindex, ifindex);
	assert_int_equal(link.mtu, 1330);
	assert_int_equal(link.master, 0);
	assert_false(link.is_up || link.is_bridge);
	assert_int_equal(td_rtnl_set_state(&rtnl, ifindex, true), 0);
	assert_int_equal(td_rtnl_get_link(&rtnl, ifindex, NULL, &link), 0);
	assert_true(link.is_up);
	assert_int_equal(td_rtnl_set_state(&rtnl, ifindex, false), 0);
	assert_int_equal(td_rtnl_get_link(&rtnl, ifindex, NULL, &link), 0);
	assert_false(link.is_up);

	assert_int_equal(td_rtnl_get_link(&rtnl, 0, "tdu9", &link), -ENODEV);
	assert_int_equal(td_rtnl_get_link(&rtnl, 999999, NULL, &link), -ENODEV);
	assert_int_equal(td_rtnl_set_state(&rtnl, 999999, true), -ENODEV);
	assert_int_equal(td_rtnl_set_master(&rtnl, 999999, 0), -ENODEV);
	assert_int_equal(td_rtnl_isolate(&rtnl, 999999), -ENODEV);
	assert_int_equal(td_rtnl_isolate(&rtnl, ifindex), -EOPNOTSUPP); /* in no bridge */
	td_rtnl_close(&rtnl);
	close(tap);
}

struct shaping {
	int ifindex;
	unsigned buckets, leaves;
	uint64_t rate;
};

static int read_tc(const struct nlmsghdr *nlh, void *data)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *kind = find(nlh, sizeof(*tc), TCA_KIND);
	struct shaping *s = data;

	if (tc->tcm_ifindex != s->ifindex || nlh->nlmsg_type != RTM_NEWQDISC)
		return MNL_CB_OK;
	if (tc->tcm_handle == 0x10000 && strcmp(mnl_attr_get_str(kind), "tbf") == 0) {
		const struct tc_tbf_qopt *opt = mnl_attr_get_payload(
			find_nested(find(nlh, sizeof(*tc), TCA_OPTIONS), TCA_TBF_PARMS));

		s->buckets++;
		s->rate = opt->rate.rate;
	}
	s->leaves += tc->tcm_handle == 0x20000;
	return MNL_CB_OK;
}

static void dump(uint16_t type, struct shaping *s)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	static _Alignas(struct nlmsghdr) char answer[32768];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct tcmsg *tc;
	int more = MNL_CB_OK;

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = 1;
	tc = mnl_nlmsg_put_extra_header(nlh, sizeof(*tc));
	tc->tcm_ifindex = s->ifindex;
	assert_int_equal(mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID), 0);
	assert_true(mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) > 0);
	while (more > MNL_CB_STOP) {
		ssize_t size = mnl_socket_recvfrom(nl, answer, sizeof(answer));

		assert_true(size > 0);
		more = mnl_cb_run(answer, (size_t)size, 1, mnl_socket_get_portid(nl), read_tc, s);
	}
	mnl_socket_close(nl);
}

static struct shaping shaping_of(unsigned ifindex)
{
	struct shaping s = { .ifindex = (int)ifindex };

	dump(RTM_GETQDISC, &s);
	return s;
}

static void test_rate(void **state)
{
	int tap = make_tap("tdu1");
	const unsigned ifindex = if_nametoindex("tdu1");
	struct td_rtnl rtnl;
	struct shaping s;

	(void)state;
	assert_int_equal(td_rtnl_open(&rtnl), 0);
	assert_int_equal(td_rtnl_set_state(&rtnl, ifindex, true), 0);
	assert_int_equal(td_rtnl_set_rate(&rtnl, ifindex, 0), 0); /* nothing there yet */
	if (td_rtnl_set_rate(&rtnl, ifindex, 5000) == -ENOENT) {
		print_message("this kernel has no TBF\n");
		skip();
	}
	s = shaping_of(ifindex);
	assert_int_equal(s.buckets, 1);
	assert_int_equal(s.rate, 625000);

	assert_int_equal(td_rtnl_set_rate(&rtnl, ifindex, 5000), 0);
	assert_int_equal(td_rtnl_set_rate(&rtnl, ifindex, 800), 0);
	s = shaping_of(ifindex);
	assert_int_equal(s.buckets, 1);
	assert_true(s.leaves <= 1);
	assert_int_equal(s.rate, 100000);

	assert_int_equal(td_rtnl_set_rate(&rtnl, ifindex, 0), 0);
	assert_int_equal(td_rtnl_set_rate(&rtnl, ifindex, 0), 0);
	s = shaping_of(ifindex);
	assert_int_equal(s.buckets + s.leaves, 0);
	assert_int_equal(td_rtnl_set_rate(&rtnl, ifindex, UINT32_MAX), 0);
	assert_int_equal(td_rtnl_set_rate(&rtnl, ifindex, 1), 0);
	td_rtnl_close(&rtnl);
	close(tap);
}

/* An answer to an earlier request, and one that is no answer at all, are passed over. */
static void test_stale_answer(void **state)
{
	struct td_rtnl rtnl;
	struct nlmsghdr *nlh;

	(void)state;
	if (!in_namespace)
		skip();
	assert_int_equal(td_rtnl_open(&rtnl), 0);
	nlh = td_rtnl_build_state(buf, 999999, true);
	nlh->nlmsg_seq = 999;
	assert_true(write(rtnl.netlink.fd, nlh, nlh->nlmsg_len) > 0);
	assert_int_equal(td_rtnl_set_state(&rtnl, LOOPBACK, true), 0);
	td_rtnl_close(&rtnl);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_build_mtu),  cmocka_unit_test(test_names),
		cmocka_unit_test(test_build_rate), cmocka_unit_test(test_build_leaf),
		cmocka_unit_test(test_link),       cmocka_unit_test(test_start),
		cmocka_unit_test(test_rate),       cmocka_unit_test(test_build_port),
		cmocka_unit_test(test_get_link),   cmocka_unit_test(test_stale_answer),
	};

	in_namespace = unshare(CLONE_NEWNET) == 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
