/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A world for the broker engine: a virtual clock, scripted clients, and a shell that records what
 * the engine asks for and answers at once, later, with errors, or when the test says so.
 *
 * The shell is strict. Whatever the test is about, each action is checked against the promises of
 * engine.h (engine_oracle.c), and the engine's memory for consistency (engine_check.c).
 */
#ifndef TD_TESTS_ENGINE_HARNESS_H
#define TD_TESTS_ENGINE_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/engine.h"
#include "core/msg.h"

#define HOLD     ((int64_t)-1) /* an answer's delay: until the test gives it */
#define UNIQUE   TD_FEATURE_UNIQUE_SESSION_ID
#define BASE     100u /* of the tunnel ids */
#define HOOK(h)  (1u << (h))
#define NO_LIMIT ((struct td_rate){ 0, 1 })
#define TUNNEL_HOOKS \
	(HOOK(TD_HOOK_UP) | HOOK(TD_HOOK_PRE_DOWN) | HOOK(TD_HOOK_DOWN) | HOOK(TD_HOOK_MTU_CHANGED))

/* How the shell answers: after so long (0: at once), with this. */
struct manners {
	int64_t delay_us;
	int err;
};

/* A datagram that the engine sent. */
struct datagram {
	struct td_flow flow;
	struct td_msg msg;
	size_t size;
	struct td_time at;
	bool read;
};

/* An action that the engine asked for. */
struct deed {
	struct td_action action;
	struct td_session_info session;
	struct td_time at;
	struct td_time due; /* of the answer; TD_NEVER: held, or it needs none */
	int err;
	bool open; /* waits for its answer */
};

/* What the oracle knows of a slot. */
struct watch {
	bool live, created, up, closing, destroying, gone;
	bool hooks_over; /* an engine that was shut down waits for none any more */
	struct td_handle handle;
	struct td_session_info session;
	uint32_t path_sequence, hook_sequence;
	enum td_hook hook;
	unsigned hooks_seen; /* set of HOOK(…) in this life */
	unsigned destroys;
	struct td_time created_at, down_at;
	uint16_t mtu_told;
};

struct world {
	struct td_engine_config config;
	void *memory;
	struct td_engine *e;
	struct td_time now;
	struct manners path[TD_ACTION_DESTROY + 1], hook[TD_HOOK_COUNT];
	bool blocked;     /* the engine cannot send */
	size_t path_size; /* probes up to this size are acknowledged; 0: none */
	struct td_time stop_at;
	bool stopping;

	struct datagram *datagrams;
	struct deed *deeds;
	size_t datagram_count, deed_count, datagram_room, deed_room, open_count;
	struct watch *watches;

	/* What the data path counts for every tunnel, and how often it was asked. */
	bool uncountable;
	uint32_t data_sent, data_received;
	unsigned counts;
};

struct td_engine_config config_for(uint32_t max_tunnels);
/* Allocates; ended by world_end(). */
void world_start(struct world *w, const struct td_engine_config *config);
void world_end(struct world *w);
/*
 * Another engine goes on where this one stops: every session that can be is exported and adopted.
 * Hooks that run go on; work of the data path under way is lost, and so are half-made tunnels.
 */
void world_upgrade(struct world *w);
/* Forgets what was sent and done so far, except what waits for an answer. */
void world_forget(struct world *w);
/* Drains the engine, answers what is due; until nothing more happens. */
void world_settle(struct world *w);
/* Lets time pass. */
void world_pass(struct world *w, int64_t us);
void world_shutdown(struct world *w, int64_t limit_us);
/* The only open deed of that kind (hook: of that hook), for a slot when handle is not none. */
struct deed *world_open(struct world *w, enum td_action_kind kind, enum td_hook hook);
bool world_is_open(struct world *w, enum td_action_kind kind, enum td_hook hook);
void world_answer(struct world *w, struct deed *deed, int err);
/* Deeds of a kind (hook: of that hook) so far, and the last of them (NULL: none). */
unsigned world_count(const struct world *w, enum td_action_kind kind, enum td_hook hook);
const struct deed *world_last(const struct world *w, enum td_action_kind kind, enum td_hook hook);
#define ANY_HOOK TD_HOOK_COUNT /* or not a hook */

/* --- engine_clients.c --- */

/* A client: one flow, one wish. */
struct client {
	struct td_flow flow;
	char uuid[TD_UUID_MAX + 1];
	uint8_t uuid_len;
	uint32_t id, features;
	uint8_t cookie[TD_COOKIE_SIZE], data_cookie[TD_DATA_COOKIE];
};

/* Number n of many, all different: 10.0.0.0/8, uuid node-<n>, tunnel id n + 1. */
struct client client_number(unsigned n);
struct client client_ipv6(unsigned network, unsigned host);
void client_rename(struct client *c, const char *uuid);
void client_send(struct world *w, const struct client *c, const struct td_msg *msg);
void client_send_bytes(struct world *w, const struct client *c, const uint8_t *bytes, size_t size);
/* Messages that are no more than their type. */
void client_send_type(struct world *w, const struct client *c, enum td_msg_type type);
void client_send_limit(struct world *w, const struct client *c, uint16_t sequence, uint32_t kbps);
/* Asks for a cookie; false: no answer. */
bool client_greet(struct world *w, struct client *c);
void client_prepare(struct world *w, const struct client *c);
/* Whole handshake, and is the TUNNEL there at once? */
bool client_join(struct world *w, struct client *c);
/* The oldest unread datagram of that type, which is read now; false: there is none. */
bool client_hears(struct world *w, const struct client *c, enum td_msg_type type,
		  struct td_msg *msg);
unsigned client_unread(const struct world *w, const struct client *c);
/* The session that was made last for the client. */
struct td_handle client_handle(const struct world *w, const struct client *c);
/* Repeats PREPARE every 2 s for whoever has no tunnel, KEEPALIVE for the others. */
void clients_wait(struct world *w, const struct client *clients, size_t count, int64_t us);

/* --- engine_oracle.c --- */
void oracle_action(struct world *w, const struct td_action *action);
void oracle_answer(struct world *w, const struct deed *deed);
/* --- engine_check.c: asserts that the engine's memory is consistent --- */
void check_engine(const struct td_engine *e);
unsigned check_applicants(const struct td_engine *e); /* their number */

/* The same for an engine so large that looking through all of it after each event takes too long:
 * after check_begin(), each session that a call touched, then the rest; now and then all of it, which
 * also asserts that nothing else was touched. The caller frees parts. */
struct engine_sums {
	uint32_t used, flows, alive, creating, counting;
};
struct engine_parts {
	struct engine_sums *parts, sums;
};
void check_begin(struct engine_parts *p, const struct td_engine *e);
void check_touched(struct engine_parts *p, const struct td_engine *e, uint32_t index);
void check_rest(const struct engine_parts *p, const struct td_engine *e, bool all);
/* As the engine's indexes hash. */
uint32_t check_hash(const struct td_engine *e, const void *bytes, size_t size);
uint32_t check_hash_flow(const struct td_engine *e, const struct td_flow *flow);

#endif
