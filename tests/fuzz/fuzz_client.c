/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The client machine, fed with whatever bytes say: datagrams, those of real brokers (good, bad, and
 * of several makes) and made-up ones beside them; time; a network that fails; results that are late,
 * bad or of earlier actions; lookups that fail; shutdown. The world of tests/unit watches over every
 * step. At the end brokers and network recover, and the client has to have its tunnel again; then
 * it is shut down, and nothing may be left.
 *
 * Input: configuration (see read_world()), then steps: a byte that says which, and its arguments.
 */
#include <errno.h>

#include "../unit/client_world.h"
#include "fuzz.h"

#define BROKERS     3
#define STEPS_MAX   200
#define RECOVERY_US TD_SECONDS(600)

enum step {
	STEP_DATAGRAM, /* slot, length, bytes */
	STEP_PASS,     /* how long */
	STEP_BROKER,   /* which, how it is (two bytes) */
	STEP_TELL,     /* which broker, what it says in its tunnel, with what number */
	STEP_NETWORK,  /* loss, duplicates, jitter, path */
	STEP_RESULTS,  /* of what, how long they take, with what */
	STEP_STALE,    /* which earlier action's result comes again, with what */
	STEP_LOOKUP,   /* broker, number of addresses */
	STEP_PATH_CHANGED,
	STEP_NETWORK_CHANGED,
	STEP_LOST,
	STEP_SHUTDOWN,
	STEP_COUNTS, /* broker: KEEPALIVE with counts; those of our own, how they are told */
	STEP_COUNT,
};

struct run {
	struct world *w;
	struct td_reader r;
};

static int64_t read_span(struct run *k)
{
	static const int64_t spans[] = { 0,
					 1,
					 TD_MS(5),
					 TD_MS(300),
					 TD_SECONDS(1),
					 TD_SECONDS(3),
					 TD_SECONDS(16),
					 TD_SECONDS(61) };

	return spans[td_read_u8(&k->r) % 8];
}

static struct world_broker *read_broker(struct run *k, uint32_t *which)
{
	*which = td_read_u8(&k->r) % k->w->config.broker_count;
	return &k->w->broker[*which];
}

static void step_datagram(struct run *k)
{
	struct world *w = k->w;
	const uint32_t slot = td_read_u8(&k->r) % (w->config.broker_count * TD_ADDRESSES_MAX);
	const uint16_t size = td_read_u16(&k->r);
	const struct td_reader piece = fuzz_piece(&k->r, size);
	uint8_t *bytes;

	if (!w->socket[slot].open)
		return;
	bytes = fuzz_copy(piece.at, piece.left);
	td_client_rx(w->c, slot, bytes, piece.left, w->now);
	free(bytes);
	world_drain(w);
}

static void step_broker(struct run *k)
{
	uint32_t which;
	struct world_broker *b = read_broker(k, &which);
	const uint8_t how = td_read_u8(&k->r), also = td_read_u8(&k->r);

	b->dead = how & 1;
	b->deaf_to_usage = how & 2;
	b->refuses = how & 4;
	b->parks = how & 8;
	b->old = how & 16;
	b->forgets_features = how & 32;
	b->ignores_limit = how & 64;
	b->late_mute = how & 128;
	b->has_keepalives = !(also & 1);
	b->fixed_mtu = also & 2 ? 1364 : 0;
	b->blackholes = also >> 2 & 7;
	b->shares = also & 64 ? TD_FEATURE_DATA_COOKIES : 0;
	b->shares |= also & 128 ? TD_FEATURE_DATA_COUNTS | TD_FEATURE_SPARSE_KEEPALIVES : 0;
	b->load = (uint16_t)(also << 8);
	if (also & 32)
		b->tunnel_port = 0; /* it was started again */
}

