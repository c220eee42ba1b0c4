/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Changes that the kernel reports, made in a network namespace of our own; and, since few of the
 * others can be made to happen, messages of our own against the filter.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include "sys/rtnl.h"

#define LOOPBACK 1 /* its index in every namespace */

static struct td_loop loop;
static struct td_netwatch netwatch = { .watch.fd = -1 };
static struct td_rtnl rtnl = { .netlink.fd = -1 };
static unsigned calls;
static struct td_time end_at;

static struct td_time prepare(void *ctx, struct td_time now)
{
	(void)ctx;
	if (td_time_reached(end_at, now))
		td_loop_stop(&loop);
	return end_at;
}

static void changed(struct td_netwatch *watch)
{
	assert_ptr_equal(watch, &netwatch);
	calls++;
}

/* How often the watch called within the next 20 ms. */
static unsigned calls_now(void)
{
	calls = 0;
	end_at = td_time_add(td_now(), TD_MS(20));
	assert_int_equal(td_loop_run(&loop), 0);
	return calls;
}

static int set_up(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNET) < 0)
		return 0;
	if (td_loop_init(&loop, prepare, NULL) < 0 || td_rtnl_open(&rtnl) < 0)
		return -1;
	netwatch.changed = changed;
	return td_netwatch_init(&netwatch, &loop);
}

static int tear_down(void **state)
{
	(void)state;
	td_netwatch_fini(&netwatch, &loop);
	td_netwatch_fini(&netwatch, &loop);
	td_rtnl_close(&rtnl);
	td_loop_fini(&loop);
	return 0;
}

static void need_namespace(void)
{
	if (netwatch.watch.fd < 0) {
		print_message("not root: no network namespace\n");
		skip();
	}
}

static void test_quiet(void **state)
{
	(void)state;
	need_namespace();
	assert_int_equal(calls_now(), 0);
}

static void test_link_up(void **state)
{
	(void)state;
	need_namespace();
	assert_int_equal(td_rtnl_set_state(&rtnl, LOOPBACK, true), 0);
	assert_int_equal(calls_now(), 1); /* link, addresses: one call */
	assert_int_equal(td_rtnl_set_state(&rtnl, LOOPBACK, true), 0);
	assert_int_equal(calls_now(), 0); /* it is up already */
}

/* Sends to the kernel and takes its answer, without asking what it was. */
static void request(struct nlmsghdr *nlh)
{
	_Alignas(struct nlmsghdr) char answer[1024];

	nlh->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	nlh->nlmsg_seq = ++rtnl.netlink.sequence;
	assert_true(send(rtnl.netlink.fd, nlh, nlh->nlmsg_len, 0) > 0);
	assert_true(recv(rtnl.netlink.fd, answer, sizeof(answer), 0) > 0);
	assert_int_equal(((struct nlmsgerr *)mnl_nlmsg_get_payload((void *)answer))->error, 0);
}

static void change_address(uint16_t type)
{
	_Alignas(struct nlmsghdr) char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifaddrmsg *msg;

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = type == RTM_NEWADDR ? NLM_F_CREATE : 0;
	msg = mnl_nlmsg_put_extra_header(nlh, sizeof(*msg));
	msg->ifa_family = AF_INET;
	msg->ifa_prefixlen = 32;
	msg->ifa_index = if_nametoindex("lo");
	mnl_attr_put(nlh, IFA_LOCAL, 4, (const uint8_t[]){ 192, 0, 2, 1 });
	request(nlh);
}

static void test_address(void **state)
{
	(void)state;
	need_namespace();
	change_address(RTM_NEWADDR);
	assert_int_equal(calls_now(), 1);
	change_address(RTM_DELADDR);
	assert_int_equal(calls_now(), 1);
	for (int i = 0; i < 20; i++) {
		change_address(RTM_NEWADDR);
		change_address(RTM_DELADDR);
	}
	assert_int_equal(calls_now(), 1);
	assert_int_equal(calls_now(), 0);
}

static void change_route(uint16_t type, uint8_t prefix_len, uint8_t protocol)
{
	_Alignas(struct nlmsghdr) char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct rtmsg *msg;

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = type == RTM_NEWROUTE ? NLM_F_CREATE : 0;
	msg = mnl_nlmsg_put_extra_header(nlh, sizeof(*msg));
	msg->rtm_family = AF_INET;
	msg->rtm_dst_len = prefix_len;
	msg->rtm_table = RT_TABLE_MAIN;
	msg->rtm_protocol = protocol;
	msg->rtm_scope = RT_SCOPE_LINK;
	msg->rtm_type = RTN_UNICAST;
	if (prefix_len)
		mnl_attr_put(nlh, RTA_DST, 4, (const uint8_t[]){ 198, 51, 100, 7 });
	mnl_attr_put_u32(nlh, RTA_OIF, if_nametoindex("lo"));
	request(nlh);
}

