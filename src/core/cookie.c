/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A cookie is the low byte of the epoch it was made in and 56 bits of the MAC: the byte says which
 * epoch to compute the MAC for, so a check costs one computation and a stale cookie costs none.
 * Guessing is hopeless at any rate a network carries within the three epochs that a guess lasts.
 */
#include "core/cookie.h"

#include <sodium/crypto_shorthash.h>
#include <sodium/utils.h>
#include <string.h>

#define EPOCH_US     TD_SECONDS(64)
#define EPOCHS_VALID 3

_Static_assert(TD_COOKIE_KEY == crypto_shorthash_KEYBYTES, "the key is used as it is");
_Static_assert(TD_COOKIE_SIZE == crypto_shorthash_BYTES, "the MAC is used as it is");

static uint64_t epoch_of(struct td_time now)
{
	return (uint64_t)(now.us / EPOCH_US);
}

static void make(uint8_t cookie[static TD_COOKIE_SIZE], const uint8_t key[static TD_COOKIE_KEY],
		 const struct td_flow *flow, uint64_t epoch)
{
	uint8_t input[sizeof(*flow) + sizeof(epoch)];

	memcpy(input, flow, sizeof(*flow));
	memcpy(input + sizeof(*flow), &epoch, sizeof(epoch));
	crypto_shorthash(cookie, input, sizeof(input), key);
	cookie[0] = (uint8_t)epoch;
}

void td_cookie_make(uint8_t cookie[static TD_COOKIE_SIZE], const uint8_t key[static TD_COOKIE_KEY],
		    const struct td_flow *flow, struct td_time now)
{
	make(cookie, key, flow, epoch_of(now));
}

bool td_cookie_valid(const uint8_t cookie[static TD_COOKIE_SIZE],
		     const uint8_t key[static TD_COOKIE_KEY], const struct td_flow *flow,
		     struct td_time now)
{
	uint8_t age = (uint8_t)(epoch_of(now) - cookie[0]);
	uint8_t expected[TD_COOKIE_SIZE];

	if (age >= EPOCHS_VALID)
		return false;
	make(expected, key, flow, epoch_of(now) - age);
	return sodium_memcmp(cookie, expected, sizeof(expected)) == 0;
}
