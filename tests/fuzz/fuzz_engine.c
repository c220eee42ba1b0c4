/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The broker engine, fed with whatever bytes say: datagrams, real and mangled, with real cookies and
 * forged ones; time; results of the shell, soon, late, bad, of other lives; upgrades; shutdown. The
 * oracle and the checks of tests/unit watch over every step. At the end the shell becomes reasonable,
 * the broker is shut down, and nothing may be left.
 *
 * Input: configuration (see read_config()), then steps: a byte that says which, and its arguments.
 * A datagram is a step that carries all its bytes, so that recorded ones can be seeds.
 */
#include <errno.h>
#include <stdio.h>

#include "../unit/engine_harness.h"
#include "core/engine_impl.h"
#include "fuzz.h"

#define FLOWS     6
#define STEPS_MAX 300

enum step {
	STEP_DATAGRAM, /* flow (bit 7: with the cookie that the flow has), length, bytes */
	STEP_GREET,    /* flow: gets a cookie */
	STEP_PREPARE,  /* flow: asks for its tunnel */
	STEP_IDENTITY, /* flow, which uuid, tunnel id, features */
	STEP_PASS,     /* how long */
	STEP_ANSWER,   /* which of the actions under way, with what */
	STEP_LIE,      /* the same, of another life or sequence */
	STEP_MANNERS,  /* for what, how long, with what */
	STEP_BLOCK,    /* whether the socket is full */
	STEP_LOSE,     /* flow: its interface disappears */
	STEP_PATH,     /* which probes are acknowledged */
	STEP_UPGRADE,
	STEP_SHUTDOWN,  /* limit in seconds */
	STEP_KEEPALIVE, /* flow */
	STEP_COUNTS,    /* flow: KEEPALIVE with counts; those of our own, how they are told */
	STEP_COUNT,
};

struct run {
	struct world w;
	struct td_reader r;
	struct client clients[FLOWS];
};

static struct client *read_client(struct run *k)
{
	return &k->clients[td_read_u8(&k->r) % FLOWS];
}

static int64_t read_span(struct run *k)
{
	static const int64_t spans[] = { 1,
					 TD_MS(5),
					 TD_MS(300),
					 TD_SECONDS(1),
					 TD_SECONDS(3),
					 TD_SECONDS(12),
					 TD_SECONDS(61),
					 TD_SECONDS(130) };

	return spans[td_read_u8(&k->r) % 8];
}

static int read_error(struct run *k)
{
	static const int errors[] = { 0, 0, 0, -EIO, -ENODEV, -EEXIST, -ETIMEDOUT, 1 };

	return errors[td_read_u8(&k->r) % 8];
}

/* Is this flow nobody's: neither a tunnel's nor an applicant's? */
static bool stranger(const struct run *k, const struct td_flow *flow)
{
	return !td_session_by_flow(k->w.e, flow) && !td_admission_find(k->w.e, flow);
}

/* What a stranger gets is not larger than what it sent, and one datagram. */
static void send_bytes(struct run *k, const struct client *c, const uint8_t *bytes, size_t size)
{
	const bool was_stranger = stranger(k, &c->flow);
	unsigned replies = 0;
	size_t from;

	world_settle(&k->w); /* what a full socket held up until now answers something else */
	from = k->w.datagram_count;
	client_send_bytes(&k->w, c, bytes, size);
	if (!was_stranger || !stranger(k, &c->flow))
		return;
	for (size_t i = from; i < k->w.datagram_count; i++) {
		if (!td_flow_equal(&k->w.datagrams[i].flow, &c->flow))
			continue;
		assert_true(k->w.datagrams[i].size <= size);
		assert_true(++replies <= 1);
	}
}

