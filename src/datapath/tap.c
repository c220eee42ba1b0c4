/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The TAP back-end: L2TPv3 in user space (docs/PROTOCOL.md section 1), no kernel module but tun.
 *
 * One TAP interface per tunnel, which lives as long as its descriptor; all tunnels share the few
 * UDP sockets that listen() was given. An arriving data packet finds its tunnel by its flow and is
 * taken only when it carries that tunnel's session id. Making a TAP, and removing one, takes the
 * kernel's RTNL lock: those are tasks of the jobs' thread.
 */
#include "datapath/tap.h"

#include <errno.h>
#include <fcntl.h>
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

/* Moves no more frames. */
static void stop(struct td_tap *tap, struct td_tap_tunnel *t)
{
	/* close() alone would leave it there while somebody keeps a copy of the descriptor. */
	if (t->live)
		epoll_ctl(tap->watch.fd, EPOLL_CTL_DEL, t->fd, NULL);
	t->live = false;
}

void td_tap_lost(struct td_tap *tap, struct td_tap_tunnel *t)
{
	stop(tap, t);
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

static void release(struct td_tap *tap, struct td_tap_tunnel *t)
{
	clear_flow(tap, t);
	t->base.handle = TD_NO_HANDLE;
}

static int start(struct td_tap *tap, struct td_tap_tunnel *t)
{
	int err = t->base.port ? td_tap_watch(tap, t) : -ENOTCONN;

	t->live = err == 0;
	return err;
}

/* --- in the thread --- */

static void make(struct td_job *job)
{
	struct td_tunnel *t = td_backend_tunnel(job);
	struct td_task *task = &t->task;

	task->fd = td_tap_device_open(&task->dp->host, t->info.ifname);
	task->err = task->fd < 0 ? task->fd : td_backend_prepare(task, &t->info);
	if (task->err < 0 && task->fd >= 0) {
		close(task->fd);
		task->fd = -1;
	}
}

/* Others may have copies of the descriptor, which must not keep the interface there. */
static void unmake(struct td_job *job)
{
	struct td_task *task = &td_backend_tunnel(job)->task;
	char ifname[TD_IFNAME_SIZE];

	/* In another namespace its index may be another's here. */
	if (TD_WITH_BROKER && td_tap_device_name(task->fd, ifname) == 0 &&
	    td_rtnl_ifindex(&task->dp->rtnl, ifname) == task->ifindex)
		(void)!td_rtnl_delete(&task->dp->rtnl, task->ifindex);
	close(task->fd);
	task->fd = -1;
}

/* --- in the loop --- */

static int take(struct td_tap *tap, struct td_handle handle, const struct td_session_info *info,
		const struct td_udp *udp, struct td_tap_tunnel **result)
{
	struct td_flow flow = info->flow;
	struct td_tap_tunnel *t;
	struct td_tunnel *base;
	int err;

	if (udp->connected)
		flow = (struct td_flow){ udp->local, udp->peer };
	err = td_tap_find(tap, &flow) ? -EADDRINUSE
				      : td_backend_take(&tap->dp, handle, info, &base);
	if (err < 0)
		return err;
	t = (struct td_tap_tunnel *)base;
	t->fd = -1;
	t->base.port = td_ports_of(&tap->dp, udp);
	set_flow(tap, t, &flow);
	*result = t;
	return 0;
}

static void unmade(struct td_tunnel *base)
{
	const struct td_handle handle = base->handle;
	struct td_datapath *dp = base->task.dp;

	td_jobs_removed(dp->jobs);
	release((struct td_tap *)dp, (struct td_tap_tunnel *)base);
	td_backend_done(dp, handle, base->sequence, base->task.err);
}

/* Reports err when it is gone. */
static void leave(struct td_tap *tap, struct td_tap_tunnel *t, int err)
{
	stop(tap, t);
	t->base.task.fd = t->fd;
	t->base.task.err = err;
	t->fd = -1;
	td_backend_run(&t->base, TD_LANE_DESTROY, unmake, unmade);
}

static void made(struct td_tunnel *base)
{
	struct td_tap *tap = (struct td_tap *)base->task.dp;
	struct td_tap_tunnel *t = (struct td_tap_tunnel *)base;
	const struct td_handle handle = base->handle;
	int err = base->task.err;

	if (err < 0) {
		release(tap, t);
		td_backend_done(&tap->dp, handle, base->sequence, err);
		return;
	}
	t->fd = base->task.fd;
	base->ifindex = base->task.ifindex;
	err = start(tap, t);
	if (err < 0)
		leave(tap, t, err);
	else
		td_backend_end(base, 0);
}

static void tap_create(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
		       const struct td_session_info *info, struct td_udp *udp)
{
	struct td_tap_tunnel *t;
	int err = take((struct td_tap *)dp, handle, info, udp, &t);

	if (err < 0) {
		td_backend_done(dp, handle, sequence, err);
		return;
	}
	t->base.pending = true;
	t->base.sequence = sequence;
	td_backend_run(&t->base, TD_LANE_CREATE, make, made);
}

static int adopt(struct td_tap *tap, struct td_tap_tunnel *t, uint32_t mtu)
{
	char ifname[TD_IFNAME_SIZE]; /* it may have been renamed */
	int err = td_tap_device_name(t->fd, ifname);

	if (err < 0)
		return err;
	t->base.ifindex = td_rtnl_ifindex(&tap->dp.rtnl, ifname);
	if (fcntl(t->fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(t->fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	err = td_rtnl_set_mtu(&tap->dp.rtnl, t->base.ifindex, mtu);
	return err < 0 ? err : start(tap, t);
}

static int tap_adopt(struct td_datapath *dp, struct td_handle handle,
		     const struct td_session_info *info, struct td_udp *udp, int fd)
{
	struct td_tap *tap = (struct td_tap *)dp;
	struct td_tap_tunnel *t;
	int err = take(tap, handle, info, udp, &t);

	if (err < 0) {
		close(fd);
		return err;
	}
	t->fd = fd;
	err = adopt(tap, t, info->mtu);
	if (err < 0) {
		close(fd);
		release(tap, t);
	}
	return err;
}

static int set_peer(struct td_tap *tap, struct td_tap_tunnel *t, const struct td_flow *flow)
{
	const struct td_tap_tunnel *other = td_tap_find(tap, flow);
	struct td_port *port = td_ports_find(&tap->dp, flow);

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
	struct td_tunnel *t = td_backend_begin(dp, handle, sequence);

	if (t)
		td_backend_end(t, set_peer((struct td_tap *)dp, (struct td_tap_tunnel *)t, flow));
}

static void tap_destroy(struct td_datapath *dp, struct td_handle handle, uint32_t sequence)
{
	struct td_tunnel *t = td_backend_begin(dp, handle, sequence);

	if (t)
		leave((struct td_tap *)dp, (struct td_tap_tunnel *)t, 0);
}

static int tap_keep_fd(struct td_datapath *dp, struct td_handle handle)
{
	const struct td_tap_tunnel *t = get(dp, handle);

	return t && t->live ? t->fd : -1;
}

static void tap_count(struct td_datapath *dp)
{
	for (uint32_t i = 0; i < td_backend_places(dp); i++) {
		const struct td_tap_tunnel *t = tunnel_at((struct td_tap *)dp, i);

		if (t->base.handle.generation != 0)
			dp->host.counted(dp->host.ctx, t->base.handle, &t->stats);
	}
}

/* It looks whose flow the packet came on. */
static bool tap_shares_session_id(const struct td_datapath *dp)
{
	(void)dp;
	return false;
}

/* Wherever its descriptor is. */
static void drop(struct td_tap *tap, struct td_tap_tunnel *t)
{
	const struct td_task *task = &t->base.task;

	stop(tap, t);
	if (task->job.lane == TD_LANE_DESTROY && !t->base.busy)
		td_jobs_removed(tap->dp.jobs);
	if (t->fd >= 0)
		close(t->fd);
	else if (task->fd >= 0)
		close(task->fd);
	t->base.handle = TD_NO_HANDLE;
}

static void tap_close(struct td_datapath *dp)
{
	struct td_tap *tap = (struct td_tap *)dp;

	td_backend_recall(dp);
	for (uint32_t i = 0; i < td_backend_places(dp); i++) {
		struct td_tap_tunnel *t = tunnel_at(tap, i);

		if (t->base.handle.generation != 0)
			drop(tap, t);
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
	if (err < 0 && TD_WITH_BROKER)
		tap_close(*dp);
	return err;
}

const struct td_datapath_ops td_datapath_tap = {
	.name = "tap",
	.probe = td_tap_probe,
	.open = tap_open,
	.close = TD_FOR_BROKER(tap_close),
	.listen = td_ports_listen,
	.forget = td_ports_forget,
	.create = tap_create,
	.adopt = TD_FOR_BROKER(tap_adopt),
	.set_mtu = td_backend_set_mtu,
	.set_rate = TD_FOR_BROKER(td_backend_set_rate),
	.set_peer = TD_FOR_BROKER(tap_set_peer),
	.destroy = tap_destroy,
	.send = td_backend_send,
	.keep_fd = TD_FOR_BROKER(tap_keep_fd),
	.count = tap_count,
	.shares_session_id = TD_FOR_BROKER(tap_shares_session_id),
	.counters = TD_FOR_BROKER(td_backend_counters),
};
