/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The models of deployed peers against the recordings of the real ones, tests/transcripts: each
 * hears what the recorded one heard, when it heard it, and has to say the same (transcript.h).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "old_wire.h"
#include "sim.h"
#include "transcript.h"

static struct transcript all[] = {
	{ .name = "client-0.3.0", .client = &old_client_0_3_0, .fixed_mtu = 1364 },
	{ .name = "client-2017-12", .client = &old_client_2017, .fixed_mtu = 1364 },
	{ .name = "client-2021-03", .client = &old_client_2021, .fixed_mtu = 1364 },
	{ .name = "current-client-shutdown", .client = &old_client_2021 },
	{ .name = "current-broker-restart", .client = &old_client_2021 },
	{ .name = "fixed-mtu-two-clients", .client = &old_client_2021, .fixed_mtu = 1364 },
	{ .name = "rate-limited", .client = &old_client_2021, .gap_us = 60000000 },
	{ .name = "full", .client = &old_client_2021, .max_tunnels = 1 },
};

/* --- the client's model --- */

static bool model_open(void *owner, uint32_t broker)
{
	struct transcript *t = owner;

	(void)broker;
	t->attempts++;
	return true;
}

static void model_close(void *owner, uint32_t broker)
{
	(void)owner;
	(void)broker;
}

static unsigned current_flow(const struct transcript *t)
{
	return t->attempts <= t->flow_count ? t->flows[t->attempts - 1] : FLOWS + 1;
}

static void model_send(void *owner, uint32_t broker, const uint8_t *bytes, size_t size)
{
	struct transcript *t = owner;

	(void)broker;
	transcript_note(t, current_flow(t), true, bytes, size);
}

static void model_state(void *owner, bool up)
{
	(void)owner;
	(void)up;
}

static const struct old_client_program program = { model_open, model_close, model_send,
						   model_state };

/* One that each transcript has. */
static const struct line *the_first(const struct transcript *t, unsigned flow, uint8_t type,
				    bool to_broker)
{
	const struct line *line = transcript_first(t, flow, type, to_broker);

	if (line)
		return line;
	fprintf(stderr, "%s: flow%u has no type %02x\n", t->name, flow, type);
	exit(1);
}

/* The flows whose PREPAREs name the same UUID as that of the first are one client's. */
static void find_flows(struct transcript *t, unsigned first)
{
	const struct line *prepare = the_first(t, first, OLD_MSG_PREPARE, true);
	const size_t len = prepare->bytes[14];

	t->flow_count = t->attempts = 0;
	for (unsigned flow = first; flow <= FLOWS; flow++) {
		const struct line *other = transcript_first(t, flow, OLD_MSG_PREPARE, true);

		if (other && other->bytes[14] == len &&
		    memcmp(other->bytes + 15, prepare->bytes + 15, len) == 0)
			t->flows[t->flow_count++] = flow;
	}
}

static void run_on(struct transcript *t, struct old_client *c, int64_t until_us)
{
	while (old_client_deadline(c) <= until_us) {
		t->now_us = old_client_deadline(c);
		old_client_tick(c, t->now_us);
	}
	t->now_us = until_us;
}

static void play_client(struct transcript *t, unsigned first)
{
	const struct line *prepare = the_first(t, first, OLD_MSG_PREPARE, true);
	const struct line *limit = transcript_first(t, first, OLD_MSG_LIMIT, true);
	const size_t len = prepare->bytes[14];
	struct old_client c;
	char uuid[256] = "";

	find_flows(t, first);
	memcpy(uuid, prepare->bytes + 15, len);
	t->said_count = 0;
	t->now_us = the_first(t, first, OLD_MSG_USAGE, true)->at_us - 1000000;
	old_client_start(&c, t->client, &program, t, uuid, old_get(prepare->bytes + 15 + len, 4), 1,
			 0, t->now_us);
	c.limit_kbps = limit ? old_get(limit->bytes + 10, 4) : 0;
	for (size_t i = 0; i < t->recorded_count; i++) {
		const struct line *l = &t->recorded[i];

		run_on(t, &c, l->at_us);
		if (l->to_broker && l->bytes[4] == OLD_MSG_ERROR && l->bytes[6] == 0x11)
			old_client_stop(&c);
		else if (!l->to_broker && l->flow == current_flow(t))
			old_client_rx(&c, 0, l->bytes, l->size, t->now_us);
	}
	run_on(t, &c, t->now_us + TOLERANCE_US);
	transcript_compare(t, true);
}