static void step_datagram(struct run *k)
{
	const uint8_t who = td_read_u8(&k->r);
	const struct client *c = &k->clients[(who & 0x7f) % FLOWS];
	const uint16_t size = td_read_u16(&k->r);
	const struct td_reader piece = fuzz_piece(&k->r, size);
	uint8_t *bytes = fuzz_copy(piece.at, piece.left);

	if (who & 0x80 && piece.left >= TD_MSG_HEADER + TD_COOKIE_SIZE)
		memcpy(bytes + TD_MSG_HEADER, c->cookie, TD_COOKIE_SIZE);
	/* The shell hands on nothing else (see td_engine_rx()). */
	if (td_msg_is_control(bytes, piece.left))
		send_bytes(k, c, bytes, piece.left);
	free(bytes);
}

static void step_identity(struct run *k)
{
	static const char *const uuids[] = { "a", "bb", "node-3", "-bad", "f0:0b" };
	struct client *c = read_client(k);
	uint8_t features;

	client_rename(c, uuids[td_read_u8(&k->r) % 5]);
	c->id = td_read_u8(&k->r) % 3;
	features = td_read_u8(&k->r);
	c->features = features % 4 ? UNIQUE : 0;
	c->features |= features & 4 ? TD_FEATURE_DATA_COOKIES : 0;
	c->features |= features & 8 ? TD_FEATURE_DATA_COUNTS : 0;
	c->features |= features & 16 ? TD_FEATURE_SPARSE_KEEPALIVES : 0;
}

static struct deed *read_deed(struct run *k)
{
	struct world *w = &k->w;
	size_t nth = td_read_u8(&k->r);

	if (w->open_count == 0)
		return NULL;
	nth %= w->open_count;
	for (size_t i = 0; i < w->deed_count; i++)
		if (w->deeds[i].open && nth-- == 0)
			return &w->deeds[i];
	return NULL;
}

static void step_answer(struct run *k)
{
	struct deed *deed = read_deed(k);
	const int err = read_error(k);

	if (deed)
		world_answer(&k->w, deed, err);
}

static void step_lie(struct run *k)
{
	const struct deed *deed = read_deed(k);
	const uint8_t how = td_read_u8(&k->r);
	const int err = read_error(k);
	struct td_handle handle = deed ? deed->action.handle : TD_NO_HANDLE;
	uint32_t sequence = deed ? deed->action.sequence : how;

	if (how & 1)
		handle.generation -= 1 + (how >> 4);
	else if (how & 2)
		handle.index = UINT32_MAX - handle.index;
	else
		sequence += 5000;
	td_engine_result(k->w.e, handle, sequence, err, k->w.now);
	world_settle(&k->w);
}

static void step_manners(struct run *k)
{
	static const int64_t delays[] = { 0, TD_MS(20), TD_SECONDS(3), HOLD };
	const uint8_t what = td_read_u8(&k->r);
	struct manners manners = { .delay_us = delays[td_read_u8(&k->r) % 4] };

	manners.err = read_error(k);
	if (what & 1)
		k->w.path[(what >> 1) % (TD_ACTION_DESTROY + 1)] = manners;
	else
		k->w.hook[(what >> 1) % TD_HOOK_RATE_LIMITED] = manners;
}

static void step_lose(struct run *k)
{
	td_engine_lost(k->w.e, client_handle(&k->w, read_client(k)), k->w.now);
	world_settle(&k->w);
}

static void step_keepalive(struct run *k)
{
	client_send_type(&k->w, read_client(k), TD_MSG_KEEPALIVE);
}

/* Larger than what passes for noise, in one byte. */
static uint32_t read_count(struct run *k)
{
	return 64u * td_read_u8(&k->r);
}

static void step_counts(struct run *k)
{
	const struct client *c = read_client(k);
	struct td_msg msg = { .type = TD_MSG_KEEPALIVE, .keepalive.counted = true };

	msg.keepalive.data_sent = read_count(k);
	msg.keepalive.data_received = read_count(k);
	k->w.data_sent = read_count(k);
	k->w.data_received = read_count(k);
	k->w.uncountable = td_read_u8(&k->r) & 1;
	client_send(&k->w, c, &msg);
}

