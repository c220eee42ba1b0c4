/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What the back-ends have in common.
 *
 * Tunnels: a pool of max_tunnels places, one per index of a handle (backend.c).
 *
 * Tasks: what may wait for the kernel is done in the jobs' thread, or at once where there is none
 * (sys/jobs.h). A tunnel has one task at a time. While it is busy, its struct td_task and the
 * netlink sockets are the thread's; everything else stays the loop's, but for info, which both
 * read.
 *
 * Ports: the UDP sockets that are read (ports.c). Control datagrams go to the host, the rest to the
 * back-end; a bounded number per iteration of the loop. When a port is full, the back-end makes no
 * more data (its producer is watched no more) until it is writable again; then the host is told
 * first, for control goes before data, and the back-end last.
 *
 * A back-end begins its own structs with the ones here.
 */
#ifndef TD_DATAPATH_BACKEND_H
#define TD_DATAPATH_BACKEND_H

#include "base/build.h"
#include "core/l2tp.h"
#include "datapath/bridge.h"
#include "datapath/datapath.h"
#include "datapath/tunnel_info.h"
#include "sys/rtnl.h"

#define TD_FRAME_MAX  (TD_MTU_MAX + TD_ETH_HEADER + 8) /* with two VLAN tags */
#define TD_PORT_BATCH 16

struct td_port {
	struct td_watch watch;
	struct td_datapath *dp;
	struct td_udp *udp;
	struct td_loop *loop; /* that reads it */
	struct td_port *next;
	bool open;
	bool full;
};

struct td_task {
	struct td_job job;
	struct td_datapath *dp; /* for its netlink sockets */
	unsigned ifindex;
	int fd; /* what for is the back-end's to say, as for made, port and rewritten */
	bool made;
	bool rewritten;
	uint16_t port;
	uint32_t value; /* the MTU, or the rate in kbit/s */
	int err;
};

struct td_tunnel {
	struct td_handle handle;    /* none: the place is free */
	struct td_tunnel_info info; /* as it was made */
	struct td_port *port;       /* NULL: that socket is closed */
	unsigned ifindex;           /* 0: gone, or out of sight in another namespace */
	bool pending;               /* an operation, of this sequence */
	uint32_t sequence;
	bool busy; /* with task */
	void (*then)(struct td_tunnel *t);
	struct td_task task;
};

struct td_datapath {
	struct td_loop *loop;
	struct td_datapath_host host;
	struct td_jobs *jobs, *count_jobs;
	bool link_up;
	struct td_rtnl rtnl; /* of the tasks; the loop asks it for indexes only */
	struct td_datapath_counters counters;

	void *tunnels;
	size_t tunnel_size;
	uint32_t max_tunnels;

	/* A datagram that is not control, whole. */
	void (*data)(struct td_datapath *dp, const struct td_datagram *datagram);
	/* NULL: no data is sent here. Else it is sent in fragments, if it is too large for the path,
	 * as the kernel's L2TP does; only probes have DF set. */
	struct td_watch *producer;
	/* With a producer: there is room again; has it watched when it can go on. May be called when
	 * nothing has changed for it. */
	void (*resume)(struct td_datapath *dp);

	/* The rest is ports.c's. */
	struct td_port *first;   /* of those that listen() made */
	struct td_port *reading; /* NULL once it is closed */
	unsigned full;
	struct td_datagram datagrams[TD_PORT_BATCH];
	uint8_t bytes[TD_PORT_BATCH][TD_L2TP_HEADER + TD_FRAME_MAX];

	struct td_bridges bridges; /* of the tasks, in the broker */
};

/* --- backend.c --- */

/* A back-end of size bytes whose tunnels have tunnel_size, all zero but for what setup says. */
int td_backend_new(struct td_datapath **dp, const struct td_datapath_setup *setup, size_t size,
		   size_t tunnel_size) __attribute__((warn_unused_result));
