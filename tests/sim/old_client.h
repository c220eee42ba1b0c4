/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Clients as they are deployed: releases 0.2, 0.3.0, December 2017, March 2021 and later. Written from
 * docs/PROTOCOL.md and tests/transcripts; nothing of the core is used.
 *
 * No recording of 0.2 is at hand: it is 0.3.0 without the tunnel id in PREPARE.
 *
 * They look at their timers once a second, count whole seconds and compare with >.
 */
#ifndef TD_TESTS_OLD_CLIENT_H
#define TD_TESTS_OLD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OLD_BROKERS 64

struct old_client_kind {
	const char *name;
	bool tunnel_id;     /* … in PREPARE */
	bool features;      /* sends the feature word, and heeds it */
	bool cookie_only;   /* one USAGE, then COOKIE alone */
	bool notifies_ffca; /* when it measured nothing; the others say nothing then */
	bool same_socket;   /* refused, it goes back to COOKIE */
	int attempt_s;
};

extern const struct old_client_kind old_client_0_2, old_client_0_3_0, old_client_2017,
	old_client_2021;

/* What the program around it does. */
struct old_client_program {
	bool (*open)(void *owner, uint32_t broker);
	void (*close)(void *owner, uint32_t broker);
	void (*send)(void *owner, uint32_t broker, const uint8_t *bytes, size_t size);
	void (*state)(void *owner, bool up);
};

enum old_state {
	OLD_SELECTING,
	OLD_COOKIE,
	OLD_PREPARE,
	OLD_UP,
	OLD_WAITING, /* no candidate */
	OLD_STOPPED,
};

struct old_client {
	const struct old_client_kind *kind;
	const struct old_client_program *program;
	void *owner;
	const char *uuid;
	uint32_t tunnel_id, limit_kbps, broker_count;
	/* The router has been up for more than 65 minutes: that it left a broker out for failing it is
	 * forgotten at once, so that whoever is refused asks again two seconds later. */
	bool long_up;
	enum old_state state;
	int64_t began_us; /* of the attempt: seconds are counted from here */
	int64_t ticks;    /* seconds since */
	uint32_t chosen, asked;
	struct {
		bool open, broken, answered, has_cookie;
		uint16_t load;
		uint8_t cookie[8];
	} broker[OLD_BROKERS];
	int64_t asked_s, chosen_s, sent_s, heard_s, keepalive_s, up_s;
	int64_t search_s, burst_s, search_pause_s;
	unsigned bursts, limit_tries;
	int64_t limit_s;
	bool limit_acked;
	uint32_t counter, peer_tunnel_id, session_id, peer_session_id;
	uint16_t measured, peer_mtu; /* inner MTU; 0: unknown */
	uint16_t acked;              /* largest probe of this search */
};

void old_client_start(struct old_client *c, const struct old_client_kind *kind,
		      const struct old_client_program *program, void *owner, const char *uuid,
		      uint32_t tunnel_id, uint32_t broker_count, uint64_t seed, int64_t now_us);
void old_client_rx(struct old_client *c, uint32_t broker, const uint8_t *bytes, size_t size,
		   int64_t now_us);
void old_client_tick(struct old_client *c, int64_t now_us);
int64_t old_client_deadline(const struct old_client *c);
void old_client_stop(struct old_client *c);
uint16_t old_client_mtu(const struct old_client *c);

#endif
