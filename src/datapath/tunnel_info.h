/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What a back-end keeps of a session: thousands of them should not keep UUIDs for nobody. */
#ifndef TD_DATAPATH_TUNNEL_INFO_H
#define TD_DATAPATH_TUNNEL_INFO_H

#include <string.h>

#include "core/session_info.h"

/* The fields are those of struct td_session_info; cookie_size is 0 without TD_FEATURE_DATA_COOKIES. */
struct td_tunnel_info {
	uint32_t tunnel_id, session_id;
	uint32_t peer_tunnel_id, peer_session_id;
	uint8_t cookie[TD_DATA_COOKIE], peer_cookie[TD_DATA_COOKIE];
	uint16_t mtu;
	uint8_t cookie_size;
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
		.cookie_size = (uint8_t)td_session_cookie_size(session),
	};

	memcpy(info.cookie, session->cookie, sizeof(info.cookie));
	memcpy(info.peer_cookie, session->peer_cookie, sizeof(info.peer_cookie));
	memcpy(info.ifname, session->ifname, sizeof(info.ifname));
	return info;
}

#endif
