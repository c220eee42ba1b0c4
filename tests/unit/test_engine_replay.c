/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Deployed clients, as recorded, against the engine: the client's side of each transcript is played
 * at its pace, with our cookie in place of the recorded one, and our replies are compared with
 * those of the deployed broker, type by type. Where we differ on purpose, it is said below.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine_harness.h"

#define LINES_MAX 256
#define FLOWS_MAX 8

struct line {
	int64_t at_us;
	unsigned flow;
	bool from_client;
	uint8_t bytes[1600];
	size_t size;
	struct td_msg msg;
};

struct transcript {
	struct line lines[LINES_MAX];
	size_t count;
};

static struct transcript t;

static void parse_hex(struct line *line, char *text)
{
	char *word = strtok(text, " \n");
	unsigned byte, zeros;

	line->size = 0;
	for (; *word; word += 2) {
		assert_int_equal(sscanf(word, "%2x", &byte), 1);
		line->bytes[line->size++] = (uint8_t)byte;
	}
	word = strtok(NULL, " \n");
	if (!word)
		return;
	assert_int_equal(sscanf(word, "00*%u", &zeros), 1);
	assert_true(line->size + zeros <= sizeof(line->bytes));
	memset(line->bytes + line->size, 0, zeros);
	line->size += zeros;
}

static void load(const char *name)
{
	char path[PATH_MAX], text[512], direction[4], hex[512];
	double at;
	FILE *file;

	snprintf(path, sizeof(path), "%s/transcripts/%s.txt", getenv("TD_TESTS"), name);
	file = fopen(path, "r");
	assert_non_null(file);
	t.count = 0;
	while (fgets(text, sizeof(text), file)) {
		struct line *line = &t.lines[t.count];

		if (text[0] == '#')
			continue;
		assert_true(t.count < LINES_MAX);
		assert_int_equal(
			sscanf(text, " %lf flow%u %3s %511[^\n]", &at, &line->flow, direction, hex),
			4);
		line->at_us = (int64_t)(at * 1e6);
		line->from_client = strcmp(direction, "c>b") == 0;
		parse_hex(line, hex);
		assert_int_equal(td_msg_parse(&line->msg,
					      line->from_client ? TD_FROM_CLIENT : TD_FROM_BROKER,
					      line->bytes, line->size),
				 0);
		t.count++;
	}
	fclose(file);
	assert_true(t.count > 10);
}

static uint32_t first_tunnel_id(void)
{
	for (size_t i = 0; i < t.count; i++)
		if (t.lines[i].msg.type == TD_MSG_TUNNEL)
			return t.lines[i].msg.tunnel.id;
	return 1;
}

static void start(struct world *w, uint32_t max_tunnels, uint16_t fixed_mtu, struct td_rate rate)
{
	struct td_engine_config config = config_for(max_tunnels);

	config.tunnel_id_base = first_tunnel_id();
	config.fixed_mtu = fixed_mtu;
	config.rate = rate;
	world_start(w, &config);
	w->path_size = 1472;
}

static struct client flow_number(unsigned flow)
{
	struct client c = client_number(1);

	c.flow.peer.port = (uint16_t)(50000 + flow);
	return c;
}

/* Our own cookie, in place of the recorded one; zeros when we gave none. */
static void put_cookie(const struct world *w, const struct client *c, struct line *line)
{
	memset(line->bytes + TD_MSG_HEADER, 0, TD_COOKIE_SIZE);
	for (size_t i = 0; i < w->datagram_count; i++)
		if (w->datagrams[i].msg.type == TD_MSG_COOKIE &&
		    td_flow_equal(&w->datagrams[i].flow, &c->flow))
			memcpy(line->bytes + TD_MSG_HEADER, w->datagrams[i].msg.cookie,
			       TD_COOKIE_SIZE);
}

