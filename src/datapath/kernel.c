/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The kernel back-end: the kernel's own L2TP (l2tp_eth) moves the data; what is left to do here is
 * to make and remove tunnels, and to read the control datagrams that it passes up.
 *
 * The kernel wants a connected UDP socket for each tunnel and sends and receives its data there
 * (kernel_socket.c). That takes what the peer sends, control included, and lives as long as the
 * tunnel.
 *
 * A socket filter drops all but control of what the kernel passes up: data of sessions that are
 * no more.
 *
 * Whatever takes the kernel's locks is a task of the jobs' thread: the functions between "in the
 * thread" and "in the loop". In case of an error create() undoes what it did as destroy() would, and
 * reports it when that is done.
 */
#include "datapath/kernel.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/build.h"

static struct td_kernel_tunnel *get(const struct td_datapath *dp, struct td_handle handle)
{
	return (struct td_kernel_tunnel *)td_backend_get(dp, handle);
}

/* --- in the thread --- */

static int make_interface(struct td_kernel *k, const struct td_tunnel_info *info,
			  struct td_task *task)
{
	int err = td_l2tp_session_create(&k->l2tp, info);

	/* It does not say whether it was made. */
	if (err == -ENOBUFS)
		task->ifindex = td_rtnl_ifindex(&k->dp.rtnl, info->ifname);
	return err < 0 ? err : td_backend_prepare(task, info);
}

static void make(struct td_job *job)
{
	struct td_tunnel *t = td_backend_tunnel(job);
	struct td_kernel *k = (struct td_kernel *)t->task.dp;

	t->task.err = td_l2tp_tunnel_create(&k->l2tp, &t->info, t->task.fd);
	t->task.made = t->task.err == 0 || t->task.err == -ENOBUFS;
	if (t->task.err == 0)
		t->task.err = make_interface(k, &t->info, &t->task);
	/* The last step, so that the peer is not told before. */
	if (TD_WITH_BROKER && t->task.err == 0)
		t->task.err = td_kernel_divert(t);
}

/* --- in the loop --- */

static void made(struct td_tunnel *base)
{
	struct td_kernel *k = (struct td_kernel *)base->task.dp;
	struct td_kernel_tunnel *t = (struct td_kernel_tunnel *)base;
	int err = base->task.err;

	if (!base->task.made) {
		td_kernel_detach(t);
		td_kernel_finish(k, t, err);
		return;
	}
	/* What was said of the interface until now had no listener. */
	if (base->task.ifindex != 0 &&
	    (!TD_WITH_BROKER || td_rtnl_exists(&k->dp.rtnl, base->task.ifindex)))
		td_kernel_set_ifindex(k, t, base->task.ifindex);
	else if (err == 0)
		err = -ENODEV;
	if (err < 0) {
		td_kernel_leave(k, t, err);
		return;
	}
	td_kernel_enter(k, t, TD_KERNEL_LIVE);
	td_backend_end(base, 0);
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
	t->base.pending = true;
	t->base.sequence = sequence;
	if (TD_WITH_BROKER) /* its socket may take what others ask for */
		td_crowd_stir(&k->crowd);
	td_kernel_enter(k, t, TD_KERNEL_MAKING);
	/* The kernel would say so itself, but then the client's socket is used up. For a broker that is
	 * not worth asking: the kernel looks for modules of every name that is not there. */
	err = udp->connected && td_rtnl_ifindex(&dp->rtnl, info->ifname) != 0
		      ? -EEXIST
		      : td_kernel_attach(k, t, &info->flow, udp);
	if (err < 0) {
		td_kernel_detach(t);
		td_kernel_finish(k, t, err);
		return;
	}
	t->base.task.fd = t->base.port->udp->fd;
	td_backend_run(&t->base, TD_LANE_CREATE, make, made);
}

static int adopt(struct td_kernel *k, struct td_kernel_tunnel *t,
		 const struct td_session_info *info, int fd)
{
	int err = td_kernel_attach_again(k, t, &info->flow, fd);

	if (err == 0)
		err = td_l2tp_session_get(&k->l2tp, info->tunnel_id, info->session_id);
	if (err < 0)
		return err;
	/* The session is there. If its interface is not, a hook has renamed it, or moved it elsewhere. */
	td_kernel_set_ifindex(k, t, td_rtnl_ifindex(&k->dp.rtnl, info->ifname));
	return 0;
}

static int kernel_adopt(struct td_datapath *dp, struct td_handle handle,
			const struct td_session_info *info, struct td_udp *udp, int fd)
{
	struct td_kernel *k = (struct td_kernel *)dp;
	struct td_kernel_tunnel *t;
	int err = take(dp, handle, info, &t);

	(void)udp;
	if (err < 0) {
		close(fd);
		return err;
	}
	err = adopt(k, t, info, fd);
	if (err < 0) {
		td_kernel_undivert(&t->base);
		td_kernel_detach(t);
		td_kernel_set_ifindex(k, t, 0);
		t->base.handle = TD_NO_HANDLE;
		return err;
	}
	td_kernel_enter(k, t, TD_KERNEL_LIVE);
	return 0;
}

static void kernel_destroy(struct td_datapath *dp, struct td_handle handle, uint32_t sequence)
{
	struct td_kernel_tunnel *t = get(dp, handle);

	if (t && (t->state == TD_KERNEL_REMOVING || t->state == TD_KERNEL_LEAVING))
		td_backend_done(dp, handle, sequence, -EALREADY);
	else if (td_backend_begin(dp, handle, sequence))
		td_kernel_leave((struct td_kernel *)dp, t, 0);
}

/* --- while it lives --- */

