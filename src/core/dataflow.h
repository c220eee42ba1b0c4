/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Does the data that one end of a tunnel sends arrive at the other? docs/PROTOCOL.md section 3.8.
 * For one direction, by the counts of both ends, which may be up to TD_DATAFLOW_AGE old.
 *
 * It is dead when nothing arrives, although enough was sent: so much that it cannot all have been
 * lost, and so long ago that even old counts must show it. Where a new tunnel does not help, each
 * one is given twice as long.
 */
#ifndef TD_CORE_DATAFLOW_H
#define TD_CORE_DATAFLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/time.h"

#define TD_DATAFLOW_AGE TD_SECONDS(20)

struct td_dataflow {
	enum {
		TD_DATAFLOW_NEW,
		TD_DATAFLOW_MOVED,   /* at: when something arrived last */
		TD_DATAFLOW_WAITING, /* until enough was sent, from here on */
		TD_DATAFLOW_SENT,    /* at: since when it has been */
	} state;
	uint8_t failures; /* in a row */
	uint32_t sent, received;
	struct td_time at;
};

/* Another tunnel: its counts are others. */
static inline void td_dataflow_restart(struct td_dataflow *d)
{
	d->state = TD_DATAFLOW_NEW;
}

/* Packets sent by the one end and received by the other, modulo 2^32. Is the direction dead? */
bool td_dataflow_dead(struct td_dataflow *d, uint32_t sent, uint32_t received, struct td_time now);

#endif
