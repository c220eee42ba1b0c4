/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The client machine: states, timers and what happens around it. docs/PROTOCOL.md section 3.
 *
 *	OFFLINE, WAITING -> SELECTING -> (COOKIE) -> PREPARE -> CREATING -> UP
 *
 * Whatever goes wrong ends in give_up(), which starts the next attempt in the same instant if some
 * broker may be asked, and else waits for the first that may. This end's interface is removed in
 * parallel (struct td_local); only making the next one has to wait for that.
 *
 * Many clients lose a broker at the same moment. So every wait has jitter, and who was refused
 * comes back later each time.
 */
#include "core/client_machine.h"
#include "core/l2tp.h"

#include <string.h>

#define ASK_US              TD_SECONDS(2)
#define ASK_JITTER_US       TD_MS(400)
#define CHOOSE_US           TD_SECONDS(10)
#define CHOOSE_HURRY_US     TD_MS(500)
#define ATTEMPT_US          TD_SECONDS(15)
#define NO_ANSWER_US        TD_SECONDS(30) /* then addresses and ports are worth a fresh look */
#define NO_ANSWER_JITTER_US TD_SECONDS(6)
#define MARKS_US            TD_SECONDS(5)
#define JITTER_US           TD_SECONDS(1)
#define PROVEN_US           TD_SECONDS(15)
#define DOUBTFUL_US         TD_SECONDS(120)
#define SILENCE_US          TD_SECONDS(60)
#define KEEPALIVE_US        TD_SECONDS(5)
#define KEEPALIVE_JITTER_US TD_MS(250)
#define KEEPALIVE_EARLY_US  TD_SECONDS(1)
#define SPARSE_US           TD_SECONDS(10)
#define MISSED_US           TD_SECONDS(12) /* where they are sparse: one of the broker's was lost */
#define MISSED_AGAIN_US     TD_SECONDS(4)
#define OFFLINE_US          TD_SECONDS(2)
#define FAREWELL_US         TD_SECONDS(5)
#define DOUBTS_MAX          2
#define AMBIGUOUS           "ambiguous answer, asking again from a fresh port"

static uint32_t chosen_broker(const struct td_client *c)
{
	return c->candidates.chosen / TD_ADDRESSES_MAX;
}

static struct td_time from_now(struct td_client *c, struct td_time now, int64_t us,
			       int64_t jitter_us)
{
	return td_time_add(now, td_rng_between(&c->rng, us, us + jitter_us));
}

/* The log is drained in its own time: should it ever be full, the oldest line is lost. */
static void log_state(struct td_client *c, const char *why)
{
	if (c->log_count == TD_MACHINE_LOGS)
		memmove(&c->logs[0], &c->logs[1], sizeof(c->logs[0]) * --c->log_count);
	c->logs[c->log_count++] = (struct td_machine_log){ why, c->candidates.chosen, c->state };
}

void td_machine_ask(struct td_client *c, uint32_t slot)
{
	c->candidates.slots[slot].flags |= TD_SLOT_ASK_USAGE;
	if (c->asked > 0) /* an old broker may not know USAGE */
		c->candidates.slots[slot].flags |= TD_SLOT_ASK_COOKIE;
	c->ask_cursor = 0;
}

static void ask_again(struct td_client *c)
{
	if (c->asked < UINT8_MAX)
		c->asked++;
	for (uint32_t i = 0; i < c->candidates.slot_count; i++)
		if (td_selection_live(&c->candidates, i) &&
		    !(c->candidates.slots[i].flags & TD_SLOT_ANSWERED))
			td_machine_ask(c, i);
}

static bool sparse(const struct td_client *c)
{
	return (c->session.features & TD_FEATURE_SPARSE_KEEPALIVES) != 0;
}

static void send_keepalive(struct td_client *c, struct td_time now)
{
	const int64_t pause_us = sparse(c) ? SPARSE_US : KEEPALIVE_US;

	c->send |= TD_SEND_KEEPALIVE;
	c->count_due = (c->session.features & TD_FEATURE_DATA_COUNTS) != 0;
	if (c->local.mtu_failed)
		c->session.mtu = 0; /* as if it had never been asked for */
	c->local.mtu_failed = false;
	if (c->local.mtu_changes > 0)
		c->local.mtu_changes--;
	c->again = from_now(c, now, pause_us - KEEPALIVE_JITTER_US, 2 * KEEPALIVE_JITTER_US);
}

