/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What the client machine says and asks for. Both are made when they are drained, from what the
 * state demands then, so nothing piles up however slowly that is.
 */
#include "core/client_machine.h"

#include <string.h>

#define MTU_CHANGES 8 /* at once; after that as many as there are keepalives */

static bool put_question(struct td_client *c, uint32_t *slot, struct td_msg *msg)
{
	for (; c->ask_cursor < c->candidates.slot_count; c->ask_cursor++) {
		uint8_t *flags = &c->candidates.slots[c->ask_cursor].flags;

		*slot = c->ask_cursor;
		if (*flags & TD_SLOT_ASK_USAGE) {
			*flags &= (uint8_t)~TD_SLOT_ASK_USAGE;
			msg->type = TD_MSG_USAGE;
			msg->usage.features = td_machine_features(c);
			return true;
		}
		if (*flags & TD_SLOT_ASK_COOKIE) {
			*flags &= (uint8_t)~TD_SLOT_ASK_COOKIE;
			msg->type = TD_MSG_COOKIE;
			return true;
		}
	}
	return false;
}

static void put_prepare(const struct td_client *c, struct td_msg *msg)
{
	msg->type = TD_MSG_PREPARE;
	memcpy(msg->prepare.cookie, c->candidates.slots[c->candidates.chosen].cookie,
	       TD_COOKIE_SIZE);
	msg->prepare.uuid_len = c->session.uuid_len;
	msg->prepare.uuid = c->session.uuid;
	msg->prepare.tunnel_id = c->config.tunnel_id;
	msg->prepare.features = td_machine_features(c);
	memcpy(msg->prepare.data_cookie, c->session.cookie, TD_DATA_COOKIE);
}

/* What a timer asked for. */
static bool put_due(struct td_client *c, struct td_msg *msg)
{
	if (c->send & TD_SEND_COOKIE) {
		msg->type = TD_MSG_COOKIE;
	} else if (c->send & TD_SEND_PREPARE) {
		put_prepare(c, msg);
	} else if (c->send & TD_SEND_CHALLENGE) {
		msg->type = TD_MSG_PMTUD;
		msg->size = (uint16_t)(TD_MSG_CHALLENGE_SIZE + c->keepalives++ % 16);
	} else if (c->send & TD_SEND_KEEPALIVE) {
		msg->type = TD_MSG_KEEPALIVE;
		msg->keepalive.counter = c->keepalives++;
		msg->keepalive.counted = c->counted;
		msg->keepalive.data_sent = c->data_sent;
		msg->keepalive.data_received = c->data_received;
	} else {
		return false;
	}
	c->send = 0; /* never two of them */
	return true;
}

static bool put_tunnel(struct td_client *c, struct td_msg *msg, struct td_time now)
{
	uint16_t mtu;

	if (c->ack_count > 0) {
		msg->type = TD_MSG_PMTUD_ACK;
		msg->size = c->acks[0];
		memmove(&c->acks[0], &c->acks[1], sizeof(c->acks[0]) * --c->ack_count);
	} else if (td_relq_due(&c->limit, now)) {
		msg->type = TD_MSG_LIMIT;
		msg->limit.sequence = c->limit.sequence;
		msg->limit.rate_kbps = c->config.limit_kbps;
	} else if (td_pmtu_next_notify(&c->pmtu, &mtu)) {
		msg->type = TD_MSG_PMTU_NTFY;
		msg->mtu = mtu;
	} else {
		msg->type = TD_MSG_PMTUD;
		msg->size = td_pmtu_next_probe(&c->pmtu, now);
		return msg->size != 0;
	}
	return true;
}

static bool next_msg(struct td_client *c, uint32_t *slot, struct td_msg *msg, struct td_time now)
{
	if (c->farewell_slot != TD_NO_SLOT) {
		*slot = c->farewell_slot;
		c->farewell_slot = TD_NO_SLOT;
		msg->type = TD_MSG_ERROR;
		msg->reason = c->farewell_reason;
		return true;
	}
	if (c->state == TD_CLIENT_SELECTING)
		return put_question(c, slot, msg);
	*slot = c->candidates.chosen;
	return td_selection_live(&c->candidates, *slot) &&
	       (put_due(c, msg) || put_tunnel(c, msg, now));
}

size_t td_client_tx(struct td_client *c, uint32_t *slot, uint8_t *bytes, size_t capacity,
		    struct td_time now)
{
	struct td_msg msg;
	size_t size = 0;

	/* A probe larger than the caller can send is as good as lost on the way. */
	while (size == 0) {
		memset(&msg, 0, sizeof(msg));
		if (!next_msg(c, slot, &msg, now))
			return 0;
		size = td_msg_put(&msg, TD_FROM_CLIENT, bytes, capacity);
	}
	return size;
}

/* --- actions --- */

