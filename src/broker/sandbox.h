/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The list of system calls that the worker is left with: what its loop, its data paths and memory need.
 * Any other one ends the process at once, and the parent starts the next.
 */
#ifndef TD_BROKER_SANDBOX_H
#define TD_BROKER_SANDBOX_H

/* For this process and all its threads, for good. Needs no_new_privs. 0 or -errno. */
int td_sandbox_enter(void) __attribute__((warn_unused_result));

#endif