/* The kernel follows the socket, which keeps its own address; what is diverted to it would not. */
static void kernel_set_peer(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
			    const struct td_flow *flow)
{
	struct td_tunnel *t = td_backend_begin(dp, handle, sequence);

	int err = -ENODEV;

	if (!t)
		return;
	if (t->task.rewritten)
		err = -EOPNOTSUPP;
	else if (t->port)
		err = td_udp_move(t->port->udp, flow);
	td_backend_end(t, err);
}

static int kernel_send(struct td_datapath *dp, struct td_handle handle, const struct td_flow *flow,
		       const uint8_t *bytes, size_t size)
{
	struct td_kernel *k = (struct td_kernel *)dp;

	if (TD_WITH_BROKER && td_port_is_probe(size)) /* its answer is timed */
		td_crowd_stir(&k->crowd);
	return td_backend_send(dp, TD_WITH_BROKER && k->rewrite ? TD_NO_HANDLE : handle, flow,
			       bytes, size);
}

static int kernel_keep_fd(struct td_datapath *dp, struct td_handle handle)
{
	const struct td_kernel_tunnel *t = get(dp, handle);

	return t && t->state == TD_KERNEL_LIVE ? t->base.port->udp->fd : -1;
}

/* --- the whole --- */

/* Data that the kernel did not take, on a listener: no tunnel has that flow. */
static void data(struct td_datapath *dp, const struct td_datagram *datagram)
{
	uint32_t session_id;

	if (td_l2tp_parse(datagram->bytes, datagram->size, 0, &session_id) == 0)
		dp->counters.rx_malformed++;
	else
		dp->counters.rx_unknown_flow++;
}

/* Is it there, and nothing was done yet to delete it? After all tasks were taken back. */
static bool remains(const struct td_kernel_tunnel *t)
{
	if (!TD_WITH_BROKER) /* no task was ever taken back */
		return t->state == TD_KERNEL_LIVE;
	switch (t->state) {
	case TD_KERNEL_LIVE:
		return true;
	case TD_KERNEL_MAKING:
		return !t->base.busy && t->base.task.made;
	case TD_KERNEL_REMOVING:
		return t->base.busy;
	case TD_KERNEL_FREE:
	case TD_KERNEL_LOST:
	case TD_KERNEL_LEAVING:
		break;
	}
	return false;
}

static void kernel_close(struct td_datapath *dp)
{
	struct td_kernel *k = (struct td_kernel *)dp;

	td_backend_recall(dp);
	if (TD_WITH_BROKER) {
		td_kernel_count_close(k);
		td_kernel_unguard(k);
	}
	for (uint32_t i = 0; i < dp->max_tunnels; i++) {
		struct td_kernel_tunnel *t = td_kernel_at(k, i);

		if (!t)
			continue;
		if (remains(t))
			(void)!td_l2tp_tunnel_delete(&k->l2tp, t->base.info.tunnel_id);
		if (t->state == TD_KERNEL_LEAVING ||
		    (t->state == TD_KERNEL_REMOVING && !t->base.busy))
			td_jobs_removed(dp->jobs);
		td_kernel_detach(t);
	}
	td_kernel_unwatch(k);
	td_crowd_fini(&k->crowd);
	if (k->filter >= 0)
		close(k->filter);
	td_l2tp_close(&k->l2tp);
	free(k->cells);
	td_backend_free(dp);
}

static int make_index(struct td_kernel *k)
{
	const uint32_t cells = td_index_cells(k->dp.max_tunnels);

	k->cells = calloc(cells, sizeof(*k->cells));
	if (!k->cells)
		return -ENOMEM;
	td_index_init(&k->by_ifindex, k->cells, cells);
	return 0;
}

static int open_kernel(struct td_kernel *k)
{
	int err = TD_WITH_BROKER ? make_index(k) : 0;

	if (err == 0 && TD_WITH_BROKER)
		err = td_kernel_count_open(k);
	if (err == 0)
		err = td_l2tp_open(&k->l2tp);
	if (err == 0 && TD_WITH_BROKER)
		err = td_crowd_init(&k->crowd, k->dp.loop, TD_CROWD_REST);
	if (err == 0 && TD_WITH_BROKER)
		err = td_kernel_guard(k);
	return err < 0 ? err : td_kernel_watch(k);
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
	k->rewrite = setup->rewrite;
	k->timer.fd = k->guard_fd = k->netlink.fd = k->l2tp.netlink.fd = -1;
	if (TD_WITH_BROKER)
		k->crowd = TD_CROWD_NONE;
	k->filter = TD_WITH_BROKER ? td_kernel_load_filter() : -1;
	k->unseen = setup->max_tunnels;
	td_list_init(&k->leaving);
	err = open_kernel(k);
	if (err < 0 && TD_WITH_BROKER)
		kernel_close(*dp);
	return err;
}

const struct td_datapath_ops td_datapath_kernel = {
	.name = "kernel",
	.probe = td_kernel_probe,
	.open = kernel_open,
	.close = TD_FOR_BROKER(kernel_close),
	.listen = td_ports_listen,
	.forget = td_ports_forget,
	.create = kernel_create,
	.adopt = TD_FOR_BROKER(kernel_adopt),
	.set_mtu = td_backend_set_mtu,
	.set_rate = TD_FOR_BROKER(td_backend_set_rate),
	.set_peer = TD_FOR_BROKER(kernel_set_peer),
	.destroy = kernel_destroy,
	.send = kernel_send,
	.keep_fd = TD_FOR_BROKER(kernel_keep_fd),
	.count = td_kernel_count,
	.shares_session_id = TD_FOR_BROKER(td_kernel_shares_session_id),
	.counters = TD_FOR_BROKER(td_backend_counters),
};
