/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "datapath/backend.h"

#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/build.h"
#include "base/text.h"

int td_backend_new(struct td_datapath **result, const struct td_datapath_setup *setup, size_t size,
		   size_t tunnel_size)
{
	struct td_datapath *dp = calloc(1, size);
	int err;

	if (!dp)
		return -ENOMEM;
	dp->loop = setup->loop;
	dp->host = setup->host;
	dp->max_tunnels = setup->max_tunnels;
	dp->jobs = setup->jobs;
	dp->count_jobs = setup->count_jobs;
	dp->link_up = setup->link_up;
	dp->tunnel_size = tunnel_size;
	dp->tunnels = calloc(setup->max_tunnels, tunnel_size);
	err = td_rtnl_open(&dp->rtnl);
	if (!dp->tunnels)
		err = -ENOMEM;
	if (TD_WITH_BROKER && err == 0)
		td_bridges_init(&dp->bridges, setup->bridging, &dp->rtnl);
	if (err < 0 && TD_WITH_BROKER)
		td_backend_free(dp);
	else
		*result = dp;
	return err;
}

void td_backend_free(struct td_datapath *dp)
{
	td_ports_close(dp);
	td_rtnl_close(&dp->rtnl);
	free(dp->tunnels);
	free(dp);
}

struct td_tunnel *td_backend_place(const struct td_datapath *dp, uint32_t number)
{
	td_assert(number < td_backend_places(dp));
	return (struct td_tunnel *)((char *)dp->tunnels + number * dp->tunnel_size);
}

struct td_tunnel *td_backend_get(const struct td_datapath *dp, struct td_handle handle)
{
	struct td_tunnel *t;

	if (handle.generation == 0)
		return NULL;
	t = td_backend_place(dp, handle.index);
	return td_handle_equal(t->handle, handle) ? t : NULL;
}

int td_backend_take(struct td_datapath *dp, struct td_handle handle,
		    const struct td_session_info *info, struct td_tunnel **tunnel)
{
	struct td_tunnel *t = td_backend_place(dp, handle.index);

	td_assert(handle.generation != 0);
	if (t->handle.generation != 0)
		return -EADDRINUSE;
	if (!td_ifname_valid(info->ifname))
		return -EINVAL;
	memset(t, 0, dp->tunnel_size);
	t->handle = handle;
	t->info = td_tunnel_info_of(info);
	t->task.dp = dp;
	t->task.fd = -1;
	*tunnel = t;
	return 0;
}

void td_backend_done(struct td_datapath *dp, struct td_handle handle, uint32_t sequence, int err)
{
	dp->host.done(dp->host.ctx, handle, sequence, err);
}

struct td_tunnel *td_backend_begin(struct td_datapath *dp, struct td_handle handle,
				   uint32_t sequence)
{
	struct td_tunnel *t = td_backend_get(dp, handle);

	if (!t || (TD_WITH_BROKER && t->pending)) {
		td_backend_done(dp, handle, sequence, t ? -EBUSY : -ENODEV);
		return NULL;
	}
	t->pending = true;
	t->sequence = sequence;
	return t;
}

void td_backend_end(struct td_tunnel *t, int err)
{
	t->pending = false;
	td_backend_done(t->task.dp, t->handle, t->sequence, err);
}

struct td_tunnel *td_backend_tunnel(struct td_job *job)
{
	return (struct td_tunnel *)(void *)((char *)job - offsetof(struct td_tunnel, task.job));
}

static void ended(struct td_job *job)
{
	struct td_tunnel *t = td_backend_tunnel(job);

	t->busy = false;
	t->then(t);
}

void td_backend_start(struct td_tunnel *t, enum td_lane lane, void (*run)(struct td_job *job),
		      void (*then)(struct td_tunnel *t))
{
	td_assert(!t->busy);
	t->busy = true;
	t->then = then;
	t->task.job.lane = lane;
	t->task.job.run = run;
	t->task.job.done = ended;
	td_job_start(t->task.dp->jobs, &t->task.job);
}

void td_backend_recall(struct td_datapath *dp)
{
	for (uint32_t i = 0; TD_WITH_BROKER && i < dp->max_tunnels; i++) {
		struct td_tunnel *t = td_backend_place(dp, i);

		if (t->busy)
			t->busy = !td_job_recall(dp->jobs, &t->task.job);
	}
}

int td_backend_prepare(struct td_task *task, const struct td_tunnel_info *info)
{
	struct td_datapath *dp = task->dp;
	int err;

	task->ifindex = td_rtnl_ifindex(&dp->rtnl, info->ifname);
	if (task->ifindex == 0)
		return -ENODEV;
	if (dp->link_up && !(TD_WITH_BROKER && dp->bridges.bridging))
		return td_rtnl_start(&dp->rtnl, task->ifindex, info->mtu);
	err = td_rtnl_set_mtu(&dp->rtnl, task->ifindex, info->mtu);
	if (TD_WITH_BROKER && err == 0 && dp->bridges.bridging)
		err = td_bridges_join(&dp->bridges, &dp->rtnl, task->ifindex, info->mtu);
	if (err == 0 && dp->link_up)
		err = td_rtnl_set_state(&dp->rtnl, task->ifindex, true);
	return err;
}

static void set_mtu(struct td_job *job)
{
	struct td_task *task = &td_backend_tunnel(job)->task;
	struct td_datapath *dp = task->dp;

	if (TD_WITH_BROKER && dp->bridges.bridging)
		task->err = td_bridges_set_mtu(&dp->bridges, &dp->rtnl, task->ifindex, task->value);
	else
		task->err = td_rtnl_set_mtu(&dp->rtnl, task->ifindex, task->value);
}

static void set_rate(struct td_job *job)
{
	struct td_task *task = &td_backend_tunnel(job)->task;

	task->err = td_rtnl_set_rate(&task->dp->rtnl, task->ifindex, task->value);
}

static void changed(struct td_tunnel *t)
{
	td_backend_end(t, t->task.err);
}

static void change(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
		   void (*run)(struct td_job *job), uint32_t value)
{
	struct td_tunnel *t = td_backend_begin(dp, handle, sequence);

	if (!t)
		return;
	t->task.value = value;
	td_backend_run(t, TD_LANE_CHANGE, run, changed);
}

void td_backend_set_mtu(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
			uint16_t mtu)
{
	change(dp, handle, sequence, set_mtu, mtu);
}

void td_backend_set_rate(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
			 uint32_t rate_kbps)
{
	change(dp, handle, sequence, set_rate, rate_kbps);
}

int td_backend_send(struct td_datapath *dp, struct td_handle handle, const struct td_flow *flow,
		    const uint8_t *bytes, size_t size)
{
	const struct td_tunnel *t = td_backend_get(dp, handle);
	struct td_port *port = t && t->port ? t->port : td_ports_find(dp, flow);

	return port ? td_port_send_control(port, flow, bytes, size) : -ENOTCONN;
}

const struct td_datapath_counters *td_backend_counters(const struct td_datapath *dp)
{
	return &dp->counters;
}
