/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "datapath/kernel.h"
#include "sys/entropy.h"

#define TRIES 4

int td_kernel_make_nameless(struct td_l2tp *l2tp, struct td_tunnel_info *info, int fd)
{
	int err = 0;

	for (int i = 0; i < TRIES; i++) {
		err = td_entropy_get(&info->tunnel_id, sizeof(info->tunnel_id));
		if (err == 0 && info->tunnel_id != 0)
			err = td_l2tp_tunnel_create(l2tp, info, fd);
		if (err != -EEXIST)
			break;
	}
	return err;
}

/* A throw-away tunnel with so many sessions of one id, under names that nobody has. Its socket has
 * no address: there is nobody whose packets it could take, and it works without any interface being
 * up. */
static int try_tunnel(struct td_l2tp *l2tp, int fd, unsigned sessions)
{
	struct td_tunnel_info info = { 0 };
	int err = td_kernel_make_nameless(l2tp, &info, fd);

	if (err < 0)
		return err;
	info.session_id = info.peer_session_id = info.tunnel_id;
	for (unsigned i = 0; i < sessions && err == 0; i++) {
		snprintf(info.ifname, sizeof(info.ifname), "tdp%08x", (unsigned)info.tunnel_id + i);
		err = td_l2tp_session_create(l2tp, &info);
	}
	/* The kernel removes it shortly after; should it not, then when the socket is closed. */
	(void)!td_l2tp_tunnel_delete(l2tp, info.tunnel_id);
	return err;
}

static int try_sessions(struct td_l2tp *l2tp, unsigned count)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int err = fd < 0 ? -errno : try_tunnel(l2tp, fd, count);

	if (fd >= 0)
		close(fd);
	return err;
}

/* The same change of the kernel that made it look for the id alone made it accept this. */
bool td_kernel_finds_by_id_alone(struct td_l2tp *l2tp)
{
	return try_sessions(l2tp, 2) == 0;
}

static int self_test(void)
{
	struct td_l2tp l2tp;
	int err = td_l2tp_open(&l2tp);

	if (err < 0)
		return err;
	err = try_sessions(&l2tp, 1);
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
