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
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/text.h"
#include "sys/entropy.h"

static void tap_close(struct td_datapath *dp);

static uint32_t hash_of(const struct td_datapath *dp, const struct td_flow *flow)
{
	return (uint32_t)td_flow_hash(&dp->key, flow);
}

struct td_tap_tunnel *td_tap_find(const struct td_datapath *dp, const struct td_flow *flow)
{
	struct td_index_pos pos = td_index_find(&dp->flows, hash_of(dp, flow));

	for (; pos.number != TD_INDEX_NONE; pos = td_index_next(&dp->flows, pos))
		if (td_flow_equal(&dp->tunnels[pos.number].flow, flow))
			return &dp->tunnels[pos.number];
	return NULL;
}

struct td_tap_tunnel *td_tap_get(const struct td_datapath *dp, struct td_handle handle)
{
	struct td_tap_tunnel *t;

	if (handle.generation == 0)
		return NULL;
	td_assert(handle.index < dp->max_tunnels);
	t = &dp->tunnels[handle.index];
	return td_handle_equal(t->handle, handle) ? t : NULL;
}

static void close_device(struct td_datapath *dp, struct td_tap_tunnel *t)
{
	if (t->fd < 0)
		return;
	/* close() alone would leave it there while somebody keeps a copy of the descriptor. */
	epoll_ctl(dp->watch.fd, EPOLL_CTL_DEL, t->fd, NULL);
	close(t->fd);
	t->fd = -1;
}

void td_tap_lost(struct td_datapath *dp, struct td_tap_tunnel *t)
{
	close_device(dp, t);
	dp->ports.host.lost(dp->ports.host.ctx, t->handle);
}

static void set_flow(struct td_datapath *dp, struct td_tap_tunnel *t, const struct td_flow *flow)
{
	t->flow = *flow;
	t->hash = hash_of(dp, flow);
	td_index_add(&dp->flows, t->hash, t->handle.index);
}

static void clear_flow(struct td_datapath *dp, const struct td_tap_tunnel *t)
{
	td_index_remove(&dp->flows, t->hash, t->handle.index);
}

static void tunnel_remove(struct td_datapath *dp, struct td_tap_tunnel *t)
{
	clear_flow(dp, t);
	close_device(dp, t);
	t->handle = TD_NO_HANDLE;
}

/* Enters a tunnel; owns fd from now on, in case of an error as well. */
static int tunnel_add(struct td_datapath *dp, struct td_handle handle,
		      const struct td_session_info *info, struct td_udp *udp, int fd)
{
	const struct td_flow flow = td_port_flow(udp, &info->flow);
	struct td_tap_tunnel *t;
	int err;

	td_assert(handle.index < dp->max_tunnels && handle.generation != 0);
	t = &dp->tunnels[handle.index];
	if (t->handle.generation != 0 || td_tap_find(dp, &flow)) {
		close(fd);
		return -EADDRINUSE;
	}
	*t = (struct td_tap_tunnel){
		.handle = handle,
		.fd = fd,
		.port = td_ports_of(&dp->ports, udp),
		.session_id = info->session_id,
		.peer_session_id = info->peer_session_id,
		.stats.handle = handle,
	};
	set_flow(dp, t, &flow);
	err = t->port ? td_tap_watch(dp, t) : -ENOTCONN;
	if (err < 0)
		tunnel_remove(dp, t);
	return err;
}

static int create(struct td_datapath *dp, struct td_handle handle,
		  const struct td_session_info *info, struct td_udp *udp)
{
	int err, fd;

	if (!td_ifname_valid(info->ifname))
		return -EINVAL;
	fd = td_tap_device_open(info->ifname);
	if (fd < 0)
		return fd;
	err = td_rtnl_set_mtu(&dp->rtnl, info->ifname, info->mtu);
	if (err < 0) {
		close(fd);
		return err;
	}
	return tunnel_add(dp, handle, info, udp, fd);
}

static void done(const struct td_datapath *dp, struct td_handle handle, uint32_t sequence, int err)
{
	dp->ports.host.done(dp->ports.host.ctx, handle, sequence, err);
}

static void tap_create(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
		       const struct td_session_info *info, struct td_udp *udp)
{
	done(dp, handle, sequence, create(dp, handle, info, udp));
}

static int tap_adopt(struct td_datapath *dp, struct td_handle handle,
		     const struct td_session_info *info, struct td_udp *udp, int fd)
{
	char ifname[TD_IFNAME_SIZE];
	int err = td_tap_device_name(fd, ifname);

	if (err == 0 && (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0))
		err = -errno;
	if (err < 0) {
		close(fd);
		return err;
	}
	return tunnel_add(dp, handle, info, udp, fd);
}

static int set_mtu(struct td_datapath *dp, struct td_handle handle, uint16_t mtu)
{
	const struct td_tap_tunnel *t = td_tap_get(dp, handle);
	char ifname[TD_IFNAME_SIZE]; /* it may have been renamed */
	int err = t && t->fd >= 0 ? td_tap_device_name(t->fd, ifname) : -ENODEV;

	return err < 0 ? err : td_rtnl_set_mtu(&dp->rtnl, ifname, mtu);
}

static void tap_set_mtu(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
			uint16_t mtu)
{
	done(dp, handle, sequence, set_mtu(dp, handle, mtu));
}

