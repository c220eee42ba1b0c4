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
#include <unistd.h>

#include "base/build.h"

/* Thousands of interfaces that are ports of bridges take the kernel minutes. */
#define LEAVE_LIMIT TD_SECONDS(180)

static struct td_kernel_tunnel *get(const struct td_datapath *dp, struct td_handle handle)
{
	return (struct td_kernel_tunnel *)td_backend_get(dp, handle);
}

/* The tunnel at that place, NULL when it is free. */
static struct td_kernel_tunnel *tunnel_at(const struct td_kernel *k, uint32_t number)
{
	struct td_tunnel *t = td_backend_place(&k->dp, number);

	return t->handle.generation != 0 ? (struct td_kernel_tunnel *)t : NULL;
}

static bool interface_exists(unsigned ifindex)
{
	char name[IF_NAMESIZE];

	return if_indextoname(ifindex, name) != NULL;
}

static void enter(struct td_kernel *k, struct td_kernel_tunnel *t, enum td_kernel_state state)
{
	if (state == TD_KERNEL_LEAVING && k->leaving++ == 0)
		td_kernel_timer(k, true);
	if (t->state == TD_KERNEL_LEAVING && --k->leaving == 0)
		td_kernel_timer(k, false);
	t->state = state;
}

/* --- sockets --- */

/* Behind the UDP header (8 bytes), everything of ours has the T bit first. */
static int only_control(int fd)
{
	return td_kernel_filter(fd, BPF_B, 8, BPF_JSET, 0x80);
}

static int open_own(struct td_kernel *k, struct td_kernel_tunnel *t)
{
	t->base.port = &t->own;
	return td_port_open(&k->dp, &t->own, &t->udp);
}

/* Gets the socket that the tunnel is to live on. */
static int attach(struct td_kernel *k, struct td_kernel_tunnel *t, const struct td_flow *flow,
		  struct td_udp *udp)
{
	char device[IF_NAMESIZE] = "";
	socklen_t size = sizeof(device);
	int err;

	if (!TD_WITH_BROKER || udp->connected) {
		t->base.port = td_ports_of(&k->dp, udp);
		return t->base.port ? only_control(udp->fd) : -ENOTCONN;
	}
	if (getsockopt(udp->fd, SOL_SOCKET, SO_BINDTODEVICE, device, &size) < 0)
		return -errno;
	err = td_udp_connect_from(&t->udp, udp, flow, device[0] ? device : NULL);
	if (err == 0)
		err = only_control(t->udp.fd);
	return err < 0 ? err : open_own(k, t);
}

static void detach(struct td_kernel_tunnel *t)
{
	td_port_close(&t->own);
	td_udp_close(&t->udp);
	t->base.port = NULL;
}

/* --- coming and going --- */

/* The place is free, then the host is told. */
static void finish(struct td_kernel *k, struct td_kernel_tunnel *t, int result)
{
	const struct td_handle handle = t->base.handle;

	enter(k, t, TD_KERNEL_LIVE);
	t->base.handle = TD_NO_HANDLE;
	td_backend_done(&k->dp, handle, t->sequence, result);
}

/* Ends it when there is nothing left of it. */
static void finish_if_gone(struct td_kernel *k, struct td_kernel_tunnel *t)
{
	if (t->base.ifindex == 0 && td_l2tp_tunnel_get(&k->l2tp, t->tunnel_id) == -ENODEV)
		finish(k, t, t->result);
}

/* Removes it; done(result) when it is gone. */
static void leave(struct td_kernel *k, struct td_kernel_tunnel *t, uint32_t sequence, int result)
{
	const bool own = t->base.port == &t->own, lost = t->state == TD_KERNEL_LOST;
	/* The id of a lost one may be another's by now. */
	int err = lost ? 0 : td_l2tp_tunnel_delete(&k->l2tp, t->tunnel_id);

	t->sequence = sequence;
	t->result = result;
	t->deadline = td_time_add(k->dp.loop->now, LEAVE_LIMIT);
	detach(t);
	/* If it could not be deleted, closing the socket does it: ours is closed. */
	if (!lost && (own || err == 0 || err == -ENODEV)) {
		enter(k, t, TD_KERNEL_LEAVING);
		finish_if_gone(k, t);
	} else {
		finish(k, t, result < 0 ? result : err);
	}
}

