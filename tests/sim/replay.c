/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The models of deployed peers against the recordings of the real ones, tests/transcripts: each
 * hears what the recorded one heard, when it heard it, and has to say the same, byte for byte but
 * for cookies and padding, and at the same time, give or take TOLERANCE_US (a machine was slow when
 * they were recorded, and seconds are counted from the start of a process).
 *
 * What is of the same type and flow is compared in its order.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "old_wire.h"
#include "sim.h"

#define LINES        400
#define FLOWS        8
#define TOLERANCE_US INT64_C(1500000)

struct line {
	int64_t at_us;
	unsigned flow;
	bool to_broker;
	size_t size;
	uint8_t bytes[2048];
};

struct transcript {
	const char *name;
	const struct old_client_kind *client;
	uint16_t fixed_mtu;
	uint32_t max_tunnels;
	int64_t gap_us;
	/* read */
	struct line recorded[LINES], said[LINES];
	size_t recorded_count, said_count;
	int64_t now_us;
	unsigned flows[FLOWS]; /* of the client that is played, in the order of its attempts */
	unsigned flow_count, attempts;
	uint8_t cookies[FLOWS + 1][8]; /* as the broker's model gave them */
	int faults;
};

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

/* --- reading --- */

static size_t read_bytes(uint8_t *to, const char *hex)
{
	size_t size = 0;
	unsigned value, zeros = 0;

	for (; sscanf(hex, "%2x", &value) == 1 && hex[0] != ' ' && size < 1000; hex += 2)
		to[size++] = (uint8_t)value;
	if (sscanf(hex, " 00*%u", &zeros) != 1 || zeros > 1500)
		zeros = 0;
	memset(to + size, 0, zeros);
	return size + zeros;
}

static bool load(struct transcript *t, const char *directory)
{
	char path[512], text[4096], *hex;
	double at;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s.txt", directory, t->name);
	file = fopen(path, "r");
	while (file && fgets(text, sizeof(text), file) && t->recorded_count < LINES) {
		struct line *l = &t->recorded[t->recorded_count];

		if (sscanf(text, " %lf flow%u", &at, &l->flow) != 2 || l->flow > FLOWS)
			continue;
		hex = strstr(text, "8073a7");
		l->to_broker = strstr(text, "c>b") != NULL;
		l->at_us = (int64_t)(at * 1e6);
		l->size = hex ? read_bytes(l->bytes, hex) : 0;
		t->recorded_count += l->size >= 12;
	}
	if (file)
		fclose(file);
	return t->recorded_count > 0;
}

static void note(struct transcript *t, unsigned flow, bool to_broker, const uint8_t *bytes,
		 size_t size)
{
	struct line *l = &t->said[t->said_count];

	if (t->said_count == LINES)
		return;
	t->said_count++;
	*l = (struct line){
		.at_us = t->now_us, .flow = flow, .to_broker = to_broker, .size = size
	};
	memcpy(l->bytes, bytes, size);
}

/* --- comparing --- */

static bool same(const struct line *a, const struct line *b)
{
	const size_t length = (size_t)a->bytes[5] + 6;

	if (a->bytes[4] != b->bytes[4] || a->bytes[5] != b->bytes[5])
		return false;
	if (a->bytes[4] == OLD_MSG_PMTUD)
		return a->size == b->size;
	if (a->bytes[4] == OLD_MSG_COOKIE && !a->to_broker)
		return true;
	return memcmp(a->bytes, b->bytes, length) == 0;
}

static const struct line *nth(const struct line *lines, size_t count, const struct line *like,
			      unsigned n)
{
	for (size_t i = 0; i < count; i++)
		if (lines[i].flow == like->flow && lines[i].to_broker == like->to_broker &&
		    lines[i].bytes[4] == like->bytes[4] && n-- == 0)
			return &lines[i];
	return NULL;
}

static unsigned rank(const struct line *lines, const struct line *line)
{
	unsigned n = 0;

	for (; lines < line; lines++)
		n += lines->flow == line->flow && lines->to_broker == line->to_broker &&
		     lines->bytes[4] == line->bytes[4];
	return n;
}

static void complain(struct transcript *t, const char *what, const struct line *l)
{
	t->faults++;
	printf("%s: %s: %.3f flow%u %s type %02x, %zu bytes\n", t->name, what,
	       (double)l->at_us / 1e6, l->flow, l->to_broker ? "c>b" : "b>c", l->bytes[4], l->size);
}

