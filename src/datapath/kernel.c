/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The kernel back-end: the kernel's own L2TP (l2tp_eth) moves the data; what is left to do here is
 * to make and remove tunnels, and to read the control datagrams that it passes up.
 *
 * The kernel wants a connected UDP socket for each tunnel and sends and receives its data there.
 * The client's socket is one already. For the broker this opens one per tunnel, bound to the
 * listener's address and port; that takes what the peer sends from then on, control included, and
 * lives as long as the tunnel. Until its connect() it may have taken datagrams of other senders:
 * those, as all, go to the host with the flow that they came on. They are read by the loop, not by
 * create(), for the host must not find itself called from within.
 *
 * A socket filter drops all but control of what the kernel passes up: data of sessions that are
 * no more.
 *
 * Removal is TUNNEL_DELETE and closing the socket, never SESSION_DELETE, which may block all of
 * generic netlink for long. The kernel does it some time later: first the interface goes, then the
 * tunnel. destroy() ends when both are gone, for until then name and id are taken. In case of an
 * error create() undoes what it did the same way, and reports it when that is done.
 */
#include "datapath/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <net/if.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/text.h"

/* Thousands of interfaces that are ports of a bridge can take the kernel a minute. */
#define LEAVE_LIMIT TD_SECONDS(60)

static void done(const struct td_datapath *dp, struct td_handle handle, uint32_t sequence, int err)
{
	dp->ports.host.done(dp->ports.host.ctx, handle, sequence, err);
}

/* The place of a handle, whatever is there now. */
static struct td_kernel_tunnel *place_of(const struct td_datapath *dp, struct td_handle handle)
{
	td_assert(handle.index < dp->max_tunnels);
	return &dp->tunnels[handle.index];
}

static struct td_kernel_tunnel *get(const struct td_datapath *dp, struct td_handle handle)
{
	struct td_kernel_tunnel *t;

	if (handle.generation == 0)
		return NULL;
	t = place_of(dp, handle);
	return t->state != TD_KERNEL_FREE && td_handle_equal(t->handle, handle) ? t : NULL;
}

static bool interface_exists(unsigned ifindex)
{
	char name[IF_NAMESIZE];

	return if_indextoname(ifindex, name) != NULL;
}

static void enter(struct td_datapath *dp, struct td_kernel_tunnel *t, enum td_kernel_state state)
{
	if (state == TD_KERNEL_LEAVING && dp->leaving++ == 0)
		td_kernel_timer(dp, true);
	if (t->state == TD_KERNEL_LEAVING && --dp->leaving == 0)
		td_kernel_timer(dp, false);
	t->state = state;
}

/* --- sockets --- */

static int only_control(int fd)
{
	/* Offset 8: behind the UDP header. Everything of ours has the T bit first. */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 8),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x80, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno
											   : 0;
}

static int open_own(struct td_datapath *dp, struct td_kernel_tunnel *t)
{
	int err = td_port_open(&dp->ports, &t->own, &t->udp);

	if (err == 0)
		t->port = &t->own;
	return err;
}

static int connect_own(struct td_datapath *dp, struct td_kernel_tunnel *t,
		       const struct td_flow *flow, struct td_udp *listener)
{
	char device[IF_NAMESIZE] = "";
	socklen_t size = sizeof(device);
	int err;

	if (getsockopt(listener->fd, SOL_SOCKET, SO_BINDTODEVICE, device, &size) < 0)
		return -errno;
	err = td_udp_connect_from(&t->udp, listener, flow, device[0] ? device : NULL);
	return err < 0 ? err : open_own(dp, t);
}

/* Gets the socket that the tunnel is to live on. */
static int attach(struct td_datapath *dp, struct td_kernel_tunnel *t, const struct td_flow *flow,
		  struct td_udp *udp)
{
	int err = 0;

	if (udp->connected)
		t->port = td_ports_of(&dp->ports, udp);
	else
		err = connect_own(dp, t, flow, udp);
	if (err == 0 && !t->port)
		err = -ENOTCONN;
	return err < 0 ? err : only_control(t->port->udp->fd);
}

static void detach(struct td_kernel_tunnel *t)
{
	td_port_close(&t->own);
	td_udp_close(&t->udp);
	t->port = NULL;
}

/* --- coming and going --- */

/* The place is free, then the host is told. */
static void finish(struct td_datapath *dp, struct td_kernel_tunnel *t, int result)
{
	enter(dp, t, TD_KERNEL_FREE);
	done(dp, t->handle, t->sequence, result);
}

