/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* See old_client.h; docs/PROTOCOL.md sections 3 to 5 say what is modelled here. */
#include "old_client.h"

#include <stdlib.h>

#include "old_wire.h"

#define SECOND_US INT64_C(1000000)

const struct old_client_kind old_client_0_2 = { .name = "client 0.2",
						.cookie_only = true,
						.notifies_ffca = true,
						.same_socket = true,
						.attempt_s = 30 };
const struct old_client_kind old_client_0_3_0 = { .name = "client 0.3.0",
						  .tunnel_id = true,
						  .cookie_only = true,
						  .notifies_ffca = true,
						  .same_socket = true,
						  .attempt_s = 30 };
const struct old_client_kind old_client_2017 = { .name = "client of 2017",
						 .tunnel_id = true,
						 .features = true,
						 .notifies_ffca = true,
						 .attempt_s = 15 };
const struct old_client_kind old_client_2021 = {
	.name = "client of 2021", .tunnel_id = true, .features = true, .attempt_s = 15
};

static void send_message(struct old_client *c, uint32_t broker, uint8_t type, const void *payload,
			 size_t length)
{
	uint8_t bytes[2048];

	c->program->send(c->owner, broker, bytes, old_message(bytes, type, payload, length));
}

static void send_usage(struct old_client *c, uint32_t broker)
{
	uint8_t payload[12] = "UUUUUUUU";

	old_put(payload + 8, 4, 1);
	send_message(c, broker, OLD_MSG_USAGE, payload, c->kind->features ? 12 : 8);
}

static void send_cookie(struct old_client *c, uint32_t broker)
{
	send_message(c, broker, OLD_MSG_COOKIE, "XXXXXXXX", 8);
}

static void send_prepare(struct old_client *c)
{
	uint8_t payload[8 + 1 + 238 + 8];
	const size_t len = strlen(c->uuid);

	memcpy(payload, c->broker[c->chosen].cookie, 8);
	payload[8] = (uint8_t)len;
	memcpy(payload + 9, c->uuid, len);
	old_put(payload + 9 + len, 4, c->tunnel_id);
	old_put(payload + 13 + len, 4, 1);
	send_message(c, c->chosen, OLD_MSG_PREPARE, payload,
		     9 + len + (c->kind->tunnel_id ? 4 : 0) + (c->kind->features ? 4 : 0));
	c->sent_s = c->ticks;
}

static void send_error(struct old_client *c, uint8_t reason)
{
	send_message(c, c->chosen, OLD_MSG_ERROR, &reason, 1);
}

static void send_limit(struct old_client *c)
{
	uint8_t payload[8] = { 0, 0, 1, 4 };

	old_put(payload + 4, 4, c->limit_kbps);
	send_message(c, c->chosen, OLD_MSG_LIMIT, payload, sizeof(payload));
	c->limit_tries++;
	c->limit_s = c->ticks;
}

static void send_short(struct old_client *c, uint8_t type, uint16_t value)
{
	uint8_t payload[2];

	old_put(payload, 2, value);
	send_message(c, c->chosen, type, payload, 2);
}

/* --- from one attempt to the next --- */

static void close_all(struct old_client *c, uint32_t except)
{
	for (uint32_t n = 0; n < c->broker_count; n++) {
		if (c->broker[n].open && n != except) {
			c->program->close(c->owner, n);
			c->broker[n].open = false;
		}
	}
}

static void begin(struct old_client *c, int64_t now_us)
{
	bool any = false;

	close_all(c, UINT32_MAX);
	for (uint32_t n = 0; n < c->broker_count; n++) {
		c->broker[n].answered = c->broker[n].has_cookie = false;
		c->broker[n].open =
			(!c->broker[n].broken || c->long_up) && c->program->open(c->owner, n);
		any = any || c->broker[n].open;
	}
	c->state = any ? OLD_SELECTING : OLD_WAITING;
	c->began_us = now_us;
	c->ticks = 0;
	c->asked = 0;
	c->asked_s = 0;
	c->program->state(c->owner, false);
}

void old_client_start(struct old_client *c, const struct old_client_kind *kind,
		      const struct old_client_program *program, void *owner, const char *uuid,
		      uint32_t tunnel_id, uint32_t broker_count, uint64_t seed, int64_t now_us)
{
	(void)seed;
	*c = (struct old_client){ .kind = kind,
				  .program = program,
				  .owner = owner,
				  .uuid = uuid,
				  .tunnel_id = tunnel_id,
				  .broker_count = broker_count };
	begin(c, now_us);
}

