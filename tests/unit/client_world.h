/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A world for the client machine, in virtual time: its program (sockets, lookups, data path, hooks),
 * a network that loses, repeats and reorders, and brokers of several makes.
 *
 * What no program may ever be asked is checked at each step: to send from a closed socket, to make
 * a second interface, to close the socket of a living tunnel, to run hooks out of order, to look up
 * more than eight names at once. And after each step: is the machine's memory consistent?
 */
#ifndef TD_TESTS_CLIENT_WORLD_H
#define TD_TESTS_CLIENT_WORLD_H

#define ALL_FEATURES                                                                       \
	(TD_FEATURE_UNIQUE_SESSION_ID | TD_FEATURE_DATA_COOKIES | TD_FEATURE_DATA_COUNTS | \
	 TD_FEATURE_SPARSE_KEEPALIVES)

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client_check.h"
#include "core/client.h"
#include "core/l2tp.h"

#define WORLD_BROKERS  12
#define WORLD_SLOTS    (WORLD_BROKERS * TD_ADDRESSES_MAX)
#define WORLD_EVENTS   1024
#define WORLD_LOGS     4096
#define WORLD_DATAGRAM 1600

enum world_kind {
	WORLD_NOTHING,
	WORLD_TO_CLIENT,
	WORLD_TO_BROKER,
	WORLD_RESULT,
	WORLD_RESOLVED,
};

struct world_event {
	enum world_kind kind;
	struct td_time at;
	uint32_t slot, port; /* of datagrams */
	uint32_t sequence, broker;
	int err;
	size_t size;
	uint8_t bytes[WORLD_DATAGRAM];
};

struct world_broker {
	/* how it is */
	unsigned int address_count;
	uint16_t load;
	int64_t rtt_us, lookup_us;
	bool dead, deaf_to_usage, refuses, parks, old, forgets_features, ignores_limit,
		has_keepalives;
	uint32_t blackholes; /* set of addresses that lead nowhere */
	bool late_mute;      /* answers what it is asked, but never TUNNEL */
	uint16_t fixed_mtu;
	uint32_t shares; /* features beyond those of deployed brokers */
	/* what it saw */
	unsigned int got[256];
	struct td_time last[256]; /* when it got that type last */
	uint8_t last_reason;
	uint32_t tunnel_port, tunnel_slot, tunnel_id; /* port 0: no tunnel */
	struct td_time keepalive_at;
	uint16_t keepalives;
	struct td_msg prepare, limit, keepalive;
	char uuid[TD_UUID_MAX + 1]; /* of the last PREPARE */
};

struct world_socket {
	bool open;
	uint32_t port; /* fresh with each opening */
	struct td_addr addr;
};

struct world {
	struct td_client *c;
	struct td_client_config config;
	struct td_time now;
	struct td_rng rng;
	struct world_broker broker[WORLD_BROKERS];
	struct world_socket socket[WORLD_SLOTS];
	struct world_event event[WORLD_EVENTS];
	int event_count; /* so many of them have ever been used */
	uint32_t last_port;
	/* the network and the program */
	unsigned int loss_percent, duplicate_percent;
	int64_t jitter_us;
	uint16_t path; /* largest UDP payload */
	int open_error, create_error, mtu_error;
	int64_t open_us, create_us, destroy_us, mtu_us; /* how long these take; < 0: for ever */
	bool reverse_addresses;
	bool uncountable;
	uint32_t data_sent, data_received;
	bool forgers; /* somebody makes cookies up: brokers ignore them */
	/* what the program did */
	bool has_tunnel, up_ran, creating, destroying;
	uint32_t tunnel_slot, create_sequence, destroy_sequence;
	struct td_session_info session; /* as of the last CREATE */
	uint16_t mtu;
	unsigned int creates, destroys, ups, downs, lookups, lookups_running, wakeups, sent;
	unsigned int opens, set_mtus, ticks_now, counts;
	struct td_time ticked_at;
	/* log of states */
	enum td_client_state state[WORLD_LOGS];
	struct td_time state_at[WORLD_LOGS];
	const char *why[WORLD_LOGS];
	unsigned int states;
	struct td_time last_sent[256];
	unsigned int challenges; /* sent */
	size_t challenge_size;   /* of the last one */
};

/* --- client_world.c --- */

struct td_addr world_addr(uint32_t broker, uint32_t index);
void world_fly(struct world *w, enum world_kind kind, uint32_t broker, uint32_t slot, uint32_t port,
	       const uint8_t *bytes, size_t size);
void world_transmit(struct world *w);
void world_result(struct world *w, uint32_t sequence, int64_t delay_us, int err);
void world_tunnel_done(struct world *w, uint32_t sequence, int err);
void world_hook(struct world *w, enum td_hook hook);
void world_make(struct world *w, const struct td_client_action *a);
void world_remove(struct world *w, const struct td_client_action *a);
void world_open(struct world *w, const struct td_client_action *a);
void world_close(struct world *w, uint32_t slot);
void world_lookup(struct world *w, uint32_t broker);
void world_log(struct world *w, const struct td_client_action *a);
bool world_said(const struct world *w, const char *why);
void world_act(struct world *w);
void world_drain(struct world *w);
/* The next thing that happens, unless it is later than end. */
bool world_step(struct world *w, struct td_time end);
void world_run(struct world *w, int64_t us);
/* Until that state is entered; how long it took. Fails after limit_us. */
int64_t world_until(struct world *w, enum td_client_state state, int64_t limit_us);
/* brokers with one address each, 20 ms away. Change what is to be different, then world_start(). */
struct world *world_new(uint32_t brokers, enum td_selection selection, uint64_t seed);
struct world *world_start(struct world *w);
/* A world whose tunnel is up. */
struct world *world_up(struct world *w);
/* Which broker the tunnel is with. */
uint32_t world_broker_of_tunnel(const struct world *w);
void world_free(struct world *w);
/* Shuts the client down and checks that nothing is left. */
void world_finish(struct world *w);
unsigned int world_count_states(const struct world *w, enum td_client_state state);

/* --- client_brokers.c --- */

/* The broker says something through this slot and port. */
void world_say(struct world *w, uint32_t slot, uint32_t port, const struct td_msg *msg);
/* … in the tunnel that it has. */
void world_tell(struct world *w, uint32_t broker, const struct td_msg *msg);
void world_tell_error(struct world *w, uint32_t broker);
void world_broker_rx(struct world *w, const struct world_event *e);
struct td_time world_broker_time(struct world *w);
void world_broker_tick(struct world *w);
struct td_msg world_error(void);

#endif