static void gone(struct td_kernel *k, struct td_kernel_tunnel *t)
{
	t->base.ifindex = 0;
	if (t->state == TD_KERNEL_LEAVING) {
		finish_if_gone(k, t);
	} else {
		enter(k, t, TD_KERNEL_LOST);
		k->dp.host.lost(k->dp.host.ctx, t->base.handle);
	}
}

void td_kernel_gone(struct td_kernel *k, unsigned ifindex, bool moved)
{
	for (uint32_t i = 0; i < k->dp.max_tunnels; i++) {
		struct td_kernel_tunnel *t = tunnel_at(k, i);

		if (!t || t->base.ifindex != ifindex)
			continue;
		if (moved && t->state == TD_KERNEL_LIVE)
			t->base.ifindex = 0;
		else
			gone(k, t);
		return;
	}
}

void td_kernel_sweep(struct td_kernel *k, bool missed)
{
	for (uint32_t i = 0; i < k->dp.max_tunnels; i++) {
		struct td_kernel_tunnel *t = tunnel_at(k, i);

		if (!t)
			continue;
		if (missed && t->base.ifindex != 0 && !interface_exists(t->base.ifindex))
			gone(k, t);
		else if (t->state == TD_KERNEL_LEAVING &&
			 td_time_reached(t->deadline, k->dp.loop->now))
			finish(k, t, t->result < 0 ? t->result : -ETIMEDOUT);
		else if (t->state == TD_KERNEL_LEAVING)
			finish_if_gone(k, t);
	}
}

static int make_interface(struct td_kernel *k, struct td_kernel_tunnel *t,
			  const struct td_session_info *info)
{
	int err = td_l2tp_session_create(&k->l2tp, info);

	/* ENOBUFS does not say whether it was made. */
	if (err == 0 || err == -ENOBUFS)
		t->base.ifindex = if_nametoindex(info->ifname);
	return err < 0 ? err : td_rtnl_set_mtu(&k->dp.rtnl, info->ifname, info->mtu);
}

static int take(struct td_datapath *dp, struct td_handle handle, const struct td_session_info *info,
		struct td_kernel_tunnel **result)
{
	struct td_tunnel *base;
	struct td_kernel_tunnel *t;
	int err = td_backend_take(dp, handle, info, &base);

	if (err < 0)
		return err;
	t = (struct td_kernel_tunnel *)base;
	t->tunnel_id = info->tunnel_id;
	t->session_id = info->session_id;
	t->udp.fd = -1;
	*result = t;
	return 0;
}

static void kernel_create(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
			  const struct td_session_info *info, struct td_udp *udp)
{
	struct td_kernel *k = (struct td_kernel *)dp;
	struct td_kernel_tunnel *t;
	int err = take(dp, handle, info, &t);

	if (err < 0) {
		td_backend_done(dp, handle, sequence, err);
		return;
	}
	t->sequence = sequence;
	/* The kernel would say so itself, but then the client's socket is used up. */
	err = if_nametoindex(info->ifname) ? -EEXIST : attach(k, t, &info->flow, udp);
	if (err == 0)
		err = td_l2tp_tunnel_create(&k->l2tp, info, t->base.port->udp->fd);
	if (err < 0 && err != -ENOBUFS) {
		detach(t);
		finish(k, t, err);
		return;
	}
	if (err == 0)
		err = make_interface(k, t, info);
	if (err < 0)
		leave(k, t, sequence, err);
	else
		td_backend_done(dp, handle, sequence, 0);
}

static int adopt(struct td_kernel *k, struct td_kernel_tunnel *t,
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
	err = td_l2tp_session_stats(&k->l2tp, info->tunnel_id, info->session_id, &stats);
	if (err < 0)
		return err;
	t->base.ifindex = if_nametoindex(info->ifname);
	return t->base.ifindex == 0 ? -ENODEV : open_own(k, t);
}

static int kernel_adopt(struct td_datapath *dp, struct td_handle handle,
			const struct td_session_info *info, struct td_udp *udp, int fd)
{
	struct td_kernel_tunnel *t;
	int err = take(dp, handle, info, &t);

	(void)udp;
	if (err < 0) {
		close(fd);
		return err;
	}
	err = adopt((struct td_kernel *)dp, t, info, fd);
	if (err < 0) {
		detach(t);
		t->base.handle = TD_NO_HANDLE;
	}
	return err;
}

