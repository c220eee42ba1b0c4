/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The TAP back-end: L2TPv3 in user space (docs/PROTOCOL.md section 1), no kernel module but tun.
 *
 * One TAP interface per tunnel, which lives as long as its descriptor; all tunnels share the few
 * UDP sockets that listen() was given. An arriving data packet finds its tunnel by its flow and is
 * taken only when it carries that tunnel's session id. Making and removing a TAP is quick, so every
 * operation ends before it returns.
 */
#include "datapath/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/build.h"
#include "sys/entropy.h"

static struct td_tap_tunnel *tunnel_at(const struct td_tap *tap, uint32_t number)
{
	return (struct td_tap_tunnel *)td_backend_place(&tap->dp, number);
}

static struct td_tap_tunnel *get(const struct td_datapath *dp, struct td_handle handle)
{
	return (struct td_tap_tunnel *)td_backend_get(dp, handle);
}

static uint32_t hash_of(const struct td_tap *tap, const struct td_flow *flow)
{
	return (uint32_t)td_flow_hash(&tap->key, flow);
}

struct td_tap_tunnel *td_tap_find(const struct td_tap *tap, const struct td_flow *flow)
{
	struct td_tap_tunnel *only = tunnel_at(tap, 0);
	struct td_index_pos pos;

	if (!TD_WITH_BROKER)
		return only->base.handle.generation != 0 && td_flow_equal(&only->flow, flow) ? only
											     : NULL;
	pos = td_index_find(&tap->flows, hash_of(tap, flow));
	for (; pos.number != TD_INDEX_NONE; pos = td_index_next(&tap->flows, pos)) {
		struct td_tap_tunnel *t = tunnel_at(tap, pos.number);

		if (td_flow_equal(&t->flow, flow))
			return t;
	}
	return NULL;
}

static void close_device(struct td_tap *tap, struct td_tap_tunnel *t)
{
	if (t->fd < 0)
		return;
	/* close() alone would leave it there while somebody keeps a copy of the descriptor. */
	epoll_ctl(tap->watch.fd, EPOLL_CTL_DEL, t->fd, NULL);
	close(t->fd);
	t->fd = -1;
}

void td_tap_lost(struct td_tap *tap, struct td_tap_tunnel *t)
{
	close_device(tap, t);
	t->base.ifindex = 0;
	tap->dp.host.lost(tap->dp.host.ctx, t->base.handle);
}

static void set_flow(struct td_tap *tap, struct td_tap_tunnel *t, const struct td_flow *flow)
{
	t->flow = *flow;
	if (!TD_WITH_BROKER)
		return;
	t->hash = hash_of(tap, flow);
	td_index_add(&tap->flows, t->hash, t->base.handle.index);
}

static void clear_flow(struct td_tap *tap, const struct td_tap_tunnel *t)
{
	if (TD_WITH_BROKER)
		td_index_remove(&tap->flows, t->hash, t->base.handle.index);
}

static void tunnel_remove(struct td_tap *tap, struct td_tap_tunnel *t)
{
	clear_flow(tap, t);
	close_device(tap, t);
	t->base.handle = TD_NO_HANDLE;
}

