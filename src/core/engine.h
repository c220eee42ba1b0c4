/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The broker engine: all protocol of a broker, for all its tunnels, without I/O.
 *
 *	feed:  td_engine_rx, td_engine_tick, td_engine_result, td_engine_shutdown
 *	drain: td_engine_tx (datagrams), td_engine_next_action (what the shell is to do)
 *	ask:   td_engine_deadline
 *
 * After each feed the caller drains both until they have nothing more. A direct reply that was not
 * drained before the next td_engine_rx() is lost, as the network might have lost it; everything
 * else waits inside, in bounded memory, for as long as the caller cannot send.
 *
 * Nothing is stored for a flow before it returned a valid cookie. The engine allocates nothing:
 * its memory is given at init and sized by max_tunnels. Not re-entrant, no threads.
 */
#ifndef TD_CORE_ENGINE_H
#define TD_CORE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/bucket.h"
#include "base/time.h"
#include "core/session_info.h"

#define TD_ENGINE_KEY   16
#define TD_ENGINE_BURST 100 /* default of connection_rate_limit_burst */
/* How long a pre-down hook may delay the end of its tunnel. */
#define TD_ENGINE_PRE_DOWN_LIMIT TD_SECONDS(10)

struct td_engine_config {
	uint32_t max_tunnels;    /* 1 … 65535 */
	uint32_t tunnel_id_base; /* ids are [base, base + max_tunnels); base >= 1, the last <= 99999
				  */
	uint16_t fixed_mtu;      /* the interface's; 0: measure it */
	uint16_t max_mtu;        /* largest one to look for */
	struct td_rate rate;     /* of new tunnels, all together */
	struct td_rate rate_per_ip;   /* … from one address (IPv6: one /64) */
	struct td_rate rate_per_uuid; /* … of one UUID */
	uint32_t hooks;               /* set of 1u << enum td_hook: those that are configured */
	uint8_t cookie_key[TD_ENGINE_KEY]; /* secret, random */
	uint8_t index_key[TD_ENGINE_KEY];  /* secret, random */
	uint64_t seed;                     /* of jitter */
	/* The data path finds a session by its id alone: those without cookies share one id, so that
	 * it has to look whose the packet is. docs/PROTOCOL.md section 3.5. */
	bool shared_session_id;
};

/* Why a tunnel came to its end. */
enum td_end {
	TD_END_NONE,
	TD_END_PEER,     /* the client sent ERROR */
	TD_END_TIMEOUT,  /* nothing heard for 120 s */
	TD_END_REPLACED, /* the same flow or UUID came again */
	TD_END_FAILED,   /* the data path could not make it */
	TD_END_LOST,     /* the interface was deleted by another hand */
	TD_END_DATA,     /* the client says that data does not get through */
	TD_END_SHUTDOWN,
};

enum td_action_kind {
	TD_ACTION_CREATE,   /* make tunnel and interface as session says, then report the result */
	TD_ACTION_SET_MTU,  /* of the interface, to session->mtu; report */
	TD_ACTION_SET_RATE, /* limit what goes to the client to rate_kbps (0: unlimited); report */
	TD_ACTION_DESTROY,  /* remove it; report when it is gone */
	TD_ACTION_HOOK,     /* run hook; report when it has ended, or could not be started. The
			       session's record changed as well, and is to be kept with this */
	TD_ACTION_UP,       /* for the log: the tunnel is established */
	TD_ACTION_DOWN,     /* for the log: it ends, for the reason end */
	TD_ACTION_CHANGED, /* the session's record changed: export it again, and keep it, before the
			       next is asked for; a client hears TUNNEL only then */
	TD_ACTION_FREED,   /* the slot is free: forget the record */
	TD_ACTION_COUNT,   /* report td_engine_counted() for every tunnel; no result */
};

/* Data packets, modulo 2^32, by the account of this end and of the peer. */
struct td_engine_counts {
	uint32_t sent, received;
	uint32_t peer_sent, peer_received;
};

struct td_action {
	enum td_action_kind kind;
	/* TD_NO_HANDLE for TD_HOOK_RATE_LIMITED, which needs no result. */
	struct td_handle handle;
	uint32_t sequence;                     /* to be handed back with the result */
	const struct td_session_info *session; /* valid until the next call into the engine */
	enum td_hook hook;
	uint16_t old_mtu; /* TD_HOOK_MTU_CHANGED: before; session->mtu is after */
	uint32_t rate_kbps;
	enum td_end end;
	int err; /* TD_ACTION_DOWN for TD_END_FAILED: what the data path reported */
	struct td_engine_counts counts; /* TD_ACTION_DOWN for TD_END_DATA: the last ones */
};