static void kernel_destroy(struct td_datapath *dp, struct td_handle handle, uint32_t sequence)
{
	struct td_kernel_tunnel *t = get(dp, handle);

	if (!t || t->state == TD_KERNEL_LEAVING)
		td_backend_done(dp, handle, sequence, t ? -EALREADY : -ENODEV);
	else
		leave((struct td_kernel *)dp, t, sequence, 0);
}

/* --- while it lives --- */

/* The kernel follows the socket, which keeps its own address. */
static void kernel_set_peer(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
			    const struct td_flow *flow)
{
	const struct td_kernel_tunnel *t = get(dp, handle);
	int err = -ENODEV;

	if (t && t->base.port)
		err = td_udp_move(t->base.port->udp, flow);
	td_backend_done(dp, handle, sequence, err);
}

static int kernel_keep_fd(struct td_datapath *dp, struct td_handle handle)
{
	const struct td_kernel_tunnel *t = get(dp, handle);

	return t && t->base.port ? t->base.port->udp->fd : -1;
}

/* One by one: to have the kernel list all sessions takes it time that grows with their square. */
static size_t kernel_stats(struct td_datapath *dp, struct td_tunnel_stats *stats, size_t count)
{
	struct td_kernel *k = (struct td_kernel *)dp;
	size_t written = 0;

	for (uint32_t i = 0; i < dp->max_tunnels && written < count; i++) {
		const struct td_kernel_tunnel *t = tunnel_at(k, i);

		if (!t || t->state != TD_KERNEL_LIVE)
			continue;
		stats[written] = (struct td_tunnel_stats){ .handle = t->base.handle };
		if (td_l2tp_session_stats(&k->l2tp, t->tunnel_id, t->session_id, &stats[written]) ==
		    0)
			written++;
	}
	return written;
}

/* --- the whole --- */

/* Data that the kernel did not take, on a listener: no tunnel has that flow. */
static void data(struct td_datapath *dp, const struct td_datagram *datagram)
{
	uint32_t session_id;

	if (td_l2tp_parse(datagram->bytes, datagram->size, &session_id) == 0)
		dp->counters.rx_malformed++;
	else
		dp->counters.rx_unknown_flow++;
}

static void kernel_close(struct td_datapath *dp)
{
	struct td_kernel *k = (struct td_kernel *)dp;

	for (uint32_t i = 0; i < dp->max_tunnels; i++) {
		struct td_kernel_tunnel *t = tunnel_at(k, i);

		if (!t)
			continue;
		if (t->state == TD_KERNEL_LIVE)
			(void)!td_l2tp_tunnel_delete(&k->l2tp, t->tunnel_id);
		detach(t);
	}
	td_kernel_unwatch(k);
	td_l2tp_close(&k->l2tp);
	td_backend_free(dp);
}

static int kernel_open(struct td_datapath **dp, const struct td_datapath_setup *setup)
{
	int err = td_backend_new(dp, setup, sizeof(struct td_kernel),
				 sizeof(struct td_kernel_tunnel));
	struct td_kernel *k;

	if (err < 0)
		return err;
	k = (struct td_kernel *)*dp;
	k->dp.data = data;
	k->timer.fd = -1;
	err = td_l2tp_open(&k->l2tp);
	if (err == 0)
		err = td_kernel_watch(k);
	if (err < 0)
		kernel_close(*dp);
	return err;
}

const struct td_datapath_ops td_datapath_kernel = {
	.name = "kernel",
	.probe = td_kernel_probe,
	.open = kernel_open,
	.close = kernel_close,
	.listen = td_ports_listen,
	.forget = td_ports_forget,
	.create = kernel_create,
	.adopt = TD_FOR_BROKER(kernel_adopt),
	.set_mtu = td_backend_set_mtu,
	.set_peer = TD_FOR_BROKER(kernel_set_peer),
	.destroy = kernel_destroy,
	.send = td_backend_send,
	.keep_fd = TD_FOR_BROKER(kernel_keep_fd),
	.stats = TD_FOR_BROKER(kernel_stats),
	.counters = TD_FOR_BROKER(td_backend_counters),
};
