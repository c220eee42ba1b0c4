/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The kernel tells of interfaces that go: RTM_DELLINK, and of nothing else to this socket (a filter
 * sees to that, for thousands of tunnels that come are thousands of notifications). When it could
 * not tell all (ENOBUFS) we look ourselves. Of the tunnel's id, which is free a little later than the
 * interface, it does not tell at all: while tunnels leave, a timer has us ask.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/rtnetlink.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "datapath/kernel.h"

#define READS_MAX   64
#define INTERVAL_NS 50000000

static int filter(int fd)
{
	/* BPF loads in network byte order, netlink speaks the host's. */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELLINK), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno
											   : 0;
}

static int find_move(const struct nlattr *attr, void *moved)
{
	if (mnl_attr_get_type(attr) == IFLA_NEW_NETNSID)
		*(bool *)moved = true;
	return MNL_CB_OK;
}

static int parse(const struct nlmsghdr *nlh, void *dp)
{
	const struct ifinfomsg *link = mnl_nlmsg_get_payload(nlh);
	bool moved = false;

	/* The bridge says so, too, when an interface is its port no more. */
	if (nlh->nlmsg_type != RTM_DELLINK || mnl_nlmsg_get_payload_len(nlh) < sizeof(*link) ||
	    link->ifi_family != AF_UNSPEC)
		return MNL_CB_OK;
	if (mnl_attr_parse(nlh, sizeof(*link), find_move, &moved) < 0)
		return MNL_CB_ERROR;
	td_kernel_gone(dp, (unsigned)link->ifi_index, moved);
	return MNL_CB_OK;
}

static void links_ready(struct td_watch *watch, uint32_t events)
{
	struct td_datapath *dp =
		(struct td_datapath *)((char *)watch - offsetof(struct td_datapath, links));
	_Alignas(struct nlmsghdr) char answer[TD_NETLINK_ANSWER];

	(void)events;
	for (int i = 0; i < READS_MAX; i++) {
		ssize_t size = mnl_socket_recvfrom(dp->links_nl, answer, sizeof(answer));

		if (size < 0 && errno == EAGAIN)
			return;
		if (size < 0 || mnl_cb_run(answer, (size_t)size, 0, 0, parse, dp) < 0)
			td_kernel_sweep(dp, true);
	}
}

static void timer_ready(struct td_watch *watch, uint32_t events)
{
	struct td_datapath *dp =
		(struct td_datapath *)((char *)watch - offsetof(struct td_datapath, timer));
	uint64_t expirations;

	(void)events;
	if (read(watch->fd, &expirations, sizeof(expirations)) > 0)
		td_kernel_sweep(dp, false);
}

void td_kernel_timer(struct td_datapath *dp, bool run)
{
	const struct timespec interval = { .tv_nsec = run ? INTERVAL_NS : 0 };
	const struct itimerspec spec = { interval, interval };

	(void)!timerfd_settime(dp->timer.fd, 0, &spec, NULL);
}

static int watch_links(struct td_datapath *dp)
{
	int err;

	dp->links_nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!dp->links_nl)
		return -errno;
	dp->links =
		(struct td_watch){ .fd = mnl_socket_get_fd(dp->links_nl), .ready = links_ready };
	err = filter(dp->links.fd);
	if (err < 0)
		return err;
	if (mnl_socket_bind(dp->links_nl, RTMGRP_LINK, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	return td_loop_add(dp->ports.loop, &dp->links, EPOLLIN);
}

int td_kernel_watch(struct td_datapath *dp)
{
	int err = watch_links(dp);

	if (err < 0)
		return err;
	dp->timer = (struct td_watch){
		.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
		.ready = timer_ready,
	};
	return dp->timer.fd < 0 ? -errno : td_loop_add(dp->ports.loop, &dp->timer, EPOLLIN);
}

void td_kernel_unwatch(struct td_datapath *dp)
{
	if (dp->timer.fd >= 0) {
		td_loop_del(dp->ports.loop, &dp->timer);
		close(dp->timer.fd);
	}
	if (dp->links_nl) {
		td_loop_del(dp->ports.loop, &dp->links);
		mnl_socket_close(dp->links_nl);
	}
}
