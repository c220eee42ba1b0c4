/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Tunnels that cannot get into each other.
 *
 * Up to Linux 6.10 a data packet belongs to the tunnel whose socket it came on. Since 6.11 its
 * session id alone finds the session, and any client that is connected can write into the session of
 * another one. Two things prevent it: cookies, where the client knows them; and ids that collide,
 * for then the kernel looks at the socket again. So sessions without cookies all have the id 1
 * there, and one that is always there and never used, the guard, makes the first of them collide.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "datapath/kernel.h"

bool td_kernel_shares_session_id(const struct td_datapath *dp)
{
	return ((const struct td_kernel *)dp)->guard.tunnel_id != 0;
}

static int make(struct td_kernel *k, int fd)
{
	struct td_tunnel_info *info = &k->guard;
	int err;

	info->session_id = info->peer_session_id = 1;
	err = td_kernel_make_nameless(&k->l2tp, info, fd);
	if (err < 0) {
		info->tunnel_id = 0;
		return err;
	}
	snprintf(info->ifname, sizeof(info->ifname), "tdguard%08x", (unsigned)info->tunnel_id);
	return td_l2tp_session_create(&k->l2tp, info);
}

int td_kernel_guard(struct td_kernel *k)
{
	int err;

	/* Who has one tunnel has nobody to guard it from. */
	if (k->dp.max_tunnels == 1 || !td_kernel_finds_by_id_alone(&k->l2tp))
		return 0;
	k->guard_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	err = k->guard_fd < 0 ? -errno : make(k, k->guard_fd);
	if (err < 0)
		td_kernel_unguard(k);
	return err;
}

void td_kernel_unguard(struct td_kernel *k)
{
	if (k->guard.tunnel_id != 0)
		(void)!td_l2tp_tunnel_delete(&k->l2tp, k->guard.tunnel_id);
	if (k->guard_fd >= 0)
		close(k->guard_fd);
	k->guard.tunnel_id = 0;
	k->guard_fd = -1;
}
