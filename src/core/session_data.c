/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What a session's data packets look like and how many there are: ids, features and cookies of
 * docs/PROTOCOL.md section 3.5, counts of section 3.8.
 */
#include <sodium/crypto_shorthash.h>
#include <string.h>

#include "base/text.h"
#include "core/dataflow.h"
#include "core/engine_impl.h"
#include "core/l2tp.h"

#define COUNT_US TD_SECONDS(15)
#define ALL_FEATURES                                                                       \
	(TD_FEATURE_UNIQUE_SESSION_ID | TD_FEATURE_DATA_COOKIES | TD_FEATURE_DATA_COUNTS | \
	 TD_FEATURE_SPARSE_KEEPALIVES)

_Static_assert(TD_DATA_COOKIE == crypto_shorthash_BYTES, "the MAC is used as it is");

static void name_interface(struct td_session_info *info)
{
	char digits[11];
	size_t len = td_text_u32(digits, info->tunnel_id);

	memcpy(info->ifname, "l2tp", 4);
	memcpy(info->ifname + 4, digits, len);
	info->ifname[4 + len] = '-';
	memcpy(info->ifname + 5 + len, digits, td_text_u32(digits, info->session_id) + 1);
}

static uint32_t features_of(const struct td_engine *e)
{
	/* A fixed MTU was chosen for a path, and for packets without cookies. */
	return e->config.fixed_mtu ? ALL_FEATURES & ~TD_FEATURE_DATA_COOKIES : ALL_FEATURES;
}

void td_session_negotiate(const struct td_engine *e, struct session *s)
{
	struct td_session_info *info = &s->info;
	const struct td_handle handle = td_session_handle(e, s);

	info->tunnel_id = e->config.tunnel_id_base + handle.index;
	info->features = s->asked_features & features_of(e);
	info->session_id = info->tunnel_id;
	if (!(info->features & TD_FEATURE_UNIQUE_SESSION_ID) ||
	    (e->config.shared_session_id && !(info->features & TD_FEATURE_DATA_COOKIES)))
		info->session_id = 1;
	/* Of another length than what handshake cookies are made of. Who knows its own learns nothing
	 * of another's. */
	crypto_shorthash(info->cookie, (const uint8_t *)&handle, sizeof(handle),
			 e->config.cookie_key);
}

bool td_session_negotiated(const struct session *s)
{
	const struct td_session_info *info = &s->info;

	return !(info->features & ~(s->asked_features & ALL_FEATURES)) &&
	       (info->session_id == 1 || info->session_id == info->tunnel_id);
}

void td_session_complete(struct td_engine *e, struct session *s)
{
	struct td_session_info *info = &s->info;
	const bool unique = (info->features & TD_FEATURE_UNIQUE_SESSION_ID) != 0;
	const uint16_t cookie_size = (uint16_t)td_session_cookie_size(info);

	info->peer_tunnel_id = s->asked_tunnel_id;
	info->peer_session_id = unique ? s->asked_tunnel_id : 1;
	name_interface(info);
	td_pmtu_init(&s->pmtu, e->config.max_mtu, &e->rng);
	s->pmtu.overhead = (uint16_t)(s->pmtu.overhead + cookie_size);
	s->pmtu.accepted_mtu = (uint16_t)(s->pmtu.accepted_mtu - cookie_size);
	s->mtu_wanted = td_pmtu_inner_mtu(&s->pmtu);
	if (e->config.fixed_mtu != 0)
		s->mtu_wanted = e->config.fixed_mtu < TD_MTU_MIN ? TD_MTU_MIN : e->config.fixed_mtu;
}

/* A client that knows no features of session ids uses the tunnel's id for nothing. */
uint32_t td_session_told_id(const struct session *s)
{
	return s->info.features & TD_FEATURE_UNIQUE_SESSION_ID ? s->info.session_id
							       : s->info.tunnel_id;
}

/* --- counts --- */

void td_session_count(struct td_engine *e, struct session *s, struct td_time now)
{
	const bool counting = s->state == SESSION_UP && (s->info.features & TD_FEATURE_DATA_COUNTS);

	if (counting == s->counting)
		return;
	s->counting = counting;
	e->counting += counting ? 1 : UINT32_MAX;
	if (e->counting == 1 && counting)
		td_timer_start(&e->timers, &e->counter.timer, td_time_add(now, COUNT_US));
}

void td_session_count_all(struct td_engine *e, struct td_time now)
{
	if (e->counting == 0)
		return;
	e->count_due = true;
	td_timer_start(&e->timers, &e->counter.timer, td_time_add(now, COUNT_US));
}

void td_session_put_counts(const struct session *s, struct td_msg *msg, struct td_time now)
{
	msg->keepalive.counted =
		s->counting && s->counted && td_time_since(now, s->counted_at) <= TD_DATAFLOW_AGE;
	msg->keepalive.data_sent = s->counts.sent;
	msg->keepalive.data_received = s->counts.received;
}
