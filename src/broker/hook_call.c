/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "broker/hook_call.h"

#include <string.h>

#include "base/text.h"

/* Also that no script takes it for an option. */
static bool sound_name(const char *ifname)
{
	return memchr(ifname, '\0', TD_IFNAME_SIZE) && td_ifname_valid(ifname) && ifname[0] != '-';
}

static bool sound(const struct td_session_info *session, bool has_interface)
{
	return session->uuid[session->uuid_len] == '\0' &&
	       td_uuid_valid(session->uuid, session->uuid_len) &&
	       (!has_interface || sound_name(session->ifname));
}

static const char *number(struct td_hook_call *call, unsigned which, uint32_t value)
{
	(void)td_text_u32(call->numbers[which], value);
	return call->numbers[which];
}

/* tunnel_id session_id interface mtu endpoint_ip endpoint_port local_port uuid local_broker_port */
static void args_of_tunnel(struct td_hook_call *call, const struct td_session_info *s)
{
	const char **arg = call->args;

	*arg++ = number(call, 0, s->tunnel_id);
	*arg++ = number(call, 1, s->session_id);
	*arg++ = s->ifname;
	*arg++ = number(call, 2, s->mtu);
	*arg++ = call->address;
	*arg++ = number(call, 3, s->flow.peer.port);
	*arg++ = number(call, 4, s->flow.local.port);
	*arg++ = s->uuid;
	*arg++ = number(call, 4, s->flow.local.port);
}

/* tunnel_id session_id interface old_mtu new_mtu uuid */
static void args_of_mtu(struct td_hook_call *call, const struct td_session_info *s,
			uint16_t old_mtu)
{
	const char **arg = call->args;

	*arg++ = number(call, 0, s->tunnel_id);
	*arg++ = number(call, 1, s->session_id);
	*arg++ = s->ifname;
	*arg++ = number(call, 2, old_mtu);
	*arg++ = number(call, 3, s->mtu);
	*arg++ = s->uuid;
}

/* ip port uuid */
static void args_of_limit(struct td_hook_call *call, const struct td_session_info *s)
{
	call->args[0] = call->address;
	call->args[1] = number(call, 0, s->flow.peer.port);
	call->args[2] = s->uuid;
}

bool td_hook_call_make(struct td_hook_call *call, enum td_hook hook,
		       const struct td_session_info *session, uint16_t old_mtu)
{
	memset(call, 0, sizeof(*call));
	if (!sound(session, hook != TD_HOOK_RATE_LIMITED))
		return false;
	td_addr_text(call->address, &session->flow.peer, false);
	switch (hook) {
	case TD_HOOK_UP:
	case TD_HOOK_PRE_DOWN:
	case TD_HOOK_DOWN:
		args_of_tunnel(call, session);
		return true;
	case TD_HOOK_MTU_CHANGED:
		args_of_mtu(call, session, old_mtu);
		return true;
	case TD_HOOK_RATE_LIMITED:
		args_of_limit(call, session);
		return true;
	case TD_HOOK_COUNT:
		break;
	}
	return false;
}
