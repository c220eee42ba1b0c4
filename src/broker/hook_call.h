/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The arguments of the broker's hooks, as deployed scripts expect them: tunneldigger-broker.conf(5). */
#ifndef TD_BROKER_HOOK_CALL_H
#define TD_BROKER_HOOK_CALL_H

#include <stdbool.h>

#include "core/session_info.h"
#include "sys/hooks.h"

struct td_hook_call {
	const char *args
		[TD_HOOK_ARGS]; /* NULL-terminated; they point into this struct and the session */
	char numbers[8][11];
	char address[64];
};

/*
 * What the worker sent, made safe: strings ended, names valid. False if it is not; then there is no
 * call.
 */
bool td_hook_call_make(struct td_hook_call *call, enum td_hook hook,
		       const struct td_session_info *session, uint16_t old_mtu);

#endif