static bool next_log(struct td_client *c, struct td_client_action *action)
{
	if (c->log_count == 0)
		return false;
	action->kind = TD_CLIENT_STATE;
	action->state = c->logs[0].state;
	action->why = c->logs[0].why;
	action->slot = c->logs[0].slot;
	if (action->slot != TD_NO_SLOT)
		action->broker = action->slot / TD_ADDRESSES_MAX;
	memmove(&c->logs[0], &c->logs[1], sizeof(c->logs[0]) * --c->log_count);
	return true;
}

static bool next_hook(struct td_client *c, struct td_client_action *action)
{
	struct td_local *local = &c->local;

	action->kind = TD_CLIENT_HOOK;
	if (local->hook_down_due) {
		local->hook_down_due = false;
		action->hook = TD_HOOK_DOWN;
		return true;
	}
	if (local->hook_up_due) {
		local->hook_up_due = false;
		local->hook_up_ran = true;
		action->hook = TD_HOOK_UP;
		return true;
	}
	return false;
}

static uint32_t next_sequence(struct td_client *c)
{
	c->sequence += c->sequence == UINT32_MAX ? 2 : 1; /* 0 is none */
	return c->sequence;
}

/* Each change costs a netlink request and a line in the log, and the broker a single datagram. */
static bool set_mtu(struct td_client *c, struct td_client_action *action)
{
	const uint16_t mtu = td_pmtu_inner_mtu(&c->pmtu);

	if (c->local.mtu_sequence != 0 || c->session.mtu == mtu ||
	    c->local.mtu_changes == MTU_CHANGES)
		return false;
	c->local.mtu_changes++;
	c->session.mtu = mtu;
	action->kind = TD_CLIENT_SET_MTU;
	action->sequence = c->local.mtu_sequence = next_sequence(c);
	return true;
}

/* One of CREATE, SET_MTU and DESTROY, if this end's state asks for it. */
static bool next_for_local(struct td_client *c, struct td_client_action *action)
{
	struct td_local *local = &c->local;

	switch (local->state) {
	case TD_LOCAL_ABSENT:
		if (c->state != TD_CLIENT_CREATING)
			return false;
		*local = (struct td_local){ .state = TD_LOCAL_MAKING };
		c->session.mtu = td_pmtu_inner_mtu(&c->pmtu);
		td_selection_set_busy(&c->candidates, c->candidates.chosen);
		action->kind = TD_CLIENT_CREATE;
		action->sequence = local->sequence = next_sequence(c);
		break;
	case TD_LOCAL_PRESENT:
		if (!local->given_up)
			return set_mtu(c, action);
		local->state = TD_LOCAL_REMOVING;
		action->kind = TD_CLIENT_DESTROY;
		action->sequence = local->sequence = next_sequence(c);
		break;
	case TD_LOCAL_MAKING:
	case TD_LOCAL_REMOVING:
		return false;
	}
	return true;
}

static bool next_count(struct td_client *c, struct td_client_action *action)
{
	const bool due = c->count_due && c->state == TD_CLIENT_UP;

	c->count_due = false;
	action->kind = TD_CLIENT_COUNT;
	return due;
}

static bool next_for_tunnel(struct td_client *c, struct td_client_action *action)
{
	if (!next_hook(c, action) && !next_for_local(c, action) && !next_count(c, action))
		return false;
	action->slot = c->candidates.busy;
	action->broker = action->slot / TD_ADDRESSES_MAX;
	action->session = &c->session;
	return true;
}

static bool next_for_brokers(struct td_client *c, struct td_client_action *action)
{
	if (!td_selection_next(&c->candidates, action))
		return false;
	if (action->kind == TD_CLIENT_OPEN)
		action->sequence = c->open_sequence = next_sequence(c);
	return true;
}

bool td_client_next_action(struct td_client *c, struct td_client_action *action, struct td_time now)
{
	(void)now;
	memset(action, 0, sizeof(*action));
	return next_log(c, action) || next_for_tunnel(c, action) || next_for_brokers(c, action);
}

static void opened(struct td_client *c, int err, struct td_time now)
{
	const uint32_t slot = td_selection_opened(&c->candidates, err);

	if (c->state == TD_CLIENT_SELECTING && td_selection_live(&c->candidates, slot))
		td_machine_ask(c, slot);
	else if (c->state == TD_CLIENT_SELECTING)
		td_machine_try_to_choose(c, now);
	else if (err != 0 && slot == c->candidates.chosen)
		td_machine_give_up(c, TD_ERROR_NONE, TD_BLAME_BROKER, "no way to the broker", now);
}

void td_client_result(struct td_client *c, uint32_t sequence, int err, struct td_time now)
{
	if (sequence == 0)
		return;
	if (sequence == c->open_sequence) {
		c->open_sequence = 0;
		opened(c, err, now);
	} else if (sequence == c->local.mtu_sequence) {
		c->local.mtu_sequence = 0;
		c->local.mtu_failed = err != 0; /* not fatal: the old MTU stays for now */
	} else if (sequence == c->local.sequence) {
		c->local.sequence = 0;
		if (c->local.state == TD_LOCAL_REMOVING)
			td_machine_removed(c, now);
		else if (err == 0)
			td_machine_made(c, now);
		else
			td_machine_failed(c, now);
	}
}
