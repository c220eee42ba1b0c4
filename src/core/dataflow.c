/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "core/dataflow.h"

#define PATIENCE     (TD_DATAFLOW_AGE + TD_SECONDS(5))
#define FAILURES_MAX 5
#define ENOUGH       10 /* packets */

bool td_dataflow_dead(struct td_dataflow *d, uint32_t sent, uint32_t received, struct td_time now)
{
	const int64_t since_us = td_time_since(now, d->at);

	if (d->state == TD_DATAFLOW_NEW || received != d->received) {
		if (d->state != TD_DATAFLOW_NEW)
			d->failures = 0;
		d->state = TD_DATAFLOW_MOVED;
		d->received = received;
		d->at = now;
	} else if (d->state == TD_DATAFLOW_MOVED && since_us >= PATIENCE << d->failures) {
		d->state = TD_DATAFLOW_WAITING;
		d->sent = sent;
	} else if (d->state == TD_DATAFLOW_WAITING && sent - d->sent >= ENOUGH) {
		d->state = TD_DATAFLOW_SENT;
		d->at = now;
	} else if (d->state == TD_DATAFLOW_SENT && since_us >= PATIENCE) {
		d->state = TD_DATAFLOW_NEW;
		if (d->failures < FAILURES_MAX)
			d->failures++;
		return true;
	}
	return false;
}
