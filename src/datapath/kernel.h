/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Inside the kernel back-end: kernel.c has the tunnels, kernel_watch.c sees their interfaces go,
 * kernel_probe.c tries whether it can work at all.
 */
#ifndef TD_DATAPATH_KERNEL_H
#define TD_DATAPATH_KERNEL_H

#include "datapath/l2tp_genl.h"
#include "datapath/ports.h"
#include "sys/rtnl.h"

enum td_kernel_state {
	TD_KERNEL_FREE,
	TD_KERNEL_MAKING,
	TD_KERNEL_LIVE,
	TD_KERNEL_LOST,    /* deleted by another hand; waits for destroy() */
	TD_KERNEL_LEAVING, /* deleted by us; waits for interface and id to be free */
};

struct td_kernel_tunnel {
	enum td_kernel_state state;
	struct td_handle handle;
	uint32_t tunnel_id, session_id;
	unsigned ifindex;     /* 0: none, or out of sight in another namespace */
	struct td_udp udp;    /* a socket of our own; closed: the caller's is the tunnel's */
	struct td_port own;   /* reads udp */
	struct td_port *port; /* own, or the caller's; NULL: that is closed */
	/* While it leaves: what to report when it is gone, and when to give up. */
	uint32_t sequence;
	int result;
	struct td_time deadline;
};

struct td_datapath {
	struct td_ports ports;
	struct td_l2tp l2tp;
	struct td_rtnl rtnl;
	struct td_watch links; /* netlink: interfaces that go */
	struct mnl_socket *links_nl;
	struct td_watch timer; /* runs while some are leaving */
	unsigned leaving;
	struct td_kernel_tunnel *tunnels;
	uint32_t max_tunnels;
};

/* kernel.c, for kernel_watch.c */
/* An interface went; moved: into another network namespace, which we do not see. */
void td_kernel_gone(struct td_datapath *dp, unsigned ifindex, bool moved);
/* Time has passed; missed: and notifications were lost. */
void td_kernel_sweep(struct td_datapath *dp, bool missed);

/* kernel_watch.c */
int td_kernel_watch(struct td_datapath *dp) __attribute__((warn_unused_result));
void td_kernel_unwatch(struct td_datapath *dp);
void td_kernel_timer(struct td_datapath *dp, bool run);

/* kernel_probe.c */
int td_kernel_probe(char *why, size_t size) __attribute__((warn_unused_result));

#endif
