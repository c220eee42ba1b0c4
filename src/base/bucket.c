/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A bucket that will be full at t lacks (t - now) / interval tokens, rounded up, so it holds at
 * least one from t - (burst - 1) * interval on.
 */
#include "base/bucket.h"

#include "base/assert.h"

/* Rates are an operator's numbers: a product that overflows is an endless burst. */
static int64_t burst_us(const struct td_rate *rate)
{
	int64_t product_us;

	if (__builtin_mul_overflow(rate->interval_us, (int64_t)rate->burst - 1, &product_us))
		return INT64_MAX;
	return product_us;
}

struct td_time td_bucket_ready(const struct td_bucket *bucket, const struct td_rate *rate)
{
	td_assert(rate->interval_us >= 0 && rate->burst >= 1);
	if (rate->interval_us == 0 || bucket->full_at.us < burst_us(rate))
		return (struct td_time){ 0 };
	return (struct td_time){ bucket->full_at.us - burst_us(rate) };
}

void td_bucket_take(struct td_bucket *bucket, const struct td_rate *rate, struct td_time now)
{
	td_assert(td_time_reached(td_bucket_ready(bucket, rate), now));
	if (bucket->full_at.us < now.us)
		bucket->full_at = now;
	bucket->full_at = td_time_add(bucket->full_at, rate->interval_us);
}
