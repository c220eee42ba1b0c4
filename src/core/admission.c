/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Who may have a tunnel, and when.
 *
 * Every PREPARE with a valid cookie becomes an applicant, and is considered at once: most become a
 * session within the same call. The others wait, for one thing at a time (enum wait), and are
 * considered anew when it has come. While one waits it hears nothing: a deployed client that is
 * refused at once starts over at once, one that hears nothing repeats its PREPARE, and so keeps its
 * place. Whoever was not heard of within FRESH_LIMIT when its turn comes is forgotten instead of
 * answered, for it has given up. A final refusal comes late for the same reason.
 *
 * A UUID is no secret. So a newcomer with the UUID of a session on another flow gets it only when
 * the client of that session does not answer any more.
 */
#include <string.h>

#include "base/assert.h"
#include "base/text.h"
#include "core/engine_impl.h"

#define FRESH_LIMIT     TD_SECONDS(4)
#define FORGET_LIMIT    TD_SECONDS(20)
#define REFUSAL_DELAY   TD_SECONDS(10)
#define CHALLENGE_LIMIT TD_SECONDS(3)
#define SLOT_PAUSE      TD_MS(500)

/* Runs of the rate limit's hook: ten a second, and a few more at once. */
static const struct td_rate hook_rate = { TD_MS(100), 20 };

/* --- limits per address and per UUID --- */

static struct limit_cell *limit_cell(const struct limit_table *table, uint64_t key)
{
	struct limit_cell *set =
		&table->cells[(size_t)((uint32_t)key & table->set_mask) * LIMIT_WAYS];
	struct limit_cell *stalest = set;

	for (struct limit_cell *cell = set; cell < set + LIMIT_WAYS; cell++) {
		if (cell->key == key)
			return cell;
		if (cell->bucket.full_at.us < stalest->bucket.full_at.us)
			stalest = cell;
	}
	return stalest;
}

static struct td_time limit_ready(const struct limit_table *table, const struct td_rate *rate,
				  uint64_t key)
{
	const struct limit_cell *cell = limit_cell(table, key);
	const struct td_bucket full = { { 0 } };

	return td_bucket_ready(cell->key == key ? &cell->bucket : &full, rate);
}

static void limit_take(const struct limit_table *table, const struct td_rate *rate, uint64_t key,
		       struct td_time now)
{
	struct limit_cell *cell = limit_cell(table, key);

	if (rate->interval_us == 0)
		return;
	if (cell->key != key)
		*cell = (struct limit_cell){ .key = key };
	td_bucket_take(&cell->bucket, rate, now);
}

/* An IPv6 host has a whole /64 to choose from. */
static uint64_t ip_key(const struct td_engine *e, const struct applicant *a)
{
	return td_engine_hash64(e, a->flow.peer.ip, a->flow.peer.family == TD_FAMILY_IPV6 ? 8 : 4);
}

static uint64_t uuid_key(const struct td_engine *e, const struct applicant *a)
{
	return td_engine_hash64(e, a->uuid, a->uuid_len);
}

static struct td_time limits_ready(const struct td_engine *e, const struct applicant *a)
{
	struct td_time ip = limit_ready(&e->by_ip_limits, &e->config.rate_per_ip, ip_key(e, a));
	struct td_time uuid =
		limit_ready(&e->by_uuid_limits, &e->config.rate_per_uuid, uuid_key(e, a));

	return ip.us > uuid.us ? ip : uuid;
}

/* --- the pool of applicants --- */

static uint32_t number_of(const struct td_engine *e, const struct applicant *a)
{
	return (uint32_t)(a - e->applicants);
}

void td_admission_init(struct td_engine *e)
{
	e->queue_owner.kind = OWNER_QUEUE;
	e->queue_first = e->queue_last = SLOT_NONE;
	e->applicants_sending = e->applicants_acting = SLOT_LIST_EMPTY;
	for (uint32_t i = 0; i < e->applicants_max; i++) {
		e->applicants[i].owner.kind = OWNER_APPLICANT;
		e->applicants[i].after = i + 1 < e->applicants_max ? i + 1 : SLOT_NONE;
	}
	e->free_applicants = 0;
}

struct applicant *td_admission_find(const struct td_engine *e, const struct td_flow *flow)
{
	struct td_index_pos pos =
		td_index_find(&e->applicants_by_flow, td_engine_hash_flow(e, flow));