static unsigned calls_for_route(uint8_t prefix_len, uint8_t protocol)
{
	unsigned n;

	change_route(RTM_NEWROUTE, prefix_len, protocol);
	n = calls_now();
	change_route(RTM_DELROUTE, prefix_len, protocol);
	assert_int_equal(calls_now(), n);
	return n;
}

static void test_routes(void **state)
{
	(void)state;
	need_namespace();
	assert_int_equal(calls_for_route(32, RTPROT_STATIC), 1);
	assert_int_equal(calls_for_route(32, RTPROT_DHCP), 1);
	assert_int_equal(calls_for_route(0, RTPROT_BOOT), 1);
	assert_int_equal(calls_for_route(32, RTPROT_MRT), 1);
	assert_int_equal(calls_for_route(32, RTPROT_ZEBRA), 0);
	assert_int_equal(calls_for_route(32, RTPROT_BIRD), 0);
	assert_int_equal(calls_for_route(32, RTPROT_NTK), 0);
	assert_int_equal(calls_for_route(32, RTPROT_BABEL), 0);
	assert_int_equal(calls_for_route(32, RTPROT_BGP), 0);
	assert_int_equal(calls_for_route(0, RTPROT_BABEL), 1);
}

/* A message from another socket passes the same filter as one from the kernel. */
static unsigned calls_for(struct nlmsghdr *nlh)
{
	struct sockaddr_nl to;
	socklen_t size = sizeof(to);

	assert_int_equal(getsockname(netwatch.watch.fd, (struct sockaddr *)&to, &size), 0);
	to.nl_groups = 0;
	assert_true(sendto(rtnl.netlink.fd, nlh, nlh->nlmsg_len, 0, (struct sockaddr *)&to, size) >
		    0);
	return calls_now();
}

static struct nlmsghdr *link_message(void *buf, uint16_t type, unsigned char family)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *msg;

	nlh->nlmsg_type = type;
	msg = mnl_nlmsg_put_extra_header(nlh, sizeof(*msg));
	msg->ifi_family = family;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, "wlan0");
	return nlh;
}

static void test_filter_links(void **state)
{
	_Alignas(struct nlmsghdr) char buf[256];
	struct nlmsghdr *nlh;

	(void)state;
	need_namespace();
	assert_int_equal(calls_for(link_message(buf, RTM_NEWLINK, AF_UNSPEC)), 1);
	assert_int_equal(calls_for(link_message(buf, RTM_DELLINK, AF_UNSPEC)), 1);
	assert_int_equal(calls_for(link_message(buf, RTM_NEWLINK, AF_BRIDGE)), 0);
	assert_int_equal(calls_for(link_message(buf, RTM_DELLINK, AF_BRIDGE)), 0);
	nlh = link_message(buf, RTM_NEWLINK, AF_UNSPEC);
	mnl_attr_put(nlh, IFLA_WIRELESS, 16, buf);
	assert_int_equal(calls_for(nlh), 0);
	nlh = link_message(buf, RTM_NEWLINK, AF_UNSPEC);
	nlh->nlmsg_len = NLMSG_HDRLEN; /* cut */
	assert_int_equal(calls_for(nlh), 0);
}

static unsigned calls_for_route_message(uint8_t table, uint32_t flags)
{
	_Alignas(struct nlmsghdr) char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct rtmsg *msg;

	nlh->nlmsg_type = RTM_NEWROUTE;
	msg = mnl_nlmsg_put_extra_header(nlh, sizeof(*msg));
	msg->rtm_table = table;
	msg->rtm_flags = flags;
	return calls_for(nlh);
}

static void test_filter_routes(void **state)
{
	(void)state;
	need_namespace();
	assert_int_equal(calls_for_route_message(RT_TABLE_MAIN, 0), 1);
	assert_int_equal(calls_for_route_message(100, RTNH_F_LINKDOWN), 1);
	assert_int_equal(calls_for_route_message(RT_TABLE_LOCAL, 0), 0);
	assert_int_equal(calls_for_route_message(RT_TABLE_MAIN, RTM_F_CLONED), 0);
}

/* More than the socket holds: ENOBUFS is a change too, and afterwards all is as before. */
static void test_overflow(void **state)
{
	int small = 2048;

	(void)state;
	need_namespace();
	setsockopt(netwatch.watch.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	for (int i = 0; i < 100; i++) {
		change_address(RTM_NEWADDR);
		change_address(RTM_DELADDR);
	}
	assert_in_range(calls_now(), 1, 2);
	assert_int_equal(calls_now(), 0);
	change_address(RTM_NEWADDR);
	assert_int_equal(calls_now(), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_quiet),        cmocka_unit_test(test_link_up),
		cmocka_unit_test(test_address),      cmocka_unit_test(test_routes),
		cmocka_unit_test(test_filter_links), cmocka_unit_test(test_filter_routes),
		cmocka_unit_test(test_overflow),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
