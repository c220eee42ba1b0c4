/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Inside the kernel back-end: kernel.c has the tunnels, kernel_watch.c sees their interfaces go,
 * kernel_probe.c tries whether it can work at all.
 */
#ifndef TD_DATAPATH_KERNEL_H
#define TD_DATAPATH_KERNEL_H

#include "datapath/backend.h"
#include "datapath/l2tp_genl.h"

enum td_kernel_state {
	TD_KERNEL_LIVE,
	TD_KERNEL_LOST,    /* deleted by another hand; waits for destroy() */
	TD_KERNEL_LEAVING, /* deleted by us; waits for interface and id to be free */
};

struct td_kernel_tunnel {
	struct td_tunnel base;
	enum td_kernel_state state;
	uint32_t tunnel_id, session_id;
	struct td_udp udp;  /* a socket of our own; closed: the caller's is the tunnel's */
	struct td_port own; /* reads udp */
	/* While it leaves: what to report when it is gone, and when to give up. */
	uint32_t sequence;
	int result;
	struct td_time deadline;
};

struct td_kernel {
	struct td_datapath dp;
	struct td_l2tp l2tp;
	struct td_netlink netlink;
	struct td_watch links; /* netlink: interfaces that go */
	struct td_watch timer; /* runs while some are leaving */
	unsigned leaving;
};

/* kernel.c, for kernel_watch.c */
/* An interface went; moved: into another network namespace, which we do not see. */
void td_kernel_gone(struct td_kernel *k, unsigned ifindex, bool moved);
/* Time has passed; missed: and notifications were lost. */
void td_kernel_sweep(struct td_kernel *k, bool missed);

/* kernel_watch.c */
int td_kernel_watch(struct td_kernel *k) __attribute__((warn_unused_result));
void td_kernel_unwatch(struct td_kernel *k);
void td_kernel_timer(struct td_kernel *k, bool run);
/*
 * Has the socket take only packets in which the byte (load BPF_B) or short (BPF_H) at that offset
 * compares (BPF_JEQ, BPF_JSET) with value. 0 or -errno.
 */
int td_kernel_filter(int fd, unsigned load, unsigned offset, unsigned comparison, unsigned value)
	__attribute__((warn_unused_result));

/* kernel_probe.c */
int td_kernel_probe(char *why, size_t size) __attribute__((warn_unused_result));

#endif