/* Ends it when there is nothing left of it. */
static void finish_if_gone(struct td_datapath *dp, struct td_kernel_tunnel *t)
{
	if (t->ifindex == 0 && td_l2tp_tunnel_get(&dp->l2tp, t->tunnel_id) == -ENODEV)
		finish(dp, t, t->result);
}

/* Removes it; done(result) when it is gone. */
static void leave(struct td_datapath *dp, struct td_kernel_tunnel *t, uint32_t sequence, int result)
{
	const bool own = t->port == &t->own, lost = t->state == TD_KERNEL_LOST;
	/* The id of a lost one may be another's by now. */
	int err = lost ? 0 : td_l2tp_tunnel_delete(&dp->l2tp, t->tunnel_id);

	t->sequence = sequence;
	t->result = result;
	t->deadline = td_time_add(dp->ports.loop->now, LEAVE_LIMIT);
	detach(t);
	/* If it could not be deleted, closing the socket does it: ours is closed. */
	if (err < 0 && err != -ENODEV && !own) {
		finish(dp, t, result < 0 ? result : err);
	} else if (lost) {
		finish(dp, t, result);
	} else {
		enter(dp, t, TD_KERNEL_LEAVING);
		finish_if_gone(dp, t);
	}
}

static void gone(struct td_datapath *dp, struct td_kernel_tunnel *t)
{
	t->ifindex = 0;
	if (t->state == TD_KERNEL_LEAVING) {
		finish_if_gone(dp, t);
	} else if (t->state == TD_KERNEL_LIVE) {
		enter(dp, t, TD_KERNEL_LOST);
		dp->ports.host.lost(dp->ports.host.ctx, t->handle);
	}
}

void td_kernel_gone(struct td_datapath *dp, unsigned ifindex, bool moved)
{
	for (uint32_t i = 0; i < dp->max_tunnels; i++) {
		struct td_kernel_tunnel *t = &dp->tunnels[i];

		if (t->state == TD_KERNEL_FREE || t->ifindex != ifindex)
			continue;
		if (moved && t->state == TD_KERNEL_LIVE)
			t->ifindex = 0;
		else
			gone(dp, t);
		return;
	}
}

static void check_on(struct td_datapath *dp, struct td_kernel_tunnel *t, bool missed)
{
	const bool late = td_time_reached(t->deadline, dp->ports.loop->now);

	if (t->ifindex != 0 && (missed || late) && !interface_exists(t->ifindex))
		gone(dp, t);
	else if (t->state == TD_KERNEL_LEAVING)
		finish_if_gone(dp, t);
	if (t->state == TD_KERNEL_LEAVING && late)
		finish(dp, t, t->result < 0 ? t->result : -ETIMEDOUT);
}

void td_kernel_sweep(struct td_datapath *dp, bool missed)
{
	for (uint32_t i = 0; i < dp->max_tunnels; i++)
		if (dp->tunnels[i].state != TD_KERNEL_FREE)
			check_on(dp, &dp->tunnels[i], missed);
}

static int make_interface(struct td_datapath *dp, struct td_kernel_tunnel *t,
			  const struct td_session_info *info)
{
	int err = td_l2tp_session_create(&dp->l2tp, info);

	/* ENOBUFS does not say whether it was made. */
	if (err == 0 || err == -ENOBUFS)
		t->ifindex = if_nametoindex(info->ifname);
	if (err < 0)
		return err;
	if (t->ifindex == 0)
		return -ENODEV;
	return td_rtnl_set_mtu(&dp->rtnl, info->ifname, info->mtu);
}

static int check(const struct td_datapath *dp, struct td_handle handle,
		 const struct td_session_info *info)
{
	td_assert(handle.generation != 0);
	if (place_of(dp, handle)->state != TD_KERNEL_FREE)
		return -EADDRINUSE;
	return td_ifname_valid(info->ifname) ? 0 : -EINVAL;
}

static struct td_kernel_tunnel *take(struct td_datapath *dp, struct td_handle handle,
				     const struct td_session_info *info)
{
	struct td_kernel_tunnel *t = place_of(dp, handle);

	*t = (struct td_kernel_tunnel){
		.handle = handle,
		.tunnel_id = info->tunnel_id,
		.session_id = info->session_id,
		.udp.fd = -1,
		.deadline = TD_NEVER,
	};
	enter(dp, t, TD_KERNEL_MAKING);
	return t;
}

