/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What deployed brokers were recorded to say, byte for byte, to the client machine: its questions
 * are checked by type, the answers are those of the recordings (their order as well).
 */
#include "client_world.h"

/* A type that the client has to send next (keepalives and probes are passed over), or an answer. */
struct line {
	int expect;         /* enum td_msg_type, 0: none */
	const char *answer; /* hex */
	int64_t after_us;   /* before it comes */
};

#define SAYS(type)               \
	{                        \
		.expect = (type) \
	}
#define HEARS(hex)              \
	{                       \
		.answer = (hex) \
	}
#define LATER(s, hex)                                      \
	{                                                  \
		.answer = (hex), .after_us = TD_SECONDS(s) \
	}

struct replay {
	struct world *w;
	uint32_t slot;
	struct td_msg last;
};

static size_t from_hex(uint8_t *to, const char *hex)
{
	size_t size = 0;

	for (; hex[0] != '\0'; hex += 2) {
		char digits[3] = { hex[0], hex[1], '\0' };

		to[size++] = (uint8_t)strtoul(digits, NULL, 16);
	}
	return size;
}

/* Until the client says something of that type; at most 20 s. */
static void expect(struct replay *r, int type)
{
	struct world *w = r->w;
	struct td_time end = td_time_add(w->now, TD_SECONDS(20));
	uint8_t bytes[9100];

	for (;;) {
		size_t size = td_client_tx(w->c, &r->slot, bytes, sizeof(bytes), w->now);

		if (size > 0) {
			assert_int_equal(td_msg_parse(&r->last, TD_FROM_CLIENT, bytes, size), 0);
			if ((int)r->last.type == type)
				return;
			assert_true(r->last.type == TD_MSG_KEEPALIVE ||
				    r->last.type == TD_MSG_PMTUD || r->last.type == TD_MSG_COOKIE ||
				    r->last.type == TD_MSG_PMTU_NTFY);
			continue;
		}
		assert_true(td_client_deadline(w->c).us <= end.us);
		w->now = td_client_deadline(w->c);
		td_client_tick(w->c, w->now);
		world_act(w);
	}
}

static void hear(struct replay *r, const struct line *line)
{
	uint8_t bytes[1600];
	struct world *w = r->w;
	struct td_time at = td_time_add(w->now, TD_MS(2) + line->after_us);
	size_t size = from_hex(bytes, line->answer);

	while (td_client_deadline(w->c).us <= at.us) {
		w->now = td_client_deadline(w->c);
		td_client_tick(w->c, w->now);
		world_drain(w);
	}
	w->now = at;
	td_client_rx(w->c, r->slot, bytes, size, w->now);
	/* Actions only: what it says is for expect(). */
	struct td_client_action a;
	while (td_client_next_action(w->c, &a, w->now)) {
		if (a.kind == TD_CLIENT_STATE)
			world_log(w, &a);
		else if (a.kind == TD_CLIENT_CLOSE)
			world_close(w, a.slot);
		else if (a.kind == TD_CLIENT_OPEN)
			world_open(w, &a);
		else if (a.kind == TD_CLIENT_CREATE)
			world_make(w, &a);
		else if (a.kind == TD_CLIENT_HOOK)
			world_hook(w, a.hook);
		else if (a.kind == TD_CLIENT_DESTROY)
			world_remove(w, &a);
		else if (a.kind == TD_CLIENT_SET_MTU)
			world_result(w, a.sequence, 0, 0), w->mtu = a.session->mtu;
		else
			world_lookup(w, a.broker);
	}
}

/* A world in which the network carries nothing: all answers come from the recording. */
static struct replay begin(void)
{
	struct world *w = world_new(1, TD_SELECT_FIRST, 1);
	struct td_addr addr = world_addr(0, 0);

	w->loss_percent = 100;
	w->config.limit_kbps = 1024;
	world_start(w);
	w->event[0].kind = WORLD_NOTHING;
	td_client_resolved(w->c, 0, &addr, 1, w->now);
	world_act(w);
	return (struct replay){ .w = w };
}

static void play(struct replay *r, const struct line *lines, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (lines[i].expect)
			expect(r, lines[i].expect);
		else
			hear(r, &lines[i]);
	}
}