/* Has the tunnel's TAP, new or adopted, as it ought to be. */
static int start(struct td_tap *tap, struct td_tap_tunnel *t, uint32_t mtu)
{
	char ifname[TD_IFNAME_SIZE]; /* it may have been renamed */
	int err = t->fd < 0 ? t->fd : td_tap_device_name(t->fd, ifname);

	if (err < 0)
		return err;
	t->base.ifindex = if_nametoindex(ifname);
	if (fcntl(t->fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(t->fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	err = td_rtnl_set_mtu(&tap->dp.rtnl, ifname, mtu);
	if (err < 0)
		return err;
	return t->base.port ? td_tap_watch(tap, t) : -ENOTCONN;
}

/* fd: of a TAP that is adopted, owned from now on; -1: make one. */
static int tunnel_add(struct td_datapath *dp, struct td_handle handle,
		      const struct td_session_info *info, struct td_udp *udp, int fd)
{
	struct td_tap *tap = (struct td_tap *)dp;
	struct td_flow flow = info->flow;
	struct td_tap_tunnel *t;
	struct td_tunnel *base;
	int err;

	if (udp->connected)
		flow = (struct td_flow){ udp->local, udp->peer };
	err = td_tap_find(tap, &flow) ? -EADDRINUSE : td_backend_take(dp, handle, info, &base);
	if (err < 0) {
		if (fd >= 0)
			close(fd);
		return err;
	}
	t = (struct td_tap_tunnel *)base;
	t->base.port = td_ports_of(dp, udp);
	t->session_id = info->session_id;
	t->peer_session_id = info->peer_session_id;
	t->stats.handle = handle;
	set_flow(tap, t, &flow);
	t->fd = fd >= 0 ? fd : td_tap_device_open(info->ifname);
	err = start(tap, t, info->mtu);
	if (err < 0)
		tunnel_remove(tap, t);
	return err;
}

static void tap_create(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
		       const struct td_session_info *info, struct td_udp *udp)
{
	td_backend_done(dp, handle, sequence, tunnel_add(dp, handle, info, udp, -1));
}

static int set_peer(struct td_datapath *dp, struct td_handle handle, const struct td_flow *flow)
{
	struct td_tap *tap = (struct td_tap *)dp;
	struct td_tap_tunnel *t = get(dp, handle);
	const struct td_tap_tunnel *other = td_tap_find(tap, flow);
	struct td_port *port = td_ports_find(dp, flow);

	if (!t)
		return -ENODEV;
	if (other && other != t)
		return -EADDRINUSE;
	clear_flow(tap, t);
	set_flow(tap, t, flow);
	if (port)
		t->base.port = port;
	return 0;
}

static void tap_set_peer(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
			 const struct td_flow *flow)
{
	td_backend_done(dp, handle, sequence, set_peer(dp, handle, flow));
}

static void tap_destroy(struct td_datapath *dp, struct td_handle handle, uint32_t sequence)
{
	struct td_tap_tunnel *t = get(dp, handle);

	if (t)
		tunnel_remove((struct td_tap *)dp, t);
	td_backend_done(dp, handle, sequence, t ? 0 : -ENODEV);
}

static int tap_keep_fd(struct td_datapath *dp, struct td_handle handle)
{
	const struct td_tap_tunnel *t = get(dp, handle);

	return t ? t->fd : -1;
}

static size_t tap_stats(struct td_datapath *dp, struct td_tunnel_stats *stats, size_t count)
{
	size_t written = 0;

	for (uint32_t i = 0; i < dp->max_tunnels && written < count; i++) {
		const struct td_tap_tunnel *t = tunnel_at((struct td_tap *)dp, i);

		if (t->base.handle.generation != 0)
			stats[written++] = t->stats;
	}
	return written;
}

static void tap_close(struct td_datapath *dp)
{
	struct td_tap *tap = (struct td_tap *)dp;

	for (uint32_t i = 0; i < dp->max_tunnels; i++) {
		struct td_tap_tunnel *t = tunnel_at(tap, i);

		if (t->base.handle.generation != 0)
			tunnel_remove(tap, t);
	}
	dp->producer = NULL;
	if (tap->watch.fd >= 0) {
		td_loop_del(dp->loop, &tap->watch);
		close(tap->watch.fd);
	}
	free(tap->cells);
	td_backend_free(dp);
}

static int make_index(struct td_tap *tap)
{
	const uint32_t cells = td_index_cells(tap->dp.max_tunnels);

	tap->cells = calloc(cells, sizeof(*tap->cells));
	if (!tap->cells)
		return -ENOMEM;
	td_index_init(&tap->flows, tap->cells, cells);
	return td_entropy_get(&tap->key, sizeof(tap->key));
}

static int open_tap(struct td_tap *tap)
{
	int err = TD_WITH_BROKER ? make_index(tap) : 0;

	if (err < 0)
		return err;
	tap->watch.fd = epoll_create1(EPOLL_CLOEXEC);
	if (tap->watch.fd < 0)
		return -errno;
	return td_loop_add(tap->dp.loop, &tap->watch, EPOLLIN);
}

static int tap_open(struct td_datapath **dp, const struct td_datapath_setup *setup)
{
	int err = td_backend_new(dp, setup, sizeof(struct td_tap), sizeof(struct td_tap_tunnel));
	struct td_tap *tap;

	if (err < 0)
		return err;
	tap = (struct td_tap *)*dp;
	tap->watch = (struct td_watch){ .fd = -1, .ready = td_tap_ready };
	tap->dp.producer = &tap->watch;
	tap->dp.data = td_tap_data;
	tap->dp.resume = td_tap_resume;
	err = open_tap(tap);
	if (err < 0)
		tap_close(*dp);
	return err;
}

const struct td_datapath_ops td_datapath_tap = {
	.name = "tap",
	.probe = td_tap_probe,
	.open = tap_open,
	.close = tap_close,
	.listen = td_ports_listen,
	.forget = td_ports_forget,
	.create = tap_create,
	.adopt = TD_FOR_BROKER(tunnel_add),
	.set_mtu = td_backend_set_mtu,
	.set_peer = TD_FOR_BROKER(tap_set_peer),
	.destroy = tap_destroy,
	.send = td_backend_send,
	.keep_fd = TD_FOR_BROKER(tap_keep_fd),
	.stats = TD_FOR_BROKER(tap_stats),
	.counters = TD_FOR_BROKER(td_backend_counters),
};
