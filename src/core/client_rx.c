/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What brokers say. A message counts only when it came through the socket of whom we asked, and in
 * a state that waits for it: late ones of earlier attempts came to other ports.
 */
#include "core/client_machine.h"

static void rx_selecting(struct td_client *c, uint32_t slot, const struct td_msg *msg,
			 struct td_time now)
{
	if (msg->type == TD_MSG_USAGE)
		td_selection_answer_usage(&c->candidates, slot, msg->usage.load);
	else if (msg->type == TD_MSG_COOKIE)
		td_selection_answer_cookie(&c->candidates, slot, msg->cookie);
	else
		return;
	td_machine_try_to_choose(c, now);
}

static void rx_prepare(struct td_client *c, const struct td_msg *msg, struct td_time now)
{
	if (msg->type == TD_MSG_TUNNEL)
		td_machine_got_tunnel(c, msg, now);
	else if (msg->type == TD_MSG_ERROR)
		td_machine_give_up(c, TD_ERROR_CLIENT_OTHER_SIDE, TD_BLAME_REFUSAL,
				   "the broker refuses the tunnel", now);
	else if (msg->type == TD_MSG_PMTU_NTFY) /* overtook TUNNEL */
		td_pmtu_notified(&c->pmtu, msg->mtu);
}

/* CREATING and UP: from the broker's view the same. */
static void rx_tunnel(struct td_client *c, const struct td_msg *msg, struct td_time now)
{
	td_machine_heard(c, now);
	if (msg->type == TD_MSG_ERROR)
		td_machine_give_up(c, TD_ERROR_CLIENT_OTHER_SIDE, TD_BLAME_REFUSAL,
				   "the broker ended the tunnel", now);
	else if (msg->type == TD_MSG_PMTUD && c->ack_count < TD_MACHINE_ACKS)
		c->acks[c->ack_count++] = msg->size;
	else if (msg->type == TD_MSG_PMTUD_ACK)
		td_pmtu_ack(&c->pmtu, msg->size, now);
	else if (msg->type == TD_MSG_PMTU_NTFY)
		td_pmtu_notified(&c->pmtu, msg->mtu);
	else if (msg->type == TD_MSG_REL_ACK)
		td_relq_acknowledge(&c->limit, msg->sequence);
	else if (msg->type == TD_MSG_KEEPALIVE)
		td_machine_got_counts(c, msg, now);
}

void td_client_rx(struct td_client *c, uint32_t slot, const uint8_t *bytes, size_t size,
		  struct td_time now)
{
	struct td_msg msg;

	if (!td_selection_live(&c->candidates, slot) ||
	    td_msg_parse(&msg, TD_FROM_BROKER, bytes, size) < 0)
		return;
	switch (c->state) {
	case TD_CLIENT_SELECTING:
		rx_selecting(c, slot, &msg, now);
		break;
	case TD_CLIENT_COOKIE:
		if (msg.type == TD_MSG_COOKIE) {
			td_selection_answer_cookie(&c->candidates, slot, msg.cookie);
			td_machine_got_cookie(c, now);
		}
		break;
	case TD_CLIENT_PREPARE:
		rx_prepare(c, &msg, now);
		break;
	case TD_CLIENT_CREATING:
	case TD_CLIENT_UP:
		rx_tunnel(c, &msg, now);
		break;
	case TD_CLIENT_OFFLINE:
	case TD_CLIENT_WAITING:
	case TD_CLIENT_CLOSING:
	case TD_CLIENT_ENDED:
		break;
	}
}
