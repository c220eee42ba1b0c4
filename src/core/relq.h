/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Reliable delivery of one control message at a time (client to broker): sent, then again every
 * second until it is acknowledged, at most ten times in all (docs/PROTOCOL.md section 2, types >=
 * 0x80). The message itself stays with the caller; this keeps its sequence number and its timer.
 */
#ifndef TD_CORE_RELQ_H
#define TD_CORE_RELQ_H

#include <stdbool.h>
#include <stdint.h>

#include "base/time.h"

struct td_relq {
	struct td_time next; /* when to send (again); TD_NEVER: nothing outstanding */
	uint16_t sequence;
	uint8_t sent;
};

void td_relq_init(struct td_relq *q);
/* Begins to send a message under a fresh sequence number, replacing an outstanding one. */
void td_relq_post(struct td_relq *q, struct td_time now);
/* Is it to be sent now? Then it counts as sent, under q->sequence. */
bool td_relq_due(struct td_relq *q, struct td_time now);
/* When td_relq_due() next has something to do; TD_NEVER: never. */
struct td_time td_relq_deadline(const struct td_relq *q);
/* REL_ACK arrived; one for another sequence number is ignored. */
void td_relq_acknowledge(struct td_relq *q, uint16_t sequence);

#endif