void old_client_stop(struct old_client *c)
{
	if (c->state == OLD_UP || c->state == OLD_PREPARE)
		send_error(c, 0x11);
	close_all(c, UINT32_MAX);
	c->state = OLD_STOPPED;
}

/* --- forward --- */

static void prepare(struct old_client *c)
{
	c->state = OLD_PREPARE;
	send_prepare(c);
}

static void choose(struct old_client *c)
{
	uint32_t best = UINT32_MAX, pending = 0;

	for (uint32_t n = 0; n < c->broker_count; n++) {
		if (c->broker[n].answered &&
		    (best == UINT32_MAX || c->broker[n].load < c->broker[best].load))
			best = n;
		pending += c->broker[n].open && !c->broker[n].answered;
	}
	if (best == UINT32_MAX || (pending > 0 && c->ticks <= 10))
		return;
	close_all(c, best);
	c->chosen = best;
	c->chosen_s = c->ticks;
	c->broker[best].broken = true;
	c->state = OLD_COOKIE;
	if (c->broker[best].has_cookie) {
		prepare(c);
	} else {
		send_cookie(c, best);
		c->sent_s = c->ticks;
	}
}

static void ask(struct old_client *c)
{
	for (uint32_t n = 0; n < c->broker_count; n++) {
		if (!c->broker[n].open || c->broker[n].answered)
			continue;
		if (c->asked == 0 || !c->kind->cookie_only)
			send_usage(c, n);
		if (c->asked > 0)
			send_cookie(c, n);
	}
	c->asked++;
	c->asked_s = c->ticks;
}

static void up(struct old_client *c, const uint8_t *payload, size_t length)
{
	bool unique = length == 8 && (old_get(payload + 4, 4) & 1) && c->kind->features;

	c->state = OLD_UP;
	c->peer_tunnel_id = old_get(payload, 4);
	c->session_id = unique ? c->tunnel_id : 1;
	c->peer_session_id = unique ? c->peer_tunnel_id : 1;
	c->up_s = c->heard_s = c->ticks;
	c->keepalive_s = c->search_s = 0; /* both since the socket was made */
	c->counter = 0;
	c->bursts = c->limit_tries = 0;
	c->search_pause_s = 15;
	c->limit_acked = c->limit_kbps == 0;
	c->measured = c->peer_mtu = c->acked = 0;
	if (!c->limit_acked)
		send_limit(c);
	c->program->state(c->owner, true);
}

/* --- messages --- */

static void refused(struct old_client *c, int64_t now_us)
{
	if (c->state == OLD_UP)
		send_error(c, 0x10);
	if (c->state == OLD_PREPARE && c->kind->same_socket) {
		c->state = OLD_COOKIE;
		c->sent_s = c->ticks;
	} else {
		begin(c, now_us);
	}
}

static void rx_candidate(struct old_client *c, uint32_t broker, uint8_t type,
			 const uint8_t *payload, size_t length)
{
	if (type == OLD_MSG_USAGE && length >= 2 && !c->kind->cookie_only) {
		c->broker[broker].load = (uint16_t)old_get(payload, 2);
		c->broker[broker].answered = true;
	} else if (type == OLD_MSG_COOKIE && length == 8) {
		if (!c->broker[broker].answered)
			c->broker[broker].load = 65535;
		memcpy(c->broker[broker].cookie, payload, 8);
		c->broker[broker].answered = c->broker[broker].has_cookie = true;
		if (c->kind->cookie_only)
			choose(c);
	}
}

static void rx_up(struct old_client *c, uint8_t type, const uint8_t *payload, size_t length,
		  size_t size)
{
	if (type == OLD_MSG_PMTUD)
		send_short(c, OLD_MSG_PMTUD_ACK, (uint16_t)size);
	else if (type == OLD_MSG_PMTUD_ACK && length == 2 && old_get(payload, 2) > c->acked)
		c->acked = (uint16_t)old_get(payload, 2);
	else if (type == OLD_MSG_PMTU_NTFY && length == 2)
		c->peer_mtu = (uint16_t)old_get(payload, 2);
	else if (type == OLD_MSG_REL_ACK && length == 2)
		c->limit_acked = true;
}