/* Closes what is common. */
void td_backend_free(struct td_datapath *dp);
/* Tunnels that there may be. A client has one, and what is done for each needs no loop there. */
static inline uint32_t td_backend_places(const struct td_datapath *dp)
{
	return TD_WITH_BROKER ? dp->max_tunnels : 1;
}
/* The place of that number, be it free or not. */
struct td_tunnel *td_backend_place(const struct td_datapath *dp, uint32_t number);
/* The tunnel of that handle, NULL when there is none. */
struct td_tunnel *td_backend_get(const struct td_datapath *dp, struct td_handle handle);
/* Takes the place of that handle; it is all zero then. -EADDRINUSE: it is not free; -EINVAL: the
 * interface's name is none. */
int td_backend_take(struct td_datapath *dp, struct td_handle handle,
		    const struct td_session_info *info, struct td_tunnel **tunnel)
	__attribute__((warn_unused_result));
void td_backend_done(struct td_datapath *dp, struct td_handle handle, uint32_t sequence, int err);
/* The tunnel of that handle when an operation can begin; NULL: it has been told why not. */
struct td_tunnel *td_backend_begin(struct td_datapath *dp, struct td_handle handle,
				   uint32_t sequence);
void td_backend_end(struct td_tunnel *t, int err);
/* td_backend_run() where there may be a thread. */
void td_backend_start(struct td_tunnel *t, enum td_lane lane, void (*run)(struct td_job *job),
		      void (*then)(struct td_tunnel *t));
/* Has the task run where it may wait; then() is called in the loop, and finds it not busy. */
static inline void td_backend_run(struct td_tunnel *t, enum td_lane lane,
				  void (*run)(struct td_job *job),
				  void (*then)(struct td_tunnel *t))
{
	t->task.ifindex = t->ifindex;
	if (TD_WITH_BROKER) {
		td_backend_start(t, lane, run, then);
	} else {
		run(&t->task.job);
		then(t);
	}
}
/* In run(): the tunnel of that job. */
struct td_tunnel *td_backend_tunnel(struct td_job *job);
/* In run(): what a new interface gets and tells. 0 or -errno. */
int td_backend_prepare(struct td_task *task, const struct td_tunnel_info *info)
	__attribute__((warn_unused_result));
/* Takes all tasks back, for close(). Those that had not run yet leave the tunnel busy. */
void td_backend_recall(struct td_datapath *dp);

/* Operations that are the same for all. */
void td_backend_set_mtu(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
			uint16_t mtu);
void td_backend_set_rate(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
			 uint32_t rate_kbps);
int td_backend_send(struct td_datapath *dp, struct td_handle handle, const struct td_flow *flow,
		    const uint8_t *bytes, size_t size);
const struct td_datapath_counters *td_backend_counters(const struct td_datapath *dp);

/* --- ports.c --- */

/*
 * A port in the caller's memory, closed before that goes. loop: the data path's, or one for sockets
 * that seldom have more than one datagram.
 */
int td_port_open(struct td_datapath *dp, struct td_loop *loop, struct td_port *port,
		 struct td_udp *udp) __attribute__((warn_unused_result));
void td_port_close(struct td_port *port);
/* Is a control datagram of that size a probe? Nothing else is as large. */
static inline bool td_port_is_probe(size_t size)
{
	return size > TD_MSG_MAX_SIZE;
}
/* As td_udp_send(), data and control. -EAGAIN: the producer pauses, and resume() will be called.
 * -ENOBUFS: a socket that is not read by the data path's loop is full, and the datagram is lost. */
int td_port_send(struct td_port *port, const struct td_flow *flow, const void *bytes, size_t size)
	__attribute__((warn_unused_result));
int td_port_send_control(struct td_port *port, const struct td_flow *flow, const void *bytes,
			 size_t size) __attribute__((warn_unused_result));
/* Of those that listen() made: the port of that socket, or the one that a flow belongs to; NULL
 * when there is none. */
struct td_port *td_ports_of(const struct td_datapath *dp, const struct td_udp *udp);
struct td_port *td_ports_find(const struct td_datapath *dp, const struct td_flow *flow);
void td_ports_close(struct td_datapath *dp);

/* Operations that are the same for all. */
int td_ports_listen(struct td_datapath *dp, struct td_udp *udp);
void td_ports_forget(struct td_datapath *dp, struct td_udp *udp);

#endif
