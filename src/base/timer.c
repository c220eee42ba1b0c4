/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A min-heap. Each place holds its time, so that comparing does not touch the timers, which lie
 * apart, in what owns them. A move writes to the timer; four children a place halve the moves.
 */
#include "base/timer.h"

#include <stddef.h>

#include "base/assert.h"

static uint32_t parent_of(uint32_t place)
{
	return (place + TD_TIMER_ARITY - 2) / TD_TIMER_ARITY;
}

static uint32_t first_child_of(uint32_t place)
{
	return TD_TIMER_ARITY * (place - 1) + 2;
}

static void put(struct td_timers *timers, uint32_t place, struct td_timer_place what)
{
	timers->heap[place - 1] = what;
	what.timer->place = place;
}

static struct td_timer_place *at(const struct td_timers *timers, uint32_t place)
{
	return &timers->heap[place - 1];
}

/* Puts it at place or, as far as it is earlier than its parents, above. */
static void sift_up(struct td_timers *timers, uint32_t place, struct td_timer_place what)
{
	while (place > 1 && what.at.us < at(timers, parent_of(place))->at.us) {
		put(timers, place, *at(timers, parent_of(place)));
		place = parent_of(place);
	}
	put(timers, place, what);
}

/* The earliest child of place; 0 if it has none. */
static uint32_t earliest_child(const struct td_timers *timers, uint32_t place)
{
	const uint32_t first = first_child_of(place);
	uint32_t earliest = first;

	if (first > timers->count)
		return 0;
	for (uint32_t child = first + 1; child < first + TD_TIMER_ARITY && child <= timers->count;
	     child++)
		if (at(timers, child)->at.us < at(timers, earliest)->at.us)
			earliest = child;
	return earliest;
}

static void sift_down(struct td_timers *timers, uint32_t place, struct td_timer_place what)
{
	uint32_t child;

	while ((child = earliest_child(timers, place)) != 0 &&
	       at(timers, child)->at.us < what.at.us) {
		put(timers, place, *at(timers, child));
		place = child;
	}
	put(timers, place, what);
}

/* Puts it where it belongs, given that place is free. */
static void settle(struct td_timers *timers, uint32_t place, struct td_timer_place what)
{
	if (place > 1 && what.at.us < at(timers, parent_of(place))->at.us)
		sift_up(timers, place, what);
	else
		sift_down(timers, place, what);
}

void td_timers_init(struct td_timers *timers, struct td_timer_place *heap, uint32_t capacity)
{
	*timers = (struct td_timers){ .heap = heap, .capacity = capacity };
}

void td_timer_start(struct td_timers *timers, struct td_timer *timer, struct td_time when)
{
	const struct td_timer_place what = { when, timer };

	if (when.us == TD_NEVER.us) {
		td_timer_stop(timers, timer);
		return;
	}
	if (td_timer_running(timer)) {
		if (at(timers, timer->place)->at.us != when.us)
			settle(timers, timer->place, what);
		return;
	}
	td_assert(timers->count < timers->capacity);
	timers->count++;
	sift_up(timers, timers->count, what);
}

void td_timer_stop(struct td_timers *timers, struct td_timer *timer)
{
	uint32_t place = timer->place;
	struct td_timer_place last;

	if (!td_timer_running(timer))
		return;
	td_assert(place <= timers->count && at(timers, place)->timer == timer);
	last = *at(timers, timers->count);
	timers->count--;
	timer->place = 0;
	if (last.timer != timer)
		settle(timers, place, last);
}

struct td_time td_timers_deadline(const struct td_timers *timers)
{
	return timers->count > 0 ? timers->heap[0].at : TD_NEVER;
}

struct td_timer *td_timers_expired(struct td_timers *timers, struct td_time now)
{
	struct td_timer *first;

	if (timers->count == 0 || !td_time_reached(timers->heap[0].at, now))
		return NULL;
	first = timers->heap[0].timer;
	td_timer_stop(timers, first);
	return first;
}
