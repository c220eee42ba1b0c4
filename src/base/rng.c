/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* xoshiro256** of Blackman and Vigna, its state filled by SplitMix64 as they recommend. */
#include "base/rng.h"

#include "base/assert.h"

static uint64_t rotate_left(uint64_t x, unsigned int bits)
{
	return x << bits | x >> (64 - bits);
}

static uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

void td_rng_init(struct td_rng *rng, uint64_t seed)
{
	for (int i = 0; i < 4; i++)
		rng->s[i] = splitmix64(&seed);
}

uint64_t td_rng_next(struct td_rng *rng)
{
	uint64_t *s = rng->s;
	uint64_t result = rotate_left(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate_left(s[3], 45);
	return result;
}

/* Draws again in the few cases that would make small results more likely than large ones. */
static uint64_t below(struct td_rng *rng, uint64_t bound)
{
	uint64_t surplus = -bound % bound; /* 2^64 mod bound */
	uint64_t x;

	do
		x = td_rng_next(rng);
	while (x < surplus);
	return x % bound;
}

uint32_t td_rng_below(struct td_rng *rng, uint32_t bound)
{
	td_assert(bound > 0);
	return (uint32_t)below(rng, bound);
}

int64_t td_rng_between(struct td_rng *rng, int64_t low_us, int64_t high_us)
{
	td_assert(0 <= low_us && low_us <= high_us);
	return low_us + (int64_t)below(rng, (uint64_t)(high_us - low_us) + 1);
}
