/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A network of clients and brokers in one process and in virtual time. One seed, one run.
 *
 *	sim.c       the world: clock, queue of events, log
 *	net.c       addresses, NAT, links that lose, delay, repeat, reorder, corrupt, swallow
 *	client.c    a client: the core's machine, or a model; its life
 *	client_path.c  … its sockets, lookups, data path and hooks
 *	broker.c    a broker: the core's engine, or a model; its life
 *	broker_worker.c  … another worker takes over
 *	broker_path.c  … its data path and hooks
 *	old_client.c, old_broker.c   models of deployed peers, written from docs/PROTOCOL.md and the
 *	            transcripts; they share no line with the core
 *	plan.c      what a seed means: who takes part, and when what happens
 *	faults.c    what can go wrong with nodes; faults_way.c between them
 *	fleet.c     a thousand clients of one broker
 *	judge.c     agreement of both ends, liveness, nothing left behind
 *	census.c    what really happened
 *	run.c       the program: seeds, processes, the log of a failing seed
 *
 * Nodes have clocks of their own, which may jump forward. What a node is fed is checked after each
 * event: see sim_broker_settle() and sim_client_settle().
 */
#ifndef TD_TESTS_SIM_H
#define TD_TESTS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "broker/hook_runs.h"
#include "census.h"
#include "core/client.h"
#include "core/engine.h"
#include "engine_harness.h"
#include "old_broker.h"
#include "old_client.h"

#define SIM_ADDRESSES 4 /* of a name, at most */
#define SIM_DATAGRAM  9100
#define SIM_LOSS_MAX  600 /* 1/1000 */