	for (; pos.number != TD_INDEX_NONE; pos = td_index_next(&e->applicants_by_flow, pos))
		if (td_flow_equal(&e->applicants[pos.number].flow, flow))
			return &e->applicants[pos.number];
	return NULL;
}

/* There is always a place to be considered in; see keep_a_place(). */
static struct applicant *take_applicant(struct td_engine *e, const struct td_flow *flow,
					struct td_time now)
{
	struct applicant *a;

	td_assert(e->free_applicants != SLOT_NONE);
	a = &e->applicants[e->free_applicants];
	e->free_applicants = a->after;
	a->flow = *flow;
	a->arrived_at = now;
	a->hook_done = false;
	a->before = a->after = SLOT_NONE;
	td_index_add(&e->applicants_by_flow, td_engine_hash_flow(e, flow), number_of(e, a));
	return a;
}

static void join_queue(struct td_engine *e, struct applicant *a)
{
	a->before = e->queue_last;
	a->after = SLOT_NONE;
	if (e->queue_last == SLOT_NONE)
		e->queue_first = number_of(e, a);
	else
		e->applicants[e->queue_last].after = number_of(e, a);
	e->queue_last = number_of(e, a);
}

static void leave_queue(struct td_engine *e, struct applicant *a)
{
	if (a->before == SLOT_NONE)
		e->queue_first = a->after;
	else
		e->applicants[a->before].after = a->after;
	if (a->after == SLOT_NONE)
		e->queue_last = a->before;
	else
		e->applicants[a->after].before = a->before;
}

/* --- waiting --- */

static void rearm_queue(struct td_engine *e)
{
	td_timer_start(&e->timers, &e->queue_owner.timer,
		       e->queue_first == SLOT_NONE ? TD_NEVER
						   : td_bucket_ready(&e->bucket, &e->config.rate));
}

/* The only place that changes what an applicant waits for. */
static void enter(struct td_engine *e, struct applicant *a, enum wait wait, struct td_time until)
{
	if (a->wait == WAIT_TURN && wait != WAIT_TURN)
		leave_queue(e, a);
	if (a->wait != WAIT_TURN && wait == WAIT_TURN)
		join_queue(e, a);
	a->wait = wait;
	a->until = until;
	td_timer_start(&e->timers, &a->owner.timer,
		       wait == WAIT_NOTHING || wait == WAIT_ERROR
			       ? TD_NEVER
			       : td_time_min(until, td_time_add(a->heard_at, FORGET_LIMIT)));
	if (wait == WAIT_ERROR)
		td_engine_append(&e->applicants_sending, &e->applicants[0].sending, sizeof(*a),
				 number_of(e, a));
	rearm_queue(e);
}

void td_admission_drop(struct td_engine *e, struct applicant *a)
{
	enter(e, a, WAIT_NOTHING, TD_NEVER);
	td_index_remove(&e->applicants_by_flow, td_engine_hash_flow(e, &a->flow), number_of(e, a));
	/* It may still be in the lists of those that send or act: they pass over WAIT_NOTHING. */
	a->after = e->free_applicants;
	e->free_applicants = number_of(e, a);
}

/* The last place is not for waiting: whoever can have a tunnel at once is not to be kept out by any
 * number of those who cannot. */
static void keep_a_place(struct td_engine *e, struct applicant *a)
{
	if (a->wait == WAIT_NOTHING)
		return;
	e->counters.parked++;
	if (e->free_applicants == SLOT_NONE) {
		e->counters.parked_overflow++;
		td_admission_drop(e, a);
	}
}

static void refuse_late(struct td_engine *e, struct applicant *a)
{
	enter(e, a, WAIT_REFUSAL, td_time_add(a->arrived_at, REFUSAL_DELAY));
}

static bool fresh(const struct applicant *a, struct td_time now)
{
	return td_time_since(now, a->heard_at) <= FRESH_LIMIT;
}

/* --- considering --- */

static void ask_hook(struct td_engine *e, struct applicant *a)
{
	if (a->hook_done || !(e->config.hooks & DUE(TD_HOOK_RATE_LIMITED)))
		return;
	a->hook_done = true;
	td_engine_append(&e->applicants_acting, &e->applicants[0].acting, sizeof(*a),
			 number_of(e, a));
}