/* Sends (again) what the state is there to send. */
static void repeat(struct td_client *c, struct td_time now)
{
	c->again = from_now(c, now, ASK_US, ASK_JITTER_US);
	switch (c->state) {
	case TD_CLIENT_SELECTING:
		ask_again(c);
		break;
	case TD_CLIENT_COOKIE:
		c->send = TD_SEND_COOKIE;
		break;
	case TD_CLIENT_PREPARE:
		c->send = TD_SEND_PREPARE;
		c->prepares++;
		break;
	case TD_CLIENT_CREATING:
	case TD_CLIENT_UP:
		send_keepalive(c, now);
		break;
	case TD_CLIENT_OFFLINE:
	case TD_CLIENT_WAITING:
	case TD_CLIENT_CLOSING:
	case TD_CLIENT_ENDED:
		c->again = TD_NEVER;
		break;
	}
}

/* The only place that changes the state: stops the timers of the old one, starts the new one's. */
static void enter(struct td_client *c, enum td_client_state state, const char *why,
		  struct td_time now)
{
	c->state = state;
	c->deadline = c->again = c->choose_at = c->silent_at = c->missed_at = TD_NEVER;
	c->send = 0;
	log_state(c, why);
	switch (state) {
	case TD_CLIENT_OFFLINE:
		c->deadline =
			td_time_add(now, td_backoff_us(&c->rng, OFFLINE_US, c->offline_tries));
		if (c->offline_tries < UINT8_MAX)
			c->offline_tries++;
		break;
	case TD_CLIENT_WAITING:
		c->deadline = td_selection_ready(&c->candidates,
						 from_now(c, now, MARKS_US, JITTER_US), now);
		break;
	case TD_CLIENT_SELECTING:
		c->deadline = from_now(c, now, NO_ANSWER_US, NO_ANSWER_JITTER_US);
		c->choose_at = c->hurry ? TD_NEVER : td_time_add(now, CHOOSE_US);
		c->again = from_now(c, now, ASK_US, ASK_JITTER_US);
		break;
	case TD_CLIENT_COOKIE:
	case TD_CLIENT_PREPARE:
		c->deadline = from_now(c, c->chosen_at, ATTEMPT_US, JITTER_US);
		repeat(c, now);
		break;
	case TD_CLIENT_CREATING:
	case TD_CLIENT_UP:
		c->deadline = from_now(c, now,
				       state == TD_CLIENT_UP && c->doubts ? DOUBTFUL_US : PROVEN_US,
				       JITTER_US);
		c->again = td_time_add(now, KEEPALIVE_US);
		td_machine_heard(c, now);
		break;
	case TD_CLIENT_CLOSING:
		c->deadline = td_time_add(now, FAREWELL_US);
		break;
	case TD_CLIENT_ENDED:
		break;
	}
}

/* --- from one attempt to the next --- */

void td_machine_attempt(struct td_client *c, bool hurry, const char *why, struct td_time now)
{
	c->hurry = hurry;
	c->overdue = false;
	c->asked = 0;
	if (td_selection_begin(&c->candidates, now)) {
		c->began = now;
		enter(c, TD_CLIENT_SELECTING, why, now);
	} else {
		enter(c, TD_CLIENT_WAITING, why, now);
	}
}

static void say_farewell(struct td_client *c, enum td_error_reason reason)
{
	if (reason == TD_ERROR_NONE)
		return;
	c->farewell_slot = c->candidates.chosen;
	c->farewell_reason = (uint8_t)reason;
}

/* What belongs to the tunnel ends; its interface goes as soon as it can. */
static void abandon_tunnel(struct td_client *c)
{
	td_pmtu_stop(&c->pmtu);
	td_relq_init(&c->limit);
	c->ack_count = 0;
	c->local.given_up = c->local.state != TD_LOCAL_ABSENT;
	c->local.hook_up_due = false;
	c->local.hook_down_due = c->local.hook_down_due || c->local.hook_up_ran;
	c->local.hook_up_ran = false;
}

/* Has the tunnel lasted long enough that its end is no refusal? */
static bool proven(const struct td_client *c)
{
	return c->state == TD_CLIENT_UP && c->deadline.us == TD_NEVER.us;
}

void td_machine_give_up(struct td_client *c, enum td_error_reason reason, enum td_blame blame,
			const char *why, struct td_time now)
{
	const uint32_t broker = chosen_broker(c);

	say_farewell(c, reason);
	switch (blame) {
	case TD_BLAME_NOBODY:
		td_selection_unmark(&c->candidates, broker);
		break;
	case TD_BLAME_BROKER:
		break;
	case TD_BLAME_REFUSAL:
		if (!proven(c))
			td_selection_refused(&c->candidates, broker, &c->rng, now);
		break;
	}
	if (c->state == TD_CLIENT_UP)
		enter(c, TD_CLIENT_CLOSING, why, now);
	abandon_tunnel(c);
	td_machine_attempt(c, true, why, now);
}

