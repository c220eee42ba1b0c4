/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* See old_broker.h; docs/PROTOCOL.md sections 3 to 5 say what is modelled here. */
#include "old_broker.h"

#include "old_wire.h"

#define SECOND_US INT64_C(1000000)

static int64_t chance(struct old_broker *b, int64_t low_us, int64_t high_us)
{
	b->random = b->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return low_us + (int64_t)((b->random >> 33) % (uint64_t)(high_us - low_us + 1));
}

void old_broker_start(struct old_broker *b, uint64_t seed)
{
	b->random = b->secret = seed;
	b->used = 0;
	b->last_us = INT64_MIN / 2;
}

static void send_message(struct old_broker *b, const struct td_flow *flow, uint8_t type,
			 const void *payload, size_t length)
{
	uint8_t bytes[2048];

	b->send(b->owner, flow, bytes, old_message(bytes, type, payload, length));
}

static void send_short(struct old_broker *b, const struct td_flow *flow, uint8_t type,
		       uint16_t value)
{
	uint8_t payload[2];

	old_put(payload, 2, value);
	send_message(b, flow, type, payload, 2);
}

static void send_error(struct old_broker *b, const struct td_flow *flow, uint8_t reason)
{
	send_message(b, flow, OLD_MSG_ERROR, &reason, 1);
}

/* --- handshake --- */

/* Two bytes of time in front, as deployed brokers have them, then some hash of the flow. */
static void make_cookie(const struct old_broker *b, const struct td_flow *flow, uint16_t epoch,
			uint8_t cookie[8])
{
	uint64_t hash = b->secret + epoch;
	const uint8_t *bytes = (const uint8_t *)flow;

	for (size_t i = 0; i < sizeof(*flow); i++)
		hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
	old_put(cookie, 2, epoch);
	old_put(cookie + 2, 4, (uint32_t)hash);
	old_put(cookie + 6, 2, (uint16_t)(hash >> 40));
}

static uint16_t epoch_of(int64_t now_us)
{
	return (uint16_t)(now_us / (64 * SECOND_US));
}

static bool cookie_valid(const struct old_broker *b, const struct td_flow *flow,
			 const uint8_t *cookie, int64_t now_us)
{
	const uint16_t epoch = (uint16_t)old_get(cookie, 2);
	uint8_t right[8];

	make_cookie(b, flow, epoch, right);
	return memcmp(cookie, right, 8) == 0 && (uint16_t)(epoch_of(now_us) - epoch) <= 2;
}

const struct old_tunnel *old_broker_tunnel(const struct old_broker *b, const struct td_flow *flow)
{
	for (uint32_t i = 0; i < b->max_tunnels; i++)
		if (b->tunnels[i].used && td_flow_equal(&b->tunnels[i].flow, flow))
			return &b->tunnels[i];
	return NULL;
}

static void send_tunnel(struct old_broker *b, const struct old_tunnel *t, bool features)
{
	uint8_t payload[8];

	old_put(payload, 4, t->id);
	old_put(payload + 4, 4, t->features);
	send_message(b, &t->flow, OLD_MSG_TUNNEL, payload, features && t->features ? 8 : 4);
	if (b->fixed_mtu)
		send_short(b, &t->flow, OLD_MSG_PMTU_NTFY, b->fixed_mtu);
}

static void make_tunnel(struct old_broker *b, struct old_tunnel *t, const struct old_tunnel *asked,
			int64_t now_us)
{
	*t = *asked;
	t->used = true;
	t->id = b->id_base + (uint32_t)(t - b->tunnels);
	t->heard_us = now_us;
	t->keepalive_us =
		now_us + (b->first_keepalive_us >= 0 ? b->first_keepalive_us
						     : chance(b, 3 * SECOND_US, 14 * SECOND_US));
	t->probe_us = b->first_probe_us >= 0 ? b->first_probe_us : chance(b, 0, 4) * SECOND_US;
	t->probe_us = t->probe_us == 0 || b->fixed_mtu ? INT64_MAX : now_us + t->probe_us;
	t->size = OLD_SIZES;
	b->used++;
	b->last_us = now_us;
	send_tunnel(b, t, true);
}

