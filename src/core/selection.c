/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "core/selection.h"

#include <string.h>

#include "base/assert.h"

#define LOAD_UNKNOWN   UINT16_MAX
#define BROKEN_US      TD_SECONDS(3600)
#define REFUSED_US     TD_SECONDS(2)
#define BACKOFF_MAX_US TD_SECONDS(60)
#define DOUBLINGS_MAX  5

size_t td_selection_size(uint32_t broker_count)
{
	return broker_count *
	       (sizeof(struct td_broker_entry) + TD_ADDRESSES_MAX * sizeof(struct td_slot));
}

void td_selection_init(struct td_candidates *s, void *memory, uint32_t broker_count)
{
	const uint32_t slot_count = broker_count * TD_ADDRESSES_MAX;

	memset(memory, 0, td_selection_size(broker_count));
	*s = (struct td_candidates){
		.brokers = memory,
		.slots = (void *)((struct td_broker_entry *)memory + broker_count),
		.broker_count = broker_count,
		.slot_count = slot_count,
		.busy = TD_NO_SLOT,
		.chosen = TD_NO_SLOT,
		.opening = TD_NO_SLOT,
		.cursor = slot_count,
	};
}

static struct td_slot *slots_of(const struct td_candidates *s, uint32_t broker)
{
	return &s->slots[broker * TD_ADDRESSES_MAX];
}

/* The desired state of some socket changed. */
static void touch(struct td_candidates *s)
{
	s->cursor = 0;
}

/* A socket of an earlier attempt is not used again: the broker, or a middlebox, may remember its
 * port. */
static void want_fresh(struct td_slot *slot)
{
	uint8_t stale = slot->socket == TD_SOCKET_OPEN || slot->socket == TD_SOCKET_OPENING
				? TD_SLOT_STALE
				: 0;

	slot->flags = (uint8_t)(TD_SLOT_WANTED | stale);
	if (slot->socket == TD_SOCKET_FAILED)
		slot->socket = TD_SOCKET_CLOSED;
}

static bool may_be_asked(const struct td_broker_entry *b, struct td_time now)
{
	return td_time_reached(b->broken_until, now) && td_time_reached(b->backoff_until, now);
}

bool td_selection_begin(struct td_candidates *s, struct td_time now)
{
	bool any = false;

	td_selection_end(s, TD_NO_SLOT);
	for (uint32_t n = 0; n < s->broker_count; n++) {
		struct td_broker_entry *b = &s->brokers[n];
		struct td_slot *slot = slots_of(s, n);

		b->asked = may_be_asked(b, now);
		b->lookup_wanted = b->asked && !b->lookup_running;
		any = any || b->asked;
		for (int i = 0; b->asked && i < TD_ADDRESSES_MAX; i++)
			if (slot[i].addr.family != TD_FAMILY_NONE)
				want_fresh(&slot[i]);
	}
	return any;
}

struct td_time td_selection_ready(const struct td_candidates *s, struct td_time marks_until,
				  struct td_time now)
{
	struct td_time first = TD_NEVER;

	for (uint32_t n = 0; n < s->broker_count; n++) {
		const struct td_broker_entry *b = &s->brokers[n];
		struct td_time at = td_time_reached(b->broken_until, now) ? now : marks_until;

		if (at.us < b->backoff_until.us)
			at = b->backoff_until;
		first = td_time_min(first, at);
	}
	return first;
}

void td_selection_end(struct td_candidates *s, uint32_t chosen)
{
	for (uint32_t n = 0; n < s->broker_count; n++)
		s->brokers[n].asked = s->brokers[n].lookup_wanted = false;
	for (uint32_t i = 0; i < s->slot_count; i++)
		if (i != chosen)
			s->slots[i].flags &= TD_SLOT_STALE;
	s->chosen = chosen;
	touch(s);
}

void td_selection_renew(struct td_candidates *s)
{
	want_fresh(&s->slots[s->chosen]);
	touch(s);
}

void td_selection_set_busy(struct td_candidates *s, uint32_t slot)
{
	s->busy = slot;
	touch(s);
}

