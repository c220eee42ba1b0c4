/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The brokers that a client knows: their addresses, the sockets towards them, what they answered,
 * and which of them may be asked and chosen now.
 *
 * One attempt: td_selection_begin() asks for lookups and sockets, the client machine sends its
 * questions through what is open and reports the answers here, until td_selection_outlook() and the
 * time allow td_selection_choose(); td_selection_end() closes the sockets of the losers.
 *
 * A broker is marked broken when it is chosen and cleared when a tunnel to it lasted; marked ones
 * are left out for an hour. One that refused is left out for a time that doubles with each refusal.
 *
 * Sockets have a desired and an actual state; td_selection_next() says what brings one nearer to
 * the other.
 */
#ifndef TD_CORE_SELECTION_H
#define TD_CORE_SELECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/rng.h"
#include "base/time.h"
#include "core/client.h"
#include "core/msg.h"

#define TD_NO_SLOT UINT32_MAX

enum td_socket {
	TD_SOCKET_CLOSED,
	TD_SOCKET_OPENING,
	TD_SOCKET_OPEN,
	TD_SOCKET_FAILED, /* could not be opened in this attempt */
};

enum td_slot_flag {
	TD_SLOT_WANTED = 1 << 0,   /* is to be open */
	TD_SLOT_STALE = 1 << 1,    /* is to be closed first: its address changed or its port is used
				      up */
	TD_SLOT_ANSWERED = 1 << 2, /* in this attempt */
	TD_SLOT_COOKIE = 1 << 3,   /* the cookie is one */
	TD_SLOT_ASK_USAGE = 1 << 4, /* to be sent */
	TD_SLOT_ASK_COOKIE = 1 << 5,
};

/* One address of a broker. */
struct td_slot {
	struct td_addr addr; /* without a family: none */
	uint8_t cookie[TD_COOKIE_SIZE];
	uint16_t load;
	uint8_t socket; /* enum td_socket */
	uint8_t flags;  /* enum td_slot_flag */
};

struct td_broker_entry {
	struct td_time broken_until;  /* marked: left out until then */
	struct td_time backoff_until; /* refused: the same, but nothing clears it */
	uint8_t refusals;
	bool asked; /* takes part in this attempt */
	bool lookup_wanted;
	bool lookup_running;
};

struct td_candidates {
	struct td_broker_entry *brokers;
	struct td_slot *slots;
	uint32_t broker_count;
	uint32_t slot_count;
	uint32_t busy;    /* slot whose socket the tunnel has: not to be touched */
	uint32_t chosen;  /* slot, TD_NO_SLOT while there is none */
	uint32_t opening; /* slot whose OPEN is under way: one at a time */
	uint32_t cursor;  /* of td_selection_next(): slots before it are as desired */
	uint8_t lookups_running;
};

/* Bytes of memory that init() takes beside the struct. */
size_t td_selection_size(uint32_t broker_count);
void td_selection_init(struct td_candidates *s, void *memory, uint32_t broker_count);

/* Begins an attempt with all brokers that may be asked now, each address through a fresh socket.
 * False: there is none. */
bool td_selection_begin(struct td_candidates *s, struct td_time now);
/* When there will be one, if marks were cleared at marks_until. */
struct td_time td_selection_ready(const struct td_candidates *s, struct td_time marks_until,
				  struct td_time now);
/* Chosen or given up (TD_NO_SLOT): closes all sockets but that one. */
void td_selection_end(struct td_candidates *s, uint32_t chosen);
/* Has the chosen slot go on from a fresh port. */
void td_selection_renew(struct td_candidates *s);
/* Tells the machine whose socket the tunnel has, TD_NO_SLOT: nobody's. */
void td_selection_set_busy(struct td_candidates *s, uint32_t slot);

/* The next socket to open or close, or name to look up. */
bool td_selection_next(struct td_candidates *s, struct td_client_action *action);
/* What became of it; returns the slot that was opened, or not. */
uint32_t td_selection_opened(struct td_candidates *s, int err);
void td_selection_resolved(struct td_candidates *s, uint32_t broker, const struct td_addr *addrs,
			   uint32_t count);

/* Is that slot's socket open for this attempt? */
bool td_selection_live(const struct td_candidates *s, uint32_t slot);
void td_selection_answer_usage(struct td_candidates *s, uint32_t slot, uint16_t load);
void td_selection_answer_cookie(struct td_candidates *s, uint32_t slot,
				const uint8_t cookie[static TD_COOKIE_SIZE]);

enum td_outlook {
	TD_OUTLOOK_EMPTY,   /* nobody answered, nobody will */
	TD_OUTLOOK_WAITING, /* nobody answered yet */
	TD_OUTLOOK_SOME,    /* some answered, others still may */
	TD_OUTLOOK_ALL,     /* everybody who could */
};
enum td_outlook td_selection_outlook(const struct td_candidates *s);
/* Has any broker an address? Names may not resolve. */
bool td_selection_has_address(const struct td_candidates *s);
/* The slot to use, of those that answered (at least one). */
uint32_t td_selection_choose(const struct td_candidates *s, enum td_selection mode,
			     struct td_rng *rng);

/* Judgements about a broker. */
void td_selection_mark(struct td_candidates *s, uint32_t broker, struct td_time now);
void td_selection_refused(struct td_candidates *s, uint32_t broker, struct td_rng *rng,
			  struct td_time now);
void td_selection_unmark(struct td_candidates *s, uint32_t broker);
void td_selection_unmark_all(struct td_candidates *s);
/* A tunnel to it lasted: nothing is held against it any more. */
void td_selection_proven(struct td_candidates *s, uint32_t broker);

/* First wait of base_us to twice that, doubling with each try, up to 60 s to 120 s. */
int64_t td_backoff_us(struct td_rng *rng, int64_t base_us, unsigned int tries);

#endif
