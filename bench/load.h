/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Inside of td-load: load.c the run, load_client.c one client, load_burst.c, load_options.c,
 * load_report.c.
 */
#ifndef TD_BENCH_LOAD_H
#define TD_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/rng.h"
#include "base/time.h"
#include "base/timer.h"
#include "core/msg.h"
#include "sys/crowd.h"
#include "sys/loop.h"
#include "sys/udp.h"

struct load_options {
	struct td_addr broker;
	struct td_addr source; /* the first local address; TD_FAMILY_NONE: the route's choice */
	uint32_t sources;
	const char *uuid_prefix;
	uint32_t clients;
	uint32_t parallel; /* handshakes at a time */
	uint32_t rate;     /* handshakes begun per second; 0: as parallel allows */
	uint32_t data;     /* data packets per second while holding, over all tunnels */
	uint32_t burst;    /* data packets on SIGUSR1 and SIGUSR2 each; 0: these end it */
	int64_t hold_us;   /* with churn: how long to churn */
	int64_t keepalive_us;
	int64_t retry_us;   /* until a request is repeated */
	int64_t give_up_us; /* a client's patience until TUNNEL */
	uint32_t features;  /* of the clients */
	bool old_style;     /* no tunnel id of its own, no features: release 0.2 */
	bool churn;         /* each leaves as soon as it is up, and comes back */
	bool quiet;         /* read established tunnels from time to time */
	bool vanish;        /* in the end without a word, instead of with ERROR */
};

/* Durations, for quantiles: the first capacity ones are kept. */
struct load_samples {
	uint32_t *us;
	size_t count, capacity;
};

struct load_counters {
	uint64_t established;
	uint64_t retries;          /* repeated COOKIEs and PREPAREs */
	uint64_t refused;          /* ERROR before TUNNEL */
	uint64_t failed;           /* no TUNNEL in time, or no socket */
	uint64_t lost;             /* ERROR or silence after TUNNEL */
	uint64_t left, unanswered; /* ERRORs of ours that were answered, or not */
	uint64_t keepalives_in, keepalives_out, probes_in, data_in, data_out;
	uint64_t send_errors;
	int64_t gap_max_us; /* between two keepalives of the broker's to one client */
};

struct load_stats {
	struct load_counters counters;
	struct load_samples reply;     /* first PREPARE to TUNNEL */
	struct load_samples handshake; /* first COOKIE to TUNNEL */
};

enum load_state {
	LOAD_IDLE,
	LOAD_COOKIE,  /* waits for COOKIE */
	LOAD_PREPARE, /* waits for TUNNEL */
	LOAD_UP,
	LOAD_LEAVING, /* waits for the answer to ERROR */
	LOAD_GONE,
	LOAD_COUNT,
};

enum load_phase {
	LOAD_PHASE_SETUP,
	LOAD_PHASE_HOLD,
	LOAD_PHASE_LEAVE,
};

struct load_client {
	struct td_timer timer; /* first: the heap hands out pointers to it */
	struct td_watch watch;
	struct td_loop *loop; /* that reads it */
	struct td_udp udp;
	enum load_state state;
	uint32_t session_id; /* the broker's */
	uint32_t counter;
	uint8_t cookie[TD_COOKIE_SIZE];
	struct td_time began_at, prepared_at, heard_at;
	struct td_time keepalive_at; /* the broker's last one */
};

struct load {
	struct load_options options;
	struct load_stats stats;
	struct td_loop loop;
	struct td_crowd quiet; /* with that option: the established tunnels' sockets */
	struct td_signals signals;
	struct td_timers timers;
	struct td_rng rng;
	enum load_phase phase;
	struct td_time began_at, phase_at, start_at, data_at;
	int64_t held_us;
	struct load_client *clients;
	uint32_t in_state[LOAD_COUNT];
	uint32_t next;      /* client to be started */
	uint32_t next_data; /* client whose turn it is to send data */
	uint8_t datagram[9216];
};

extern struct load load;

/* --- load_client.c --- */
/* Its socket, unless it has one: before the clock runs, as clients elsewhere do it. 0 or -errno. */
int load_client_open(struct load_client *c);
/* From LOAD_IDLE: a socket and its first request. */
void load_client_begin(struct load_client *c, struct td_time now);
void load_client_enter(struct load_client *c, enum load_state state, struct td_time now);
void load_client_timer(struct load_client *c, struct td_time now);
/* It has its tunnel; from now on it is read from time to time only. */
void load_client_be_quiet(struct load_client *c);
/* One small frame that no host answers. */
void load_client_send_data(struct load_client *c);

/* --- load_burst.c --- */
/* While holding: of the first client, or of somebody without a tunnel. One line of JSON each. */
void load_burst_known(void);
void load_burst_unknown(void);

/* --- load_options.c, load_report.c --- */
/* Fills options from the command line. Ends the program after -h and on errors of usage. */
void load_options_parse(struct load_options *options, int argc, char **argv);

void load_samples_add(struct load_samples *samples, int64_t us);
/* One line of JSON on standard output each. */
void load_report_setup(struct load_stats *stats, int64_t took_us);
void load_report_end(const struct load_stats *stats, int64_t held_us, int64_t leaving_us);

#endif