/* Returns false when it is as desired, or must wait. */
static bool next_for_slot(struct td_candidates *s, uint32_t number, struct td_client_action *action)
{
	struct td_slot *slot = &s->slots[number];
	const bool wanted = (slot->flags & TD_SLOT_WANTED) != 0;

	if (number == s->busy)
		return false;
	if (slot->socket == TD_SOCKET_OPEN && (!wanted || (slot->flags & TD_SLOT_STALE))) {
		slot->flags &= (uint8_t)~TD_SLOT_STALE;
		slot->socket = TD_SOCKET_CLOSED;
		action->kind = TD_CLIENT_CLOSE;
	} else if (slot->socket == TD_SOCKET_CLOSED && wanted) {
		slot->flags &= (uint8_t)~TD_SLOT_STALE;
		slot->socket = TD_SOCKET_OPENING;
		s->opening = number;
		action->kind = TD_CLIENT_OPEN;
		action->addr = slot->addr;
	} else {
		return false;
	}
	action->slot = number;
	action->broker = number / TD_ADDRESSES_MAX;
	return true;
}

static bool next_lookup(struct td_candidates *s, struct td_client_action *action)
{
	for (uint32_t n = 0; n < s->broker_count && s->lookups_running < TD_LOOKUPS_MAX; n++) {
		struct td_broker_entry *b = &s->brokers[n];

		if (!b->lookup_wanted)
			continue;
		b->lookup_wanted = false;
		b->lookup_running = true;
		s->lookups_running++;
		action->kind = TD_CLIENT_RESOLVE;
		action->broker = n;
		return true;
	}
	return false;
}

/* A cursor spares a client with hundreds of brokers the way through
 * all of them whenever it wakes. */
bool td_selection_next(struct td_candidates *s, struct td_client_action *action)
{
	for (; s->opening == TD_NO_SLOT && s->cursor < s->slot_count; s->cursor++)
		if (next_for_slot(s, s->cursor, action))
			return true;
	return next_lookup(s, action);
}

uint32_t td_selection_opened(struct td_candidates *s, int err)
{
	const uint32_t slot = s->opening;

	s->slots[slot].socket = err == 0 ? TD_SOCKET_OPEN : TD_SOCKET_FAILED;
	s->opening = TD_NO_SLOT;
	return slot;
}

static bool in_use(const struct td_candidates *s, const struct td_slot *slot)
{
	const uint32_t number = (uint32_t)(slot - s->slots);

	return number == s->busy || number == s->chosen;
}

/* Drops the addresses that are not among addrs. Returns the set of those that are there already. */
static uint32_t drop_others(struct td_candidates *s, uint32_t broker, const struct td_addr *addrs,
			    uint32_t count)
{
	uint32_t known = 0;

	for (uint32_t i = 0; i < TD_ADDRESSES_MAX; i++) {
		struct td_slot *slot = &slots_of(s, broker)[i];
		uint32_t j = 0;

		while (j < count && !td_addr_equal(&slot->addr, &addrs[j]))
			j++;
		if (j < count) {
			known |= 1u << j;
		} else if (!in_use(s, slot)) {
			slot->addr.family = TD_FAMILY_NONE;
			slot->flags &= TD_SLOT_STALE;
		}
	}
	return known;
}

static struct td_slot *free_slot(const struct td_candidates *s, uint32_t broker)
{
	struct td_slot *slot = slots_of(s, broker);

	for (int i = 0; i < TD_ADDRESSES_MAX; i++)
		if (slot[i].addr.family == TD_FAMILY_NONE)
			return &slot[i];
	return NULL;
}

/* A name that cannot be resolved now keeps the addresses that it had. One that rotates its
 * addresses keeps their sockets, and what came through them. */
void td_selection_resolved(struct td_candidates *s, uint32_t broker, const struct td_addr *addrs,
			   uint32_t count)
{
	struct td_broker_entry *b = &s->brokers[broker];
	uint32_t known;

	if (!b->lookup_running)
		return;
	b->lookup_running = false;
	s->lookups_running--;
	if (count > TD_ADDRESSES_MAX)
		count = TD_ADDRESSES_MAX;
	known = count > 0 ? drop_others(s, broker, addrs, count) : 0;
	for (uint32_t j = 0; j < count; j++) {
		struct td_slot *slot = known & 1u << j ? NULL : free_slot(s, broker);

		if (slot == NULL)
			continue;
		slot->addr = addrs[j];
		if (b->asked)
			want_fresh(slot);
	}
	touch(s);
}

bool td_selection_live(const struct td_candidates *s, uint32_t slot)
{
	return slot < s->slot_count && s->slots[slot].socket == TD_SOCKET_OPEN &&
	       (s->slots[slot].flags & (TD_SLOT_WANTED | TD_SLOT_STALE)) == TD_SLOT_WANTED;
}

