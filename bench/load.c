/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * td-load: thousands of clients of one broker in one process, without interfaces.
 *
 * Each client has a socket of its own, as real ones do, and does what docs/PROTOCOL.md section 3
 * asks of one: COOKIE and PREPARE, repeated until they are answered, keepalives, answers to probes and to ERROR.
 * It looks for no MTU, asks for no limit, and does not come back when it was refused or lost.
 *
 * A run has three phases, each of bounded length: set-up, until every client has its tunnel or has
 * failed; holding; leaving.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/assert.h"
#include "load.h"

#define STARTS_A_TURN 16 /* so that replies are read in between */
#define DATA_A_TURN   64
#define DATA_INTERVAL TD_MS(1)
#define DATA_BACKLOG  TD_SECONDS(1) /* what could not be sent within is left out */
#define CHURN_SAMPLES (1u << 20)

struct load load;

_Noreturn void td_assert_failed(const char *file, int line)
{
	fprintf(stderr, "td-load: %s:%d: this must not happen\n", file, line);
	abort();
}

/* --- the run --- */

static uint32_t handshakes(void)
{
	return load.in_state[LOAD_COOKIE] + load.in_state[LOAD_PREPARE];
}

/* Returns when to go on. */
static struct td_time start_some(struct td_time now)
{
	const struct load_options *o = &load.options;

	for (unsigned i = 0; i < STARTS_A_TURN; i++) {
		if (load.next == o->clients || handshakes() >= o->parallel)
			return TD_NEVER;
		if (o->rate != 0 && !td_time_reached(load.start_at, now))
			return load.start_at;
		if (o->rate != 0)
			load.start_at = td_time_add(load.start_at, TD_SECONDS(1) / o->rate);
		load_client_begin(&load.clients[load.next++], now);
	}
	return now;
}

static struct load_client *next_up(void)
{
	for (uint32_t i = 0; i < load.options.clients; i++) {
		struct load_client *c = &load.clients[load.next_data];

		load.next_data = (load.next_data + 1) % load.options.clients;
		if (c->state == LOAD_UP)
			return c;
	}
	return NULL;
}

/* Returns when to go on. */
static struct td_time send_due_data(struct td_time now)
{
	if (load.options.data == 0)
		return TD_NEVER;
	for (unsigned i = 0; i < DATA_A_TURN && td_time_reached(load.data_at, now); i++) {
		struct load_client *c = next_up();

		if (!c)
			return TD_NEVER;
		load_client_send_data(c);
		load.data_at = td_time_add(load.data_at, TD_SECONDS(1) / load.options.data);
	}
	if (td_time_since(now, load.data_at) > DATA_BACKLOG)
		load.data_at = now;
	return td_time_reached(load.data_at, now) ? now : td_time_add(now, DATA_INTERVAL);
}

static bool setup_done(struct td_time now)
{
	if (load.options.churn)
		return td_time_since(now, load.phase_at) >= load.options.hold_us;
	return load.next == load.options.clients && handshakes() == 0;
}

static void start_holding(struct td_time now)
{
	load_report_setup(&load.stats, td_time_since(now, load.began_at));
	load.phase = LOAD_PHASE_HOLD;
	load.phase_at = load.data_at = now;
	if (load.options.churn)
		load.options.hold_us = 0;
	for (uint32_t i = 0; load.options.quiet && i < load.options.clients; i++)
		if (load.clients[i].state == LOAD_UP)
			load_client_be_quiet(&load.clients[i]);
}

/* A keepalive that is overdue counts, although it has not come. */
static void start_leaving(struct td_time now)
{
	struct load_counters *counters = &load.stats.counters;

	load.held_us = td_time_since(now, load.phase_at);
	load.phase = LOAD_PHASE_LEAVE;
	load.phase_at = now;
	for (uint32_t i = 0; i < load.options.clients; i++) {
		struct load_client *c = &load.clients[i];

		if (c->state != LOAD_UP)
			continue;
		if (td_time_since(now, c->keepalive_at) > counters->gap_max_us)
			counters->gap_max_us = td_time_since(now, c->keepalive_at);
		load_client_enter(c, load.options.vanish ? LOAD_GONE : LOAD_LEAVING, now);
	}
}

static struct td_time advance(struct td_time now)
{
	const struct td_time hold_end = td_time_add(load.phase_at, load.options.hold_us);

