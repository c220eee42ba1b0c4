/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Control messages: docs/PROTOCOL.md sections 1, 2 and 5.
 *
 * A message may be longer than we know (a newer peer extended it), and optional fields at its end
 * may be missing or cut off. What a type needs at least, it needs inside its payload: padding is
 * never read, since deployed clients pad with stray memory.
 */
#include "core/msg.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"

#define MAGIC_FIRST    0x80
#define MAGIC_REST     0x73a7
#define VERSION        1
#define RELIABLE       0x80 /* types from here on begin with a sequence number */
#define REQUEST_FILLER 8    /* bytes, so that the reply is not larger than the request */

#define BY_CLIENT (1u << TD_FROM_CLIENT)
#define BY_BROKER (1u << TD_FROM_BROKER)

/* Who may send this type; nobody: we do not know it. */
static unsigned int senders(enum td_msg_type type)
{
	switch (type) {
	case TD_MSG_COOKIE:
	case TD_MSG_ERROR:
	case TD_MSG_KEEPALIVE:
	case TD_MSG_PMTUD:
	case TD_MSG_PMTUD_ACK:
	case TD_MSG_PMTU_NTFY:
	case TD_MSG_USAGE:
	case TD_MSG_RELIABLE_UNKNOWN:
		return BY_CLIENT | BY_BROKER;
	case TD_MSG_PREPARE:
	case TD_MSG_LIMIT:
		return BY_CLIENT;
	case TD_MSG_TUNNEL:
	case TD_MSG_REL_ACK:
		return BY_BROKER;
	}
	return 0;
}

/* A number at the end that older or mangled messages lack. */
static uint32_t read_optional_u32(struct td_reader *r, uint32_t absent)
{
	return r->left >= 4 ? td_read_u32(r) : absent;
}

static void parse_prepare(struct td_msg *msg, struct td_reader *r)
{
	td_read_bytes(r, msg->prepare.cookie, sizeof(msg->prepare.cookie));
	msg->prepare.uuid_len = td_read_u8(r);
	msg->prepare.uuid = (const char *)td_read_sub(r, msg->prepare.uuid_len).at;
	msg->prepare.tunnel_id = read_optional_u32(r, 1);
	msg->prepare.features = read_optional_u32(r, 0);
	if (r->left < TD_DATA_COOKIE) /* not, or not wholly, given: not offered */
		msg->prepare.features &= ~TD_FEATURE_DATA_COOKIES;
	if (msg->prepare.features & TD_FEATURE_DATA_COOKIES)
		td_read_bytes(r, msg->prepare.data_cookie, TD_DATA_COOKIE);
}

static void parse_tunnel(struct td_msg *msg, struct td_reader *r)
{
	msg->tunnel.id = td_read_u32(r);
	msg->tunnel.has_features = r->left >= 4;
	msg->tunnel.features = read_optional_u32(r, 0);
	/* Without it there would be a tunnel that takes no data. */
	if (msg->tunnel.features & TD_FEATURE_DATA_COOKIES)
		td_read_bytes(r, msg->tunnel.data_cookie, TD_DATA_COOKIE);
}

/* For the counter only the change matters, and that the message came: it may be cut off. */
static void parse_keepalive(struct td_msg *msg, enum td_sender from, struct td_reader *r)
{
	if (from == TD_FROM_CLIENT)
		msg->keepalive.counter = read_optional_u32(r, 0);
	else
		msg->keepalive.counter = r->left >= 2 ? td_read_u16(r) : 0;
	msg->keepalive.counted = r->left >= 8;
	if (!msg->keepalive.counted)
		return;
	msg->keepalive.data_sent = td_read_u32(r);
	msg->keepalive.data_received = td_read_u32(r);
}

static void parse_usage(struct td_msg *msg, enum td_sender from, struct td_reader *r)
{
	if (from == TD_FROM_CLIENT) {
		td_read_sub(r, REQUEST_FILLER);
		msg->usage.features = read_optional_u32(r, 0);
	} else {
		msg->usage.load = td_read_u16(r);
	}
}

