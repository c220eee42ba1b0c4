/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Inside of the broker engine; only its own files include this.
 *
 *	engine.c     life of the engine: memory, datagrams in and out, time, actions, shutdown
 *	admission.c  who may have a tunnel, and when: applicants, rate limits, takeover, refusals
 *	session.c    one tunnel from admission to the end of its last hook; session_msg.c its
 *		     messages, session_act.c its actions, session_data.c its data packets
 *	record.c     export and adoption
 *
 * engine.c calls the others, session.c tells admission.c when a flow is released; nobody else calls
 * upwards.
 */
#ifndef TD_CORE_ENGINE_IMPL_H
#define TD_CORE_ENGINE_IMPL_H

#include "base/bucket.h"
#include "base/index.h"
#include "base/rng.h"
#include "base/timer.h"
#include "core/engine.h"
#include "core/msg.h"
#include "core/pmtu.h"

#define SLOT_NONE UINT32_MAX

/* A list of slots in order of arrival; the links live in the slots. */
struct slot_list {
	uint32_t first, last;
};

#define SLOT_LIST_EMPTY ((struct slot_list){ SLOT_NONE, SLOT_NONE })

struct slot_link {
	uint32_t next;
	bool linked;
};

/* The first member of whatever runs a timer in the engine's heap. */
enum owner_kind {
	OWNER_SESSION,
	OWNER_APPLICANT,
	OWNER_QUEUE,
	OWNER_PACER,
	OWNER_COUNTER,
};

struct owner {
	struct td_timer timer;
	enum owner_kind kind;
};

enum session_state {
	SESSION_FREE,
	SESSION_CREATING,  /* CREATE is to be done or under way */
	SESSION_ABANDONED, /* CREATE is under way, but nobody wants it any more */
	SESSION_UP,
	SESSION_CLOSING,    /* the interface waits for the pre-down hook */
	SESSION_DESTROYING, /* DESTROY is to be done or under way */
	SESSION_DOWN,       /* the interface is gone; the down hook is to end */
};

/* Datagrams that a session has to send; drained in this order. */
#define SEND_ERROR     (1u << 0)
#define SEND_TUNNEL    (1u << 1)
#define SEND_NOTIFY    (1u << 2) /* the fixed MTU */
#define SEND_KEEPALIVE (1u << 3)
#define SEND_CHALLENGE (1u << 4) /* a small probe that every living client acknowledges */

/* What the shell is to be told, beside work for the data path and hooks. */
#define NOTE_UP      (1u << 0)
#define NOTE_DOWN    (1u << 1)
#define NOTE_CHANGED (1u << 2)
#define NOTE_FREED   (1u << 3)

struct session {
	struct owner owner;
	struct td_session_info info;
	uint32_t asked_tunnel_id,
		asked_features; /* as in PREPARE; its cookie is info.peer_cookie */
	enum session_state state;
	uint32_t generation;
	enum td_end end;
	int err;

	struct slot_link idle, sending, acting; /* idle: in free_sessions, possibly taken since */
	uint8_t send, notes;                    /* sets of SEND_…, NOTE_… */
	uint8_t error_reason;

	/* Data path: what is wanted against what is; one action outstanding at most. */
	uint32_t sequence;      /* of the last action of either kind */
	uint32_t path_sequence; /* of the outstanding action; 0: none */
	enum td_action_kind path_action;
	bool path_begun; /* CREATE, or DESTROY, has been handed out */
	uint8_t destroy_tries;
	uint16_t mtu_wanted; /* info.mtu is what was asked for last */
	uint16_t mtu_told;   /* what was set last, as far as hooks know */
	bool mtu_failed;     /* it could not be set: try again at retry_at */
	uint32_t rate_wanted, rate_asked;

	/* Hooks: one at a time, in the order up, mtu-changed, pre-down, down. */
	uint32_t hook_sequence; /* of the running hook; 0: none */
	enum td_hook hook_running;
	uint8_t hooks_due; /* set of 1u << enum td_hook */

	struct td_time until;     /* limit of the state; TD_NEVER in UP */
	struct td_time retry_at;  /* try the data path again */
	struct td_bucket changes; /* of the interface, that the client asked for */
	struct td_time heard_at;
	struct td_time keepalive_at;
	struct td_time search_at;    /* first PMTU search */
	struct td_time challenge_at; /* next challenge */
	uint8_t challenges;          /* still to be sent */
	uint16_t keepalives;         /* sent */
	bool counting;               /* its data packets */
	bool counted;
	struct td_time counted_at;
	struct td_engine_counts counts;
	struct td_pmtu pmtu;
};

