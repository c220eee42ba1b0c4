/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The client machine: finds a broker, makes one tunnel, keeps it, and starts over when it is lost.
 * No I/O; the same pull interface as the broker engine (core/engine.h):
 *
 *	feed:  td_client_rx, _tick, _result, _resolved, _path_changed, _network_changed, _shutdown
 *	drain: td_client_tx, td_client_next_action
 *	ask:   td_client_deadline
 *
 * After each feed the caller drains td_client_tx until it returns 0 and then td_client_next_action
 * until it returns false; a result may be fed at once, in between. What is to be sent from a slot
 * is lost when it was not drained before that slot's CLOSE.
 *
 * Brokers are numbered in command-line order. Each address of each broker has a slot, which
 * stands for one UDP socket with a fresh source port: slot = broker * TD_ADDRESSES_MAX + address.
 * The socket of the handshake stays the tunnel's.
 */
#ifndef TD_CORE_CLIENT_H
#define TD_CORE_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/rng.h"
#include "base/time.h"
#include "core/msg.h"
#include "core/session_info.h"

#define TD_ADDRESSES_MAX          16  /* of one name */
#define TD_LOOKUPS_MAX            8   /* TD_CLIENT_RESOLVEs unanswered at the same time */
#define TD_CLIENT_UUID_MAX        238 /* bytes that fit into PREPARE with id and features … */
#define TD_CLIENT_UUID_COOKIE_MAX 230 /* … and a data cookie, which a longer one goes without */

enum td_selection {
	TD_SELECT_FIRST, /* the first that answers */
	TD_SELECT_USAGE, /* the one with the least load */
	TD_SELECT_RANDOM,
};

struct td_client_config {
	const char *uuid;   /* valid (td_uuid_valid), at most TD_CLIENT_UUID_MAX bytes */
	const char *ifname; /* these two outlive the machine */
	uint32_t tunnel_id;
	uint32_t limit_kbps;   /* to ask of the broker; 0: nothing */
	uint32_t broker_count; /* >= 1 */
	uint16_t max_mtu;      /* largest MTU to look for */
	enum td_selection selection;
	uint64_t seed;
};

enum td_client_state {
	TD_CLIENT_OFFLINE,   /* no way to any broker; waits for the network to change */
	TD_CLIENT_WAITING,   /* backs off after a failure */
	TD_CLIENT_SELECTING, /* asks brokers for their load */
	TD_CLIENT_COOKIE,    /* has chosen one, asks for a cookie */
	TD_CLIENT_PREPARE,   /* asks for the tunnel */
	TD_CLIENT_CREATING,  /* has it, makes its own end */
	TD_CLIENT_UP,
	TD_CLIENT_CLOSING, /* removes its end; left at once when there is a broker to go to */
	TD_CLIENT_ENDED,   /* after td_client_shutdown() */
};

enum td_client_action_kind {
	TD_CLIENT_RESOLVE, /* look up broker's addresses, answer by td_client_resolved() */
	TD_CLIENT_OPEN,    /* a UDP socket for slot, connected to addr; report */
	TD_CLIENT_CLOSE,   /* close slot's socket; no result */
	TD_CLIENT_CREATE,  /* the tunnel, with slot's socket, as session says; report */
	TD_CLIENT_SET_MTU, /* of the interface, to session->mtu; report */
	TD_CLIENT_DESTROY, /* remove it (slot says which one, session does not); report when it is
			      gone; a CLOSE of the slot follows */
	TD_CLIENT_COUNT,   /* report td_client_counted() if it can be told; no result */
	TD_CLIENT_HOOK,    /* start hook (TD_HOOK_UP or TD_HOOK_DOWN), do not wait */
	TD_CLIENT_STATE,   /* for the log: state was entered, because of why; broker and slot are of
			      a meaning from COOKIE to CLOSING only */
};

/* What an action does not have is zero. */
struct td_client_action {
	enum td_client_action_kind kind;
	uint32_t sequence; /* to be handed back with the result */
	uint32_t broker;
	uint32_t slot;
	struct td_addr addr;
	const struct td_session_info *session; /* valid until the next call into the machine */
	enum td_hook hook;
	enum td_client_state state;
	const char *why; /* static text: a few words for the log */
};

struct td_client;

size_t td_client_size(uint32_t broker_count);
/* memory: that many bytes, aligned as malloc aligns. Starts at once. */
struct td_client *td_client_init(void *memory, const struct td_client_config *config,
				 struct td_time now);

void td_client_rx(struct td_client *c, uint32_t slot, const uint8_t *bytes, size_t size,
		  struct td_time now);
struct td_time td_client_deadline(const struct td_client *c);
void td_client_tick(struct td_client *c, struct td_time now);
void td_client_result(struct td_client *c, uint32_t sequence, int err, struct td_time now);
/* The addresses of a broker, or none: the name could not be resolved now. */
void td_client_resolved(struct td_client *c, uint32_t broker, const struct td_addr *addrs,
			uint32_t count, struct td_time now);
/* The tunnel's own address or route is no longer the one it was built on: reconnect at once. */
void td_client_path_changed(struct td_client *c, struct td_time now);
/* Addresses or routes of this host changed: whoever waits for the network tries again. */
void td_client_network_changed(struct td_client *c, struct td_time now);
/* How many data packets the tunnel's data path has sent and received, modulo 2^32. */
void td_client_counted(struct td_client *c, uint32_t sent, uint32_t received);
/* The tunnel's interface disappeared without our doing. */
void td_client_lost(struct td_client *c, struct td_time now);
/* ERROR to the broker, down hook, destroy; ended when the state is TD_CLIENT_ENDED. */
void td_client_shutdown(struct td_client *c, struct td_time now);

/* The next datagram to send, and from which slot; its size, 0 when there is none. */
size_t td_client_tx(struct td_client *c, uint32_t *slot, uint8_t *bytes, size_t capacity,
		    struct td_time now);
bool td_client_next_action(struct td_client *c, struct td_client_action *action,
			   struct td_time now);

enum td_client_state td_client_state(const struct td_client *c);

#endif