/* --- the broker's model --- */

static void broker_send(void *owner, const struct td_flow *flow, const uint8_t *bytes, size_t size)
{
	struct transcript *t = owner;

	transcript_note(t, flow->peer.port, false, bytes, size);
	if (bytes[4] == OLD_MSG_COOKIE)
		memcpy(t->cookies[flow->peer.port], bytes + 6, 8);
}

/* What chance decided then. */
static void set_chances(const struct transcript *t, struct old_broker *b, unsigned flow)
{
	const struct line *tunnel = transcript_first(t, flow, OLD_MSG_TUNNEL, false);
	const struct line *keepalive = transcript_first(t, flow, OLD_MSG_KEEPALIVE, false);
	const struct line *probe = transcript_first(t, flow, OLD_MSG_PMTUD, false);

	b->first_keepalive_us = 14000000;
	b->first_probe_us = 0;
	if (!tunnel)
		return;
	if (keepalive)
		b->first_keepalive_us = keepalive->at_us - tunnel->at_us;
	if (probe)
		b->first_probe_us = probe->at_us - tunnel->at_us;
}

static void feed_broker(struct transcript *t, struct old_broker *b, const struct line *l)
{
	struct td_flow flow = { .peer = { .family = TD_FAMILY_IPV4, .port = (uint16_t)l->flow } };
	uint8_t bytes[2048];

	memcpy(bytes, l->bytes, l->size);
	if (bytes[4] == OLD_MSG_PREPARE) {
		memcpy(bytes + 6, t->cookies[l->flow], 8);
		set_chances(t, b, l->flow);
	}
	old_broker_rx(b, &flow, bytes, l->size, t->now_us);
}

static void play_broker(struct transcript *t)
{
	static struct old_tunnel tunnels[64];
	struct old_broker b = { .send = broker_send, .owner = t, .knows_features = true };
	bool stopped = false;

	memset(tunnels, 0, sizeof(tunnels));
	b.tunnels = tunnels;
	b.max_tunnels = t->max_tunnels ? t->max_tunnels : 64;
	b.fixed_mtu = t->fixed_mtu;
	b.gap_us = t->gap_us;
	b.id_base = old_get(the_first(t, 1, OLD_MSG_TUNNEL, false)->bytes + 6, 4);
	t->said_count = 0;
	old_broker_start(&b, 1);
	for (size_t i = 0; i < t->recorded_count; i++) {
		const struct line *l = &t->recorded[i];

		while (old_broker_deadline(&b) <= l->at_us) {
			t->now_us = old_broker_deadline(&b);
			old_broker_tick(&b, t->now_us);
		}
		t->now_us = l->at_us;
		if (!l->to_broker && l->bytes[4] == OLD_MSG_ERROR && l->bytes[5] == 1 &&
		    l->bytes[6] == 2 && !stopped) {
			old_broker_stop(&b);
			stopped = true;
		} else if (l->to_broker) {
			feed_broker(t, &b, l);
		}
	}
	transcript_compare(t, false);
}

int sim_replay(const char *directory)
{
	int faults = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct transcript *t = &all[i];

		if (!transcript_load(t, directory)) {
			printf("%s: cannot be read\n", t->name);
			return 1;
		}
		play_client(t, 1);
		if (transcript_first(t, 2, OLD_MSG_PREPARE, true) && !transcript_is_mine(t, 2))
			play_client(t, 2);
		play_broker(t);
		printf("%s: %zu datagrams, %d differ\n", t->name, t->recorded_count, t->faults);
		faults += t->faults;
	}
	return faults > 0;
}