/* Fails the run: prints and aborts. */
#define sim_check(s, condition) \
	((condition) ? (void)0 : sim_failed((s), __FILE_NAME__, __LINE__, #condition))

struct sim;

struct sim_event {
	struct td_time at;
	uint64_t order; /* of two at the same time, the earlier one first */
	void (*run)(struct sim *s, const struct sim_event *e);
	uint32_t node, life; /* life: of the node; what was meant for an earlier one is forgotten */
	uint32_t slot, sequence;
	struct td_handle handle;
	int kind, err;
	struct td_addr from, to; /* of a datagram */
	size_t size;
	uint8_t bytes[];
};

/* One direction between a client and a broker; probabilities in 1/1000. */
struct sim_way {
	int64_t delay_us, jitter_us;
	uint32_t loss, duplicate, reorder, corrupt;
	bool lies; /* corruption passes the checksum */
	bool cut;
	bool no_data; /* control passes, data does not */
	uint16_t mtu; /* of IP packets; larger ones vanish */
};

struct sim_link {
	struct sim_way up, down;
};

/* How one end sees its tunnel. */
struct sim_view {
	bool up;
	uint32_t broker;
	uint32_t tunnel_id, session_id, peer_tunnel_id, peer_session_id, features;
	uint8_t cookie[TD_DATA_COOKIE], peer_cookie[TD_DATA_COOKIE];
	uint16_t mtu;
	struct td_flow flow; /* as the broker sees it */
	struct td_time since;
};

struct sim_socket {
	bool open;
	uint16_t port; /* inside of the NAT */
	struct td_addr remote, outside;
};

/* A client's tunnel interface. */
struct sim_local {
	bool present, creating, destroying, up_ran;
	bool gone; /* it was removed by another hand */
	uint32_t slot, sequence;
	struct td_session_info session;
	uint16_t mtu;
	uint32_t sent, received; /* data packets */
};

struct sim_client {
	struct sim *sim;
	uint32_t number, life;
	bool running, ending;
	struct td_time busy_until; /* it has no time for anything … */
	bool behind;               /* … and then is fed with all of it before it does something */
	const struct old_client_kind *old_kind; /* NULL: it runs the core */
	struct td_client_config config;
	char uuid[32];
	struct td_client *machine;
	struct old_client old;
	int64_t clock_us; /* ahead of the world */
	struct td_time wake_at;
	uint32_t address; /* of its NAT: a number that changes when that gets another */
	uint16_t port, first_port, shift;
	uint32_t lookups;
	struct sim_socket *sockets; /* sim_slots() */
	uint32_t steps;             /* it crashes after so many actions more; 0: it does not */
	struct sim_local local;
	struct td_time up_since; /* TD_NEVER: it is not up */
	uint32_t changes;        /* tunnels so far */
	uint32_t rebuilt;        /* … because data did not get through */
	uint64_t sent;
	uint64_t sent_up;   /* … when it came up last */
	uint64_t sent_mark; /* for judges */
};

struct sim_iface {
	struct td_time made;
	struct td_time used; /* by a client, last */
	bool present;
	bool gone; /* it was removed without a DESTROY that was answered */
	unsigned failures;
	struct td_session_info session;
	uint16_t mtu;
	uint32_t sent, received; /* data packets */
};

/* What is to happen to a broker between two of its actions. */
enum sim_accident { SIM_NOTHING, SIM_BROKER_CRASHES, SIM_WORKER_CRASHES };

struct sim_broker {
	struct sim *sim;
	uint32_t number, life, worker; /* worker: restarts within a life */
	bool running, stopping, blocked;
	struct td_time busy_until; /* as of a client … */
	bool behind;               /* … but that it answers datagrams one by one */
	bool old_model;
	struct td_addr addr[2]; /* IPv4, IPv6 */
	struct td_engine_config config;
	void *memory;
	struct td_engine *engine;
	struct world oracle; /* of tests/unit: checks each action */
	struct sim_iface *ifaces;
	uint8_t (*records)[TD_RECORD_MAX];
	uint16_t *record_sizes;
	struct td_hook_runs runs; /* as the parent process has them */
	enum sim_accident accident;
	uint32_t steps;        /* after so many actions more */
	uint64_t newest_asked; /* of the requests whose results came */
	struct old_broker old;
	int64_t clock_us;
	struct td_time wake_at;
	uint32_t checks;
	struct engine_parts parts; /* when not all of it is checked after each event */
	uint32_t *touched, touched_count;
	bool *is_touched; /* of each slot */
};

struct sim_name {
	uint32_t count;
	struct td_addr addr[SIM_ADDRESSES];
};

struct sim {
	uint64_t seed;
	struct td_rng rng;
	struct td_time now;
	struct sim_event **queue;
	size_t count, room;
	uint64_t order, events, datagrams;
	uint32_t client_count, broker_count, nat_share;
	struct sim_client *clients;
	struct sim_broker *brokers;
	struct sim_link *links; /* [client][broker] */
	struct sim_name *names; /* of the brokers */
	uint32_t next_address;
	bool trouble; /* shells fail, hesitate and repeat themselves */
	bool lied;    /* something corrupt was delivered: no promise but safety */
	bool two_stacks;
	/* A deployed broker answers who comes again behind the same port without features, as if it
	 * repeated itself: nobody can know that it means others. So clients take fresh ports there. */
	bool old_brokers;
	uint32_t
		check_every; /* 1: all of an engine after each event; n: all of it after every n-th,
				 * otherwise what the event touched */
	uint64_t digest;     /* of all that was sent and done, and when */
	uint8_t fill;        /* of memory that nobody has written to yet */
	bool verbose;
	/* the plan; 0 of clients or brokers: as many as the seed says */
	uint32_t want_clients, want_brokers;
	struct td_time heal_at;
	struct census census;
};

static inline void sim_saw(struct sim *s, enum sim_saw what)
{
	s->census.seen[what]++;
}

/* Sockets that a client may have. */
static inline uint32_t sim_slots(const struct sim *s)
{
	return s->broker_count * TD_ADDRESSES_MAX;
}

/* --- sim.c --- */
/* What makes two runs the same. */
void sim_digest(struct sim *s, const void *bytes, size_t size);
void sim_failed(const struct sim *s, const char *file, int line, const char *what)
	__attribute__((noreturn));
void sim_log(const struct sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* An event in so many microseconds, with room for so many bytes; the caller fills it. */
struct sim_event *sim_at(struct sim *s, int64_t delay_us,
			 void (*run)(struct sim *, const struct sim_event *), size_t size);
/* Puts the event off until then; false: that time has come. */
bool sim_defer(struct sim *s, const struct sim_event *e, struct td_time until);
void sim_run_until(struct sim *s, struct td_time end);
void sim_free(struct sim *s);
uint32_t sim_below(struct sim *s, uint32_t bound);
bool sim_chance(struct sim *s, uint32_t permille);
int64_t sim_between(struct sim *s, int64_t low_us, int64_t high_us);

/* --- net.c --- */
struct sim_link *sim_link(const struct sim *s, uint32_t client, uint32_t broker);
void sim_open_socket(struct sim_client *c, uint32_t slot, const struct td_addr *remote);
void sim_close_socket(struct sim_client *c, uint32_t slot);
/* The NAT forgets: new ports, and a new address when asked. */
void sim_rebind(struct sim_client *c, bool address);
void sim_send_up(struct sim_client *c, uint32_t slot, const uint8_t *bytes, size_t size);
void sim_send_down(struct sim_broker *b, const struct td_flow *flow, const uint8_t *bytes,
		   size_t size);
uint32_t sim_broker_at(const struct sim *s, const struct td_addr *addr); /* UINT32_MAX: nobody */
uint32_t sim_client_at(const struct sim *s, const struct td_addr *addr, uint32_t *slot);

/* --- client.c --- */
struct td_time sim_client_now(const struct sim_client *c);
void sim_client_start(struct sim_client *c);
void sim_client_crash(struct sim_client *c);
void sim_client_stop(struct sim_client *c); /* in order */
bool sim_client_ended(const struct sim_client *c);
void sim_client_rx(struct sim_client *c, uint32_t slot, const uint8_t *bytes, size_t size);
void sim_client_settle(struct sim_client *c);
struct sim_view sim_client_view(const struct sim_client *c);
void sim_view_session(struct sim_view *view, const struct td_session_info *info);

/* --- client_path.c --- */
void sim_client_act(struct sim_client *c, const struct td_client_action *a);

/* --- broker_path.c --- */
void sim_broker_act(struct sim_broker *b, const struct td_action *a);
/* Results of hooks that a new worker may not know. */
void sim_broker_tell_hooks(struct sim_broker *b);

/* --- broker_worker.c --- */
void sim_broker_restart_worker(struct sim_broker *b, bool orderly);
void sim_broker_lose(struct sim_broker *b); /* one of its interfaces, to another hand */

/* --- broker.c --- */
struct td_time sim_broker_now(const struct sim_broker *b);
void sim_broker_start(struct sim_broker *b);
void sim_broker_crash(struct sim_broker *b);
void sim_broker_stop(struct sim_broker *b, int64_t limit_us);
void sim_broker_new_engine(struct sim_broker *b);
bool sim_broker_ended(const struct sim_broker *b);
void sim_broker_rx(struct sim_broker *b, const struct td_flow *flow, const uint8_t *bytes,
		   size_t size);
void sim_broker_settle(struct sim_broker *b);
/* The interface of the tunnel that it has up on that flow, or NULL. */
struct sim_iface *sim_broker_iface(const struct sim_broker *b, const struct td_flow *flow);
/* The tunnel that it has up on that flow. */
struct sim_view sim_broker_view(const struct sim_broker *b, const struct td_flow *flow);
uint32_t sim_broker_tunnels(const struct sim_broker *b); /* those that are up */

/* --- plan.c, fleet.c, judge.c --- */
void sim_plan(struct sim *s, uint64_t seed); /* a world of that seed, not begun */
void sim_run_plan(struct sim *s);
void sim_run_fleet(struct sim *s, uint64_t seed);
void sim_judge_clients(struct sim *s); /* each has one tunnel that works */
void sim_judge_brokers(struct sim *s); /* none has a tunnel that nobody uses */
void sim_judge_end(struct sim *s);     /* nothing is left */
/* From now on: no broker holds a tunnel for longer than its timeout that no client uses. */
void sim_watch_tunnels(struct sim *s, const struct sim_event *e);

/* --- replay.c --- */
int sim_replay(const char *directory); /* 0, or how many transcripts do not match */

#endif