#define PLAY(r, lines) play(r, lines, sizeof(lines) / sizeof((lines)[0]))

static void end(struct replay *r)
{
	world_finish(r->w);
}

static void test_python_broker(void **state)
{
	static const struct line lines[] = {
		SAYS(TD_MSG_USAGE),
		HEARS("8073a7010a02000000000000"),
		SAYS(TD_MSG_COOKIE),
		HEARS("8073a70101080000578aa18404be"),
		SAYS(TD_MSG_PREPARE),
		HEARS("8073a70104080000008000000001"),
		SAYS(TD_MSG_LIMIT),
		HEARS("8073a7010802000000000000"),
		LATER(3, "8073a7010502000000000000"),
		HEARS("8073a701090205a600000000"),
	};
	struct replay r = begin();

	(void)state;
	PLAY(&r, lines);
	assert_int_equal(td_client_state(r.w->c), TD_CLIENT_UP);
	assert_int_equal(r.w->session.peer_tunnel_id, 0x80);
	assert_int_equal(r.w->session.peer_session_id, 0x80);
	assert_int_equal(r.w->session.session_id, 7);
	assert_int_equal(r.w->mtu, 1446);
	end(&r);
}

static void test_cookie_is_returned_as_it_came(void **state)
{
	static const struct line lines[] = {
		SAYS(TD_MSG_USAGE),   HEARS("8073a7010a0203ff00000000"),
		SAYS(TD_MSG_COOKIE),  HEARS("8073a701010800008d874f88ec43"),
		SAYS(TD_MSG_PREPARE),
	};
	static const uint8_t cookie[8] = { 0, 0, 0x8d, 0x87, 0x4f, 0x88, 0xec, 0x43 };
	struct replay r = begin();

	(void)state;
	PLAY(&r, lines);
	assert_memory_equal(r.last.prepare.cookie, cookie, sizeof(cookie));
	end(&r);
}

/* A broker of the time before features, or one that was not told of any. */
static void test_broker_without_features(void **state)
{
	static const struct line lines[] = {
		SAYS(TD_MSG_USAGE),
		HEARS("8073a7010a02000000000000"),
		SAYS(TD_MSG_COOKIE),
		HEARS("8073a7010108000272938c14d973"),
		SAYS(TD_MSG_PREPARE),
		HEARS("8073a7010404000000840000"),
		HEARS("8073a7010902055400000000"),
	};
	struct replay r = begin();

	(void)state;
	PLAY(&r, lines);
	assert_int_equal(td_client_state(r.w->c), TD_CLIENT_UP);
	assert_int_equal(r.w->session.peer_tunnel_id, 0x84);
	assert_int_equal(r.w->session.peer_session_id, 1);
	assert_int_equal(r.w->session.session_id, 1);
	assert_int_equal(r.w->mtu, 0x554);
	end(&r);
}

/* A fixed MTU: each probe is answered by the notification, none is acknowledged. */
static void test_fixed_mtu_broker(void **state)
{
	static const struct line lines[] = {
		SAYS(TD_MSG_USAGE),
		HEARS("8073a7010a02000000000000"),
		SAYS(TD_MSG_COOKIE),
		HEARS("8073a70101080001c332cc726c80"),
		SAYS(TD_MSG_PREPARE),
		HEARS("8073a70104080000008000000001"),
		HEARS("8073a7010902055400000000"),
		SAYS(TD_MSG_PMTUD),
		HEARS("8073a7010902055400000000"),
		SAYS(TD_MSG_PMTUD),
		HEARS("8073a7010902055400000000"),
		LATER(6, "8073a7010502000000000000"),
		LATER(5, "8073a7010502000100000000"),
	};
	struct replay r = begin();

	(void)state;
	PLAY(&r, lines);
	assert_int_equal(td_client_state(r.w->c), TD_CLIENT_UP);
	assert_int_equal(r.w->mtu, 1364);
	end(&r);
}