void td_client_shutdown(struct td_client *c, struct td_time now)
{
	if (c->ending)
		return;
	c->ending = true;
	if (c->state == TD_CLIENT_PREPARE || c->state == TD_CLIENT_CREATING ||
	    c->state == TD_CLIENT_UP)
		say_farewell(c, TD_ERROR_CLIENT_SHUTDOWN);
	abandon_tunnel(c);
	enter(c, c->local.state == TD_LOCAL_ABSENT ? TD_CLIENT_ENDED : TD_CLIENT_CLOSING,
	      "shutdown", now);
	td_selection_end(&c->candidates, TD_NO_SLOT);
}

/* --- forward --- */

/* The same in each PREPARE of an attempt. */
static void offer_cookie(struct td_client *c)
{
	const uint64_t random = td_rng_next(&c->rng);

	memcpy(c->session.cookie, &random, sizeof(random));
}

static void use(struct td_client *c, uint32_t slot, struct td_time now)
{
	bool has_cookie = (c->candidates.slots[slot].flags & TD_SLOT_COOKIE) != 0;

	td_selection_end(&c->candidates, slot);
	td_selection_mark(&c->candidates, chosen_broker(c), now);
	td_pmtu_init(&c->pmtu, c->config.max_mtu, &c->rng);
	offer_cookie(c);
	/* The operator of a broker with a fixed MTU knows what the path carries. */
	c->pmtu.accepted_mtu = TD_MTU_MAX;
	c->chosen_at = now;
	c->prepares = 0;
	c->offline_tries = 0;
	enter(c, has_cookie ? TD_CLIENT_PREPARE : TD_CLIENT_COOKIE, "broker chosen", now);
}

void td_machine_try_to_choose(struct td_client *c, struct td_time now)
{
	enum td_outlook outlook = td_selection_outlook(&c->candidates);

	switch (outlook) {
	case TD_OUTLOOK_EMPTY:
		enter(c, TD_CLIENT_OFFLINE,
		      td_selection_has_address(&c->candidates) ? "no way to any broker"
							       : "no broker's name resolves",
		      now);
		return;
	case TD_OUTLOOK_WAITING:
		return;
	case TD_OUTLOOK_SOME:
		if (c->config.selection == TD_SELECT_FIRST || c->overdue)
			break;
		if (c->hurry)
			c->choose_at = td_time_min(c->choose_at, td_time_add(now, CHOOSE_HURRY_US));
		return;
	case TD_OUTLOOK_ALL:
		break;
	}
	use(c, td_selection_choose(&c->candidates, c->config.selection, &c->rng), now);
}

void td_machine_got_cookie(struct td_client *c, struct td_time now)
{
	enter(c, TD_CLIENT_PREPARE, "cookie received", now);
}

/* The one who repeats an answer may have forgotten the features, and then uses another session id
 * than we would: docs/PROTOCOL.md section 3. From a fresh port its answer will be a first one. */
static void doubt(struct td_client *c, struct td_time now)
{
	c->doubts++;
	say_farewell(c, TD_ERROR_CLIENT_FAILURE);
	td_selection_renew(&c->candidates);
	c->chosen_at = now;
	c->prepares = 0;
	enter(c, TD_CLIENT_COOKIE, AMBIGUOUS, now);
}

static void fill_session(struct td_client *c, const struct td_msg *msg)
{
	struct td_session_info *s = &c->session;
	bool unique = (msg->tunnel.features & TD_FEATURE_UNIQUE_SESSION_ID) != 0;

	s->flow.peer = c->candidates.slots[c->candidates.chosen].addr;
	s->tunnel_id = c->config.tunnel_id;
	s->session_id = unique ? c->config.tunnel_id : 1;
	s->peer_tunnel_id = msg->tunnel.id;
	s->peer_session_id = unique ? msg->tunnel.id : 1;
	s->features = msg->tunnel.features & td_machine_features(c);
	memcpy(s->peer_cookie, msg->tunnel.data_cookie, sizeof(s->peer_cookie));
	c->pmtu.overhead = (uint16_t)(TD_INNER_OVERHEAD + td_session_cookie_size(s));
	c->counted = false;
	td_dataflow_restart(&c->up);
	td_dataflow_restart(&c->down);
}

void td_machine_got_tunnel(struct td_client *c, const struct td_msg *msg, struct td_time now)
{
	if (msg->tunnel.has_features || c->prepares <= 1) {
		c->doubts = 0;
	} else if (c->doubts < DOUBTS_MAX) {
		doubt(c, now);
		return;
	} /* else it is taken for want of better, for a while */
	fill_session(c, msg);
	enter(c, TD_CLIENT_CREATING, "broker made the tunnel", now);
}

void td_machine_made(struct td_client *c, struct td_time now)
{
	c->local.state = TD_LOCAL_PRESENT;
	if (c->local.given_up)
		return;
	c->local.hook_up_due = true;
	if (c->config.limit_kbps != 0)
		td_relq_post(&c->limit, now);
	td_pmtu_start(&c->pmtu, now);
	enter(c, TD_CLIENT_UP, "tunnel established", now);
}

