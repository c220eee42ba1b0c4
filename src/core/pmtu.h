/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Packetization-layer path MTU discovery (in the sense of RFC 8899) for the sending direction of
 * one tunnel, and the MTU of its interface: docs/PROTOCOL.md section 4.
 *
 * A search sends fans of probes, sizes spread over the interval that is still open, and narrows
 * the interval by the acknowledgements of each fan; it finds the largest UDP payload to the byte,
 * in under 2 s on a path without loss. It is repeated every ten minutes with jitter. In between the
 * result is confirmed once a minute by a single probe; three losses of it in a row start a new
 * search.
 *
 * Pull: feed ack, notified and tick; drain probe and notify; ask for deadline and inner_mtu.
 * All sizes of probes are UDP payloads, all MTUs those of the tunnel's interface: a payload less
 * the overhead, which is 26 bytes, and 8 more with data cookies.
 */
#ifndef TD_CORE_PMTU_H
#define TD_CORE_PMTU_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"
#include "base/time.h"

#define TD_PMTU_FAN 8

enum td_pmtu_state {
	TD_PMTU_IDLE, /* not started, or stopped */
	TD_PMTU_SEARCHING,
	TD_PMTU_SETTLED, /* measured; waiting for the next confirmation or search */
	TD_PMTU_CONFIRMING,
	TD_PMTU_UNKNOWN, /* nothing was acknowledged; waiting for the next search */
};

struct td_pmtu_probe {
	uint16_t size;    /* 0: free */
	uint16_t sent_ms; /* when it was sent first: the clock's low bits */
};

struct td_pmtu {
	enum td_pmtu_state state;
	uint16_t max_size;     /* largest size worth probing */
	uint16_t accepted_mtu; /* largest to take from the peer; max_mtu unless raised after init */
	uint16_t overhead;     /* TD_INNER_OVERHEAD unless raised after init */
	uint16_t measured_size; /* result of the last search; 0: none */
	uint16_t peer_mtu;      /* from PMTU_NTFY; 0: none */
	struct td_time deadline;
	/* The rest is pmtu.c's. */
	struct td_rng *rng;
	struct td_time search_at; /* while settled: the next search */
	uint16_t low;             /* largest size acknowledged in this search; 0: none */
	uint16_t high;            /* smallest size above low that seems too large */
	uint16_t rtt_ms;
	uint16_t fan[TD_PMTU_FAN]; /* sizes of the present fan, in the order of sending */
	uint8_t fan_count, fan_sent;
	uint8_t rounds;        /* fans of this search */
	uint8_t verifications; /* fans that repeated the size above the result */
	uint8_t misses;        /* lost confirmations in a row */
	uint8_t failures;      /* searches in a row that measured nothing */
	uint8_t newest;        /* in outstanding */
	bool notify;
	struct td_pmtu_probe outstanding[TD_PMTU_FAN * 3];
};

/* max_mtu: the largest MTU to look for without data cookies, TD_MTU_MIN … TD_MTU_MAX. rng outlives
 * this. */
void td_pmtu_init(struct td_pmtu *p, uint16_t max_mtu, struct td_rng *rng);
/* Begins a search now, also when one is running. */
void td_pmtu_start(struct td_pmtu *p, struct td_time now);
void td_pmtu_stop(struct td_pmtu *p);
struct td_time td_pmtu_deadline(const struct td_pmtu *p);
void td_pmtu_tick(struct td_pmtu *p, struct td_time now);

/* The size of the next probe to send now, 0 when there is none. */
uint16_t td_pmtu_next_probe(struct td_pmtu *p, struct td_time now);
/* Is there a measurement to tell the peer? Then *mtu is it; each is told once (and again with each
 * confirmation). */
bool td_pmtu_next_notify(struct td_pmtu *p, uint16_t *mtu);

/* PMTUD_ACK arrived; counts only for a size that is outstanding. */
void td_pmtu_ack(struct td_pmtu *p, uint16_t size, struct td_time now);
/* PMTU_NTFY arrived; values outside sanity are ignored. */
void td_pmtu_notified(struct td_pmtu *p, uint16_t mtu);

/* The MTU that the interface should have: max(1280, min(own, peer's)); while neither is known, what
 * fits into an IPv4 packet of 1500 bytes (or max_mtu allows). */
uint16_t td_pmtu_inner_mtu(const struct td_pmtu *p);

#endif