static bool read_prepare(const struct old_broker *b, struct old_tunnel *asked,
			 const uint8_t *payload, size_t length)
{
	const size_t uuid = length >= 9 ? payload[8] : 0;

	if (length < 9 || length - 9 < uuid)
		return false;
	asked->uuid_len = (uint8_t)uuid;
	memcpy(asked->uuid, payload + 9, uuid);
	asked->peer_id = length >= 13 + uuid ? old_get(payload + 9 + uuid, 4) : 1;
	if (length >= 17 + uuid && b->knows_features)
		asked->features = old_get(payload + 13 + uuid, 4) & 1;
	return true;
}

static bool same_request(const struct old_tunnel *a, const struct old_tunnel *b)
{
	return a->uuid_len == b->uuid_len && memcmp(a->uuid, b->uuid, a->uuid_len) == 0 &&
	       a->peer_id == b->peer_id && a->features == b->features;
}

static void rx_prepare(struct old_broker *b, const struct td_flow *flow, struct old_tunnel *has,
		       const uint8_t *payload, size_t length, int64_t now_us)
{
	struct old_tunnel asked = { .flow = *flow };
	struct old_tunnel *t = b->tunnels;

	if (!read_prepare(b, &asked, payload, length) || !cookie_valid(b, flow, payload, now_us))
		return;
	if (has && same_request(has, &asked)) {
		send_tunnel(b, has, false);
		return;
	}
	if (has || b->used == b->max_tunnels || now_us - b->last_us < b->gap_us) {
		send_message(b, flow, OLD_MSG_ERROR, NULL, 0);
		return;
	}
	while (t->used)
		t++;
	make_tunnel(b, t, &asked, now_us);
}

static void rx_greeting(struct old_broker *b, const struct td_flow *flow, uint8_t type,
			size_t length, int64_t now_us)
{
	uint8_t cookie[8];

	if (length < 8)
		return;
	if (type == OLD_MSG_COOKIE) {
		make_cookie(b, flow, epoch_of(now_us), cookie);
		send_message(b, flow, OLD_MSG_COOKIE, cookie, 8);
	} else if (!b->deaf_to_usage) {
		send_short(b, flow, OLD_MSG_USAGE, (uint16_t)(b->used * 65535 / b->max_tunnels));
	}
}

/* --- a tunnel's messages --- */

static void forget(struct old_broker *b, struct old_tunnel *t)
{
	memset(t, 0, sizeof(*t));
	b->used--;
}

/* A size was acknowledged: that is it, for about ten minutes. */
static void measured(struct old_broker *b, struct old_tunnel *t, uint16_t size, int64_t now_us)
{
	t->measured = (uint16_t)(size - OLD_INNER);
	send_short(b, &t->flow, OLD_MSG_PMTU_NTFY, t->measured);
	if (t->probe_us != INT64_MAX)
		t->probe_us = now_us + chance(b, 500 * SECOND_US, 700 * SECOND_US);
	t->size = OLD_SIZES;
	t->tries = 0;
}

static void rx_tunnel(struct old_broker *b, struct old_tunnel *t, uint8_t type,
		      const uint8_t *payload, size_t length, size_t size, int64_t now_us)
{
	t->heard_us = now_us;
	if (type == OLD_MSG_ERROR && length == 1) {
		send_error(b, &t->flow, 1);
		forget(b, t);
	} else if (type == OLD_MSG_PMTUD) {
		send_short(b, &t->flow, b->fixed_mtu ? OLD_MSG_PMTU_NTFY : OLD_MSG_PMTUD_ACK,
			   b->fixed_mtu ? b->fixed_mtu : (uint16_t)size);
	} else if (type == OLD_MSG_PMTUD_ACK && length == 2 && !b->fixed_mtu) {
		if (old_get(payload, 2) > OLD_INNER)
			measured(b, t, (uint16_t)old_get(payload, 2), now_us);
	} else if (type == OLD_MSG_PMTU_NTFY && length == 2 && !b->fixed_mtu) {
		t->peer_mtu = (uint16_t)old_get(payload, 2);
	} else if (type >= 0x80 && length >= 2) {
		send_short(b, &t->flow, OLD_MSG_REL_ACK, (uint16_t)old_get(payload, 2));
	}
}