/* In the tunnel that the broker has, if it has one. */
static void step_tell(struct run *k)
{
	uint32_t which;
	const struct world_broker *b = read_broker(k, &which);
	const uint8_t what = td_read_u8(&k->r);
	const uint16_t number = td_read_u16(&k->r);
	struct td_msg msg = { .type = TD_MSG_ERROR, .reason = (uint8_t)number };

	switch (what % 6) {
	case 0:
		break;
	case 1:
		msg = (struct td_msg){ .type = TD_MSG_PMTU_NTFY, .mtu = number };
		break;
	case 2:
		msg = (struct td_msg){ .type = TD_MSG_PMTUD_ACK, .size = number };
		break;
	case 3:
		msg = (struct td_msg){ .type = TD_MSG_PMTUD, .size = number % 1500 };
		break;
	case 4:
		msg = (struct td_msg){ .type = TD_MSG_REL_ACK, .sequence = number };
		break;
	default:
		msg = (struct td_msg){ .type = TD_MSG_TUNNEL, .tunnel = { .id = number } };
		break;
	}
	if (b->tunnel_port != 0)
		world_tell(k->w, which, &msg);
}

static void step_network(struct run *k)
{
	k->w->loss_percent = td_read_u8(&k->r) % 101;
	k->w->duplicate_percent = td_read_u8(&k->r) % 101;
	k->w->jitter_us = TD_MS(td_read_u8(&k->r));
	k->w->path = (uint16_t)(1000 + 2 * td_read_u8(&k->r));
}

static void step_results(struct run *k)
{
	static const int errors[] = { 0, -EIO, -ENETUNREACH, -EEXIST };
	const uint8_t what = td_read_u8(&k->r);
	const int err = errors[what >> 2 & 3];
	const int64_t span = read_span(k);

	switch (what & 3) {
	case 0:
		k->w->open_error = err;
		k->w->open_us = span;
		break;
	case 1:
		k->w->create_error = err;
		k->w->create_us = span;
		break;
	case 2:
		k->w->mtu_error = err;
		k->w->mtu_us = span;
		break;
	default:
		k->w->destroy_us = span;
		break;
	}
}

static bool under_way(const struct world *w, uint32_t sequence)
{
	for (int i = 0; i < w->event_count; i++)
		if (w->event[i].kind == WORLD_RESULT && w->event[i].sequence == sequence)
			return true;
	return false;
}

static void step_stale(struct run *k)
{
	const uint32_t sequence = 1u + td_read_u8(&k->r);
	const int err = td_read_u8(&k->r) & 1 ? -EIO : 0;
	struct world *w = k->w;

	if (under_way(w, sequence))
		return;
	td_client_result(w->c, sequence, err, w->now);
	world_drain(w);
}

static void step_lookup(struct run *k)
{
	uint32_t which;
	struct world_broker *b = read_broker(k, &which);

	b->address_count = td_read_u8(&k->r) % (TD_ADDRESSES_MAX + 2);
	b->lookup_us = read_span(k);
	k->w->reverse_addresses = td_read_u8(&k->r) & 1;
}

/* Larger than what passes for noise, in one byte. */
static uint32_t read_count(struct run *k)
{
	return 64u * td_read_u8(&k->r);
}

static void step_counts(struct run *k)
{
	struct td_msg msg = { .type = TD_MSG_KEEPALIVE, .keepalive.counted = true };
	uint32_t which;
	const struct world_broker *b = read_broker(k, &which);

	msg.keepalive.data_sent = read_count(k);
	msg.keepalive.data_received = read_count(k);
	k->w->data_sent = read_count(k);
	k->w->data_received = read_count(k);
	k->w->uncountable = td_read_u8(&k->r) & 1;
	if (b->tunnel_port != 0)
		world_tell(k->w, which, &msg);
}

