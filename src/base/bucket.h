/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Token bucket: burst tokens at most, one new token every interval_us.
 *
 * Kept as the point in time from which on the bucket is full (the "theoretical arrival time" of
 * GCRA): 8 bytes a bucket, no drift, and an all-zero bucket is a full one.
 * Points in time are never negative here.
 */
#ifndef TD_BASE_BUCKET_H
#define TD_BASE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/time.h"

struct td_rate {
	int64_t interval_us; /* between two tokens; 0: no limit */
	uint32_t burst;      /* tokens of a full bucket, >= 1 */
};

struct td_bucket {
	struct td_time full_at;
};

/* When the next token can be taken: a time that has come, or the wait's end. */
struct td_time td_bucket_ready(const struct td_bucket *bucket, const struct td_rate *rate);
/* Takes a token, which td_bucket_ready() must have shown to be there (asserted). */
void td_bucket_take(struct td_bucket *bucket, const struct td_rate *rate, struct td_time now);

#endif
