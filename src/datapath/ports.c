/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/build.h"
#include "core/msg.h"
#include "datapath/backend.h"
#include "sys/log.h"

/* Batches from one socket before the others have their turn. */
#define READ_ROUNDS 4

static void deliver(struct td_datapath *dp, const struct td_datagram *datagram)
{
	if (datagram->truncated)
		dp->counters.rx_truncated++;
	else if (td_msg_is_control(datagram->bytes, datagram->size))
		dp->host.control(dp->host.ctx, &datagram->flow, datagram->bytes, datagram->size);
	else
		dp->data(dp, datagram);
}

/* Returns whether there may be more. The host may close this port, or any other, meanwhile. */
static bool read_batch(struct td_port *port)
{
	struct td_datapath *dp = port->dp;
	const unsigned room = port->loop == dp->loop ? TD_PORT_BATCH : 1;
	int count;

	for (unsigned i = 0; i < room; i++) {
		dp->datagrams[i].bytes = dp->bytes[i];
		dp->datagrams[i].size = sizeof(dp->bytes[i]);
	}
	count = td_udp_receive(port->udp, dp->datagrams, room);
	if (count < 0) {
		/* Watched on, it would keep the loop busy for nothing. */
		td_log(TD_LOG_ERROR, "a UDP socket cannot be read any more (error %d)", -count);
		td_port_close(port);
	}
	for (int i = 0; i < count && dp->reading; i++)
		deliver(dp, &dp->datagrams[i]);
	return dp->reading && count == TD_PORT_BATCH; /* of one, the loop says if there is more */
}

static void not_full(struct td_port *port)
{
	struct td_datapath *dp = port->dp;

	if (port->full)
		dp->full--;
	port->full = false;
}

static void resume(struct td_datapath *dp)
{
	if (dp->producer && dp->full == 0)
		dp->resume(dp);
}

static void ready(struct td_watch *watch, uint32_t events)
{
	struct td_port *port = (struct td_port *)((char *)watch - offsetof(struct td_port, watch));
	struct td_datapath *dp = port->dp;

	dp->reading = port;
	/* Errors are read as well: what ICMP left on the socket is fetched that way. */
	if (events & ~(uint32_t)EPOLLOUT)
		for (unsigned i = 0; i < READ_ROUNDS && read_batch(port); i++)
			;
	/* Unless the host has closed the port meanwhile. */
	if ((events & EPOLLOUT) && dp->reading == port) {
		not_full(port);
		(void)!td_loop_change(port->loop, watch, EPOLLIN);
		dp->host.writable(dp->host.ctx);
		resume(dp);
	}
	dp->reading = NULL;
}

int td_port_open(struct td_datapath *dp, struct td_loop *loop, struct td_port *port,
		 struct td_udp *udp)
{
	int err = dp->producer ? td_udp_set_fragment(udp, true) : 0;

	*port = (struct td_port){
		.watch = { .fd = udp->fd, .ready = ready },
		.dp = dp,
		.udp = udp,
		.loop = loop,
	};
	if (err == 0)
		err = td_loop_add(loop, &port->watch, EPOLLIN);
	port->open = err == 0;
	return err;
}

void td_port_close(struct td_port *port)
{
	struct td_datapath *dp = port->dp;

	if (!port->open)
		return;
	td_loop_del(port->loop, &port->watch);
	port->open = false;
	if (dp->reading == port)
		dp->reading = NULL;
	not_full(port);
	resume(dp);
}

int td_port_send(struct td_port *port, const struct td_flow *flow, const void *bytes, size_t size)
{
	const struct iovec iov = { (void *)(uintptr_t)bytes, size };
	struct td_datapath *dp = port->dp;
	int err = port->open ? td_udp_send(port->udp, flow, &iov, 1) : -ENOTCONN;

	if (err != -EAGAIN || port->full)
		return err;
	/* A tunnel's own: all others would wait for it, also if it were closed meanwhile. */
	if (TD_WITH_BROKER && port->loop != dp->loop)
		return -ENOBUFS;
	err = td_loop_change(port->loop, &port->watch, EPOLLIN | EPOLLOUT);
	if (err < 0)
		return err;
	port->full = true;
	if (dp->full++ == 0 && dp->producer)
		(void)!td_loop_change(dp->loop, dp->producer, 0);
	return -EAGAIN;
}

int td_port_send_control(struct td_port *port, const struct td_flow *flow, const void *bytes,
			 size_t size)
{
	const bool probe = port->dp->producer && td_port_is_probe(size);
	int err = probe ? td_udp_set_fragment(port->udp, false) : 0;

	if (err == 0)
		err = td_port_send(port, flow, bytes, size);
	if (probe)
		(void)!td_udp_set_fragment(port->udp, true);
	return err;
}

struct td_port *td_ports_of(const struct td_datapath *dp, const struct td_udp *udp)
{
	struct td_port *port = dp->first;

	while (port && port->udp != udp)
		port = port->next;
	return port;
}

struct td_port *td_ports_find(const struct td_datapath *dp, const struct td_flow *flow)
{
	for (struct td_port *port = dp->first; port; port = port->next) {
		const struct td_udp *udp = port->udp;
		struct td_addr local = udp->local;

		if (!TD_WITH_BROKER)
			return port;
		if (udp->wildcard)
			memcpy(local.ip, flow->local.ip, sizeof(local.ip));
		local.scope = flow->local.scope;
		if (td_addr_equal(&local, &flow->local) &&
		    (!udp->connected || td_addr_equal(&udp->peer, &flow->peer)))
			return port;
	}
	return NULL;
}

int td_ports_listen(struct td_datapath *dp, struct td_udp *udp)
{
	struct td_port *port = calloc(1, sizeof(*port));
	int err;

	if (!port)
		return -ENOMEM;
	err = td_port_open(dp, dp->loop, port, udp);
	if (err < 0) {
		free(port);
		return err;
	}
	port->next = dp->first;
	dp->first = port;
	return 0;
}

/* at: where the list points to it. */
static void drop(struct td_datapath *dp, struct td_port **at)
{
	struct td_port *port = *at;

	*at = port->next;
	for (uint32_t i = 0; i < td_backend_places(dp); i++) {
		struct td_tunnel *t = td_backend_place(dp, i);

		if (t->port == port)
			t->port = NULL;
	}
	td_port_close(port);
	free(port);
}

void td_ports_forget(struct td_datapath *dp, struct td_udp *udp)
{
	for (struct td_port **at = &dp->first; *at; at = &(*at)->next) {
		if ((*at)->udp == udp) {
			drop(dp, at);
			return;
		}
	}
}

void td_ports_close(struct td_datapath *dp)
{
	while (dp->first)
		drop(dp, &dp->first);
}