static void kernel_create(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
			  const struct td_session_info *info, struct td_udp *udp)
{
	struct td_kernel_tunnel *t;
	int err = check(dp, handle, info);

	/* The kernel would say so itself, but then the client's socket is used up. */
	if (err == 0 && if_nametoindex(info->ifname) != 0)
		err = -EEXIST;
	if (err < 0) {
		done(dp, handle, sequence, err);
		return;
	}
	t = take(dp, handle, info);
	t->sequence = sequence;
	err = attach(dp, t, &info->flow, udp);
	if (err == 0)
		err = td_l2tp_tunnel_create(&dp->l2tp, info, t->port->udp->fd);
	if (err < 0 && err != -ENOBUFS) {
		detach(t);
		finish(dp, t, err);
		return;
	}
	if (err == 0)
		err = make_interface(dp, t, info);
	if (err < 0) {
		leave(dp, t, sequence, err);
		return;
	}
	enter(dp, t, TD_KERNEL_LIVE);
	done(dp, handle, sequence, 0);
}

static int adopt(struct td_datapath *dp, struct td_kernel_tunnel *t,
		 const struct td_session_info *info, int fd)
{
	struct td_tunnel_stats stats;
	int err = td_udp_from_fd(&t->udp, fd);

	if (err < 0) {
		close(fd);
		return err;
	}
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	err = td_l2tp_session_stats(&dp->l2tp, info->tunnel_id, info->session_id, &stats);
	if (err < 0)
		return err;
	t->ifindex = if_nametoindex(info->ifname);
	return t->ifindex == 0 ? -ENODEV : open_own(dp, t);
}

static int kernel_adopt(struct td_datapath *dp, struct td_handle handle,
			const struct td_session_info *info, struct td_udp *udp, int fd)
{
	struct td_kernel_tunnel *t;
	int err = check(dp, handle, info);

	(void)udp;
	if (err < 0) {
		close(fd);
		return err;
	}
	t = take(dp, handle, info);
	err = adopt(dp, t, info, fd);
	if (err < 0)
		detach(t);
	enter(dp, t, err < 0 ? TD_KERNEL_FREE : TD_KERNEL_LIVE);
	return err;
}

static void kernel_destroy(struct td_datapath *dp, struct td_handle handle, uint32_t sequence)
{
	struct td_kernel_tunnel *t = get(dp, handle);

	if (!t)
		done(dp, handle, sequence, -ENODEV);
	else if (t->state == TD_KERNEL_LEAVING)
		done(dp, handle, sequence, -EALREADY);
	else
		leave(dp, t, sequence, 0);
}

/* --- while it lives --- */

static int set_mtu(struct td_datapath *dp, struct td_handle handle, uint16_t mtu)
{
	const struct td_kernel_tunnel *t = get(dp, handle);
	char ifname[IF_NAMESIZE]; /* it may have been renamed */

	if (!t || t->state != TD_KERNEL_LIVE || !if_indextoname(t->ifindex, ifname))
		return -ENODEV;
	return td_rtnl_set_mtu(&dp->rtnl, ifname, mtu);
}

static void kernel_set_mtu(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
			   uint16_t mtu)
{
	done(dp, handle, sequence, set_mtu(dp, handle, mtu));
}

/* The kernel follows the socket, which keeps its own address. */
static int set_peer(struct td_datapath *dp, struct td_handle handle, const struct td_flow *flow)
{
	const struct td_kernel_tunnel *t = get(dp, handle);
	struct sockaddr_storage sa;
	socklen_t size;
	struct td_udp *udp;

	if (!t || !t->port)
		return -ENODEV;
	udp = t->port->udp;
	if (!td_addr_equal(&udp->local, &flow->local))
		return -EADDRNOTAVAIL;
	size = td_addr_to_sockaddr(&flow->peer, &sa);
	if (connect(udp->fd, (const struct sockaddr *)&sa, size) < 0)
		return -errno;
	udp->peer = flow->peer;
	return 0;
}

static void kernel_set_peer(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
			    const struct td_flow *flow)
{
	done(dp, handle, sequence, set_peer(dp, handle, flow));
}

static int kernel_send(struct td_datapath *dp, struct td_handle handle, const struct td_flow *flow,
		       const uint8_t *bytes, size_t size)
{
	const struct td_kernel_tunnel *t = get(dp, handle);
	struct td_port *port = t && t->port ? t->port : td_ports_find(&dp->ports, flow);

	return port ? td_port_send(port, flow, bytes, size) : -ENOTCONN;
}