void td_selection_answer_usage(struct td_candidates *s, uint32_t slot, uint16_t load)
{
	s->slots[slot].load = load;
	s->slots[slot].flags |= TD_SLOT_ANSWERED;
}

void td_selection_answer_cookie(struct td_candidates *s, uint32_t slot,
				const uint8_t cookie[static TD_COOKIE_SIZE])
{
	if (!(s->slots[slot].flags & TD_SLOT_ANSWERED))
		td_selection_answer_usage(s, slot, LOAD_UNKNOWN);
	s->slots[slot].flags |= TD_SLOT_COOKIE;
	memcpy(s->slots[slot].cookie, cookie, TD_COOKIE_SIZE);
}

/* The first of a broker's addresses that answered, NULL when none did. */
static const struct td_slot *answer_of(const struct td_candidates *s, uint32_t broker)
{
	const struct td_slot *best = NULL, *slot = slots_of(s, broker);

	for (int i = 0; i < TD_ADDRESSES_MAX; i++)
		if ((slot[i].flags & TD_SLOT_ANSWERED) &&
		    (best == NULL || slot[i].load < best->load))
			best = &slot[i];
	return best;
}

static bool may_answer(const struct td_candidates *s, uint32_t broker)
{
	const struct td_broker_entry *b = &s->brokers[broker];
	const struct td_slot *slot = slots_of(s, broker);

	for (int i = 0; i < TD_ADDRESSES_MAX; i++)
		if ((slot[i].flags & TD_SLOT_WANTED) && slot[i].socket != TD_SOCKET_FAILED)
			return true;
	return b->asked && (b->lookup_wanted || b->lookup_running);
}

bool td_selection_has_address(const struct td_candidates *s)
{
	for (uint32_t i = 0; i < s->slot_count; i++)
		if (s->slots[i].addr.family != TD_FAMILY_NONE)
			return true;
	return false;
}

enum td_outlook td_selection_outlook(const struct td_candidates *s)
{
	bool answered = false, open = false;

	for (uint32_t n = 0; n < s->broker_count; n++) {
		if (answer_of(s, n) != NULL)
			answered = true;
		else if (may_answer(s, n))
			open = true;
	}
	if (answered)
		return open ? TD_OUTLOOK_SOME : TD_OUTLOOK_ALL;
	return open ? TD_OUTLOOK_WAITING : TD_OUTLOOK_EMPTY;
}

uint32_t td_selection_choose(const struct td_candidates *s, enum td_selection mode,
			     struct td_rng *rng)
{
	const struct td_slot *best = NULL;
	uint32_t answered = 0;

	for (uint32_t n = 0; n < s->broker_count; n++) {
		const struct td_slot *answer = answer_of(s, n);
		bool better;

		if (answer == NULL)
			continue;
		answered++;
		if (mode == TD_SELECT_RANDOM) /* each of k so far with probability 1/k */
			better = td_rng_below(rng, answered) == 0;
		else
			better = best == NULL || answer->load < best->load;
		if (better)
			best = answer;
	}
	td_assert(best != NULL);
	return (uint32_t)(best - s->slots);
}

void td_selection_mark(struct td_candidates *s, uint32_t broker, struct td_time now)
{
	s->brokers[broker].broken_until = td_time_add(now, BROKEN_US);
}

int64_t td_backoff_us(struct td_rng *rng, int64_t base_us, unsigned int tries)
{
	base_us <<= tries < DOUBLINGS_MAX ? tries : DOUBLINGS_MAX;
	if (base_us > BACKOFF_MAX_US)
		base_us = BACKOFF_MAX_US;
	return td_rng_between(rng, base_us, 2 * base_us);
}

void td_selection_refused(struct td_candidates *s, uint32_t broker, struct td_rng *rng,
			  struct td_time now)
{
	struct td_broker_entry *b = &s->brokers[broker];

	td_selection_unmark(s, broker); /* it works, and says itself when it may be asked again */
	b->backoff_until = td_time_add(now, td_backoff_us(rng, REFUSED_US, b->refusals));
	if (b->refusals < DOUBLINGS_MAX)
		b->refusals++;
}

void td_selection_unmark(struct td_candidates *s, uint32_t broker)
{
	s->brokers[broker].broken_until.us = 0;
}

void td_selection_unmark_all(struct td_candidates *s)
{
	for (uint32_t n = 0; n < s->broker_count; n++)
		td_selection_unmark(s, n);
}

void td_selection_proven(struct td_candidates *s, uint32_t broker)
{
	td_selection_unmark(s, broker);
	s->brokers[broker].refusals = 0;
}