static void step(struct run *k)
{
	struct world *w = &k->w;

	switch ((enum step)(td_read_u8(&k->r) % STEP_COUNT)) {
	case STEP_DATAGRAM:
		return step_datagram(k);
	case STEP_GREET:
		(void)client_greet(w, read_client(k));
		return;
	case STEP_PREPARE:
		return client_prepare(w, read_client(k));
	case STEP_IDENTITY:
		return step_identity(k);
	case STEP_PASS:
		return world_pass(w, read_span(k));
	case STEP_ANSWER:
		return step_answer(k);
	case STEP_LIE:
		return step_lie(k);
	case STEP_MANNERS:
		return step_manners(k);
	case STEP_BLOCK:
		w->blocked = td_read_u8(&k->r) & 1;
		return;
	case STEP_LOSE:
		return step_lose(k);
	case STEP_PATH:
		w->path_size = 1200 + 2u * td_read_u8(&k->r);
		return;
	case STEP_UPGRADE:
		return world_upgrade(w);
	case STEP_SHUTDOWN:
		return world_shutdown(w, TD_SECONDS(td_read_u8(&k->r) % 20));
	case STEP_KEEPALIVE:
		return step_keepalive(k);
	case STEP_COUNTS:
		return step_counts(k);
	case STEP_COUNT:
		break;
	}
}

static struct td_rate read_rate(struct run *k)
{
	const uint8_t what = td_read_u8(&k->r);

	return what & 1 ? (struct td_rate){ TD_SECONDS(1 + (what >> 4)), 1 + (what >> 1 & 3) }
			: NO_LIMIT;
}

/* Tunnels (bit 7: one session id for all), hooks, fixed MTU or not (bit 0) and seed, three rates. */
static struct td_engine_config read_config(struct run *k)
{
	const uint8_t tunnels = td_read_u8(&k->r);
	struct td_engine_config config = config_for(1 + (tunnels & 0x7f) % 5);
	uint8_t flags;

	config.shared_session_id = tunnels & 0x80;
	config.hooks = td_read_u8(&k->r) & ((1u << TD_HOOK_COUNT) - 1);
	flags = td_read_u8(&k->r);
	config.fixed_mtu = flags & 1 ? 1364 : 0;
	config.seed = flags >> 1;
	config.rate = read_rate(k);
	config.rate_per_ip = read_rate(k);
	config.rate_per_uuid = read_rate(k);
	return config;
}

static void make_clients(struct run *k)
{
	for (unsigned n = 0; n < FLOWS; n++)
		k->clients[n] = n < 4 ? client_number(n) : client_ipv6(1, n);
	/* two behind one address */
	k->clients[1].flow.peer = k->clients[0].flow.peer;
	k->clients[1].flow.peer.port++;
}

static void make_peace(struct run *k)
{
	struct world *w = &k->w;

	w->blocked = false;
	memset(w->path, 0, sizeof(w->path));
	memset(w->hook, 0, sizeof(w->hook));
	for (size_t i = 0; i < w->deed_count; i++)
		w->deeds[i].due = w->now;
	world_settle(w);
}

static void end_run(struct run *k)
{
	struct world *w = &k->w;

	make_peace(k);
	if (!w->stopping)
		world_shutdown(w, TD_SECONDS(5));
	world_pass(w, TD_SECONDS(150));
	assert_true(td_engine_idle(w->e));
	assert_int_equal(check_applicants(w->e), 0);
	assert_int_equal(td_engine_deadline(w->e).us, TD_NEVER.us);
	for (uint32_t i = 0; i < w->config.max_tunnels; i++)
		assert_false(w->watches[i].live);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct run *k = calloc(1, sizeof(*k));
	struct td_engine_config config;

	assert_non_null(k);
	k->r = td_reader_init(bytes, size);
	config = read_config(k);
	world_start(&k->w, &config);
	make_clients(k);
	for (unsigned n = 0; k->r.left > 0 && n < STEPS_MAX; n++) {
		step(k);
		if (n % 32 == 31)
			world_forget(&k->w);
	}
	end_run(k);
	world_end(&k->w);
	free(k);
	return 0;
}