static int kernel_keep_fd(struct td_datapath *dp, struct td_handle handle)
{
	const struct td_kernel_tunnel *t = get(dp, handle);

	return t && t->port ? t->port->udp->fd : -1;
}

/* One by one: to have the kernel list all sessions takes it time that grows with their square. */
static size_t kernel_stats(struct td_datapath *dp, struct td_tunnel_stats *stats, size_t count)
{
	size_t written = 0;

	for (uint32_t i = 0; i < dp->max_tunnels && written < count; i++) {
		const struct td_kernel_tunnel *t = &dp->tunnels[i];

		if (t->state != TD_KERNEL_LIVE)
			continue;
		stats[written] = (struct td_tunnel_stats){ .handle = t->handle };
		if (td_l2tp_session_stats(&dp->l2tp, t->tunnel_id, t->session_id,
					  &stats[written]) == 0)
			written++;
	}
	return written;
}

/* --- the whole --- */

static const struct td_datapath_counters *kernel_counters(const struct td_datapath *dp)
{
	return &dp->ports.counters;
}

static int kernel_listen(struct td_datapath *dp, struct td_udp *udp)
{
	return td_ports_listen(&dp->ports, udp);
}

static void kernel_forget(struct td_datapath *dp, struct td_udp *udp)
{
	const struct td_port *port = td_ports_of(&dp->ports, udp);

	for (uint32_t i = 0; port && i < dp->max_tunnels; i++)
		if (dp->tunnels[i].port == port)
			dp->tunnels[i].port = NULL;
	td_ports_forget(&dp->ports, udp);
}

/* Data that the kernel did not take, on a listener: no tunnel has that flow. */
static void data(struct td_ports *ports, const struct td_datagram *datagram)
{
	uint32_t session_id;

	if (td_l2tp_parse(datagram->bytes, datagram->size, &session_id) == 0)
		ports->counters.rx_malformed++;
	else
		ports->counters.rx_unknown_flow++;
}

static void nothing_to_pause(struct td_ports *ports)
{
	(void)ports;
}

static void kernel_close(struct td_datapath *dp)
{
	for (uint32_t i = 0; dp->tunnels && i < dp->max_tunnels; i++) {
		struct td_kernel_tunnel *t = &dp->tunnels[i];

		if (t->state == TD_KERNEL_LIVE)
			(void)!td_l2tp_tunnel_delete(&dp->l2tp, t->tunnel_id);
		if (t->state != TD_KERNEL_FREE)
			detach(t);
	}
	td_ports_close(&dp->ports);
	td_kernel_unwatch(dp);
	td_rtnl_close(&dp->rtnl);
	td_l2tp_close(&dp->l2tp);
	free(dp->tunnels);
	free(dp);
}

static int start(struct td_datapath *dp, uint32_t max_tunnels)
{
	int err;

	dp->max_tunnels = max_tunnels;
	dp->tunnels = calloc(max_tunnels, sizeof(*dp->tunnels));
	if (!dp->tunnels)
		return -ENOMEM;
	err = td_l2tp_open(&dp->l2tp);
	if (err == 0)
		err = td_rtnl_open(&dp->rtnl);
	if (err == 0)
		err = td_kernel_watch(dp);
	return err;
}

static int kernel_open(struct td_datapath **result, const struct td_datapath_setup *setup)
{
	struct td_datapath *dp = calloc(1, sizeof(*dp));
	int err;

	if (!dp)
		return -ENOMEM;
	dp->links.fd = -1;
	dp->timer.fd = -1;
	dp->ports.loop = setup->loop;
	dp->ports.host = setup->host;
	dp->ports.data = data;
	dp->ports.pause = nothing_to_pause;
	dp->ports.resume = nothing_to_pause;
	err = start(dp, setup->max_tunnels);
	if (err < 0) {
		kernel_close(dp);
		return err;
	}
	*result = dp;
	return 0;
}

const struct td_datapath_ops td_datapath_kernel = {
	.name = "kernel",
	.probe = td_kernel_probe,
	.open = kernel_open,
	.close = kernel_close,
	.listen = kernel_listen,
	.forget = kernel_forget,
	.create = kernel_create,
	.adopt = kernel_adopt,
	.set_mtu = kernel_set_mtu,
	.set_peer = kernel_set_peer,
	.destroy = kernel_destroy,
	.send = kernel_send,
	.keep_fd = kernel_keep_fd,
	.stats = kernel_stats,
	.counters = kernel_counters,
};
