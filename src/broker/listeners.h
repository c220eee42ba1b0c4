/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The broker's UDP sockets: one for each configured address and port. */
#ifndef TD_BROKER_LISTENERS_H
#define TD_BROKER_LISTENERS_H

#include <stdint.h>

#include "broker/config.h"
#include "sys/udp.h"

struct td_listeners {
	struct td_udp udp[TD_CONFIG_ADDRESSES * TD_CONFIG_PORTS];
	uint32_t count;
};

/*
 * Opens what can be opened, and logs a warning for each that cannot: an address may come later, another
 * program may have the port. 0, or -errno when none is left (logged as well).
 */
int td_listeners_open(struct td_listeners *listeners, const struct td_broker_options *options)
	__attribute__((warn_unused_result));
void td_listeners_close(struct td_listeners *listeners);
/* The socket that this flow arrived at, NULL if there is none. */
struct td_udp *td_listeners_find(struct td_listeners *listeners, const struct td_flow *flow);

#endif
