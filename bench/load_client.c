/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* One client of td-load: its socket, its state machine, what it sends. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/assert.h"
#include "core/l2tp.h"
#include "load.h"

#define SILENCE_LIMIT TD_SECONDS(60)
#define LEAVE_LIMIT   TD_SECONDS(3) /* for the answer to our ERROR */
#define PROBE_SIZE    1400
#define FRAME_BYTES   60
#define FRAME_TYPE    0x88b5 /* for local experiments: nobody answers it */

/* --- messages --- */

static void send_bytes(struct load_client *c, const void *bytes, size_t size)
{
	const struct iovec iov = { (void *)bytes, size };

	if (td_udp_send(&c->udp, NULL, &iov, 1) != 0)
		load.stats.counters.send_errors++;
}

static void send_msg(struct load_client *c, const struct td_msg *msg)
{
	uint8_t bytes[PROBE_SIZE];

	send_bytes(c, bytes, td_msg_put(msg, TD_FROM_CLIENT, bytes, sizeof(bytes)));
}

static void send_prepare(struct load_client *c)
{
	struct td_msg msg = { .type = TD_MSG_PREPARE };
	const uint32_t number = (uint32_t)(c - load.clients);
	uint8_t bytes[TD_MSG_MAX_SIZE];
	char uuid[TD_UUID_MAX + 1];
	size_t size;

	memcpy(msg.prepare.cookie, c->cookie, sizeof(c->cookie));
	msg.prepare.uuid_len =
		(uint8_t)snprintf(uuid, sizeof(uuid), "%s%u", load.options.uuid_prefix, number);
	msg.prepare.uuid = uuid;
	msg.prepare.tunnel_id = number + 1;
	msg.prepare.features = load.options.features;
	size = td_msg_put(&msg, TD_FROM_CLIENT, bytes, sizeof(bytes));
	if (load.options.old_style) {
		size -= 8;
		bytes[TD_MSG_HEADER - 1] = (uint8_t)(bytes[TD_MSG_HEADER - 1] - 8);
	}
	send_bytes(c, bytes, size);
}

static void send_error(struct load_client *c, enum td_error_reason reason)
{
	const struct td_msg msg = { .type = TD_MSG_ERROR, .reason = (uint8_t)reason };

	send_msg(c, &msg);
}

/* Those that count data look after their MTU, too: a minute is six keepalives. */
static void send_keepalive(struct load_client *c)
{
	const bool counts = (load.options.features & TD_FEATURE_DATA_COUNTS) != 0;
	const struct td_msg msg = { .type = TD_MSG_KEEPALIVE,
				    .keepalive = { .counter = ++c->counter, .counted = counts } };
	const struct td_msg probe = { .type = TD_MSG_PMTUD, .size = PROBE_SIZE };

	send_msg(c, &msg);
	load.stats.counters.keepalives_out++;
	if (counts && c->counter % 6 == 0)
		send_msg(c, &probe);
}

/* What the state asks for, for the first time or again. */
static void send_request(struct load_client *c)
{
	const struct td_msg cookie = { .type = TD_MSG_COOKIE };

	if (c->state == LOAD_COOKIE)
		send_msg(c, &cookie);
	else
		send_prepare(c);
}

void load_client_be_quiet(struct load_client *c)
{
	td_loop_del(c->loop, &c->watch);
	c->loop = &load.quiet.members;
	if (td_loop_add(c->loop, &c->watch, EPOLLIN) != 0)
		td_assert(false);
}

void load_client_send_data(struct load_client *c)
{
	uint8_t packet[TD_L2TP_HEADER_MAX + FRAME_BYTES] = { 0 };
	const size_t header = td_l2tp_put(packet, c->session_id, NULL, 0);
	uint8_t *frame = packet + header;

	memset(frame, 0xff, 6); /* to everybody */
	frame[6] = 0x02;        /* from a locally administered address */
	frame[12] = FRAME_TYPE >> 8;
	frame[13] = FRAME_TYPE & 0xff;
	send_bytes(c, packet, header + FRAME_BYTES);
	load.stats.counters.data_out++;
}

/* --- state --- */

static void client_ready(struct td_watch *watch, uint32_t events);

