/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What the parent keeps of sessions, one place per slot, so that they survive the worker: the engine's
 * record, and a copy of the descriptor on which the tunnel's life hangs.
 */
#ifndef TD_BROKER_KEPT_H
#define TD_BROKER_KEPT_H

#include <stdbool.h>
#include <stdint.h>

struct td_kept_session {
	int fd;          /* keeps its tunnel alive; -1: it has none (any more) */
	uint16_t size;   /* of the record; 0: there is none */
	uint8_t *record; /* on the heap */
};

/* count empty places, for td_kept_free(). NULL: no memory. */
struct td_kept_session *td_kept_new(uint32_t count);
/* Forgets them all. NULL: does nothing. */
void td_kept_free(struct td_kept_session *kept, uint32_t count);

/*
 * A record of up to TD_RECORD_MAX bytes, instead of the last one. holds: the tunnel has a descriptor
 * that is to be kept, either this one (>= 0, from now on the place's), or the one that was kept before.
 * Without memory nothing is kept but the descriptor, and the log says so.
 */
void td_kept_put(struct td_kept_session *kept, const uint8_t *record, uint32_t size, bool holds,
		 int descriptor);
/* Record and descriptor. With its last descriptor the tunnel's interface goes. */
void td_kept_forget(struct td_kept_session *kept);

#endif
