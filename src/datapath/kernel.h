/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Inside the kernel back-end: kernel.c makes tunnels, kernel_socket.c their sockets, kernel_leave.c
 * removes them, kernel_watch.c sees their interfaces go, kernel_probe.c tries whether it can work at
 * all, kernel_guard.c keeps clients out of each other's tunnels, kernel_count.c counts packets.
 */
#ifndef TD_DATAPATH_KERNEL_H
#define TD_DATAPATH_KERNEL_H

#include "base/index.h"
#include "datapath/backend.h"
#include "datapath/l2tp_genl.h"
#include "datapath/rewrite.h"
#include "sys/crowd.h"

enum td_kernel_state {
	TD_KERNEL_FREE,
	TD_KERNEL_MAKING, /* waits for the task that makes it */
	TD_KERNEL_LIVE,
	TD_KERNEL_LOST,     /* deleted by another hand; waits for destroy() */
	TD_KERNEL_REMOVING, /* waits for the task that deletes it */
	TD_KERNEL_LEAVING,  /* deleted by us; waits for interface and id to be free */
};

struct td_kernel_tunnel {
	struct td_tunnel base;
	enum td_kernel_state state;
	struct td_udp udp;  /* a socket of our own; closed: the caller's is the tunnel's */
	struct td_port own; /* reads udp */
	/* While it leaves: what to report when it is gone, and when to give up. */
	int result;
	bool undeleted; /* the kernel was asked, and refused */
	struct td_link link;
	struct td_time deadline;
};

struct td_kernel {
	struct td_datapath dp;
	struct td_l2tp l2tp;
	struct td_rewrite *rewrite; /* of the tasks; NULL: tunnels are on the listener's port */
	struct td_netlink netlink;
	struct td_watch links; /* netlink: interfaces that go */
	struct td_watch timer; /* runs while some are leaving, or there is something to look over */
	bool ticking;
	struct td_link leaving;
	unsigned leaving_count;
	uint32_t
		unseen; /* places from here on have not been looked at since notifications were lost */
	struct td_index by_ifindex; /* by ifindex: the tunnels that have one */
	struct td_index_cell *cells;
	struct td_kernel_counting *counting; /* NULL: the loop counts */
	struct td_crowd crowd;               /* the tunnels' sockets */
	int filter;                          /* of those sockets; negative: each has its own */
	struct td_tunnel_info guard;         /* tunnel_id 0: none is needed */
	int guard_fd;
};

/* --- kernel_socket.c --- */

/* Gets the socket that the tunnel is to live on, for that flow at the socket udp. */
int td_kernel_attach(struct td_kernel *k, struct td_kernel_tunnel *t, const struct td_flow *flow,
		     struct td_udp *udp) __attribute__((warn_unused_result));
/* … from an earlier process, which had made it in the same way; owns fd. */
int td_kernel_attach_again(struct td_kernel *k, struct td_kernel_tunnel *t,
			   const struct td_flow *flow, int fd) __attribute__((warn_unused_result));
/* Closes the tunnel's own socket. */
void td_kernel_detach(struct td_kernel_tunnel *t);
/* In the thread: the peer's datagrams come to that socket; or no more. */
int td_kernel_divert(struct td_tunnel *t) __attribute__((warn_unused_result));
void td_kernel_undivert(struct td_tunnel *t);

/* --- kernel_leave.c --- */

/* The tunnel at that place, NULL when it is free. */
struct td_kernel_tunnel *td_kernel_at(const struct td_kernel *k, uint32_t number);
void td_kernel_enter(struct td_kernel *k, struct td_kernel_tunnel *t, enum td_kernel_state state);
void td_kernel_set_ifindex(struct td_kernel *k, struct td_kernel_tunnel *t, unsigned ifindex);
/* The place is free, then the host is told. */
void td_kernel_finish(struct td_kernel *k, struct td_kernel_tunnel *t, int result);
/* Removes it; done(result) when it is gone. */
void td_kernel_leave(struct td_kernel *k, struct td_kernel_tunnel *t, int result);
/* The tunnel that has this interface, or NULL. */
struct td_kernel_tunnel *td_kernel_find(const struct td_kernel *k, unsigned ifindex);
/* An interface went; moved: into another network namespace, which we do not see. */
void td_kernel_gone(struct td_kernel *k, unsigned ifindex, bool moved);
/* Notifications were lost. */
void td_kernel_missed(struct td_kernel *k);
/* Some time has passed. */
void td_kernel_tick(struct td_kernel *k);

/* --- kernel_watch.c --- */

int td_kernel_watch(struct td_kernel *k) __attribute__((warn_unused_result));
void td_kernel_unwatch(struct td_kernel *k);
void td_kernel_timer(struct td_kernel *k, bool run);

/* --- kernel_filter.c --- */

/*
 * Has the socket take only packets in which the byte (load BPF_B) or short (BPF_H) at that offset
 * compares (BPF_JEQ, BPF_JSET) with value. 0 or -errno.
 */
int td_kernel_filter(int fd, unsigned load, unsigned offset, unsigned comparison, unsigned value)
	__attribute__((warn_unused_result));
/* The filter for all tunnel sockets: a descriptor, or -errno where there is no bpf(2). */
int td_kernel_load_filter(void) __attribute__((warn_unused_result));
/* Has the socket take only control; filter: as loaded. 0 or -errno. */
int td_kernel_only_control(int fd, int filter) __attribute__((warn_unused_result));

/* --- kernel_probe.c --- */

int td_kernel_probe(char *why, size_t size) __attribute__((warn_unused_result));
/* Is a session found by its id alone (since Linux 6.11), whatever socket the packet came on? */
bool td_kernel_finds_by_id_alone(struct td_l2tp *l2tp);
/* A tunnel on fd under an id that was free. 0, and info->tunnel_id; or -errno. */
int td_kernel_make_nameless(struct td_l2tp *l2tp, struct td_tunnel_info *info, int fd)
	__attribute__((warn_unused_result));

/* --- kernel_guard.c; for a broker --- */

int td_kernel_guard(struct td_kernel *k) __attribute__((warn_unused_result));
void td_kernel_unguard(struct td_kernel *k);
bool td_kernel_shares_session_id(const struct td_datapath *dp);

/* --- kernel_count.c --- */

int td_kernel_count_open(struct td_kernel *k) __attribute__((warn_unused_result));
void td_kernel_count_close(struct td_kernel *k);
void td_kernel_count(struct td_datapath *dp);

#endif