static void step(struct run *k)
{
	struct world *w = k->w;

	switch ((enum step)(td_read_u8(&k->r) % STEP_COUNT)) {
	case STEP_DATAGRAM:
		return step_datagram(k);
	case STEP_PASS:
		return world_run(w, read_span(k));
	case STEP_BROKER:
		return step_broker(k);
	case STEP_TELL:
		return step_tell(k);
	case STEP_NETWORK:
		return step_network(k);
	case STEP_RESULTS:
		return step_results(k);
	case STEP_STALE:
		return step_stale(k);
	case STEP_LOOKUP:
		return step_lookup(k);
	case STEP_PATH_CHANGED:
		td_client_path_changed(w->c, w->now);
		break;
	case STEP_NETWORK_CHANGED:
		td_client_network_changed(w->c, w->now);
		break;
	case STEP_LOST:
		if (w->has_tunnel)
			td_client_lost(w->c, w->now);
		break;
	case STEP_SHUTDOWN:
		td_client_shutdown(w->c, w->now);
		break;
	case STEP_COUNTS:
		step_counts(k);
		break;
	case STEP_COUNT:
		break;
	}
	world_drain(w);
}

/* Brokers, selection and limit, seed, largest MTU. */
static struct world *read_world(struct run *k)
{
	const uint8_t brokers = td_read_u8(&k->r), how = td_read_u8(&k->r);
	struct world *w =
		world_new(1 + brokers % BROKERS, how % (TD_SELECT_RANDOM + 1), td_read_u8(&k->r));

	w->forgers = true;
	w->config.limit_kbps = how & 0x40 ? 1024 : 0;
	w->config.max_mtu = (uint16_t)(TD_MTU_MIN + td_read_u8(&k->r));
	for (uint32_t i = 0; i < w->config.broker_count; i++)
		w->broker[i].address_count = 1 + (brokers >> 4) % 3;
	return world_start(w);
}

static void recover(struct world *w)
{
	w->loss_percent = w->duplicate_percent = 0;
	w->jitter_us = 0;
	w->path = 1472;
	w->open_error = w->create_error = w->mtu_error = 0;
	w->open_us = w->create_us = w->destroy_us = w->mtu_us = 0;
	for (uint32_t i = 0; i < w->config.broker_count; i++) {
		struct world_broker *b = &w->broker[i];

		*b = (struct world_broker){ .address_count = 1,
					    .rtt_us = TD_MS(20),
					    .lookup_us = TD_MS(5),
					    .tunnel_id = b->tunnel_id,
					    .has_keepalives = true };
	}
}

/* The log of states is bounded, and of no interest here. */
static void run_for(struct world *w, int64_t us)
{
	for (; us > 0; us -= TD_SECONDS(20)) {
		w->states = 0;
		world_run(w, TD_SECONDS(20));
	}
}

static void expect_nothing_left(struct world *w)
{
	td_client_shutdown(w->c, w->now);
	world_drain(w);
	world_until(w, TD_CLIENT_ENDED, TD_SECONDS(6));
	run_for(w, TD_SECONDS(120));
	assert_int_equal(td_client_deadline(w->c).us, TD_NEVER.us);
	assert_false(w->has_tunnel || w->creating || w->destroying);
	assert_int_equal(w->ups, w->downs);
	for (int i = 0; i < WORLD_SLOTS; i++)
		assert_false(w->socket[i].open);
}

static void end_run(struct world *w)
{
	const bool ending = td_client_state(w->c) == TD_CLIENT_ENDED ||
			    td_client_state(w->c) == TD_CLIENT_CLOSING;

	recover(w);
	w->states = 0;
	if (!ending) {
		run_for(w, RECOVERY_US);
		assert_int_equal(td_client_state(w->c), TD_CLIENT_UP);
		assert_true(w->has_tunnel && w->up_ran);
		assert_true(w->mtu >= TD_MTU_MIN && w->mtu <= w->config.max_mtu);
	}
	expect_nothing_left(w);
	world_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct run k = { .r = td_reader_init(bytes, size) };

	k.w = read_world(&k);
	for (unsigned n = 0; k.r.left > 0 && n < STEPS_MAX; n++) {
		k.w->states = 0;
		step(&k);
		assert_int_equal(k.w->c->candidates.lookups_running, k.w->lookups_running);
	}
	end_run(k.w);
	return 0;
}
