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

static int find_move(const struct nlattr *attr, void *moved)
{
	if ((attr->nla_type & NLA_TYPE_MASK) == IFLA_NEW_NETNSID)
		*(bool *)moved = true;
	return MNL_CB_OK;
}

static int parse(const struct nlmsghdr *nlh, void *k)
{
	const struct ifinfomsg *link = NLMSG_DATA(nlh);
	bool moved = false;

	/* The bridge says so, too, when an interface is its port no more. */
	if (nlh->nlmsg_type != RTM_DELLINK || NLMSG_PAYLOAD(nlh, 0) < sizeof(*link) ||
	    link->ifi_family != AF_UNSPEC)
		return MNL_CB_OK;
	if (mnl_attr_parse(nlh, sizeof(*link), find_move, &moved) < 0)
		return MNL_CB_ERROR;
	td_kernel_gone(k, (unsigned)link->ifi_index, moved);
	return MNL_CB_OK;
}

static void links_ready(struct td_watch *watch, uint32_t events)
{
	struct td_kernel *k =
		(struct td_kernel *)((char *)watch - offsetof(struct td_kernel, links));
	_Alignas(struct nlmsghdr) char answer[TD_NETLINK_ANSWER];

	(void)events;
	for (int i = 0; i < READS_MAX; i++) {
		/* MSG_TRUNC: its size, if it were larger than answer as well. */
		ssize_t size = recv(watch->fd, answer, sizeof(answer), MSG_DONTWAIT | MSG_TRUNC);

		if (size < 0 && errno == EAGAIN)
			return;
		if (size < 0 || size > (ssize_t)sizeof(answer) ||
		    td_netlink_parse(answer, (size_t)size, 0, parse, k) < 0)
			td_kernel_missed(k);
	}
}

static void timer_ready(struct td_watch *watch, uint32_t events)
{
	struct td_kernel *k =
		(struct td_kernel *)((char *)watch - offsetof(struct td_kernel, timer));
	uint64_t expirations;

	(void)events;
	if (read(watch->fd, &expirations, sizeof(expirations)) > 0)
		td_kernel_tick(k);
}

void td_kernel_timer(struct td_kernel *k, bool run)
{
	const struct timespec interval = { .tv_nsec = run ? INTERVAL_NS : 0 };
	const struct itimerspec spec = { interval, interval };

	if (run == k->ticking)
		return;
	k->ticking = run;
	(void)!timerfd_settime(k->timer.fd, 0, &spec, NULL);
}

static int watch(struct td_kernel *k, struct td_watch *watch, int fd,
		 void (*ready)(struct td_watch *, uint32_t))
{
	*watch = (struct td_watch){ .fd = fd, .ready = ready };
	return fd < 0 ? -errno : td_loop_add(k->dp.loop, watch, EPOLLIN);
}

static int watch_links(struct td_kernel *k)
{
	int err = td_netlink_open(&k->netlink, NETLINK_ROUTE);

	/* BPF loads in network byte order, netlink speaks the host's. */
	if (err == 0)
		err = td_kernel_filter(k->netlink.fd, BPF_H, offsetof(struct nlmsghdr, nlmsg_type),
				       BPF_JEQ, htons(RTM_DELLINK));
	if (err == 0)
		err = td_netlink_listen(&k->netlink, RTMGRP_LINK);
	return err < 0 ? err : watch(k, &k->links, k->netlink.fd, links_ready);
}

int td_kernel_watch(struct td_kernel *k)
{
	int err = watch_links(k);

	if (err < 0)
		return err;
	return watch(k, &k->timer, timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
		     timer_ready);
}

void td_kernel_unwatch(struct td_kernel *k)
{
	if (k->timer.fd >= 0) {
		td_loop_del(k->dp.loop, &k->timer);
		close(k->timer.fd);
	}
	if (k->netlink.fd >= 0)
		td_loop_del(k->dp.loop, &k->links);
	td_netlink_close(&k->netlink);
}
