/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Random walks over everything at once: clients that come, go, lie and fall silent, a shell that
 * answers when and how it likes, a socket that is full at times, upgrades in between. After every
 * step the oracle and the checker have their say; at the end of a walk the broker is shut down, and
 * nothing may be left. TD_WALKS and TD_STEPS in the environment make it longer.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "engine_harness.h"

#define FLOWS 7
#define UUIDS 5

struct walk {
	struct world w;
	struct td_rng rng;
	struct client clients[FLOWS];
	unsigned ups, downs; /* of the log */
};

static unsigned below(struct walk *k, unsigned n)
{
	return (unsigned)td_rng_between(&k->rng, 0, n - 1);
}

static struct client *someone(struct walk *k)
{
	return &k->clients[below(k, FLOWS)];
}

static void be_someone_else(struct walk *k, struct client *c)
{
	static const char *const uuids[UUIDS] = { "a", "bb", "node-3", "-bad", "f0:0b" };

	client_rename(c, uuids[below(k, UUIDS)]);
	c->id = below(k, 3);
	c->features = below(k, 4) ? UNIQUE : 0;
}

static void send_something(struct walk *k, struct client *c)
{
	struct td_msg msg = { 0 };

	switch (below(k, 6)) {
	case 0:
		msg = (struct td_msg){ .type = TD_MSG_KEEPALIVE, .keepalive.counter = below(k, 9) };
		break;
	case 1:
		msg = (struct td_msg){ .type = TD_MSG_PMTUD, .size = (uint16_t)below(k, 1600) };
		break;
	case 2:
		msg = (struct td_msg){ .type = TD_MSG_PMTU_NTFY,
				       .mtu = (uint16_t)(below(k, 3) ? 1270 + below(k, 230)
								     : below(k, 65536)) };
		break;
	case 3:
		msg = (struct td_msg){ .type = TD_MSG_PMTUD_ACK, .size = (uint16_t)below(k, 1600) };
		break;
	case 4:
		client_send_limit(&k->w, c, 7, 1000 * below(k, 3));
		return;
	default:
		msg = (struct td_msg){ .type = TD_MSG_USAGE };
		break;
	}
	client_send(&k->w, c, &msg);
}

static void send_garbage(struct walk *k, const struct client *c)
{
	uint8_t bytes[64] = { 0x80, 0x73, 0xa7, 0x01 };
	const unsigned size = below(k, sizeof(bytes) + 1);

	for (size_t i = 4; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)below(k, 256);
	bytes[5] = (uint8_t)below(k, sizeof(bytes));
	client_send_bytes(&k->w, c, bytes, size);
}

static void answer_someone(struct walk *k, bool lie)
{
	static const int errors[] = { 0, 0, 0, -EIO, -ENODEV, -EEXIST, -ETIMEDOUT };
	struct world *w = &k->w;
	unsigned nth = w->open_count ? below(k, (unsigned)w->open_count) : 0;

	for (size_t i = 0; i < w->deed_count; i++) {
		struct deed *d = &w->deeds[i];

		if (!d->open || nth-- > 0)
			continue;
		if (lie) { /* of another life, or of another thing */
			struct td_handle handle = d->action.handle;
			const unsigned kind = below(k, 2);

			handle.generation -= kind == 0;
			td_engine_result(w->e, handle, d->action.sequence + 5000 * kind, 0, w->now);
			world_settle(w);
			return;
		}
		world_answer(w, d, errors[below(k, 7)]);
		return;
	}
}

static void change_manners(struct walk *k)
{
	static const int64_t delays[] = { 0, 0, TD_MS(20), TD_SECONDS(3), HOLD };
	struct manners manners = { .delay_us = delays[below(k, 5)] };

	manners.err = below(k, 4) ? 0 : -EIO;
	if (below(k, 2))
		k->w.path[below(k, TD_ACTION_DESTROY + 1)] = manners;
	else
		k->w.hook[below(k, TD_HOOK_RATE_LIMITED)] = manners;
}

static void lose_an_interface(struct walk *k)
{
	td_engine_lost(k->w.e, client_handle(&k->w, someone(k)), k->w.now);
	world_settle(&k->w);
}

static void pass(struct walk *k)
{
	static const int64_t spans[] = { 1,
					 TD_MS(5),
					 TD_MS(300),
					 TD_SECONDS(1),
					 TD_SECONDS(3),
					 TD_SECONDS(12),
					 TD_SECONDS(130) };

	world_pass(&k->w, spans[below(k, below(k, 4) ? 5 : 7)]);
}

