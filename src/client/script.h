/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The client's hook script, called as deployed scripts expect it: executed directly (no shell) as
 * PATH session.up|session.down INTERFACE, with environment, working directory and output
 * inherited, in a process group of its own, not awaited, and left to run when the client ends.
 * (That is why this is not sys/hooks.h, which collects output and ends what runs.)
 */
#ifndef TD_CLIENT_SCRIPT_H
#define TD_CLIENT_SCRIPT_H

#include "sys/loop.h"

#define TD_SCRIPT_RUNNING_MAX 8

struct td_script {
	struct td_loop *loop;
	const char *path;
	struct td_child running[TD_SCRIPT_RUNNING_MAX]; /* pid 0: none */
};

/* Logs what goes wrong: nothing depends on it. */
void td_script_start(struct td_script *script, const char *event, const char *ifname);

#endif
