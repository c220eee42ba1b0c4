/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What flood.c sends. All of it follows from the seed. */
#ifndef FLOOD_KINDS_H
#define FLOOD_KINDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLOOD_SIZE_MAX 1500

enum flood_kind {
	FLOOD_RANDOM,    /* bytes */
	FLOOD_ALMOST,    /* messages and data packets, with something wrong */
	FLOOD_FORGED,    /* PREPARE with invented cookies */
	FLOOD_EXPIRED,   /* PREPARE with a cookie that was good once */
	FLOOD_FOREIGN,   /* PREPARE with the cookie of another port */
	FLOOD_HALF,      /* PREPARE with a good cookie, and then nothing any more */
	FLOOD_COOKIE,    /* as it should be */
	FLOOD_USAGE,     /* as it should be */
	FLOOD_STRANGER,  /* messages of tunnels that the sender does not have: ERROR, LIMIT, … */
	FLOOD_MTU,       /* notifications and acknowledgements with values that make no sense */
	FLOOD_HANDSHAKE, /* what brokers say, well formed, in no order */
};

bool flood_kind_of(enum flood_kind *kind, const char *name);
void flood_seed(uint64_t seed);
/* 0 <= result < bound */
uint32_t flood_random(uint32_t bound);
/* size <= FLOOD_SIZE_MAX; cookie: of 8 bytes, for the kinds that have one. */
void flood_make(enum flood_kind kind, uint8_t *bytes, size_t size, const uint8_t *cookie);

#endif