static void step(struct walk *k)
{
	struct client *c = someone(k);
	const unsigned die = below(k, 100);

	if (die < 25)
		client_prepare(&k->w, c);
	else if (die < 35)
		client_greet(&k->w, c);
	else if (die < 50)
		send_something(k, c);
	else if (die < 53)
		send_garbage(k, c);
	else if (die < 58)
		client_send_type(&k->w, c, TD_MSG_ERROR);
	else if (die < 62)
		be_someone_else(k, c);
	else if (die < 80)
		pass(k);
	else if (die < 89)
		answer_someone(k, false);
	else if (die < 91)
		answer_someone(k, true);
	else if (die < 94)
		change_manners(k);
	else if (die < 96)
		k->w.blocked = below(k, 3) == 0;
	else if (die < 98)
		lose_an_interface(k);
	else if (die < 99)
		k->w.path_size = 1280 + below(k, 300);
	else if (k->w.config.fixed_mtu == 0 || below(k, 2))
		world_upgrade(&k->w);
}

static struct td_engine_config random_config(struct walk *k)
{
	struct td_engine_config config = config_for(1 + below(k, 5));

	config.seed = below(k, 1000);
	config.hooks = below(k, 3) ? TUNNEL_HOOKS | HOOK(TD_HOOK_RATE_LIMITED)
				   : below(k, 1u << TD_HOOK_COUNT);
	config.fixed_mtu = below(k, 4) ? 0 : 1364;
	if (below(k, 2))
		config.rate = (struct td_rate){ TD_SECONDS(1), 1 + below(k, 3) };
	if (below(k, 3) == 0)
		config.rate_per_ip = (struct td_rate){ TD_SECONDS(5), 1 + below(k, 2) };
	if (below(k, 3) == 0)
		config.rate_per_uuid = (struct td_rate){ TD_SECONDS(5), 1 + below(k, 2) };
	return config;
}

static void make_people(struct walk *k)
{
	for (unsigned n = 0; n < FLOWS; n++) {
		k->clients[n] = n < 5 ? client_number(n) : client_ipv6(1, n);
		if (n == 1) /* two behind one address */
			k->clients[n].flow.peer.ip[3] = 0, k->clients[n].flow.peer.port++;
		be_someone_else(k, &k->clients[n]);
		client_greet(&k->w, &k->clients[n]);
	}
}

/* The shell comes to its senses, and answers whatever is asked and was asked. */
static void make_peace(struct walk *k)
{
	struct world *w = &k->w;

	w->blocked = false;
	memset(w->path, 0, sizeof(w->path));
	memset(w->hook, 0, sizeof(w->hook));
	for (size_t i = 0; i < w->deed_count; i++)
		w->deeds[i].due = w->now;
	world_settle(w);
}

static void end_walk(struct walk *k)
{
	struct world *w = &k->w;

	if (below(k, 2))
		make_peace(k);
	world_shutdown(w, TD_SECONDS(below(k, 20)));
	for (unsigned n = below(k, 20); n > 0; n--)
		step(k);
	make_peace(k);
	if (!w->stopping) /* it was upgraded while it stopped */
		world_shutdown(w, TD_SECONDS(1));
	world_pass(w, TD_SECONDS(150));
	assert_true(td_engine_idle(w->e));
	assert_int_equal(check_applicants(w->e), 0);
	assert_int_equal(td_engine_deadline(w->e).us, TD_NEVER.us);
	for (uint32_t i = 0; i < w->config.max_tunnels; i++)
		assert_false(w->watches[i].live);
}

static void walk(uint64_t seed, unsigned steps)
{
	static struct walk k;
	struct td_engine_config config;

	memset(&k, 0, sizeof(k));
	td_rng_init(&k.rng, seed);
	config = random_config(&k);
	world_start(&k.w, &config);
	make_people(&k);
	for (unsigned n = 0; n < steps; n++) {
		step(&k);
		if (n % 64 == 0)
			world_forget(&k.w);
	}
	end_walk(&k);
	world_end(&k.w);
}

static unsigned from_environment(const char *name, unsigned otherwise)
{
	const char *text = getenv(name);

	return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static uint64_t current_seed;

static void test_walks(void **state)
{
	const unsigned walks = from_environment("TD_WALKS", 60);
	const unsigned steps = from_environment("TD_STEPS", 1500);
	const unsigned first = from_environment("TD_SEED", 1);

	(void)state;
	for (current_seed = first; current_seed < first + walks; current_seed++)
		walk(current_seed, steps);
}

static int tell_the_seed(void **state)
{
	(void)state;
	printf("walked up to seed %llu\n", (unsigned long long)current_seed);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_walks, tell_the_seed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
