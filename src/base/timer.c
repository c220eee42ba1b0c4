/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A binary min-heap; place p (1-based) has its parent at p / 2 and its children at 2p and 2p + 1.
 */
#include "base/timer.h"

#include <stddef.h>

#include "base/assert.h"

static void put(struct td_timers *timers, uint32_t place, struct td_timer *timer)
{
	timers->heap[place - 1] = timer;
	timer->place = place;
}

static struct td_timer *at(const struct td_timers *timers, uint32_t place)
{
	return timers->heap[place - 1];
}

/* Puts the timer at place or, as far as it is earlier than its parents, above. */
static void sift_up(struct td_timers *timers, uint32_t place, struct td_timer *timer)
{
	while (place > 1 && timer->at.us < at(timers, place / 2)->at.us) {
		put(timers, place, at(timers, place / 2));
		place /= 2;
	}
	put(timers, place, timer);
}

static void sift_down(struct td_timers *timers, uint32_t place, struct td_timer *timer)
{
	while (place <= timers->count / 2) {
		uint32_t child = place * 2;

		if (child < timers->count &&
		    at(timers, child + 1)->at.us < at(timers, child)->at.us)
			child++;
		if (timer->at.us <= at(timers, child)->at.us)
			break;
		put(timers, place, at(timers, child));
		place = child;
	}
	put(timers, place, timer);
}

/* Puts the timer where it belongs, given that place is free. */
static void settle(struct td_timers *timers, uint32_t place, struct td_timer *timer)
{
	if (place > 1 && timer->at.us < at(timers, place / 2)->at.us)
		sift_up(timers, place, timer);
	else
		sift_down(timers, place, timer);
}

void td_timers_init(struct td_timers *timers, struct td_timer **heap, uint32_t capacity)
{
	*timers = (struct td_timers){ .heap = heap, .capacity = capacity };
}

void td_timer_start(struct td_timers *timers, struct td_timer *timer, struct td_time when)
{
	if (when.us == TD_NEVER.us) {
		td_timer_stop(timers, timer);
		return;
	}
	timer->at = when;
	if (td_timer_running(timer)) {
		settle(timers, timer->place, timer);
		return;
	}
	td_assert(timers->count < timers->capacity);
	timers->count++;
	sift_up(timers, timers->count, timer);
}

void td_timer_stop(struct td_timers *timers, struct td_timer *timer)
{
	uint32_t place = timer->place;
	struct td_timer *last;

	if (!td_timer_running(timer))
		return;
	td_assert(place <= timers->count && at(timers, place) == timer);
	last = at(timers, timers->count);
	timers->count--;
	timer->place = 0;
	if (last != timer)
		settle(timers, place, last);
}

struct td_time td_timers_deadline(const struct td_timers *timers)
{
	return timers->count > 0 ? timers->heap[0]->at : TD_NEVER;
}

struct td_timer *td_timers_expired(struct td_timers *timers, struct td_time now)
{
	struct td_timer *first;

	if (timers->count == 0 || !td_time_reached(timers->heap[0]->at, now))
		return NULL;
	first = timers->heap[0];
	td_timer_stop(timers, first);
	return first;
}
