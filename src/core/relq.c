/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "core/relq.h"

#define RESEND_US TD_SECONDS(1)
#define SENT_MAX  10

void td_relq_init(struct td_relq *q)
{
	/* The first message goes out as number 0, as from deployed clients. */
	*q = (struct td_relq){ .next = TD_NEVER, .sequence = UINT16_MAX };
}

void td_relq_post(struct td_relq *q, struct td_time now)
{
	q->next = now;
	q->sequence++;
	q->sent = 0;
}

bool td_relq_due(struct td_relq *q, struct td_time now)
{
	if (!td_time_reached(q->next, now))
		return false;
	q->sent++;
	q->next = q->sent < SENT_MAX ? td_time_add(now, RESEND_US) : TD_NEVER;
	return true;
}

struct td_time td_relq_deadline(const struct td_relq *q)
{
	return q->next;
}

void td_relq_acknowledge(struct td_relq *q, uint16_t sequence)
{
	if (q->sent > 0 && q->sequence == sequence)
		q->next = TD_NEVER;
}
