/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "datapath/backend.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/text.h"

int td_backend_new(struct td_datapath **result, const struct td_datapath_setup *setup, size_t size,
		   size_t tunnel_size)
{
	struct td_datapath *dp = calloc(1, size);
	int err = -ENOMEM;

	if (!dp)
		return err;
	dp->loop = setup->loop;
	dp->host = setup->host;
	dp->max_tunnels = setup->max_tunnels;
	dp->tunnel_size = tunnel_size;
	dp->tunnels = calloc(setup->max_tunnels, tunnel_size);
	if (dp->tunnels)
		err = td_rtnl_open(&dp->rtnl);
	if (err < 0)
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
	td_assert(number < dp->max_tunnels);
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
	*tunnel = t;
	return 0;
}

void td_backend_done(struct td_datapath *dp, struct td_handle handle, uint32_t sequence, int err)
{
	dp->host.done(dp->host.ctx, handle, sequence, err);
}

void td_backend_set_mtu(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
			uint16_t mtu)
{
	const struct td_tunnel *t = td_backend_get(dp, handle);
	char ifname[IF_NAMESIZE]; /* it may have been renamed */
	int err = -ENODEV;

	if (t && if_indextoname(t->ifindex, ifname))
		err = td_rtnl_set_mtu(&dp->rtnl, ifname, mtu);
	td_backend_done(dp, handle, sequence, err);
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
