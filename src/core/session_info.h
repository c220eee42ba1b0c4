/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What the outside may know of a tunnel: the common vocabulary of core, data paths and programs. */
#ifndef TD_CORE_SESSION_INFO_H
#define TD_CORE_SESSION_INFO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "core/msg.h"

#define TD_IFNAME_SIZE 16

/* Names one life of a pool slot; a result that comes for an earlier life is recognised. */
struct td_handle {
	uint32_t index;
	uint32_t generation; /* 0: none */
};

static inline bool td_handle_equal(struct td_handle a, struct td_handle b)
{
	return a.index == b.index && a.generation == b.generation;
}

#define TD_NO_HANDLE ((struct td_handle){ 0, 0 })

struct td_session_info {
	struct td_flow flow;
	uint32_t tunnel_id;  /* this end's */
	uint32_t session_id; /* this end's: what arriving data packets carry */
	uint32_t peer_tunnel_id;
	uint32_t peer_session_id; /* what our data packets carry */
	uint32_t features;        /* shared by both ends */
	/* With TD_FEATURE_DATA_COOKIES: what arriving data packets carry, and what ours do. */
	uint8_t cookie[TD_DATA_COOKIE];
	uint8_t peer_cookie[TD_DATA_COOKIE];
	uint16_t mtu; /* of the interface, as last asked for */
	char ifname[TD_IFNAME_SIZE];
	uint8_t uuid_len;
	char uuid[TD_UUID_MAX + 1];
};

/* Bytes of the cookie in the header of its data packets, either way. */
static inline size_t td_session_cookie_size(const struct td_session_info *info)
{
	return info->features & TD_FEATURE_DATA_COOKIES ? TD_DATA_COOKIE : 0;
}

enum td_hook {
	TD_HOOK_UP,
	TD_HOOK_PRE_DOWN,
	TD_HOOK_DOWN,
	TD_HOOK_MTU_CHANGED,
	TD_HOOK_RATE_LIMITED, /* broker.connection-rate-limit */
	TD_HOOK_COUNT,
};

#endif