void old_broker_rx(struct old_broker *b, const struct td_flow *flow, const uint8_t *bytes,
		   size_t size, int64_t now_us)
{
	const struct old_tunnel *found = old_broker_tunnel(b, flow);
	struct old_tunnel *t = found ? &b->tunnels[found - b->tunnels] : NULL;
	const uint8_t *payload;
	size_t length;

	if (!old_parse(bytes, size, &payload, &length))
		return;
	if (bytes[4] == OLD_MSG_COOKIE || bytes[4] == OLD_MSG_USAGE)
		rx_greeting(b, flow, bytes[4], length, now_us);
	else if (bytes[4] == OLD_MSG_PREPARE)
		rx_prepare(b, flow, t, payload, length, now_us);
	else if (t)
		rx_tunnel(b, t, bytes[4], payload, length, size, now_us);
}

/* --- time --- */

/* Largest first, four times each, one a second; and then for ever from the start. */
static void probe(struct old_broker *b, struct old_tunnel *t, int64_t now_us)
{
	uint8_t bytes[2048];

	b->send(b->owner, &t->flow, bytes, old_probe(bytes, old_sizes[t->size - 1]));
	t->probe_us = now_us + SECOND_US;
	if (++t->tries < 4)
		return;
	t->tries = 0;
	t->size = t->size == 1 ? OLD_SIZES : t->size - 1;
}

static void tick_tunnel(struct old_broker *b, struct old_tunnel *t, int64_t now_us)
{
	if (now_us - t->heard_us > 120 * SECOND_US) {
		send_error(b, &t->flow, 3);
		forget(b, t);
		return;
	}
	if (now_us >= t->keepalive_us) {
		send_short(b, &t->flow, OLD_MSG_KEEPALIVE, t->counter++);
		t->keepalive_us = now_us + 5 * SECOND_US;
	}
	if (now_us >= t->probe_us)
		probe(b, t, now_us);
}

void old_broker_tick(struct old_broker *b, int64_t now_us)
{
	for (uint32_t i = 0; i < b->max_tunnels; i++)
		if (b->tunnels[i].used)
			tick_tunnel(b, &b->tunnels[i], now_us);
}

int64_t old_broker_deadline(const struct old_broker *b)
{
	int64_t first = INT64_MAX;

	for (uint32_t i = 0; i < b->max_tunnels; i++) {
		const struct old_tunnel *t = &b->tunnels[i];

		if (t->used && t->keepalive_us < first)
			first = t->keepalive_us;
		if (t->used && t->probe_us < first)
			first = t->probe_us;
	}
	return first;
}

void old_broker_stop(struct old_broker *b)
{
	for (uint32_t i = 0; i < b->max_tunnels; i++) {
		if (!b->tunnels[i].used)
			continue;
		send_error(b, &b->tunnels[i].flow, 2);
		forget(b, &b->tunnels[i]);
	}
}

/* What is unknown counts as 1446, and so it does in fixed mode. */
uint16_t old_broker_mtu(const struct old_broker *b, const struct old_tunnel *t)
{
	uint16_t own = b->fixed_mtu ? b->fixed_mtu : t->measured ? t->measured : 1446;
	uint16_t peer = t->peer_mtu ? t->peer_mtu : 1446;

	if (peer < own)
		own = peer;
	return own < 1280 ? 1280 : own;
}
