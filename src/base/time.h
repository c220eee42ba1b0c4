/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Points in time and durations.
 *
 * A point in time is a struct, so that the compiler refuses a duration in its place. It counts
 * microseconds of a monotonic clock (CLOCK_MONOTONIC in the programs, virtual time in tests).
 * A duration is an int64_t whose name ends in _us.
 */
#ifndef TD_BASE_TIME_H
#define TD_BASE_TIME_H

#include <stdbool.h>
#include <stdint.h>

struct td_time {
	int64_t us;
};

#define TD_MS(n)      ((int64_t)(n)*1000)
#define TD_SECONDS(n) ((int64_t)(n)*1000000)

/* Later than every other point in time: "no deadline". */
#define TD_NEVER ((struct td_time){ INT64_MAX })

/* t + delta_us, saturating at TD_NEVER; delta_us >= 0. */
static inline struct td_time td_time_add(struct td_time t, int64_t delta_us)
{
	return t.us > INT64_MAX - delta_us ? TD_NEVER : (struct td_time){ t.us + delta_us };
}

/* How much later a is than b; negative when it is earlier. */
static inline int64_t td_time_since(struct td_time a, struct td_time b)
{
	return a.us - b.us;
}

/* Has t come, now being now? */
static inline bool td_time_reached(struct td_time t, struct td_time now)
{
	return t.us <= now.us;
}

static inline struct td_time td_time_min(struct td_time a, struct td_time b)
{
	return a.us < b.us ? a : b;
}

/* The first multiple of grid_us that is not before t, which is not TD_NEVER. */
static inline struct td_time td_time_round_up(struct td_time t, int64_t grid_us)
{
	return (struct td_time){ (t.us + grid_us - 1) / grid_us * grid_us };
}

#endif
