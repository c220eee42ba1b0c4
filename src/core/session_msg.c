/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Messages of an established tunnel, from and to its client: docs/PROTOCOL.md sections 2 to 4. */
#include <string.h>

#include "core/engine_impl.h"

static void rx_error(struct td_engine *e, struct session *s, const struct td_msg *msg,
		     struct td_time now)
{
	struct td_msg answer = { .type = TD_MSG_ERROR, .reason = TD_ERROR_BROKER_OTHER_SIDE };

	if (!td_session_alive(s))
		return;
	td_engine_reply(e, &s->info.flow, td_session_handle(e, s), &answer);
	td_session_close(e, s, msg->reason == TD_ERROR_CLIENT_DATA ? TD_END_DATA : TD_END_PEER,
			 TD_ERROR_NONE, now);
}

static void rx_probe(struct td_engine *e, struct session *s, const struct td_msg *msg)
{
	struct td_msg answer = { .type = TD_MSG_PMTUD_ACK, .size = msg->size };

	if (e->config.fixed_mtu != 0)
		answer = (struct td_msg){ .type = TD_MSG_PMTU_NTFY, .mtu = s->info.mtu };
	td_engine_reply(e, &s->info.flow, td_session_handle(e, s), &answer);
}

static void rx_reliable(struct td_engine *e, struct session *s, const struct td_msg *msg)
{
	struct td_msg answer = { .type = TD_MSG_REL_ACK, .sequence = msg->sequence };

	if (msg->type == TD_MSG_LIMIT) {
		answer.sequence = msg->limit.sequence;
		if (msg->limit.bandwidth && s->rate_wanted != msg->limit.rate_kbps) {
			s->rate_wanted = msg->limit.rate_kbps;
			td_session_act(e, s);
		}
	}
	td_engine_reply(e, &s->info.flow, td_session_handle(e, s), &answer);
}

static void rx_up(struct td_engine *e, struct session *s, const struct td_msg *msg,
		  struct td_time now)
{
	switch (msg->type) {
	case TD_MSG_PREPARE:
		td_session_send_tunnel(e, s);
		break;
	case TD_MSG_PMTUD:
		rx_probe(e, s, msg);
		break;
	case TD_MSG_PMTUD_ACK:
	case TD_MSG_PMTU_NTFY:
		if (e->config.fixed_mtu != 0)
			break;
		if (msg->type == TD_MSG_PMTUD_ACK)
			td_pmtu_ack(&s->pmtu, msg->size, now);
		else
			td_pmtu_notified(&s->pmtu, msg->mtu);
		td_session_drain_pmtu(e, s);
		break;
	case TD_MSG_LIMIT:
	case TD_MSG_RELIABLE_UNKNOWN:
		rx_reliable(e, s, msg);
		break;
	case TD_MSG_KEEPALIVE:
		s->counts.peer_sent = msg->keepalive.data_sent;
		s->counts.peer_received = msg->keepalive.data_received;
		break;
	case TD_MSG_COOKIE:
	case TD_MSG_USAGE:
	case TD_MSG_REL_ACK:
	case TD_MSG_TUNNEL:
	case TD_MSG_ERROR:
		break;
	}
	td_session_rearm(e, s);
}

void td_session_rx(struct td_engine *e, struct session *s, const struct td_msg *msg,
		   struct td_time now)
{
	s->heard_at = now;
	if (msg->type == TD_MSG_ERROR)
		rx_error(e, s, msg, now);
	else if (s->state == SESSION_UP)
		rx_up(e, s, msg, now);
}

static void put(const struct session *s, unsigned what, struct td_msg *msg, struct td_time now)
{
	switch (what) {
	case SEND_ERROR:
		*msg = (struct td_msg){ .type = TD_MSG_ERROR, .reason = s->error_reason };
		break;
	case SEND_TUNNEL:
		*msg = (struct td_msg){ .type = TD_MSG_TUNNEL,
					.tunnel = { td_session_told_id(s), s->info.features,
						    s->info.features != 0 } };
		memcpy(msg->tunnel.data_cookie, s->info.cookie, TD_DATA_COOKIE);
		break;
	case SEND_NOTIFY:
		*msg = (struct td_msg){ .type = TD_MSG_PMTU_NTFY, .mtu = s->info.mtu };
		break;
	case SEND_KEEPALIVE:
		*msg = (struct td_msg){ .type = TD_MSG_KEEPALIVE,
					.keepalive.counter = (uint16_t)(s->keepalives - 1) };
		td_session_put_counts(s, msg, now);
		break;
	default: /* SEND_CHALLENGE */
		*msg = (struct td_msg){ .type = TD_MSG_PMTUD, .size = TD_MSG_CHALLENGE_SIZE };
		break;
	}
}

/* A probe or a notification of the PMTU search. */
static bool put_pmtu(struct session *s, struct td_msg *msg, struct td_time now)
{
	uint16_t mtu;

	*msg = (struct td_msg){ .type = TD_MSG_PMTUD, .size = td_pmtu_next_probe(&s->pmtu, now) };
	if (msg->size != 0)
		return true;
	*msg = (struct td_msg){ .type = TD_MSG_PMTU_NTFY };
	if (!td_pmtu_next_notify(&s->pmtu, &mtu))
		return false;
	msg->mtu = mtu;
	return true;
}

size_t td_session_tx(struct td_engine *e, struct session *s, uint8_t *bytes, size_t capacity,
		     struct td_time now)
{
	struct td_msg msg;
	size_t size = 0;

	if (s->state != SESSION_UP)
		s->send &= SEND_ERROR;
	/* Who is told of a tunnel keeps it when this process dies: the record comes first. */
	if ((s->send & SEND_TUNNEL) && !td_session_recorded(e, s))
		return 0;
	if (s->send != 0) {
		const unsigned what = s->send & -(unsigned)s->send; /* the lowest bit */

		s->send &= (uint8_t)~what;
		put(s, what, &msg, now);
		size = td_msg_put(&msg, TD_FROM_BROKER, bytes, capacity);
		if (what == SEND_TUNNEL) /* hooks wait for it */
			td_session_act(e, s);
	} else if (s->state == SESSION_UP && e->config.fixed_mtu == 0 && put_pmtu(s, &msg, now)) {
		size = td_msg_put(&msg, TD_FROM_BROKER, bytes, capacity);
		td_session_rearm(e, s);
	}
	td_session_advance(e, s, now); /* the end of one that is down may wait for its ERROR */
	return size;
}