void td_machine_removed(struct td_client *c, struct td_time now)
{
	c->local.state = TD_LOCAL_ABSENT;
	c->local.given_up = false;
	td_selection_set_busy(&c->candidates, TD_NO_SLOT);
	if (c->state == TD_CLIENT_CLOSING)
		enter(c, TD_CLIENT_ENDED, "shutdown", now);
}

void td_machine_failed(struct td_client *c, struct td_time now)
{
	bool wanted = !c->local.given_up;

	td_machine_removed(c, now);
	if (wanted)
		td_machine_give_up(c, TD_ERROR_CLIENT_FAILURE, TD_BLAME_REFUSAL,
				   "the interface could not be made", now);
}

/* Neither direction may carry nothing of what is sent into it. */
void td_machine_got_counts(struct td_client *c, const struct td_msg *msg, struct td_time now)
{
	bool up, down;

	if (!c->counted || !msg->keepalive.counted)
		return;
	up = td_dataflow_dead(&c->up, c->data_sent, msg->keepalive.data_received, now);
	down = td_dataflow_dead(&c->down, msg->keepalive.data_sent, c->data_received, now);
	if (!up && !down)
		return;
	td_selection_refused(&c->candidates, chosen_broker(c), &c->rng, now);
	td_machine_give_up(c, TD_ERROR_CLIENT_DATA, TD_BLAME_BROKER,
			   up ? "our data does not reach the broker"
			      : "the broker's data does not reach us",
			   now);
}

/* A client that is awake anyway sends a keepalive that is almost due. */
void td_machine_heard(struct td_client *c, struct td_time now)
{
	c->silent_at = from_now(c, now, SILENCE_US, JITTER_US);
	c->missed_at = sparse(c) ? td_time_add(now, MISSED_US) : TD_NEVER;
	if (td_time_reached(c->again, td_time_add(now, KEEPALIVE_EARLY_US)))
		send_keepalive(c, now);
}

/* --- time --- */

/* The state's own deadline has passed. */
static void expire(struct td_client *c, struct td_time now)
{
	c->deadline = TD_NEVER;
	switch (c->state) {
	case TD_CLIENT_OFFLINE:
		td_machine_attempt(c, false, "trying again", now);
		break;
	case TD_CLIENT_WAITING:
		if (td_selection_ready(&c->candidates, TD_NEVER, now).us > now.us)
			td_selection_unmark_all(&c->candidates);
		td_machine_attempt(c, false, "trying again", now);
		break;
	case TD_CLIENT_SELECTING:
		td_machine_attempt(c, false, "no broker answers", now);
		break;
	case TD_CLIENT_COOKIE:
		td_machine_give_up(c, TD_ERROR_NONE, TD_BLAME_BROKER, "broker does not answer",
				   now);
		break;
	case TD_CLIENT_PREPARE:
		td_machine_give_up(c, TD_ERROR_CLIENT_TIMEOUT, TD_BLAME_BROKER,
				   "broker does not make the tunnel", now);
		break;
	case TD_CLIENT_CREATING:
		td_machine_give_up(c, TD_ERROR_CLIENT_FAILURE, TD_BLAME_REFUSAL,
				   "the interface takes too long to make", now);
		break;
	case TD_CLIENT_UP:
		if (c->doubts)
			td_machine_give_up(c, TD_ERROR_CLIENT_SHUTDOWN, TD_BLAME_NOBODY, AMBIGUOUS,
					   now);
		else
			td_selection_proven(&c->candidates, chosen_broker(c));
		break;
	case TD_CLIENT_CLOSING:
		enter(c, TD_CLIENT_ENDED, "shutdown, the interface is still being removed", now);
		break;
	case TD_CLIENT_ENDED:
		break;
	}
}

void td_client_tick(struct td_client *c, struct td_time now)
{
	if (td_time_reached(c->silent_at, now))
		td_machine_give_up(c, TD_ERROR_CLIENT_TIMEOUT, TD_BLAME_BROKER,
				   "nothing heard from the broker", now);
	if (td_time_reached(c->deadline, now))
		expire(c, now);
	if (td_time_reached(c->choose_at, now)) {
		c->choose_at = TD_NEVER;
		c->overdue = true;
		td_machine_try_to_choose(c, now);
	}
	if (td_time_reached(c->missed_at, now)) {
		c->missed_at = from_now(c, now, MISSED_AGAIN_US, KEEPALIVE_JITTER_US);
		c->send |= TD_SEND_CHALLENGE;
	}
	if (td_time_reached(c->again, now))
		repeat(c, now);
	td_pmtu_tick(&c->pmtu, now);
}