void old_client_rx(struct old_client *c, uint32_t broker, const uint8_t *bytes, size_t size,
		   int64_t now_us)
{
	const uint8_t *payload;
	size_t length;

	if (!old_parse(bytes, size, &payload, &length))
		return;
	if (c->state == OLD_SELECTING) {
		rx_candidate(c, broker, bytes[4], payload, length);
		return;
	}
	if (broker != c->chosen || c->state == OLD_WAITING || c->state == OLD_STOPPED)
		return;
	c->heard_s = c->ticks;
	if (bytes[4] == OLD_MSG_ERROR && c->state >= OLD_PREPARE) {
		refused(c, now_us);
	} else if (c->state == OLD_COOKIE && bytes[4] == OLD_MSG_COOKIE && length == 8) {
		memcpy(c->broker[broker].cookie, payload, 8);
		prepare(c);
	} else if (c->state == OLD_PREPARE && bytes[4] == OLD_MSG_TUNNEL &&
		   (length == 4 || (length >= 8 && c->kind->features))) {
		up(c, payload, length);
	} else if (c->state == OLD_UP) {
		rx_up(c, bytes[4], payload, length, size);
	}
}

/* --- time --- */

static void send_burst(struct old_client *c)
{
	uint8_t bytes[2048];

	for (int i = 0; i < OLD_SIZES; i++)
		c->program->send(c->owner, c->chosen, bytes, old_probe(bytes, old_sizes[i]));
	c->bursts++;
	c->burst_s = c->ticks;
}

static void end_search(struct old_client *c)
{
	if (c->acked > OLD_INNER) {
		c->measured = (uint16_t)(c->acked - OLD_INNER);
		send_short(c, OLD_MSG_PMTU_NTFY, c->measured);
	} else if (c->kind->notifies_ffca) {
		send_short(c, OLD_MSG_PMTU_NTFY, 0xffca);
	}
	c->acked = 0;
	c->bursts = 0;
	c->search_pause_s = c->search_pause_s == 15 ? 30 : 2 * c->search_pause_s;
	if (c->search_pause_s > 600)
		c->search_pause_s = 600;
}

static void tick_up(struct old_client *c)
{
	if (c->ticks - c->keepalive_s > 5) {
		uint8_t payload[4];

		old_put(payload, 4, c->counter++);
		send_message(c, c->chosen, OLD_MSG_KEEPALIVE, payload, 4);
		c->keepalive_s = c->ticks;
	}
	if (c->bursts == 0 && c->ticks - c->search_s > c->search_pause_s) {
		c->search_s = c->ticks;
		send_burst(c);
	} else if (c->bursts > 0 && c->bursts < 3 && c->ticks - c->burst_s > 1) {
		send_burst(c);
	} else if (c->bursts == 3 && c->ticks - c->search_s > 5) {
		end_search(c);
	}
	if (!c->limit_acked && c->limit_tries < 10 && c->ticks - c->limit_s > 1)
		send_limit(c);
	if (c->ticks - c->up_s > 15)
		c->broker[c->chosen].broken = false;
}

static void tick_once(struct old_client *c, int64_t now_us)
{
	switch (c->state) {
	case OLD_SELECTING:
		if (!c->kind->cookie_only)
			choose(c);
		if (c->state == OLD_SELECTING && (c->asked == 0 || c->ticks - c->asked_s > 2))
			ask(c);
		else if (c->state == OLD_SELECTING && c->ticks > 30)
			begin(c, now_us);
		break;
	case OLD_COOKIE:
	case OLD_PREPARE:
		if (c->ticks - c->chosen_s > c->kind->attempt_s) {
			begin(c, now_us);
		} else if (c->ticks - c->sent_s > 2) {
			if (c->state == OLD_PREPARE)
				send_prepare(c);
			else
				send_cookie(c, c->chosen);
			c->sent_s = c->ticks;
		}
		break;
	case OLD_UP:
		if (c->ticks - c->heard_s > 60)
			begin(c, now_us);
		else
			tick_up(c);
		break;
	case OLD_WAITING:
		if (c->ticks <= 5)
			break;
		for (uint32_t n = 0; n < c->broker_count; n++)
			c->broker[n].broken = false;
		begin(c, now_us);
		break;
	case OLD_STOPPED:
		break;
	}
}

/* A clock that jumped makes seconds pass, but the loop runs once. */
void old_client_tick(struct old_client *c, int64_t now_us)
{
	const int64_t seconds = (now_us - c->began_us) / SECOND_US;

	if (seconds <= c->ticks)
		return;
	c->ticks = seconds;
	tick_once(c, now_us);
}

int64_t old_client_deadline(const struct old_client *c)
{
	return c->state == OLD_STOPPED ? INT64_MAX : c->began_us + (c->ticks + 1) * SECOND_US;
}

uint16_t old_client_mtu(const struct old_client *c)
{
	uint16_t mtu = 0xffff;

	if (c->measured == 0 && c->peer_mtu == 0)
		return 1446;
	if (c->measured != 0)
		mtu = c->measured;
	if (c->peer_mtu != 0 && c->peer_mtu < mtu)
		mtu = c->peer_mtu;
	return mtu < 1280 ? 1280 : mtu;
}
