/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The client machine's inside, for its own files only:
 *
 *	client.c          the outside: memory, deadline, what happens around the machine
 *	client_machine.c  states and timers
 *	client_rx.c       messages that arrive
 *	client_tx.c       messages to send, actions to ask for, their results
 *	selection.c       brokers, their addresses and sockets
 */
#ifndef TD_CORE_CLIENT_MACHINE_H
#define TD_CORE_CLIENT_MACHINE_H

#include "core/client.h"
#include "core/dataflow.h"
#include "core/pmtu.h"
#include "core/relq.h"
#include "core/selection.h"

#define TD_MACHINE_LOGS 8
#define TD_MACHINE_ACKS 16

/* This end of the tunnel in the data path. It has a life of its own: one that is given up may still
 * be made or removed while the next broker is asked. */
enum td_local_state {
	TD_LOCAL_ABSENT,
	TD_LOCAL_MAKING, /* CREATE is under way */
	TD_LOCAL_PRESENT,
	TD_LOCAL_REMOVING, /* DESTROY is under way */
};

enum td_machine_send {
	TD_SEND_COOKIE = 1 << 0,
	TD_SEND_PREPARE = 1 << 1,
	TD_SEND_KEEPALIVE = 1 << 2,
	TD_SEND_CHALLENGE = 1 << 3,
};

struct td_local {
	enum td_local_state state;
	uint32_t sequence;     /* of CREATE or DESTROY */
	uint32_t mtu_sequence; /* of SET_MTU; 0: none under way */
	uint8_t mtu_changes;   /* of late: each keepalive takes one off */
	bool mtu_failed;       /* it is tried again with the next keepalive */
	bool given_up;
	bool hook_up_due, hook_down_due;
	bool hook_up_ran;
};

struct td_machine_log {
	const char *why;
	uint32_t slot;
	enum td_client_state state;
};

struct td_client {
	struct td_client_config config;
	struct td_candidates candidates;
	struct td_rng rng;

	enum td_client_state state;
	struct td_time began;     /* the present attempt */
	struct td_time chosen_at; /* a broker, or a fresh port for it */
	struct td_time deadline;  /* what it means depends on the state: see tick() */
	struct td_time again;     /* to repeat what was sent last */
	struct td_time choose_at;
	struct td_time silent_at; /* the broker counts as dead */
	struct td_time missed_at; /* … one of its sparse keepalives as lost: it is asked */
	bool hurry;               /* a tunnel was lost: choose soon */
	bool overdue;             /* choose_at has passed */
	bool ending;              /* td_client_shutdown() was called */
	uint8_t asked;            /* rounds of questions in this attempt */
	uint8_t prepares;         /* sent in this attempt */
	uint8_t doubts; /* TUNNELs in a row that were not believed, the present included */
	uint8_t offline_tries;

	uint8_t send; /* to the chosen broker: enum td_machine_send */
	uint8_t farewell_reason;
	uint32_t farewell_slot; /* ERROR is to be sent from there; TD_NO_SLOT: none */
	uint32_t ask_cursor;    /* slots before it have been asked */
	uint32_t keepalives;
	/* Data packets of this tunnel by our own account; and do they get through? */
	bool count_due, counted;
	uint32_t data_sent, data_received;
	struct td_dataflow up, down;
	uint32_t sequence;              /* of the last action */
	uint32_t open_sequence;         /* of the OPEN under way; 0: none */
	uint16_t acks[TD_MACHINE_ACKS]; /* sizes of probes to acknowledge */
	uint8_t ack_count;
	uint8_t log_count;
	struct td_machine_log logs[TD_MACHINE_LOGS];

	struct td_relq limit;
	struct td_pmtu pmtu;
	struct td_local local;
	struct td_session_info session;
};

/* What to offer a broker; a long uuid leaves no room for a cookie. */
static inline uint32_t td_machine_features(const struct td_client *c)
{
	const uint32_t features = TD_FEATURE_UNIQUE_SESSION_ID | TD_FEATURE_DATA_COUNTS |
				  TD_FEATURE_SPARSE_KEEPALIVES;

	return c->session.uuid_len > TD_CLIENT_UUID_COOKIE_MAX ? features
							       : features | TD_FEATURE_DATA_COOKIES;
}

/* Has the choice been made, and not been given up? */
static inline bool td_machine_chosen(const struct td_client *c)
{
	return c->candidates.chosen != TD_NO_SLOT;
}

/* Begins to select a broker, soon (hurry) or with care, or waits until one may be asked. */
void td_machine_attempt(struct td_client *c, bool hurry, const char *why, struct td_time now);
/* Asks this broker's address, through the socket that was just opened. */
void td_machine_ask(struct td_client *c, uint32_t slot);
/* Chooses a broker if that can be done now. */
void td_machine_try_to_choose(struct td_client *c, struct td_time now);
void td_machine_got_cookie(struct td_client *c, struct td_time now);
void td_machine_got_tunnel(struct td_client *c, const struct td_msg *msg, struct td_time now);
/* Any valid message of the tunnel's broker. */
void td_machine_heard(struct td_client *c, struct td_time now);
/* KEEPALIVE with the broker's counts of data packets. */
void td_machine_got_counts(struct td_client *c, const struct td_msg *msg, struct td_time now);
/* This end of the tunnel was made; could not be made; is gone. */
void td_machine_made(struct td_client *c, struct td_time now);
void td_machine_failed(struct td_client *c, struct td_time now);
void td_machine_removed(struct td_client *c, struct td_time now);

enum td_blame {
	TD_BLAME_NOBODY,
	TD_BLAME_BROKER,  /* it stays marked as long as it has not proven itself */
	TD_BLAME_REFUSAL, /* it is left out for a growing time, unless the tunnel had lasted */
};
/* Ends what is there, tells the broker (TD_ERROR_NONE: does not) and starts over. */
void td_machine_give_up(struct td_client *c, enum td_error_reason reason, enum td_blame blame,
			const char *why, struct td_time now);

#endif
