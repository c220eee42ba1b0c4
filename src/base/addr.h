/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Transport addresses and flows.
 *
 * No padding and unused bytes zero: two of them are equal if and only if memcmp() says so, and
 * they can be hashed as bytes. IPv4 addresses mapped into IPv6 never appear here: sys turns them
 * into IPv4 when they enter.
 */
#ifndef TD_BASE_ADDR_H
#define TD_BASE_ADDR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum td_family {
	TD_FAMILY_NONE = 0,
	TD_FAMILY_IPV4 = 4,
	TD_FAMILY_IPV6 = 6,
};

struct td_addr {
	uint8_t ip[16]; /* network byte order; IPv4 in the first four */
	uint32_t scope; /* interface index of a link-local IPv6 address, else 0 */
	uint16_t port;  /* host byte order */
	uint8_t family; /* enum td_family */
	uint8_t zero;
};

/* A UDP flow as this end sees it. */
struct td_flow {
	struct td_addr local;
	struct td_addr peer;
};

_Static_assert(sizeof(struct td_addr) == 24, "padding would be compared and hashed");
_Static_assert(sizeof(struct td_flow) == 48, "padding would be compared and hashed");

static inline bool td_addr_equal(const struct td_addr *a, const struct td_addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static inline bool td_flow_equal(const struct td_flow *a, const struct td_flow *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

#endif
