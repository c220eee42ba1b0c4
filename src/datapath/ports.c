/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "datapath/ports.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "core/msg.h"
#include "sys/log.h"

/* Batches from one socket before the others have their turn. */
#define READ_ROUNDS 4

static void deliver(struct td_ports *ports, const struct td_datagram *datagram)
{
	const struct td_datapath_host *host = &ports->host;

	if (datagram->truncated)
		ports->counters.rx_truncated++;
	else if (td_msg_is_control(datagram->bytes, datagram->size))
		host->control(host->ctx, &datagram->flow, datagram->bytes, datagram->size);
	else
		ports->data(ports, datagram);
}

/* Returns whether there may be more. The host may close this port, or any other, meanwhile. */
static bool read_batch(struct td_port *port)
{
	struct td_ports *ports = port->ports;
	int count;

	for (unsigned i = 0; i < TD_PORT_BATCH; i++) {
		ports->datagrams[i].bytes = ports->bytes[i];
		ports->datagrams[i].size = sizeof(ports->bytes[i]);
	}
	count = td_udp_receive(port->udp, ports->datagrams, TD_PORT_BATCH);
	if (count < 0) {
		/* Watched on, it would keep the loop busy for nothing. */
		td_log(TD_LOG_ERROR, "cannot receive from a UDP socket any more (error %d)",
		       -count);
		td_port_close(port);
		return false;
	}
	for (int i = 0; i < count && ports->reading; i++)
		deliver(ports, &ports->datagrams[i]);
	return ports->reading && count == TD_PORT_BATCH;
}

static void not_full(struct td_port *port)
{
	if (!port->full)
		return;
	port->full = false;
	port->ports->full--;
}

static void writable(struct td_port *port)
{
	struct td_ports *ports = port->ports;

	not_full(port);
	if (td_loop_change(ports->loop, &port->watch, EPOLLIN) < 0)
		td_log(TD_LOG_ERROR, "cannot watch a UDP socket");
	ports->host.writable(ports->host.ctx);
	if (ports->full == 0)
		ports->resume(ports);
}

static void ready(struct td_watch *watch, uint32_t events)
{
	struct td_port *port = (struct td_port *)((char *)watch - offsetof(struct td_port, watch));
	struct td_ports *ports = port->ports;

	/* Errors are read as well: what ICMP left on the socket is fetched that way. */
	ports->reading = port;
	if (events & ~(uint32_t)EPOLLOUT)
		for (unsigned i = 0; i < READ_ROUNDS && read_batch(port); i++)
			;
	if ((events & EPOLLOUT) && ports->reading == port && port->full)
		writable(port);
	ports->reading = NULL;
}

int td_port_open(struct td_ports *ports, struct td_port *port, struct td_udp *udp)
{
	int err;

	*port = (struct td_port){
		.watch = { .fd = udp->fd, .ready = ready },
		.ports = ports,
		.udp = udp,
	};
	err = ports->fragment ? td_udp_set_fragment(udp, true) : 0;
	if (err == 0)
		err = td_loop_add(ports->loop, &port->watch, EPOLLIN);
	port->open = err == 0;
	return err;
}

void td_port_close(struct td_port *port)
{
	if (!port->open)
		return;
	td_loop_del(port->ports->loop, &port->watch);
	port->open = false;
	if (port->ports->reading == port)
		port->ports->reading = NULL;
	if (port->full) {
		not_full(port);
		if (port->ports->full == 0)
			port->ports->resume(port->ports);
	}
}

int td_port_send(struct td_port *port, const struct td_flow *flow, const void *bytes, size_t size)
{
	const struct iovec iov = { (void *)(uintptr_t)bytes, size };
	struct td_ports *ports = port->ports;
	int err;

	if (!port->open)
		return -ENOTCONN;
	err = td_udp_send(port->udp, flow, &iov, 1);
	if (err != -EAGAIN || port->full)
		return err;
	err = td_loop_change(ports->loop, &port->watch, EPOLLIN | EPOLLOUT);
	if (err < 0)
		return err;
	port->full = true;
	if (ports->full++ == 0)
		ports->pause(ports);
	return -EAGAIN;
}

int td_port_send_control(struct td_port *port, const struct td_flow *flow, const void *bytes,
			 size_t size)
{
	/* Nothing else is as large. */
	const bool probe = port->ports->fragment && size > TD_MSG_MAX_SIZE;
	int err = probe ? td_udp_set_fragment(port->udp, false) : 0;

	if (err == 0)
		err = td_port_send(port, flow, bytes, size);
	if (probe && td_udp_set_fragment(port->udp, true) < 0)
		td_log(TD_LOG_ERROR, "a UDP socket is stuck in probing mode");
	return err;
}

int td_ports_listen(struct td_ports *ports, struct td_udp *udp)
{
	struct td_port *port = calloc(1, sizeof(*port));
	int err;

	if (!port)
		return -ENOMEM;
	err = td_port_open(ports, port, udp);
	if (err < 0) {
		free(port);
		return err;
	}
	port->next = ports->first;
	ports->first = port;
	return 0;
}

void td_ports_forget(struct td_ports *ports, struct td_udp *udp)
{
	for (struct td_port **at = &ports->first; *at; at = &(*at)->next) {
		struct td_port *port = *at;

		if (port->udp != udp)
			continue;
		*at = port->next;
		td_port_close(port);
		free(port);
		return;
	}
}

void td_ports_close(struct td_ports *ports)
{
	struct td_port *port;

	while ((port = ports->first) != NULL) {
		ports->first = port->next;
		td_port_close(port);
		free(port);
	}
}

struct td_port *td_ports_of(const struct td_ports *ports, const struct td_udp *udp)
{
	struct td_port *port = ports->first;

	while (port && port->udp != udp)
		port = port->next;
	return port;
}

/* Is the socket bound to that address, or to all of the family's? */
static bool bound_to(const struct td_addr *bound, const struct td_addr *addr)
{
	static const uint8_t any[sizeof(addr->ip)];

	return bound->family == addr->family && bound->port == addr->port &&
	       (memcmp(bound->ip, any, sizeof(any)) == 0 ||
		memcmp(bound->ip, addr->ip, sizeof(addr->ip)) == 0);
}

struct td_port *td_ports_find(const struct td_ports *ports, const struct td_flow *flow)
{
	for (struct td_port *port = ports->first; port; port = port->next) {
		const struct td_udp *udp = port->udp;

		if (bound_to(&udp->local, &flow->local) &&
		    (!udp->connected || td_addr_equal(&udp->peer, &flow->peer)))
			return port;
	}
	return NULL;
}