/* Whatever the limit is, its sequence number is to be acknowledged. */
static void parse_limit(struct td_msg *msg, struct td_reader *r)
{
	msg->limit.sequence = td_read_u16(r);
	if (r->left < 6)
		return;
	msg->limit.bandwidth = td_read_u16(r) == (TD_LIMIT_BANDWIDTH_DOWN << 8 | 4);
	if (msg->limit.bandwidth)
		msg->limit.rate_kbps = td_read_u32(r);
}

/* That the sender may send this has been seen to. Asking again lets the compiler leave out of a
 * client alone what only brokers read; below, what only they write. */
static void parse_payload(struct td_msg *msg, enum td_sender from, struct td_reader *r)
{
	switch (msg->type) {
	case TD_MSG_COOKIE:
		td_read_bytes(r, msg->cookie, sizeof(msg->cookie));
		break;
	case TD_MSG_PREPARE:
		if (from == TD_FROM_CLIENT)
			parse_prepare(msg, r);
		break;
	case TD_MSG_ERROR:
		msg->reason = r->left > 0 ? td_read_u8(r) : TD_ERROR_NONE;
		break;
	case TD_MSG_TUNNEL:
		parse_tunnel(msg, r);
		break;
	case TD_MSG_KEEPALIVE:
		parse_keepalive(msg, from, r);
		break;
	case TD_MSG_PMTUD:
		break;
	case TD_MSG_PMTUD_ACK:
		msg->size = td_read_u16(r);
		break;
	case TD_MSG_REL_ACK:
	case TD_MSG_RELIABLE_UNKNOWN:
		msg->sequence = td_read_u16(r);
		break;
	case TD_MSG_PMTU_NTFY:
		msg->mtu = td_read_u16(r);
		break;
	case TD_MSG_USAGE:
		parse_usage(msg, from, r);
		break;
	case TD_MSG_LIMIT:
		if (from == TD_FROM_CLIENT)
			parse_limit(msg, r);
		break;
	}
}

int td_msg_parse(struct td_msg *msg, enum td_sender from, const uint8_t *bytes, size_t size)
{
	struct td_reader r = td_reader_init(bytes, size);
	struct td_reader payload;
	bool ours;
	uint8_t type;

	ours = td_read_u8(&r) == MAGIC_FIRST;
	ours = td_read_u16(&r) == MAGIC_REST && ours;
	ours = td_read_u8(&r) == VERSION && ours;
	type = td_read_u8(&r);
	payload = td_read_sub(&r, td_read_u8(&r));
	if (!ours || r.failed || size > UINT16_MAX)
		return -EBADMSG;

	memset(msg, 0, sizeof(*msg));
	msg->type = type;
	if (type >= RELIABLE && type != TD_MSG_LIMIT)
		msg->type = TD_MSG_RELIABLE_UNKNOWN;
	if (senders(msg->type) == 0)
		return -ENOMSG;
	if ((senders(msg->type) & 1u << from) == 0)
		return -EBADMSG;
	if (msg->type == TD_MSG_PMTUD)
		msg->size = (uint16_t)size;
	parse_payload(msg, from, &payload);
	return payload.failed ? -EBADMSG : 0;
}

static void put_prepare(const struct td_msg *msg, struct td_writer *w)
{
	td_write_bytes(w, msg->prepare.cookie, sizeof(msg->prepare.cookie));
	td_write_u8(w, msg->prepare.uuid_len);
	td_write_bytes(w, msg->prepare.uuid, msg->prepare.uuid_len);
	td_write_u32(w, msg->prepare.tunnel_id);
	td_write_u32(w, msg->prepare.features);
	if (msg->prepare.features & TD_FEATURE_DATA_COOKIES)
		td_write_bytes(w, msg->prepare.data_cookie, TD_DATA_COOKIE);
}

