/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * An intrusive heap of timers.
 *
 * The owner of an object embeds a struct td_timer in it; the heap holds pointers to them and when
 * they fire, in an array that the caller provides with one place per timer that can run at once.
 * Start and stop take O(log n), the next deadline O(1).
 */
#ifndef TD_BASE_TIMER_H
#define TD_BASE_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/time.h"

#define TD_TIMER_ARITY 4 /* children of a place: see timer.c */

struct td_timer {
	uint32_t place; /* 1-based position in the heap; 0 while stopped */
};

struct td_timer_place {
	struct td_time at;
	struct td_timer *timer;
};

struct td_timers {
	struct td_timer_place *heap;
	uint32_t count;
	uint32_t capacity;
};

void td_timers_init(struct td_timers *timers, struct td_timer_place *heap, uint32_t capacity);

/* Starts the timer, or moves it when it runs already. Starting it for TD_NEVER stops it.
 * Asserts that there is a place. */
void td_timer_start(struct td_timers *timers, struct td_timer *timer, struct td_time when);
void td_timer_stop(struct td_timers *timers, struct td_timer *timer);

static inline bool td_timer_running(const struct td_timer *timer)
{
	return timer->place != 0;
}

/* When the next timer fires; TD_NEVER when none runs. */
struct td_time td_timers_deadline(const struct td_timers *timers);

/* Stops and returns the earliest timer whose time has come, NULL when there is none. Callers loop.
 */
struct td_timer *td_timers_expired(struct td_timers *timers, struct td_time now);

#endif