	switch (load.phase) {
	case LOAD_PHASE_SETUP:
		if (!setup_done(now))
			return td_time_min(start_some(now),
					   load.options.churn ? hold_end : TD_NEVER);
		start_holding(now);
		return now;
	case LOAD_PHASE_HOLD:
		if (!td_time_reached(hold_end, now))
			return td_time_min(send_due_data(now), hold_end);
		start_leaving(now);
		return now;
	case LOAD_PHASE_LEAVE:
		if (load.in_state[LOAD_LEAVING] + handshakes() == 0)
			td_loop_stop(&load.loop);
		return TD_NEVER;
	}
	return TD_NEVER;
}

static struct td_time prepare(void *ctx, struct td_time now)
{
	struct td_timer *timer;
	struct td_time next;

	(void)ctx;
	while ((timer = td_timers_expired(&load.timers, now)) != NULL)
		load_client_timer((struct load_client *)timer, now);
	next = advance(now);
	return td_time_min(next, td_timers_deadline(&load.timers));
}

static void on_signal(struct td_signals *signals, int signo)
{
	(void)signals;
	if (load.options.burst > 0 && (signo == SIGUSR1 || signo == SIGUSR2)) {
		if (load.phase == LOAD_PHASE_HOLD)
			signo == SIGUSR1 ? load_burst_known() : load_burst_unknown();
		return;
	}
	if (load.phase == LOAD_PHASE_HOLD)
		load.options.hold_us = 0;
	else
		td_loop_stop(&load.loop);
}

/* --- start and end --- */

static void *allocate(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory) {
		fputs("td-load: not enough memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	return memory;
}

static void allow_descriptors(uint32_t clients)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < clients + 64) {
		limit.rlim_cur = clients + 64;
		if (limit.rlim_max < limit.rlim_cur)
			limit.rlim_max = limit.rlim_cur;
		if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
			perror("td-load: more open files are not allowed");
	}
}

static void open_load(void)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGUSR1, SIGUSR2, 0 };
	const uint32_t clients = load.options.clients;
	const size_t samples = load.options.churn ? CHURN_SAMPLES : clients;
	int err;

	load.clients = allocate(clients, sizeof(*load.clients));
	load.stats.reply.us = allocate(samples, sizeof(uint32_t));
	load.stats.handshake.us = allocate(samples, sizeof(uint32_t));
	load.stats.reply.capacity = load.stats.handshake.capacity = samples;
	load.in_state[LOAD_IDLE] = clients;
	for (uint32_t i = 0; i < clients; i++)
		load.clients[i].udp.fd = -1;
	td_timers_init(&load.timers, allocate(clients, sizeof(struct td_timer_place)), clients);
	td_rng_init(&load.rng, 1);
	allow_descriptors(clients);
	err = td_loop_init(&load.loop, prepare, NULL);
	if (err == 0)
		err = td_crowd_init(&load.quiet, &load.loop, TD_CROWD_REST);
	load.signals.received = on_signal;
	if (err == 0)
		err = td_signals_init(&load.signals, &load.loop, signals);
	if (err != 0) {
		fprintf(stderr, "td-load: %s\n", strerror(-err));
		exit(EXIT_FAILURE);
	}
}

/* Who gets none here tries again when it begins, and says so. */
static void open_sockets(void)
{
	for (uint32_t i = 0; i < load.options.clients; i++)
		if (load_client_open(&load.clients[i]) != 0)
			break;
}

/* The status says whether every client got its tunnel and kept it. */
int main(int argc, char **argv)
{
	const struct load_counters *counters = &load.stats.counters;
	int err;

	load_options_parse(&load.options, argc, argv);
	/* Clients elsewhere would not take the broker's processor at each of its replies. */
	sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){ 0 });
	open_load();
	open_sockets();
	load.began_at = load.phase_at = load.start_at = td_now();
	err = td_loop_run(&load.loop);
	if (err != 0)
		fprintf(stderr, "td-load: %s\n", strerror(-err));
	if (load.phase == LOAD_PHASE_SETUP)
		load_report_setup(&load.stats, td_time_since(td_now(), load.began_at));
	load_report_end(&load.stats, load.held_us, td_time_since(td_now(), load.phase_at));
	return err == 0 && counters->refused + counters->failed + counters->lost == 0
		       ? EXIT_SUCCESS
		       : EXIT_FAILURE;
}