static void admit(struct td_engine *e, struct applicant *a, struct td_time now)
{
	if (e->config.rate.interval_us != 0)
		td_bucket_take(&e->bucket, &e->config.rate, now);
	limit_take(&e->by_ip_limits, &e->config.rate_per_ip, ip_key(e, a), now);
	limit_take(&e->by_uuid_limits, &e->config.rate_per_uuid, uuid_key(e, a), now);
	td_session_admit(e, a, now);
	td_admission_drop(e, a);
}

static bool its_turn(const struct td_engine *e, const struct applicant *a, struct td_time now)
{
	return td_time_reached(td_bucket_ready(&e->bucket, &e->config.rate), now) &&
	       (e->queue_first == SLOT_NONE || e->queue_first == number_of(e, a));
}

/* Finds out what stands between the applicant and a tunnel. */
static void consider(struct td_engine *e, struct applicant *a, struct td_time now)
{
	struct session *holder = td_session_by_uuid(e, a->uuid, a->uuid_len);
	const struct td_time ready = limits_ready(e, a);

	if (!td_uuid_valid(a->uuid, a->uuid_len)) {
		e->counters.rx_bad_uuid++;
		refuse_late(e, a);
	} else if (td_session_by_flow(e, &a->flow)) {
		enter(e, a, WAIT_FLOW, TD_NEVER);
	} else if (holder) {
		td_session_challenge(e, holder, now);
		a->challenged = td_session_handle(e, holder);
		enter(e, a, WAIT_CHALLENGE, td_time_add(now, CHALLENGE_LIMIT));
	} else if (e->by_uuid.count == e->config.max_tunnels) {
		refuse_late(e, a);
	} else if (e->used == e->config.max_tunnels) {
		enter(e, a, WAIT_SLOT, td_time_add(now, SLOT_PAUSE));
	} else if (!td_time_reached(ready, now)) {
		ask_hook(e, a);
		enter(e, a, WAIT_LIMIT, ready);
	} else if (!its_turn(e, a, now)) {
		enter(e, a, WAIT_TURN, TD_NEVER);
	} else {
		admit(e, a, now);
	}
}

static bool same_request(const struct applicant *a, const struct td_msg *msg)
{
	return a->uuid_len == msg->prepare.uuid_len &&
	       memcmp(a->uuid, msg->prepare.uuid, a->uuid_len) == 0 &&
	       a->tunnel_id == msg->prepare.tunnel_id && a->features == msg->prepare.features &&
	       memcmp(a->data_cookie, msg->prepare.data_cookie, TD_DATA_COOKIE) == 0;
}

static void fill_in(struct applicant *a, const struct td_msg *msg)
{
	a->uuid_len = msg->prepare.uuid_len;
	memcpy(a->uuid, msg->prepare.uuid, a->uuid_len);
	a->uuid[a->uuid_len] = '\0';
	a->tunnel_id = msg->prepare.tunnel_id;
	a->features = msg->prepare.features;
	memcpy(a->data_cookie, msg->prepare.data_cookie, sizeof(a->data_cookie));
}

void td_admission_prepare(struct td_engine *e, const struct td_flow *flow, const struct td_msg *msg,
			  struct td_time now)
{
	struct applicant *a = td_admission_find(e, flow);

	if (a && same_request(a, msg)) {
		a->heard_at = now;
		return;
	}
	if (a)
		td_admission_drop(e, a); /* started anew behind the same port */
	a = take_applicant(e, flow, now);
	fill_in(a, msg);
	a->heard_at = now;
	consider(e, a, now);
	keep_a_place(e, a);
}

void td_admission_refuse(struct td_engine *e, const struct session *s, struct td_time now)
{
	struct applicant *a;

	if (e->stopping)
		return;
	/* Nobody applies yet on the flow of a session that is being made. */
	a = take_applicant(e, &s->info.flow, now);
	a->uuid_len = s->info.uuid_len;
	memcpy(a->uuid, s->info.uuid, sizeof(a->uuid));
	a->tunnel_id = s->asked_tunnel_id;
	a->features = s->asked_features;
	memcpy(a->data_cookie, s->info.peer_cookie, sizeof(a->data_cookie));
	a->heard_at = s->heard_at;
	refuse_late(e, a);
	keep_a_place(e, a);
}

