/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The broker as it is deployed, in Python. Written from docs/PROTOCOL.md and tests/transcripts;
 * nothing of the core is used but addresses.
 */
#ifndef TD_TESTS_OLD_BROKER_H
#define TD_TESTS_OLD_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

struct old_tunnel {
	bool used;
	struct td_flow flow;
	uint8_t uuid_len;
	char uuid[256];
	uint32_t id, peer_id, features;
	uint16_t measured, peer_mtu, counter;
	int64_t heard_us, keepalive_us, probe_us; /* the next one; INT64_MAX: none */
	unsigned size, tries;                     /* of the search: which one now */
};

struct old_broker {
	void (*send)(void *owner, const struct td_flow *flow, const uint8_t *bytes, size_t size);
	void *owner;
	bool deaf_to_usage; /* as brokers of the first releases */
	bool knows_features;
	uint16_t fixed_mtu;
	uint32_t max_tunnels, id_base;
	int64_t gap_us; /* at least, between two tunnels */
	int64_t last_us;
	uint64_t secret, random;
	int64_t first_keepalive_us, first_probe_us; /* <0: as chance has it; 0: it never probes */
	struct old_tunnel *tunnels;
	uint32_t used;
};

/* Everything but send, owner, tunnels (max_tunnels of them, zero) and the settings. */
void old_broker_start(struct old_broker *b, uint64_t seed);
void old_broker_rx(struct old_broker *b, const struct td_flow *flow, const uint8_t *bytes,
		   size_t size, int64_t now_us);
void old_broker_tick(struct old_broker *b, int64_t now_us);
int64_t old_broker_deadline(const struct old_broker *b);
void old_broker_stop(struct old_broker *b);
const struct old_tunnel *old_broker_tunnel(const struct old_broker *b, const struct td_flow *flow);
uint16_t old_broker_mtu(const struct old_broker *b, const struct old_tunnel *t);

#endif