static struct td_addr source_of(const struct load_client *c)
{
	struct td_addr source = load.options.source;
	const size_t size = source.family == TD_FAMILY_IPV4 ? 4 : 16;
	uint32_t carry = (uint32_t)(c - load.clients) % load.options.sources;

	for (size_t i = size; i-- > 0 && carry > 0; carry >>= 8) {
		carry += source.ip[i];
		source.ip[i] = (uint8_t)carry;
	}
	return source;
}

static void close_socket(struct load_client *c)
{
	if (c->udp.fd < 0)
		return;
	td_loop_del(c->loop, &c->watch);
	td_udp_close(&c->udp);
}

int load_client_open(struct load_client *c)
{
	const struct td_addr source = source_of(c);
	int err;

	if (c->udp.fd >= 0)
		return 0;
	err = td_udp_connect(&c->udp, &load.options.broker, &source, NULL);
	if (err != 0)
		return err;
	c->watch = (struct td_watch){ .fd = c->udp.fd, .ready = client_ready };
	c->loop = &load.loop;
	err = td_loop_add(c->loop, &c->watch, EPOLLIN);
	if (err != 0)
		td_udp_close(&c->udp);
	return err;
}

/* How often there is something to do while it is up; without keepalives: to look for silence. */
static int64_t up_interval_us(void)
{
	return load.options.keepalive_us != 0 ? load.options.keepalive_us : TD_SECONDS(5);
}

static void fail(struct load_client *c, uint64_t *counter, struct td_time now)
{
	++*counter;
	load_client_enter(c, LOAD_GONE, now);
}

void load_client_begin(struct load_client *c, struct td_time now)
{
	int err = load_client_open(c);

	c->began_at = now;
	if (err == 0) {
		load_client_enter(c, LOAD_COOKIE, now);
		return;
	}
	if (load.stats.counters.failed == 0)
		fprintf(stderr, "td-load: no socket: %s\n", strerror(-err));
	fail(c, &load.stats.counters.failed, now);
}

void load_client_enter(struct load_client *c, enum load_state state, struct td_time now)
{
	load.in_state[c->state]--;
	load.in_state[state]++;
	c->state = state;
	switch (state) {
	case LOAD_COOKIE:
	case LOAD_PREPARE:
		send_request(c);
		td_timer_start(&load.timers, &c->timer, td_time_add(now, load.options.retry_us));
		break;
	case LOAD_UP:
		/* Real clients did not start at the same time either. */
		c->heard_at = c->keepalive_at = now;
		td_timer_start(&load.timers, &c->timer,
			       td_time_add(now, td_rng_between(&load.rng, 0, up_interval_us())));
		break;
	case LOAD_LEAVING:
		send_error(c, TD_ERROR_CLIENT_SHUTDOWN);
		td_timer_start(&load.timers, &c->timer, td_time_add(now, LEAVE_LIMIT));
		break;
	case LOAD_IDLE:
	case LOAD_GONE:
		td_timer_stop(&load.timers, &c->timer);
		close_socket(c);
		break;
	case LOAD_COUNT:
		td_assert(false);
	}
}

static void established(struct load_client *c, const struct td_msg *msg, struct td_time now)
{
	const bool unique = msg->tunnel.features & TD_FEATURE_UNIQUE_SESSION_ID;

	c->session_id = unique ? msg->tunnel.id : 1;
	load.stats.counters.established++;
	load_samples_add(&load.stats.reply, td_time_since(now, c->prepared_at));
	load_samples_add(&load.stats.handshake, td_time_since(now, c->began_at));
	load_client_enter(c, load.options.churn ? LOAD_LEAVING : LOAD_UP, now);
}

static void gone(struct load_client *c, uint64_t *counter, struct td_time now)
{
	++*counter;
	load_client_enter(c, LOAD_GONE, now);
	if (load.options.churn && load.phase == LOAD_PHASE_SETUP)
		load_client_begin(c, now);
}

