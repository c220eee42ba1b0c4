/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A session as a record: what a fresh engine needs to go on with it, for upgrades and after a
 * crash of the worker. A record comes from the parent process, but may be from another version or
 * damaged: it is read like any input. What follows from configuration and slot is not in it.
 *
 * A session in CREATING or ABANDONED is not exported: what its data path made dies with the
 * process, and its client asks again.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/text.h"
#include "core/engine_impl.h"
#include "core/l2tp.h"

static void write_addr(struct td_writer *w, const struct td_addr *addr)
{
	td_write_u8(w, addr->family);
	td_write_bytes(w, addr->ip, sizeof(addr->ip));
	td_write_u32(w, addr->scope);
	td_write_u16(w, addr->port);
}

static struct td_addr read_addr(struct td_reader *r)
{
	struct td_addr addr = { .family = td_read_u8(r) };

	td_read_bytes(r, addr.ip, sizeof(addr.ip));
	addr.scope = td_read_u32(r);
	addr.port = td_read_u16(r);
	return addr;
}

size_t td_engine_export(const struct td_engine *e, struct td_handle handle,
			uint8_t to[static TD_RECORD_MAX], struct td_time now)
{
	const struct session *s = td_session_get(e, handle);
	struct td_writer w = td_writer_init(to, TD_RECORD_MAX);

	(void)now;
	if (!s || s->state == SESSION_CREATING || s->state == SESSION_ABANDONED)
		return 0;
	td_write_u8(&w, TD_RECORD_VERSION);
	td_write_u8(&w, (uint8_t)s->state);
	td_write_u32(&w, handle.index);
	td_write_u32(&w, handle.generation);
	td_write_u32(&w, s->info.tunnel_id);
	td_write_u32(&w, s->info.session_id);
	write_addr(&w, &s->info.flow.local);
	write_addr(&w, &s->info.flow.peer);
	td_write_u32(&w, s->asked_tunnel_id);
	td_write_u32(&w, s->asked_features);
	td_write_u32(&w, s->info.features);
	td_write_bytes(&w, s->info.cookie, sizeof(s->info.cookie));
	td_write_bytes(&w, s->info.peer_cookie, sizeof(s->info.peer_cookie));
	td_write_u16(&w, s->mtu_told);
	td_write_u16(&w, s->pmtu.measured_size);
	td_write_u16(&w, s->pmtu.peer_mtu);
	td_write_u32(&w, s->rate_wanted);
	td_write_u16(&w, s->keepalives);
	td_write_u32(&w, s->sequence);
	td_write_u32(&w, s->hook_sequence);
	td_write_u8(&w, (uint8_t)s->hook_running);
	td_write_u8(&w, s->hooks_due);
	td_write_u8(&w, s->info.uuid_len);
	td_write_bytes(&w, s->info.uuid, s->info.uuid_len);
	return w.failed ? 0 : w.used;
}

/* Reads into a slot image; 0 or -EINVAL. */
static int parse(struct session *s, struct td_handle *handle, const uint8_t *record, size_t size)
{
	struct td_reader r = td_reader_init(record, size);
	struct td_session_info *info = &s->info;

	if (td_read_u8(&r) != TD_RECORD_VERSION)
		return -EINVAL;
	s->state = td_read_u8(&r);
	handle->index = td_read_u32(&r);
	handle->generation = s->generation = td_read_u32(&r);
	info->tunnel_id = td_read_u32(&r);
	info->session_id = td_read_u32(&r);
	info->flow.local = read_addr(&r);
	info->flow.peer = read_addr(&r);
	s->asked_tunnel_id = td_read_u32(&r);
	s->asked_features = td_read_u32(&r);
	info->features = td_read_u32(&r);
	td_read_bytes(&r, info->cookie, sizeof(info->cookie));
	td_read_bytes(&r, info->peer_cookie, sizeof(info->peer_cookie));
	info->mtu = s->mtu_told = td_read_u16(&r);
	s->pmtu.measured_size = td_read_u16(&r);
	s->pmtu.peer_mtu = td_read_u16(&r);
	s->rate_wanted = td_read_u32(&r); /* and rate_asked 0: who knows whether it was set */
	s->keepalives = td_read_u16(&r);
	s->sequence = td_read_u32(&r);
	s->hook_sequence = td_read_u32(&r);
	s->hook_running = td_read_u8(&r);
	s->hooks_due = td_read_u8(&r);
	info->uuid_len = td_read_u8(&r);
	td_read_bytes(&r, info->uuid, info->uuid_len);
	return r.failed || r.left != 0 ? -EINVAL : 0;
}

static bool known_family(const struct td_addr *addr)
{
	return addr->family == TD_FAMILY_IPV4 || addr->family == TD_FAMILY_IPV6;
}

/* Which hooks can be due in this state? Another one would break their order. */
static uint8_t possible_hooks(enum session_state state)
{
	if (state == SESSION_UP)
		return DUE(TD_HOOK_UP) | DUE(TD_HOOK_MTU_CHANGED);
	return state == SESSION_CLOSING ? DUE(TD_HOOK_PRE_DOWN) | DUE(TD_HOOK_DOWN)
					: DUE(TD_HOOK_DOWN);
}

static bool plausible(const struct td_engine *e, const struct session *s, struct td_handle handle)
{
	const bool known_state = s->state == SESSION_UP || s->state == SESSION_CLOSING ||
				 s->state == SESSION_DESTROYING || s->state == SESSION_DOWN;

	return known_state && handle.index < e->config.max_tunnels && handle.generation != 0 &&
	       s->info.tunnel_id == e->config.tunnel_id_base + handle.index &&
	       known_family(&s->info.flow.local) && known_family(&s->info.flow.peer) &&
	       td_session_negotiated(s) && td_uuid_valid(s->info.uuid, s->info.uuid_len) &&
	       s->info.mtu >= TD_MTU_MIN && s->hook_running <= TD_HOOK_MTU_CHANGED &&
	       s->hook_sequence <= s->sequence && s->sequence <= INT32_MAX &&
	       !(s->hooks_due & ~possible_hooks(s->state));
}

int td_engine_adopt(struct td_engine *e, const uint8_t *record, size_t size,
		    struct td_handle *handle, struct td_time now)
{
	struct session image = { 0 };
	struct session *s;

	if (parse(&image, handle, record, size) != 0 || !plausible(e, &image, *handle))
		return -EINVAL;
	s = &e->sessions[handle->index];
	if (!td_session_slot_free(s) ||
	    (image.state != SESSION_DOWN && td_session_by_flow(e, &image.info.flow)) ||
	    (td_session_alive(&image) &&
	     td_session_by_uuid(e, image.info.uuid, image.info.uuid_len)))
		return -EEXIST;
	image.owner = s->owner;
	image.idle = s->idle;
	image.sending = s->sending;
	image.acting = s->acting;
	*s = image;
	td_session_resume(e, s, image.state, now);
	return 0;
}
