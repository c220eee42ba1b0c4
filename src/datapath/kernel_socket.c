/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The socket that a tunnel lives on. The client's is its own already. For the broker this opens one
 * per tunnel, in one of two ways:
 *
 * Shared port: bound to the listener's address and port, and connected. Any kernel can do that, but
 * one before 6.13 looks through all such sockets for each datagram, and later ones for each of an
 * unknown peer. Until its connect() it may have taken datagrams of other senders: those, as all, go
 * to the host with the flow that they came on. They are read by the loop, not by create(), for the
 * host must not find itself called from within.
 *
 * Port of its own: the listener is alone on its port, and what the tunnel's peer sends is diverted to
 * the tunnel's port (datapath/rewrite.h). Nobody outside sees that port. Control of the tunnel
 * arrives there as well, so that a flood on the listener does not hold it up, but leaves by the
 * listener, whose port is the right one also before the diversion begins and after it has ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/build.h"
#include "datapath/kernel.h"

static int open_own(struct td_kernel *k, struct td_kernel_tunnel *t)
{
	t->base.port = &t->own;
	return td_port_open(&k->dp, TD_WITH_BROKER ? &k->crowd.members : k->dp.loop, &t->own,
			    &t->udp);
}

static int connect_own(struct td_kernel *k, struct td_kernel_tunnel *t, const struct td_flow *flow,
		       struct td_udp *listener)
{
	char device[IF_NAMESIZE] = "";
	socklen_t size = sizeof(device);
	const char *ifname;

	if (getsockopt(listener->fd, SOL_SOCKET, SO_BINDTODEVICE, device, &size) < 0)
		return -errno;
	ifname = device[0] ? device : NULL;
	if (k->rewrite)
		return td_udp_connect_apart(&t->udp, flow, ifname, &t->base.task.port);
	return td_udp_connect_from(&t->udp, listener, flow, ifname);
}

int td_kernel_attach(struct td_kernel *k, struct td_kernel_tunnel *t, const struct td_flow *flow,
		     struct td_udp *udp)
{
	int err;

	if (!TD_WITH_BROKER || udp->connected) {
		t->base.port = td_ports_of(&k->dp, udp);
		return t->base.port ? td_kernel_only_control(udp->fd, k->filter) : -ENOTCONN;
	}
	err = connect_own(k, t, flow, udp);
	if (err == 0)
		err = td_kernel_only_control(t->udp.fd, k->filter);
	return err < 0 ? err : open_own(k, t);
}

int td_kernel_attach_again(struct td_kernel *k, struct td_kernel_tunnel *t,
			   const struct td_flow *flow, int fd)
{
	int err = td_udp_from_fd(&t->udp, fd);

	if (err < 0) {
		close(fd);
		return err;
	}
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	if (t->udp.local.port != flow->local.port) {
		/* That process could divert, and this one cannot. */
		if (!k->rewrite)
			return -EADDRNOTAVAIL;
		t->base.task.port = t->udp.local.port;
		t->udp.local = flow->local;
	}
	err = open_own(k, t);
	return err < 0 ? err : td_kernel_divert(&t->base);
}

void td_kernel_detach(struct td_kernel_tunnel *t)
{
	td_port_close(&t->own);
	td_udp_close(&t->udp);
	t->base.port = NULL;
}

/* --- in the thread --- */

/* As the peer knows it. The loop leaves the socket alone while the tunnel has a task. */
static struct td_flow flow_of(const struct td_tunnel *t)
{
	const struct td_udp *udp = &((const struct td_kernel_tunnel *)t)->udp;

	return (struct td_flow){ udp->local, udp->peer };
}

int td_kernel_divert(struct td_tunnel *t)
{
	const struct td_kernel *k = (struct td_kernel *)t->task.dp;
	const struct td_flow flow = flow_of(t);
	int err = 0;

	if (t->task.port != 0)
		err = td_rewrite_add(k->rewrite, &flow, t->task.port);
	/* Unless it is another's, it may be there whatever the answer was, or if there was none. */
	t->task.rewritten = t->task.port != 0 && err != -EEXIST;
	return err;
}

void td_kernel_undivert(struct td_tunnel *t)
{
	const struct td_kernel *k = (struct td_kernel *)t->task.dp;
	const struct td_flow flow = flow_of(t);

	if (t->task.rewritten && td_rewrite_remove(k->rewrite, &flow, t->task.port) == 0)
		t->task.rewritten = false;
}