/* Where a datagram goes. */
struct td_engine_tx {
	struct td_flow flow;
	struct td_handle handle; /* of the session it belongs to, else TD_NO_HANDLE */
};

/* Since start; for the operator. */
struct td_engine_counters {
	uint64_t rx_malformed;    /* not a message of this protocol */
	uint64_t rx_unknown_flow; /* a tunnel's message from a flow that has none */
	uint64_t rx_bad_cookie;
	uint64_t rx_bad_uuid;
	uint64_t parked;          /* PREPAREs that had to wait */
	uint64_t parked_overflow; /* … and found no place to */
	uint64_t refused;         /* final refusals sent */
	uint64_t silent_full;     /* USAGE and COOKIE unanswered because all slots are taken */
	uint64_t established;
	uint64_t ended[TD_END_SHUTDOWN + 1];
	uint64_t takeovers;
	uint64_t hooks_skipped; /* pre-down and down hooks that ran out of time */
};

struct td_engine;

/* Bytes of memory that an engine for so many tunnels needs. */
size_t td_engine_size(uint32_t max_tunnels);
/* memory: that many bytes, aligned as malloc aligns; the engine is all of it. */
struct td_engine *td_engine_init(void *memory, const struct td_engine_config *config,
				 struct td_time now);

/* A control datagram arrived (one that td_msg_is_control()). */
void td_engine_rx(struct td_engine *e, const struct td_flow *flow, const uint8_t *bytes,
		  size_t size, struct td_time now);
struct td_time td_engine_deadline(const struct td_engine *e);
void td_engine_tick(struct td_engine *e, struct td_time now);
/* An action has ended, well (0) or not (-errno). Results of earlier lives are recognised. */
void td_engine_result(struct td_engine *e, struct td_handle handle, uint32_t sequence, int err,
		      struct td_time now);
/* How many data packets the session's data path has sent and received, modulo 2^32, by now. */
void td_engine_counted(struct td_engine *e, struct td_handle handle, uint32_t sent,
		       uint32_t received, struct td_time now);
/* The interface of a session disappeared without our doing. */
void td_engine_lost(struct td_engine *e, struct td_handle handle, struct td_time now);

/* The next datagram to send; its size, 0 when there is none. Probes need the larger capacity. */
size_t td_engine_tx(struct td_engine *e, struct td_engine_tx *to, uint8_t *bytes, size_t capacity,
		    struct td_time now);
#define TD_ENGINE_TX_MAX (9000 + 26)
/* The next thing to do; false when there is none. */
bool td_engine_next_action(struct td_engine *e, struct td_action *action, struct td_time now);

/*
 * Ends in order: admits nobody, sends ERROR to every client (paced), runs pre-down and down hooks
 * for at most limit_us in all, destroys everything. Finished when td_engine_idle().
 */
void td_engine_shutdown(struct td_engine *e, int64_t limit_us, struct td_time now);
/* Is there no session left, in whatever state? */
bool td_engine_idle(const struct td_engine *e);

/* --- upgrade and crash recovery --- */

#define TD_RECORD_VERSION 2
#define TD_RECORD_MAX     512 /* bytes */

/* Writes the session's record; its size, 0 when that handle is no session that could be adopted. */
size_t td_engine_export(const struct td_engine *e, struct td_handle handle,
			uint8_t to[static TD_RECORD_MAX], struct td_time now);
/*
 * Takes over a session from a record, into a fresh engine. 0 and *handle (the same as in the engine
 * that exported it); -EINVAL: not a record of a version that we know, or damaged; -EEXIST: its
 * slot, id or flow is taken. A caller that gets an error destroys what the record stood for.
 */
int td_engine_adopt(struct td_engine *e, const uint8_t *record, size_t size,
		    struct td_handle *handle, struct td_time now)
	__attribute__((warn_unused_result));

/* --- for the operator --- */

const struct td_engine_counters *td_engine_counters(const struct td_engine *e);
uint32_t td_engine_tunnels(const struct td_engine *e); /* slots in use */
/* The session of that handle, NULL when there is none. */
const struct td_session_info *td_engine_session(const struct td_engine *e, struct td_handle handle);

#endif