/* What an applicant waits for. */
enum wait {
	WAIT_NOTHING,
	WAIT_FLOW,      /* the session that still has its flow */
	WAIT_CHALLENGE, /* the one that has its UUID, on another flow, to prove that it lives */
	WAIT_SLOT,      /* a session that ends, and so frees its slot */
	WAIT_LIMIT,     /* the limit of its address or UUID */
	WAIT_TURN,      /* the global rate, in order of arrival */
	WAIT_REFUSAL,   /* the late refusal */
	WAIT_ERROR,     /* the refusal's sending */
};

struct applicant {
	struct owner owner;
	struct td_flow flow;
	enum wait wait;
	uint32_t tunnel_id, features;
	uint8_t uuid_len;
	bool hook_done; /* the rate limit's hook was asked for */
	char uuid[TD_UUID_MAX + 1];
	uint8_t data_cookie[TD_DATA_COOKIE];
	struct td_time arrived_at, heard_at, until;
	struct td_handle challenged; /* WAIT_CHALLENGE: who */
	uint32_t before, after;      /* in the queue (WAIT_TURN), or after alone in the free list */
	struct slot_link sending, acting;
};

/* Token buckets by keyed hash of an address or UUID: sets of a few cells, the stalest is replaced.
 * A full bucket carries no information, so forgetting one is harmless. */
#define LIMIT_WAYS 8

struct limit_cell {
	uint64_t key;
	struct td_bucket bucket;
};

struct limit_table {
	struct limit_cell *cells;
	uint32_t set_mask;
};

struct td_engine {
	struct td_engine_config config;
	struct td_engine_counters counters;
	struct td_rng rng;
	struct td_timers timers;

	struct session *sessions; /* config.max_tunnels */
	uint32_t used;
	struct slot_list free_sessions; /* longest free first */
	struct slot_list sending, acting;
	uint32_t keeping; /* the slot whose record the shell has been told to keep last */
	struct td_index by_flow, by_uuid;

	struct applicant *applicants;
	uint32_t applicants_max;
	uint32_t free_applicants;
	uint32_t queue_first, queue_last; /* WAIT_TURN */
	struct slot_list applicants_sending, applicants_acting;
	struct td_index applicants_by_flow;
	struct td_bucket bucket, hook_bucket;
	struct limit_table by_ip_limits, by_uuid_limits;
	struct owner queue_owner;

	uint32_t creating; /* sessions that the data path makes */
	uint32_t counting; /* sessions whose data packets are counted */
	bool count_due;
	struct owner counter;

	bool stopping;
	struct td_time stop_at; /* hooks end here */
	uint32_t stop_cursor;
	struct owner pacer;

	/* The direct reply to the last datagram. */
	struct td_engine_tx reply_to;
	uint8_t reply[32];
	size_t reply_size; /* 0: none */

	struct td_session_info scratch;
};

/* --- engine.c --- */
uint32_t td_engine_hash(const struct td_engine *e, const void *bytes, size_t size);
/* Of what there is of it: IPv4 has a quarter of the bytes, and every datagram is looked up by it. */
uint32_t td_engine_hash_flow(const struct td_engine *e, const struct td_flow *flow);
uint64_t td_engine_hash64(const struct td_engine *e, const void *bytes, size_t size);
/* Adds the slot at the end, unless it is in the list. links: of slot 0; stride: from slot to slot.
 */
void td_engine_append(struct slot_list *list, struct slot_link *links, size_t stride,
		      uint32_t slot);
/* Takes the first slot out, SLOT_NONE when there is none. */
uint32_t td_engine_shift(struct slot_list *list, struct slot_link *links, size_t stride);
void td_engine_reply(struct td_engine *e, const struct td_flow *flow, struct td_handle handle,
		     const struct td_msg *msg);

/* --- session.c --- */
struct session *td_session_by_flow(const struct td_engine *e, const struct td_flow *flow);
struct session *td_session_by_uuid(const struct td_engine *e, const char *uuid, size_t len);
struct session *td_session_get(const struct td_engine *e, struct td_handle handle);
struct td_handle td_session_handle(const struct td_engine *e, const struct session *s);
/* Takes a free slot (there must be one) for an applicant, and asks for the data path. */
void td_session_admit(struct td_engine *e, const struct applicant *a, struct td_time now);
/* A valid message arrived on the session's flow. */
void td_session_rx(struct td_engine *e, struct session *s, const struct td_msg *msg,
		   struct td_time now);