/* Clients up to release 0.3.0, which send no features, accept 4 bytes only. */
static void put_tunnel(const struct td_msg *msg, struct td_writer *w)
{
	td_write_u32(w, msg->tunnel.id);
	if (msg->tunnel.has_features && msg->tunnel.features != 0)
		td_write_u32(w, msg->tunnel.features);
	if (msg->tunnel.has_features && (msg->tunnel.features & TD_FEATURE_DATA_COOKIES))
		td_write_bytes(w, msg->tunnel.data_cookie, TD_DATA_COOKIE);
}

static void put_keepalive(const struct td_msg *msg, enum td_sender from, struct td_writer *w)
{
	if (from == TD_FROM_CLIENT)
		td_write_u32(w, msg->keepalive.counter);
	else
		td_write_u16(w, (uint16_t)msg->keepalive.counter);
	if (!msg->keepalive.counted)
		return;
	td_write_u32(w, msg->keepalive.data_sent);
	td_write_u32(w, msg->keepalive.data_received);
}

static void put_usage(const struct td_msg *msg, enum td_sender from, struct td_writer *w)
{
	if (from == TD_FROM_CLIENT) {
		td_write_pad(w, w->used + REQUEST_FILLER);
		td_write_u32(w, msg->usage.features);
	} else {
		td_write_u16(w, msg->usage.load);
	}
}

static void put_limit(const struct td_msg *msg, struct td_writer *w)
{
	td_write_u16(w, msg->limit.sequence);
	td_write_u8(w, TD_LIMIT_BANDWIDTH_DOWN);
	td_write_u8(w, 4);
	td_write_u32(w, msg->limit.rate_kbps);
}

static void put_payload(const struct td_msg *msg, enum td_sender from, struct td_writer *w)
{
	switch (msg->type) {
	case TD_MSG_COOKIE:
		td_write_bytes(w, msg->cookie, sizeof(msg->cookie));
		break;
	case TD_MSG_PREPARE:
		put_prepare(msg, w);
		break;
	case TD_MSG_ERROR:
		if (msg->reason != TD_ERROR_NONE)
			td_write_u8(w, msg->reason);
		break;
	case TD_MSG_TUNNEL:
		if (from == TD_FROM_BROKER)
			put_tunnel(msg, w);
		break;
	case TD_MSG_KEEPALIVE:
		put_keepalive(msg, from, w);
		break;
	case TD_MSG_PMTUD:
		break;
	case TD_MSG_PMTUD_ACK:
		td_write_u16(w, msg->size);
		break;
	case TD_MSG_REL_ACK:
	case TD_MSG_RELIABLE_UNKNOWN:
		td_write_u16(w, msg->sequence);
		break;
	case TD_MSG_PMTU_NTFY:
		td_write_u16(w, msg->mtu);
		break;
	case TD_MSG_USAGE:
		put_usage(msg, from, w);
		break;
	case TD_MSG_LIMIT:
		put_limit(msg, w);
		break;
	}
}

size_t td_msg_put(const struct td_msg *msg, enum td_sender from, uint8_t *to, size_t capacity)
{
	struct td_writer w = td_writer_init(to, capacity);
	size_t length;

	td_assert((senders(msg->type) & 1u << from) != 0 && msg->type != TD_MSG_RELIABLE_UNKNOWN);
	td_write_u8(&w, MAGIC_FIRST);
	td_write_u16(&w, MAGIC_REST);
	td_write_u8(&w, VERSION);
	td_write_u8(&w, (uint8_t)msg->type);
	td_write_u8(&w, 0); /* the length, when it is known */
	put_payload(msg, from, &w);
	length = w.used - TD_MSG_HEADER;
	if (w.failed || length > UINT8_MAX)
		return 0;
	to[TD_MSG_HEADER - 1] = (uint8_t)length;
	td_write_pad(&w, TD_MSG_MIN_SIZE);
	if (msg->type == TD_MSG_PMTUD)
		td_write_pad(&w, msg->size);
	return w.failed ? 0 : w.used;
}