/* Everything recorded was said, and nothing else before the recording ended. */
static void compare(struct transcript *t, const struct line *recorded)
{
	const unsigned n = rank(t->recorded, recorded);
	const struct line *said = nth(t->said, t->said_count, recorded, n);

	if (!said)
		complain(t, "not said", recorded);
	else if (!same(recorded, said))
		complain(t, "said differently", recorded);
	else if (llabs(said->at_us - recorded->at_us) > TOLERANCE_US)
		complain(t, "said at another time", said);
}

static void compare_extra(struct transcript *t, const struct line *said)
{
	const int64_t end_us = t->recorded[t->recorded_count - 1].at_us;

	if (said->at_us < end_us - TOLERANCE_US &&
	    !nth(t->recorded, t->recorded_count, said, rank(t->said, said)))
		complain(t, "not recorded", said);
}

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
	note(t, current_flow(t), true, bytes, size);
}

static void model_state(void *owner, bool up)
{
	(void)owner;
	(void)up;
}

static const struct old_client_program program = { model_open, model_close, model_send,
						   model_state };

static const struct line *first_of(const struct transcript *t, unsigned flow, uint8_t type,
				   bool to_broker)
{
	for (size_t i = 0; i < t->recorded_count; i++)
		if (t->recorded[i].flow == flow && t->recorded[i].bytes[4] == type &&
		    t->recorded[i].to_broker == to_broker)
			return &t->recorded[i];
	return NULL;
}

/* One that each transcript has. */
static const struct line *the_first(const struct transcript *t, unsigned flow, uint8_t type,
				    bool to_broker)
{
	const struct line *line = first_of(t, flow, type, to_broker);

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
		const struct line *other = first_of(t, flow, OLD_MSG_PREPARE, true);

		if (other && other->bytes[14] == len &&
		    memcmp(other->bytes + 15, prepare->bytes + 15, len) == 0)
			t->flows[t->flow_count++] = flow;
	}
}

static bool is_mine(const struct transcript *t, unsigned flow)
{
	for (unsigned i = 0; i < t->flow_count; i++)
		if (t->flows[i] == flow)
			return true;
	return false;
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
	const struct line *limit = first_of(t, first, OLD_MSG_LIMIT, true);
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
	for (size_t i = 0; i < t->recorded_count; i++)
		if (t->recorded[i].to_broker && is_mine(t, t->recorded[i].flow))
			compare(t, &t->recorded[i]);
	for (size_t i = 0; i < t->said_count; i++)
		compare_extra(t, &t->said[i]);
}

/* --- the broker's model --- */

static void broker_send(void *owner, const struct td_flow *flow, const uint8_t *bytes, size_t size)
{
	struct transcript *t = owner;

	note(t, flow->peer.port, false, bytes, size);
	if (bytes[4] == OLD_MSG_COOKIE)
		memcpy(t->cookies[flow->peer.port], bytes + 6, 8);
}

/* What chance decided then. */
static void set_chances(const struct transcript *t, struct old_broker *b, unsigned flow)
{
	const struct line *tunnel = first_of(t, flow, OLD_MSG_TUNNEL, false);
	const struct line *keepalive = first_of(t, flow, OLD_MSG_KEEPALIVE, false);
	const struct line *probe = first_of(t, flow, OLD_MSG_PMTUD, false);

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
	for (size_t i = 0; i < t->recorded_count; i++)
		if (!t->recorded[i].to_broker)
			compare(t, &t->recorded[i]);
	for (size_t i = 0; i < t->said_count; i++)
		compare_extra(t, &t->said[i]);
}

int sim_replay(const char *directory)
{
	int faults = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct transcript *t = &all[i];

		if (!load(t, directory)) {
			printf("%s: cannot be read\n", t->name);
			return 1;
		}
		play_client(t, 1);
		if (first_of(t, 2, OLD_MSG_PREPARE, true) && !is_mine(t, 2))
			play_client(t, 2);
		play_broker(t);
		printf("%s: %zu datagrams, %d differ\n", t->name, t->recorded_count, t->faults);
		faults += t->faults;
	}
	return faults > 0;
}
