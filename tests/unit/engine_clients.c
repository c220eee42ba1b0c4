/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Scripted clients of the broker engine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine_harness.h"

void client_rename(struct client *c, const char *uuid)
{
	c->uuid_len = (uint8_t)strlen(uuid);
	memset(c->uuid, 0, sizeof(c->uuid));
	memcpy(c->uuid, uuid, c->uuid_len);
}

static struct client client_at(struct td_addr peer, unsigned n)
{
	struct client c = { .flow = { .peer = peer }, .id = n + 1, .features = UNIQUE };
	char uuid[32];

	c.flow.local = (struct td_addr){ .family = peer.family, .port = 8942 };
	c.flow.local.ip[0] = 192;
	c.flow.local.ip[2] = 2;
	snprintf(uuid, sizeof(uuid), "node-%u", n);
	client_rename(&c, uuid);
	return c;
}

struct client client_number(unsigned n)
{
	struct td_addr peer = { .family = TD_FAMILY_IPV4, .port = 40000 };

	peer.ip[0] = 10;
	peer.ip[1] = (uint8_t)(n >> 16);
	peer.ip[2] = (uint8_t)(n >> 8);
	peer.ip[3] = (uint8_t)n;
	return client_at(peer, n);
}

struct client client_ipv6(unsigned network, unsigned host)
{
	struct td_addr peer = { .family = TD_FAMILY_IPV6, .port = 40000 };

	peer.ip[0] = 0x20;
	peer.ip[1] = 0x01;
	peer.ip[7] = (uint8_t)network; /* the last byte of the /64 */
	peer.ip[8] = peer.ip[15] = (uint8_t)host;
	return client_at(peer, 1000 * network + host);
}

void client_send_bytes(struct world *w, const struct client *c, const uint8_t *bytes, size_t size)
{
	/* A copy of that size, so that reading beyond it is found. */
	uint8_t *copy = malloc(size + (size == 0));

	memcpy(copy, bytes, size);
	td_engine_rx(w->e, &c->flow, copy, size, w->now);
	free(copy);
	world_settle(w);
}

void client_send(struct world *w, const struct client *c, const struct td_msg *msg)
{
	uint8_t bytes[TD_ENGINE_TX_MAX];
	size_t size = td_msg_put(msg, TD_FROM_CLIENT, bytes, sizeof(bytes));

	assert_true(size > 0);
	client_send_bytes(w, c, bytes, size);
}

void client_send_type(struct world *w, const struct client *c, enum td_msg_type type)
{
	client_send(w, c, &(struct td_msg){ .type = type });
}

void client_send_limit(struct world *w, const struct client *c, uint16_t sequence, uint32_t kbps)
{
	const struct td_msg msg = { .type = TD_MSG_LIMIT,
				    .limit = { .sequence = sequence, .rate_kbps = kbps } };

	client_send(w, c, &msg);
}

bool client_greet(struct world *w, struct client *c)
{
	struct td_msg msg;

	client_send_type(w, c, TD_MSG_COOKIE);
	if (!client_hears(w, c, TD_MSG_COOKIE, &msg))
		return false;
	memcpy(c->cookie, msg.cookie, sizeof(c->cookie));
	return true;
}

void client_prepare(struct world *w, const struct client *c)
{
	struct td_msg msg = { .type = TD_MSG_PREPARE };

	memcpy(msg.prepare.cookie, c->cookie, sizeof(c->cookie));
	msg.prepare.uuid_len = c->uuid_len;
	msg.prepare.uuid = c->uuid;
	msg.prepare.tunnel_id = c->id;
	msg.prepare.features = c->features;
	memcpy(msg.prepare.data_cookie, c->data_cookie, sizeof(c->data_cookie));
	client_send(w, c, &msg);
}

bool client_join(struct world *w, struct client *c)
{
	struct td_msg msg;

	if (!client_greet(w, c))
		return false;
	client_prepare(w, c);
	return client_hears(w, c, TD_MSG_TUNNEL, &msg);
}

bool client_hears(struct world *w, const struct client *c, enum td_msg_type type,
		  struct td_msg *msg)
{
	for (size_t i = 0; i < w->datagram_count; i++) {
		struct datagram *d = &w->datagrams[i];

		if (d->read || d->msg.type != type || !td_flow_equal(&d->flow, &c->flow))
			continue;
		d->read = true;
		*msg = d->msg;
		return true;
	}
	return false;
}

unsigned client_unread(const struct world *w, const struct client *c)
{
	unsigned count = 0;

	for (size_t i = 0; i < w->datagram_count; i++)
		count += !w->datagrams[i].read && td_flow_equal(&w->datagrams[i].flow, &c->flow);
	return count;
}

struct td_handle client_handle(const struct world *w, const struct client *c)
{
	for (size_t i = w->deed_count; i > 0; i--) {
		const struct deed *d = &w->deeds[i - 1];

		if (d->action.handle.generation != 0 && td_flow_equal(&d->session.flow, &c->flow))
			return d->action.handle;
	}
	return TD_NO_HANDLE;
}

static bool has_tunnel(const struct world *w, const struct client *c)
{
	const struct td_handle handle = client_handle(w, c);

	if (!td_engine_session(w->e, handle))
		return false;
	for (size_t i = w->deed_count; i > 0; i--) {
		const struct td_action *action = &w->deeds[i - 1].action;

		if (!td_handle_equal(action->handle, handle))
			continue;
		if (action->kind == TD_ACTION_UP || action->kind == TD_ACTION_DOWN)
			return action->kind == TD_ACTION_UP;
	}
	return false;
}

void clients_wait(struct world *w, const struct client *clients, size_t count, int64_t us)
{
	const struct td_time end = td_time_add(w->now, us);

	while (w->now.us < end.us) {
		const int64_t left = end.us - w->now.us;

		world_pass(w, left < TD_SECONDS(2) ? left : TD_SECONDS(2));
		for (size_t i = 0; i < count; i++) {
			if (has_tunnel(w, &clients[i]))
				client_send_type(w, &clients[i], TD_MSG_KEEPALIVE);
			else
				client_prepare(w, &clients[i]);
		}
	}
}
