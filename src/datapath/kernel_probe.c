/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "datapath/kernel.h"
#include "sys/entropy.h"

#define TRIES 4

/* A throw-away tunnel under ids and a name that nobody has. Its socket has no address: there is
 * nobody whose packets it could take, and it works without any interface being up. */
static int try_tunnel(struct td_l2tp *l2tp, int fd)
{
	struct td_tunnel_info info = { .session_id = 1, .peer_session_id = 1 };
	int err;

	for (int i = 0; i < TRIES; i++) {
		err = td_entropy_get(&info.tunnel_id, sizeof(info.tunnel_id));
		if (err == 0)
			err = td_l2tp_tunnel_create(l2tp, &info, fd);
		if (err != -EEXIST)
			break;
	}
	if (err < 0)
		return err;
	snprintf(info.ifname, sizeof(info.ifname), "tdp%08x", (unsigned)info.tunnel_id);
	err = td_l2tp_session_create(l2tp, &info);
	/* The kernel removes it shortly after; should it not, then when the socket is closed. */
	(void)!td_l2tp_tunnel_delete(l2tp, info.tunnel_id);
	return err;
}

static int self_test(void)
{
	struct td_l2tp l2tp;
	int err = td_l2tp_open(&l2tp);
	int fd;

	if (err < 0)
		return err;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	err = fd < 0 ? -errno : try_tunnel(&l2tp, fd);
	if (fd >= 0)
		close(fd);
	td_l2tp_close(&l2tp);
	return err;
}

int td_kernel_probe(char *why, size_t size)
{
	int err = self_test();

	switch (-err) {
	case 0:
		break;
	case ENOENT:
	case EPROTONOSUPPORT:
		snprintf(why, size,
			 "kernel has no L2TP: load the module (modprobe l2tp_eth), on OpenWrt "
			 "install it (opkg install kmod-l2tp-eth)");
		break;
	case EPERM:
	case EACCES:
		snprintf(why, size,
			 "not permitted to make an L2TP tunnel: run as root (CAP_NET_ADMIN)");
		break;
	default:
		snprintf(why, size, "kernel's L2TP fails its self-test: %s (see dmesg)",
			 strerror(-err));
	}
	return err;
}
