/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Stateless handshake cookies (broker): a SipHash-2-4 MAC (libsodium's crypto_shorthash) over the
 * flow and the current 64-second epoch. A cookie is valid in the epoch it was made in and in the
 * two that follow: for 128 to 192 s. The broker stores nothing.
 */
#ifndef TD_CORE_COOKIE_H
#define TD_CORE_COOKIE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/time.h"
#include "core/msg.h"

#define TD_COOKIE_KEY 16

void td_cookie_make(uint8_t cookie[static TD_COOKIE_SIZE], const uint8_t key[static TD_COOKIE_KEY],
		    const struct td_flow *flow, struct td_time now);
bool td_cookie_valid(const uint8_t cookie[static TD_COOKIE_SIZE],
		     const uint8_t key[static TD_COOKIE_KEY], const struct td_flow *flow,
		     struct td_time now);

#endif