/* Plays what is in [from_us, to_us) of the recording. */
static void play(struct world *w, int64_t from_us, int64_t to_us)
{
	const struct td_time start_at = w->now;

	for (size_t i = 0; i < t.count; i++) {
		struct line *line = &t.lines[i];
		const struct client c = flow_number(line->flow);

		if (!line->from_client || line->at_us < from_us || line->at_us >= to_us)
			continue;
		world_pass(w, line->at_us - from_us - (w->now.us - start_at.us));
		if (line->msg.type == TD_MSG_PREPARE)
			put_cookie(w, &c, line);
		client_send_bytes(w, &c, line->bytes, line->size);
	}
}

/* Of that type and flow, in order: the deployed broker's and ours say the same. */
static unsigned compare(struct world *w, unsigned flow, enum td_msg_type type)
{
	const struct client c = flow_number(flow);
	unsigned count = 0;
	struct td_msg ours;

	for (size_t i = 0; i < t.count; i++) {
		const struct line *line = &t.lines[i];
		struct td_msg theirs = line->msg;

		if (line->from_client || line->flow != flow || theirs.type != type)
			continue;
		if (!client_hears(w, &c, type, &ours))
			fail_msg("flow %u, type %d: reply %u is missing", flow, (int)type, count);
		if (type == TD_MSG_COOKIE)
			memcpy(theirs.cookie, ours.cookie, sizeof(ours.cookie));
		assert_memory_equal(&ours, &theirs, sizeof(ours));
		count++;
	}
	if (client_hears(w, &c, type, &ours))
		fail_msg("flow %u, type %d: a reply more than the %u recorded", flow, (int)type,
			 count);
	return count;
}

static void compare_handshake(struct world *w, unsigned flow)
{
	assert_int_equal(compare(w, flow, TD_MSG_USAGE), 1);
	assert_int_equal(compare(w, flow, TD_MSG_COOKIE), 1);
	assert_int_equal(compare(w, flow, TD_MSG_TUNNEL), 1);
}

static int64_t keepalives_of(struct world *w, unsigned flow)
{
	const struct client c = flow_number(flow);
	struct td_msg msg;
	int64_t count = 0;

	while (client_hears(w, &c, TD_MSG_KEEPALIVE, &msg))
		assert_int_equal(msg.keepalive.counter, count++);
	return count;
}

static void assert_nothing_more(const struct world *w, unsigned flow)
{
	const struct client c = flow_number(flow);

	assert_int_equal(client_unread(w, &c), 0);
}

/* With pmtu=1364, all of the deployed broker's replies are ours. */
static void replay_fixed(const char *name, unsigned flows, unsigned limits)
{
	struct world w;

	load(name);
	start(&w, 64, 1364, NO_LIMIT);
	play(&w, 0, INT64_MAX);
	for (unsigned flow = 1; flow <= flows; flow++) {
		compare_handshake(&w, flow);
		assert_int_equal(compare(&w, flow, TD_MSG_REL_ACK), limits);
		assert_true(compare(&w, flow, TD_MSG_PMTU_NTFY) > 10);
		assert_int_equal(compare(&w, flow, TD_MSG_PMTUD_ACK), 0);
		assert_int_equal(compare(&w, flow, TD_MSG_ERROR), 0);
		assert_in_range(keepalives_of(&w, flow), 3, 5);
		assert_nothing_more(&w, flow);
	}
	assert_int_equal(td_engine_tunnels(w.e), flows);
	assert_int_equal(world_count(&w, TD_ACTION_SET_RATE, ANY_HOOK), limits * flows);
	assert_int_equal(td_engine_counters(w.e)->rx_malformed, 0);
	world_end(&w);
}

static void test_client_of_release_0_3_0(void **state)
{
	(void)state;
	replay_fixed("client-0.3.0", 1, 1);
}

static void test_client_of_2017(void **state)
{
	(void)state;
	replay_fixed("client-2017-12", 1, 1);
}

static void test_client_of_2021(void **state)
{
	(void)state;
	replay_fixed("client-2021-03", 1, 1);
}

static void test_two_clients_of_one_host(void **state)
{
	(void)state;
	replay_fixed("fixed-mtu-two-clients", 2, 0);
}

