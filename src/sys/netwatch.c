/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A program on the socket decides in the kernel which notifications are worth waking up for. So
 * whatever arrives is a change, none of it is parsed, and a lost one (ENOBUFS) is a change as well.
 *
 * A classic BPF program sees a message from its nlmsghdr on. It loads in network byte order while
 * netlink speaks the host's: hence the NET16() around constants.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sys/rtnl.h"

#define READS_MAX 256

#define HEADER(field)    offsetof(struct nlmsghdr, field)
#define LINK(field)      (NLMSG_HDRLEN + offsetof(struct ifinfomsg, field))
#define ROUTE(field)     (NLMSG_HDRLEN + offsetof(struct rtmsg, field))
#define LINK_ATTRIBUTES  (NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct ifinfomsg)))
#define FIRST_WELL_KNOWN RTPROT_ZEBRA /* Zebra, BIRD, …: routing daemons */
#define LAST_WELL_KNOWN  RTPROT_NTK
#define FIRST_OTHER      42 /* Babel and all later ones; DHCP and its kind are in between */

/* htons() and htonl() are no constants everywhere. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NET16(number) __builtin_bswap16(number)
#define NET32(number) __builtin_bswap32(number)
#else
#define NET16(number) (number)
#define NET32(number) (number)
#endif

#define LOAD(size, at) BPF_STMT(BPF_LD | BPF_##size | BPF_ABS, at)
/* The instruction at place here: on which instruction to go on. */
#define IF(here, test, value, yes, no) \
	BPF_JUMP(BPF_JMP | BPF_##test | BPF_K, value, (yes) - (here)-1, (no) - (here)-1)

enum place {
	IS_LINK = 5,
	IS_ROUTE = 11,
	ACCEPT = 21,
	DROP = 22,
};

static int filter(int fd)
{
	static const struct sock_filter code[] = {
		LOAD(H, HEADER(nlmsg_type)),
		IF(1, JEQ, NET16(RTM_NEWROUTE), IS_ROUTE, 2),
		IF(2, JEQ, NET16(RTM_DELROUTE), IS_ROUTE, 3),
		IF(3, JEQ, NET16(RTM_NEWLINK), IS_LINK, 4),
		IF(4, JEQ, NET16(RTM_DELLINK), IS_LINK, ACCEPT),
		[IS_LINK] = LOAD(B, LINK(ifi_family)),
		IF(6, JEQ, AF_BRIDGE, DROP, 7),
		BPF_STMT(BPF_LDX | BPF_IMM, IFLA_WIRELESS),
		BPF_STMT(BPF_LD | BPF_IMM, LINK_ATTRIBUTES),
		LOAD(W, (uint32_t)(SKF_AD_OFF + SKF_AD_NLATTR)), /* where it is, 0: nowhere */
		IF(10, JEQ, 0, ACCEPT, DROP),
		[IS_ROUTE] = LOAD(B, ROUTE(rtm_table)),
		IF(12, JEQ, RT_TABLE_LOCAL, DROP, 13),
		LOAD(W, ROUTE(rtm_flags)),
		IF(14, JSET, NET32(RTM_F_CLONED), DROP, 15),
		LOAD(B, ROUTE(rtm_dst_len)),
		IF(16, JEQ, 0, ACCEPT, 17),
		LOAD(B, ROUTE(rtm_protocol)),
		IF(18, JGE, FIRST_OTHER, DROP, 19),
		IF(19, JGT, LAST_WELL_KNOWN, ACCEPT, 20),
		IF(20, JGE, FIRST_WELL_KNOWN, DROP, ACCEPT),
		[ACCEPT] = BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		[DROP] = BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog program = {
		.len = sizeof(code) / sizeof(code[0]),
		.filter = (struct sock_filter *)(uintptr_t)code,
	};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno
											   : 0;
}

static void ready(struct td_watch *watch, uint32_t events)
{
	struct td_netwatch *netwatch =
		(void *)((char *)watch - offsetof(struct td_netwatch, watch));
	bool changed = false;
	char ignored;

	(void)events;
	for (int i = 0; i < READS_MAX; i++) {
		if (recv(watch->fd, &ignored, sizeof(ignored), MSG_DONTWAIT) < 0 &&
		    errno != ENOBUFS)
			break;
		changed = true;
	}
	if (changed)
		netwatch->changed(netwatch);
}

int td_netwatch_init(struct td_netwatch *netwatch, struct td_loop *loop)
{
	const unsigned groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
				RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
	struct td_netlink netlink;
	int err = td_netlink_open(&netlink, NETLINK_ROUTE);

	netwatch->watch = (struct td_watch){ .fd = netlink.fd, .ready = ready };
	if (err == 0)
		err = filter(netlink.fd);
	if (err == 0)
		err = td_netlink_listen(&netlink, groups);
	if (err == 0)
		err = td_loop_add(loop, &netwatch->watch, EPOLLIN);
	if (err < 0)
		td_netwatch_fini(netwatch, loop);
	return err;
}

void td_netwatch_fini(struct td_netwatch *netwatch, struct td_loop *loop)
{
	if (netwatch->watch.fd < 0)
		return;
	td_loop_del(loop, &netwatch->watch);
	close(netwatch->watch.fd);
	netwatch->watch.fd = -1;
}
