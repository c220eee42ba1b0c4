/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The kernel's L2TP over generic netlink: family "l2tp", L2TPv3 over UDP, Ethernet pseudowires, a
 * cookie of 8 bytes or none, the default (4-byte) L2-specific sublayer. All calls are synchronous and return 0 or
 * -errno as the kernel answered; they are serialised by the kernel with all other users of generic
 * netlink.
 *
 * What the kernel does not say by itself:
 *	-EEXIST   the tunnel's id, the session's id or the interface's name is taken, or its
 *		  previous owner is still being removed;
 *	-EBUSY    the socket is, or (before Linux 6.12) was, a tunnel;
 *	-ENODEV   no such tunnel or session;
 *	-EPROTONOSUPPORT  no module for Ethernet pseudowires;
 *	-ENOBUFS  it may have been made all the same: somebody's queue of notifications is full.
 */
#ifndef TD_DATAPATH_L2TP_GENL_H
#define TD_DATAPATH_L2TP_GENL_H

#include "datapath/tunnel_info.h"
#include "sys/netlink.h"

struct td_l2tp {
	struct td_netlink netlink;
	uint16_t family;
	_Alignas(struct nlmsghdr) char request[TD_NETLINK_REQUEST];
};

/* Has the kernel load its module. -ENOENT: it has none. */
int td_l2tp_open(struct td_l2tp *l2tp) __attribute__((warn_unused_result));
void td_l2tp_close(struct td_l2tp *l2tp);

/* fd: of a UDP socket. The tunnel lives as long as that socket, or until it is deleted. */
int td_l2tp_tunnel_create(struct td_l2tp *l2tp, const struct td_tunnel_info *info, int fd)
	__attribute__((warn_unused_result));
/* Makes the interface. */
int td_l2tp_session_create(struct td_l2tp *l2tp, const struct td_tunnel_info *info)
	__attribute__((warn_unused_result));
/* With its session and interface; they go some time after this returned. */
int td_l2tp_tunnel_delete(struct td_l2tp *l2tp, uint32_t tunnel_id)
	__attribute__((warn_unused_result));
/* Is there (still) one of that id? 0 or -ENODEV. */
int td_l2tp_tunnel_get(struct td_l2tp *l2tp, uint32_t tunnel_id)
	__attribute__((warn_unused_result));
/* Does that tunnel have this session? 0 or -ENODEV. */
int td_l2tp_session_get(struct td_l2tp *l2tp, uint32_t tunnel_id, uint32_t session_id)
	__attribute__((warn_unused_result));

/*
 * The messages, for the tests: built in buf, of TD_NETLINK_REQUEST bytes, without a sequence
 * number; answers parsed as mnl_cb_run() calls it.
 */
struct nlmsghdr *td_l2tp_build_get_family(void *buf);
struct nlmsghdr *td_l2tp_build_tunnel_create(void *buf, uint16_t family,
					     const struct td_tunnel_info *info, int fd);
struct nlmsghdr *td_l2tp_build_session_create(void *buf, uint16_t family,
					      const struct td_tunnel_info *info);
struct nlmsghdr *td_l2tp_build_tunnel_delete(void *buf, uint16_t family, uint32_t tunnel_id);
struct nlmsghdr *td_l2tp_build_tunnel_get(void *buf, uint16_t family, uint32_t tunnel_id);
struct nlmsghdr *td_l2tp_build_session_get(void *buf, uint16_t family, uint32_t tunnel_id,
					   uint32_t session_id);
int td_l2tp_parse_family(const struct nlmsghdr *nlh, void *family);

#endif