/* Does this PREPARE ask for the very tunnel that the session is? */
bool td_session_is(const struct session *s, const struct td_msg *prepare);
/* Has the shell its record as it is? */
bool td_session_recorded(const struct td_engine *e, const struct session *s);
/* Ends it in order; error: the reason byte to send to the peer, TD_ERROR_NONE: nothing is sent. */
void td_session_close(struct td_engine *e, struct session *s, enum td_end end, uint8_t error,
		      struct td_time now);
/* Makes the session's client show that it lives: small probes, one a second. */
void td_session_challenge(struct td_engine *e, struct session *s, struct td_time now);
void td_session_timer(struct td_engine *e, struct session *s, struct td_time now);
void td_session_result(struct td_engine *e, struct session *s, uint32_t sequence, int err,
		       struct td_time now);
size_t td_session_tx(struct td_engine *e, struct session *s, uint8_t *bytes, size_t capacity,
		     struct td_time now);
bool td_session_action(struct td_engine *e, struct session *s, struct td_action *action,
		       struct td_time now);
/* --- session.c, for session_msg.c and session_act.c --- */
#define DUE(hook) ((uint8_t)(1u << (hook)))

/* Can the slot be taken? It is in use until the shell was told that it is free. */
bool td_session_slot_free(const struct session *s);
/* Is it wanted: does it have its flow and UUID, made or being made? */
bool td_session_alive(const struct session *s);
void td_session_enter(struct td_engine *e, struct session *s, enum session_state state,
		      struct td_time now);
/* Goes on to the next state when nothing has to be waited for any more. */
void td_session_advance(struct td_engine *e, struct session *s, struct td_time now);
void td_session_send(struct td_engine *e, struct session *s, unsigned what);
/* TUNNEL and, when it is fixed, the MTU. */
void td_session_send_tunnel(struct td_engine *e, struct session *s);
void td_session_act(struct td_engine *e, struct session *s);
void td_session_note(struct td_engine *e, struct session *s, unsigned what);
void td_session_note_end(struct td_engine *e, struct session *s, enum td_end end, int err);
void td_session_want_hook(struct td_engine *e, struct session *s, enum td_hook hook);
/* Takes over what the PMTU search found, and sends what it has to send. */
void td_session_drain_pmtu(struct td_engine *e, struct session *s);
void td_session_rearm(struct td_engine *e, struct session *s);
/* Puts an adopted session into its state. */
void td_session_resume(struct td_engine *e, struct session *s, enum session_state state,
		       struct td_time now);

/* --- session_data.c --- */
/* Chooses features, session id and cookie, by what the client offers. */
void td_session_negotiate(const struct td_engine *e, struct session *s);
/* Could those be chosen by the above, under whatever configuration? */
bool td_session_negotiated(const struct session *s);
/* Fills in what follows from them and the configuration. */
void td_session_complete(struct td_engine *e, struct session *s);
/* The tunnel id to tell the client. */
uint32_t td_session_told_id(const struct session *s);
/* Its state has changed: begins or ends to count its data. */
void td_session_count(struct td_engine *e, struct session *s, struct td_time now);
/* It is time to count that of all. */
void td_session_count_all(struct td_engine *e, struct td_time now);
void td_session_put_counts(const struct session *s, struct td_msg *msg, struct td_time now);

/* --- admission.c --- */
void td_admission_init(struct td_engine *e);
/* A PREPARE with a valid cookie arrived for a flow that has no living session of that name. */
void td_admission_prepare(struct td_engine *e, const struct td_flow *flow, const struct td_msg *msg,
			  struct td_time now);
struct applicant *td_admission_find(const struct td_engine *e, const struct td_flow *flow);
void td_admission_drop(struct td_engine *e, struct applicant *a);
/* Refuses the applicant of a session that could not be made, late as always. */
void td_admission_refuse(struct td_engine *e, const struct session *s, struct td_time now);
/* A session let go of its flow: whoever waits for it may be next. */
void td_admission_released(struct td_engine *e, const struct td_flow *flow, struct td_time now);
void td_admission_timer(struct td_engine *e, struct applicant *a, struct td_time now);
void td_admission_queue_timer(struct td_engine *e, struct td_time now);
size_t td_admission_tx(struct td_engine *e, struct td_engine_tx *to, uint8_t *bytes,
		       size_t capacity);
bool td_admission_action(struct td_engine *e, struct td_action *action, struct td_time now);

#endif
