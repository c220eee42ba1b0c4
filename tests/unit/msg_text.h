/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A message as text, every field of it: the notation of tests/vectors/README.md. */
#ifndef TD_TESTS_MSG_TEXT_H
#define TD_TESTS_MSG_TEXT_H

#include <stdio.h>
#include <string.h>

#include "core/msg.h"

#define MSG_TEXT 1024

static inline void show_hex(char *text, const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		sprintf(text + 2 * i, "%02x", bytes[i]);
}

/* Bytes other than printable ASCII, and space, = and % themselves, as %xx; "-" for none. */
static inline void show_uuid(char *text, const struct td_msg *msg)
{
	if (msg->prepare.uuid_len == 0)
		strcpy(text, "-");
	for (size_t i = 0; i < msg->prepare.uuid_len; i++) {
		char c = msg->prepare.uuid[i];

		if (c > ' ' && c <= '~' && c != '%' && c != '=')
			text += sprintf(text, "%c", c);
		else
			text += sprintf(text, "%%%02x", (uint8_t)c);
	}
}

static inline void show_data_cookie(char *text, const uint8_t cookie[TD_DATA_COOKIE])
{
	text += sprintf(text, " data-cookie=");
	show_hex(text, cookie, TD_DATA_COOKIE);
}

static inline void show_prepare(char *text, const struct td_msg *msg)
{
	char cookie[2 * TD_COOKIE_SIZE + 1], uuid[3 * TD_UUID_MAX + 1];

	show_hex(cookie, msg->prepare.cookie, TD_COOKIE_SIZE);
	show_uuid(uuid, msg);
	text += sprintf(text, "type=prepare cookie=%s uuid=%s id=%u features=%u", cookie, uuid,
			msg->prepare.tunnel_id, msg->prepare.features);
	if (msg->prepare.features & TD_FEATURE_DATA_COOKIES)
		show_data_cookie(text, msg->prepare.data_cookie);
}

static inline void show_tunnel(char *text, const struct td_msg *msg)
{
	text += sprintf(text, "type=tunnel id=%u features=", msg->tunnel.id);
	if (msg->tunnel.has_features)
		text += sprintf(text, "%u", msg->tunnel.features);
	else
		strcpy(text, "none");
	if (msg->tunnel.features & TD_FEATURE_DATA_COOKIES)
		show_data_cookie(text, msg->tunnel.data_cookie);
}

static inline void show_keepalive(char *text, const struct td_msg *msg)
{
	text += sprintf(text, "type=keepalive counter=%u", msg->keepalive.counter);
	if (msg->keepalive.counted)
		sprintf(text, " sent=%u received=%u", msg->keepalive.data_sent,
			msg->keepalive.data_received);
}

static inline void show_limit(char *text, const struct td_msg *msg)
{
	text += sprintf(text, "type=limit sequence=%u kbps=", msg->limit.sequence);
	if (msg->limit.bandwidth)
		sprintf(text, "%u", msg->limit.rate_kbps);
	else
		strcpy(text, "none");
}

/* text: MSG_TEXT bytes. */
static inline void show_msg(char *text, enum td_sender from, const struct td_msg *msg)
{
	switch (msg->type) {
	case TD_MSG_COOKIE:
		text += sprintf(text, "type=cookie cookie=");
		show_hex(text, msg->cookie, TD_COOKIE_SIZE);
		break;
	case TD_MSG_PREPARE:
		show_prepare(text, msg);
		break;
	case TD_MSG_ERROR:
		sprintf(text, "type=error reason=0x%02x", msg->reason);
		break;
	case TD_MSG_TUNNEL:
		show_tunnel(text, msg);
		break;
	case TD_MSG_KEEPALIVE:
		show_keepalive(text, msg);
		break;
	case TD_MSG_PMTUD:
		sprintf(text, "type=pmtud size=%u", msg->size);
		break;
	case TD_MSG_PMTUD_ACK:
		sprintf(text, "type=pmtud-ack size=%u", msg->size);
		break;
	case TD_MSG_REL_ACK:
		sprintf(text, "type=rel-ack sequence=%u", msg->sequence);
		break;
	case TD_MSG_RELIABLE_UNKNOWN:
		sprintf(text, "type=reliable-unknown sequence=%u", msg->sequence);
		break;
	case TD_MSG_PMTU_NTFY:
		sprintf(text, "type=pmtu-ntfy mtu=%u", msg->mtu);
		break;
	case TD_MSG_USAGE:
		if (from == TD_FROM_CLIENT)
			sprintf(text, "type=usage features=%u", msg->usage.features);
		else
			sprintf(text, "type=usage load=%u", msg->usage.load);
		break;
	case TD_MSG_LIMIT:
		show_limit(text, msg);
		break;
	}
}

#endif
