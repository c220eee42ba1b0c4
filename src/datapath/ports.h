/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The UDP sockets that a back-end reads ("ports"), for all back-ends: control datagrams go to the
 * host, the rest to the back-end; a bounded number per iteration of the loop.
 *
 * When one of them is full, the back-end is told to make no more data (pause) until it is writable
 * again; then the host is told first, for control goes before data, and the back-end last (resume).
 */
#ifndef TD_DATAPATH_PORTS_H
#define TD_DATAPATH_PORTS_H

#include "core/l2tp.h"
#include "datapath/datapath.h"

#define TD_FRAME_MAX  (TD_MTU_MAX + TD_ETH_HEADER + 8) /* with two VLAN tags */
#define TD_PORT_BATCH 16

struct td_ports;

struct td_port {
	struct td_watch watch;
	struct td_ports *ports;
	struct td_udp *udp;
	struct td_port *next;
	bool open;
	bool full;
};

struct td_ports {
	struct td_loop *loop;
	struct td_datapath_host host;
	/* Data is sent on these sockets: in fragments, if it is too large for the path, as the
	 * kernel's L2TP does. Only probes have DF set. */
	bool fragment;
	/* A datagram that is not control, whole. */
	void (*data)(struct td_ports *ports, const struct td_datagram *datagram);
	/* Both may be called when nothing changes for them. */
	void (*pause)(struct td_ports *ports);
	void (*resume)(struct td_ports *ports);
	struct td_datapath_counters counters;
	/* The rest is ports.c's. */
	struct td_port *first;   /* of those that td_ports_listen() made */
	struct td_port *reading; /* NULL once it is closed */
	unsigned full;
	struct td_datagram datagrams[TD_PORT_BATCH];
	uint8_t bytes[TD_PORT_BATCH][TD_L2TP_HEADER + TD_FRAME_MAX];
};

/* A port in the caller's memory, closed before that goes. */
int td_port_open(struct td_ports *ports, struct td_port *port, struct td_udp *udp)
	__attribute__((warn_unused_result));
void td_port_close(struct td_port *port);
/* As td_udp_send(), data and control. -EAGAIN: pause() was called, resume() will be. */
int td_port_send(struct td_port *port, const struct td_flow *flow, const void *bytes, size_t size)
	__attribute__((warn_unused_result));
int td_port_send_control(struct td_port *port, const struct td_flow *flow, const void *bytes,
			 size_t size) __attribute__((warn_unused_result));

/* For the operations of those names. */
int td_ports_listen(struct td_ports *ports, struct td_udp *udp) __attribute__((warn_unused_result));
void td_ports_forget(struct td_ports *ports, struct td_udp *udp);
void td_ports_close(struct td_ports *ports);
/* The port of that socket, or the one that a flow belongs to; NULL when there is none. */
struct td_port *td_ports_of(const struct td_ports *ports, const struct td_udp *udp);
struct td_port *td_ports_find(const struct td_ports *ports, const struct td_flow *flow);

/* The flow of a tunnel on that socket. */
static inline struct td_flow td_port_flow(const struct td_udp *udp, const struct td_flow *flow)
{
	return udp->connected ? (struct td_flow){ udp->local, udp->peer } : *flow;
}

#endif