static void test_current_client_stops(void **state)
{
	struct client c = flow_number(1);
	struct world w;

	(void)state;
	load("current-client-shutdown");
	start(&w, 64, 0, NO_LIMIT);
	play(&w, 0, INT64_MAX);
	compare_handshake(&w, 1);
	assert_int_equal(compare(&w, 1, TD_MSG_REL_ACK), 1);
	assert_int_equal(compare(&w, 1, TD_MSG_PMTUD_ACK), 18);
	assert_int_equal(compare(&w, 1, TD_MSG_PMTU_NTFY), 1); /* 1446, as they measured it */
	assert_int_equal(compare(&w, 1, TD_MSG_ERROR), 1);
	assert_int_equal(world_last(&w, TD_ACTION_SET_RATE, ANY_HOOK)->action.rate_kbps, 2048);
	assert_int_equal(world_last(&w, TD_ACTION_DOWN, ANY_HOOK)->action.end, TD_END_PEER);
	assert_true(td_engine_idle(w.e));
	assert_null(td_engine_session(w.e, client_handle(&w, &c)));
	world_end(&w);
}

static void test_the_broker_restarts(void **state)
{
	const int64_t stop_us = 8395000, back_us = 14000000;
	struct world w;

	(void)state;
	load("current-broker-restart");
	start(&w, 64, 0, NO_LIMIT);
	play(&w, 0, stop_us);
	world_shutdown(&w, TD_SECONDS(5));
	compare_handshake(&w, 1);
	assert_int_equal(compare(&w, 1, TD_MSG_ERROR), 1);
	play(&w, stop_us, back_us); /* the client's ERROR in return: no answer */
	assert_int_equal(compare(&w, 2, TD_MSG_ERROR), 0);
	assert_true(td_engine_idle(w.e));
	world_end(&w);
	start(&w, 64, 0, NO_LIMIT);
	play(&w, back_us, INT64_MAX);
	compare_handshake(&w, 2);
	assert_int_equal(compare(&w, 2, TD_MSG_PMTUD_ACK), 18);
	assert_int_equal(td_engine_tunnels(w.e), 1);
	world_end(&w);
}

/* The incumbent refuses at once, again and again. We keep the second client waiting. */
static void test_rate_limited(void **state)
{
	struct world w;

	(void)state;
	load("rate-limited");
	start(&w, 64, 0, (struct td_rate){ TD_SECONDS(60), 1 });
	play(&w, 0, INT64_MAX);
	compare_handshake(&w, 1);
	for (unsigned flow = 2; flow <= 5; flow++) {
		assert_int_equal(compare(&w, flow, TD_MSG_USAGE), 1);
		assert_int_equal(compare(&w, flow, TD_MSG_COOKIE), 1);
		assert_nothing_more(&w, flow);
	}
	assert_int_equal(td_engine_counters(w.e)->parked, 4);
	world_end(&w);
}

/* The incumbent answers, gives a cookie and then refuses. We say nothing to whoever is new. */
static void test_full(void **state)
{
	struct world w;

	(void)state;
	load("full");
	start(&w, 1, 0, NO_LIMIT);
	play(&w, 0, INT64_MAX);
	compare_handshake(&w, 1);
	assert_int_equal(compare(&w, 1, TD_MSG_PMTUD_ACK), 18);
	for (unsigned flow = 2; flow <= 4; flow++)
		assert_nothing_more(&w, flow);
	assert_int_equal(td_engine_counters(w.e)->silent_full, 6);
	assert_int_equal(td_engine_counters(w.e)->rx_bad_cookie, 3);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_client_of_release_0_3_0),
		cmocka_unit_test(test_client_of_2017),
		cmocka_unit_test(test_client_of_2021),
		cmocka_unit_test(test_two_clients_of_one_host),
		cmocka_unit_test(test_current_client_stops),
		cmocka_unit_test(test_the_broker_restarts),
		cmocka_unit_test(test_rate_limited),
		cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
