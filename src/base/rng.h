/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Pseudo-random numbers for jitter and ties (xoshiro256**): one seed, one sequence.
 * Not for keys: those come from the kernel through the programs.
 */
#ifndef TD_BASE_RNG_H
#define TD_BASE_RNG_H

#include <stdint.h>

struct td_rng {
	uint64_t s[4];
};

void td_rng_init(struct td_rng *rng, uint64_t seed);
uint64_t td_rng_next(struct td_rng *rng);
/* Uniform in [0, bound); bound > 0. */
uint32_t td_rng_below(struct td_rng *rng, uint32_t bound);
/* Uniform in [low_us, high_us]; 0 <= low_us <= high_us. */
int64_t td_rng_between(struct td_rng *rng, int64_t low_us, int64_t high_us);

#endif