static int set_peer(struct td_datapath *dp, struct td_handle handle, const struct td_flow *flow)
{
	struct td_tap_tunnel *t = td_tap_get(dp, handle);
	const struct td_tap_tunnel *other = td_tap_find(dp, flow);
	struct td_port *port = td_ports_find(&dp->ports, flow);

	if (!t)
		return -ENODEV;
	if (other && other != t)
		return -EADDRINUSE;
	clear_flow(dp, t);
	set_flow(dp, t, flow);
	if (port)
		t->port = port;
	return 0;
}

static void tap_set_peer(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
			 const struct td_flow *flow)
{
	done(dp, handle, sequence, set_peer(dp, handle, flow));
}

static void tap_destroy(struct td_datapath *dp, struct td_handle handle, uint32_t sequence)
{
	struct td_tap_tunnel *t = td_tap_get(dp, handle);

	if (t)
		tunnel_remove(dp, t);
	done(dp, handle, sequence, t ? 0 : -ENODEV);
}

static int tap_send(struct td_datapath *dp, struct td_handle handle, const struct td_flow *flow,
		    const uint8_t *bytes, size_t size)
{
	const struct td_tap_tunnel *t = td_tap_get(dp, handle);
	struct td_port *port = t && t->port ? t->port : td_ports_find(&dp->ports, flow);

	return port ? td_port_send_control(port, flow, bytes, size) : -ENOTCONN;
}

static int tap_keep_fd(struct td_datapath *dp, struct td_handle handle)
{
	const struct td_tap_tunnel *t = td_tap_get(dp, handle);

	return t ? t->fd : -1;
}

static size_t tap_stats(struct td_datapath *dp, struct td_tunnel_stats *stats, size_t count)
{
	size_t written = 0;

	for (uint32_t i = 0; i < dp->max_tunnels && written < count; i++)
		if (dp->tunnels[i].handle.generation != 0)
			stats[written++] = dp->tunnels[i].stats;
	return written;
}

static const struct td_datapath_counters *tap_counters(const struct td_datapath *dp)
{
	return &dp->ports.counters;
}

static int tap_listen(struct td_datapath *dp, struct td_udp *udp)
{
	return td_ports_listen(&dp->ports, udp);
}

static void tap_forget(struct td_datapath *dp, struct td_udp *udp)
{
	const struct td_port *port = td_ports_of(&dp->ports, udp);

	for (uint32_t i = 0; port && i < dp->max_tunnels; i++)
		if (dp->tunnels[i].port == port)
			dp->tunnels[i].port = NULL;
	td_ports_forget(&dp->ports, udp);
}

static int allocate(struct td_datapath *dp, uint32_t max_tunnels)
{
	const uint32_t cells = td_index_cells(max_tunnels);

	dp->max_tunnels = max_tunnels;
	dp->tunnels = calloc(max_tunnels, sizeof(*dp->tunnels));
	dp->cells = calloc(cells, sizeof(*dp->cells));
	if (!dp->tunnels || !dp->cells)
		return -ENOMEM;
	td_index_init(&dp->flows, dp->cells, cells);
	return 0;
}

static int start(struct td_datapath *dp, const struct td_datapath_setup *setup)
{
	int err = allocate(dp, setup->max_tunnels);

	if (err < 0)
		return err;
	err = td_entropy_get(&dp->key, sizeof(dp->key));
	if (err < 0)
		return err;
	err = td_rtnl_open(&dp->rtnl);
	if (err < 0)
		return err;
	dp->watch.fd = epoll_create1(EPOLL_CLOEXEC);
	if (dp->watch.fd < 0)
		return -errno;
	return td_loop_add(setup->loop, &dp->watch, EPOLLIN);
}

static int tap_open(struct td_datapath **result, const struct td_datapath_setup *setup)
{
	struct td_datapath *dp = calloc(1, sizeof(*dp));
	int err;

	if (!dp)
		return -ENOMEM;
	dp->watch = (struct td_watch){ .fd = -1, .ready = td_tap_ready };
	dp->ports.loop = setup->loop;
	dp->ports.host = setup->host;
	dp->ports.fragment = true;
	dp->ports.data = td_tap_data;
	dp->ports.pause = td_tap_pause;
	dp->ports.resume = td_tap_resume;
	err = start(dp, setup);
	if (err < 0) {
		tap_close(dp);
		return err;
	}
	*result = dp;
	return 0;
}

static void tap_close(struct td_datapath *dp)
{
	for (uint32_t i = 0; dp->tunnels && i < dp->max_tunnels; i++)
		if (dp->tunnels[i].handle.generation != 0)
			tunnel_remove(dp, &dp->tunnels[i]);
	td_ports_close(&dp->ports);
	if (dp->watch.fd >= 0) {
		td_loop_del(dp->ports.loop, &dp->watch);
		close(dp->watch.fd);
	}
	td_rtnl_close(&dp->rtnl);
	free(dp->cells);
	free(dp->tunnels);
	free(dp);
}

const struct td_datapath_ops td_datapath_tap = {
	.name = "tap",
	.probe = td_tap_probe,
	.open = tap_open,
	.close = tap_close,
	.listen = tap_listen,
	.forget = tap_forget,
	.create = tap_create,
	.adopt = tap_adopt,
	.set_mtu = tap_set_mtu,
	.set_peer = tap_set_peer,
	.destroy = tap_destroy,
	.send = tap_send,
	.keep_fd = tap_keep_fd,
	.stats = tap_stats,
	.counters = tap_counters,
};
