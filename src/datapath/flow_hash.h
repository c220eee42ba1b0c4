/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A keyed hash of a flow, for base/index.h: SipHash-1-3, the variant made for hash tables, over the
 * flow's 48 bytes. A peer that does not know the key cannot choose addresses and ports that
 * collide. The client, which links no libsodium, uses it too, so it is here.
 */
#ifndef TD_DATAPATH_FLOW_HASH_H
#define TD_DATAPATH_FLOW_HASH_H

#include <stdint.h>

#include "base/addr.h"

struct td_flow_key {
	uint64_t k[2]; /* secret, random */
};

uint64_t td_flow_hash(const struct td_flow_key *key, const struct td_flow *flow);

#endif