/* Orderly restart: ERROR with a reason, answered at once. */
static void test_broker_restart(void **state)
{
	static const struct line lines[] = {
		SAYS(TD_MSG_USAGE),
		HEARS("8073a7010a02000000000000"),
		SAYS(TD_MSG_COOKIE),
		HEARS("8073a70101080001144930c33571"),
		SAYS(TD_MSG_PREPARE),
		HEARS("8073a70104080000008000000001"),
		LATER(20, "8073a7010301020000000000"),
		SAYS(TD_MSG_ERROR),
	};
	static const struct line again[] = {
		SAYS(TD_MSG_USAGE),   HEARS("8073a7010a02000000000000"),
		SAYS(TD_MSG_COOKIE),  HEARS("8073a70101080000ac4aef58d08b"),
		SAYS(TD_MSG_PREPARE), HEARS("8073a70104080000008000000001"),
	};
	struct replay r = begin();

	(void)state;
	PLAY(&r, lines);
	assert_int_equal(r.last.reason, TD_ERROR_CLIENT_OTHER_SIDE);
	assert_int_equal(td_client_state(r.w->c), TD_CLIENT_SELECTING);
	PLAY(&r, again);
	assert_int_equal(td_client_state(r.w->c), TD_CLIENT_UP);
	assert_int_equal(r.w->creates, 2);
	end(&r);
}

/* Refused by ERROR without a reason byte, by a full broker that reports its full load. */
static void test_refusal_without_reason(void **state)
{
	static const struct line lines[] = {
		SAYS(TD_MSG_USAGE),   HEARS("8073a7010a02ffff00000000"),
		SAYS(TD_MSG_COOKIE),  HEARS("8073a701010800009506742ad112"),
		SAYS(TD_MSG_PREPARE), HEARS("8073a7010300000000000000"),
		SAYS(TD_MSG_ERROR),
	};
	struct replay r = begin();

	(void)state;
	PLAY(&r, lines);
	assert_int_equal(r.last.reason, TD_ERROR_CLIENT_OTHER_SIDE);
	assert_int_equal(td_client_state(r.w->c), TD_CLIENT_WAITING);
	end(&r);
}

/* The broker's own search: the probe is acknowledged with its size, its notification counts. */
static void test_probe_of_the_broker(void **state)
{
	static const struct line lines[] = {
		SAYS(TD_MSG_USAGE),   HEARS("8073a7010a02000000000000"),
		SAYS(TD_MSG_COOKIE),  HEARS("8073a70101080000578aa18404be"),
		SAYS(TD_MSG_PREPARE), HEARS("8073a70104080000008000000001"),
	};
	struct replay r = begin();
	uint8_t probe[1472] = { 0x80, 0x73, 0xa7, 0x01, 0x06 };

	(void)state;
	PLAY(&r, lines);
	td_client_rx(r.w->c, r.slot, probe, sizeof(probe), r.w->now);
	expect(&r, TD_MSG_PMTUD_ACK);
	assert_int_equal(r.last.size, 1472);
	td_client_rx(r.w->c, r.slot, probe, 1306, r.w->now);
	expect(&r, TD_MSG_PMTUD_ACK);
	assert_int_equal(r.last.size, 1306);
	hear(&r, &(struct line)HEARS("8073a7010902058000000000"));
	assert_int_equal(r.w->mtu, 0x580);
	end(&r);
}

/* A keepalive comes only after 14 s. */
static void test_late_first_keepalive(void **state)
{
	static const struct line lines[] = {
		SAYS(TD_MSG_USAGE),
		HEARS("8073a7010a02000000000000"),
		SAYS(TD_MSG_COOKIE),
		HEARS("8073a701010800025ebd12f06fca"),
		SAYS(TD_MSG_PREPARE),
		HEARS("8073a70104080000008200000001"),
		LATER(14, "8073a7010502000000000000"),
		LATER(55, "8073a7010502000100000000"),
		LATER(55, "8073a7010502ffff00000000"),
	};
	struct replay r = begin();

	(void)state;
	PLAY(&r, lines);
	assert_int_equal(td_client_state(r.w->c), TD_CLIENT_UP);
	assert_int_equal(r.w->creates, 1);
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_python_broker),
		cmocka_unit_test(test_cookie_is_returned_as_it_came),
		cmocka_unit_test(test_broker_without_features),
		cmocka_unit_test(test_fixed_mtu_broker),
		cmocka_unit_test(test_broker_restart),
		cmocka_unit_test(test_refusal_without_reason),
		cmocka_unit_test(test_probe_of_the_broker),
		cmocka_unit_test(test_late_first_keepalive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