void td_admission_released(struct td_engine *e, const struct td_flow *flow, struct td_time now)
{
	struct applicant *a = td_admission_find(e, flow);

	if (a && a->wait == WAIT_FLOW && fresh(a, now))
		consider(e, a, now);
	else if (a && a->wait == WAIT_FLOW)
		td_admission_drop(e, a);
}

/* --- time --- */

static void decide_challenge(struct td_engine *e, struct applicant *a, struct td_time now)
{
	struct session *holder = td_session_by_uuid(e, a->uuid, a->uuid_len);
	const struct td_time asked_at = { a->until.us - CHALLENGE_LIMIT };

	const bool same = holder && td_handle_equal(td_session_handle(e, holder), a->challenged);

	if (same && holder->heard_at.us > asked_at.us) {
		refuse_late(e, a);
		return;
	}
	if (same) {
		e->counters.takeovers++;
		td_session_close(e, holder, TD_END_REPLACED, TD_ERROR_BROKER_OTHER_SIDE, now);
	}
	consider(e, a, now);
}

static void refuse(struct td_engine *e, struct applicant *a)
{
	e->counters.refused++;
	enter(e, a, WAIT_ERROR, TD_NEVER);
}

void td_admission_timer(struct td_engine *e, struct applicant *a, struct td_time now)
{
	if (!td_time_reached(a->until, now)) {
		if (td_time_since(now, a->heard_at) >= FORGET_LIMIT)
			td_admission_drop(e, a);
		else
			enter(e, a, a->wait, a->until);
		return;
	}
	if (!fresh(a, now)) {
		td_admission_drop(e, a);
		return;
	}
	switch (a->wait) {
	case WAIT_CHALLENGE:
		decide_challenge(e, a, now);
		break;
	case WAIT_SLOT:
	case WAIT_LIMIT:
		consider(e, a, now);
		break;
	case WAIT_REFUSAL:
		refuse(e, a);
		break;
	case WAIT_NOTHING:
	case WAIT_FLOW:
	case WAIT_TURN:
	case WAIT_ERROR:
		break;
	}
}

void td_admission_queue_timer(struct td_engine *e, struct td_time now)
{
	while (e->queue_first != SLOT_NONE &&
	       td_time_reached(td_bucket_ready(&e->bucket, &e->config.rate), now)) {
		struct applicant *a = &e->applicants[e->queue_first];

		if (fresh(a, now))
			consider(e, a, now);
		else
			td_admission_drop(e, a);
	}
	rearm_queue(e);
}

/* --- what there is to send and to do --- */

size_t td_admission_tx(struct td_engine *e, struct td_engine_tx *to, uint8_t *bytes,
		       size_t capacity)
{
	const struct td_msg msg = { .type = TD_MSG_ERROR, .reason = TD_ERROR_BROKER_FAILURE };
	uint32_t slot;

	while ((slot = td_engine_shift(&e->applicants_sending, &e->applicants[0].sending,
				       sizeof(struct applicant))) != SLOT_NONE) {
		struct applicant *a = &e->applicants[slot];

		if (a->wait != WAIT_ERROR)
			continue;
		*to = (struct td_engine_tx){ a->flow, TD_NO_HANDLE };
		td_admission_drop(e, a);
		return td_msg_put(&msg, TD_FROM_BROKER, bytes, capacity);
	}
	return 0;
}

bool td_admission_action(struct td_engine *e, struct td_action *action, struct td_time now)
{
	uint32_t slot;

	while ((slot = td_engine_shift(&e->applicants_acting, &e->applicants[0].acting,
				       sizeof(struct applicant))) != SLOT_NONE) {
		const struct applicant *a = &e->applicants[slot];

		/* hook_done: the place may be another's by now, who was not limited. */
		if (a->wait == WAIT_NOTHING || !a->hook_done ||
		    !td_time_reached(td_bucket_ready(&e->hook_bucket, &hook_rate), now))
			continue;
		td_bucket_take(&e->hook_bucket, &hook_rate, now);
		e->scratch = (struct td_session_info){ .flow = a->flow, .uuid_len = a->uuid_len };
		memcpy(e->scratch.uuid, a->uuid, sizeof(e->scratch.uuid));
		*action = (struct td_action){ .kind = TD_ACTION_HOOK,
					      .session = &e->scratch,
					      .hook = TD_HOOK_RATE_LIMITED };
		return true;
	}
	return false;
}