static void handle_error(struct load_client *c, struct td_time now)
{
	struct load_counters *counters = &load.stats.counters;

	if (c->state == LOAD_LEAVING) {
		gone(c, &counters->left, now);
		return;
	}
	send_error(c, TD_ERROR_CLIENT_OTHER_SIDE);
	fail(c, c->state == LOAD_UP ? &counters->lost : &counters->refused, now);
}

static void note_keepalive(struct load_client *c, struct td_time now)
{
	struct load_counters *counters = &load.stats.counters;
	const int64_t gap_us = td_time_since(now, c->keepalive_at);

	c->keepalive_at = now;
	counters->keepalives_in++;
	if (gap_us > counters->gap_max_us)
		counters->gap_max_us = gap_us;
}

static void answer_probe(struct load_client *c, const struct td_msg *probe)
{
	const struct td_msg msg = { .type = TD_MSG_PMTUD_ACK, .size = probe->size };

	send_msg(c, &msg);
	load.stats.counters.probes_in++;
}

static void tell_mtu(struct load_client *c)
{
	const struct td_msg msg = { .type = TD_MSG_PMTU_NTFY,
				    .mtu = PROBE_SIZE - TD_INNER_OVERHEAD };

	send_msg(c, &msg);
}

static void handle_msg(struct load_client *c, const struct td_msg *msg, struct td_time now)
{
	if (c->state == LOAD_IDLE)
		return; /* for who had this port before */
	c->heard_at = now;
	if (msg->type == TD_MSG_COOKIE && c->state == LOAD_COOKIE) {
		memcpy(c->cookie, msg->cookie, sizeof(c->cookie));
		c->prepared_at = now;
		load_client_enter(c, LOAD_PREPARE, now);
	} else if (msg->type == TD_MSG_TUNNEL && c->state == LOAD_PREPARE) {
		established(c, msg, now);
	} else if (msg->type == TD_MSG_ERROR) {
		handle_error(c, now);
	} else if (msg->type == TD_MSG_KEEPALIVE && c->state == LOAD_UP) {
		note_keepalive(c, now);
	} else if (msg->type == TD_MSG_PMTUD && c->state == LOAD_UP) {
		answer_probe(c, msg);
	} else if (msg->type == TD_MSG_PMTUD_ACK && c->state == LOAD_UP) {
		tell_mtu(c);
	}
}

static void handle_datagram(struct load_client *c, const struct td_datagram *datagram,
			    struct td_time now)
{
	struct td_msg msg;

	if (!td_msg_is_control(datagram->bytes, datagram->size))
		load.stats.counters.data_in++;
	else if (td_msg_parse(&msg, TD_FROM_BROKER, datagram->bytes, datagram->size) == 0)
		handle_msg(c, &msg, now);
}

/* The time is taken anew: what waits behind other clients' datagrams waits for us, and counts. */
static void client_ready(struct td_watch *watch, uint32_t events)
{
	struct load_client *c =
		(struct load_client *)((char *)watch - offsetof(struct load_client, watch));
	struct td_datagram datagram = { .bytes = load.datagram, .size = sizeof(load.datagram) };

	(void)events;
	if (td_udp_receive(&c->udp, &datagram, 1) == 1)
		handle_datagram(c, &datagram, td_now());
}

void load_client_timer(struct load_client *c, struct td_time now)
{
	struct load_counters *counters = &load.stats.counters;

	switch (c->state) {
	case LOAD_COOKIE:
	case LOAD_PREPARE:
		if (td_time_since(now, c->began_at) >= load.options.give_up_us) {
			fail(c, &counters->failed, now);
			return;
		}
		counters->retries++;
		send_request(c);
		td_timer_start(&load.timers, &c->timer, td_time_add(now, load.options.retry_us));
		break;
	case LOAD_UP:
		if (td_time_since(now, c->heard_at) >= SILENCE_LIMIT) {
			fail(c, &counters->lost, now);
			return;
		}
		if (load.options.keepalive_us != 0)
			send_keepalive(c);
		td_timer_start(&load.timers, &c->timer, td_time_add(now, up_interval_us()));
		break;
	case LOAD_LEAVING:
		gone(c, &counters->unanswered, now);
		break;
	case LOAD_IDLE:
	case LOAD_GONE:
	case LOAD_COUNT:
		td_assert(false);
	}
}
