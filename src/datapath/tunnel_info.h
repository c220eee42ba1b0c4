/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What a back-end keeps of a session: thousands of them should not keep UUIDs for nobody. */
#ifndef TD_DATAPATH_TUNNEL_INFO_H
#define TD_DATAPATH_TUNNEL_INFO_H

#include <string.h>

#include "core/session_info.h"

/* The fields are those of struct td_session_info. */
struct td_tunnel_info {
	uint32_t tunnel_id, session_id;
	uint32_t peer_tunnel_id, peer_session_id;
	uint16_t mtu;
	char ifname[TD_IFNAME_SIZE];
};

static inline struct td_tunnel_info td_tunnel_info_of(const struct td_session_info *session)
{
	struct td_tunnel_info info = {
		.tunnel_id = session->tunnel_id,
		.session_id = session->session_id,
		.peer_tunnel_id = session->peer_tunnel_id,
		.peer_session_id = session->peer_session_id,
		.mtu = session->mtu,
	};

	memcpy(info.ifname, session->ifname, sizeof(info.ifname));
	return info;
}

#endif
