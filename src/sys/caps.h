/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Capabilities of this process: what it has, and giving up what it needs no more. */
#ifndef TD_SYS_CAPS_H
#define TD_SYS_CAPS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A set of capabilities, CAP_… of <linux/capability.h>. */
#define TD_CAP(number) (UINT64_C(1) << (number))

/* Is it in the effective set? */
bool td_caps_have(int cap);

/*
 * Leaves this process only those of keep that it has; clears the inheritable and ambient sets. What
 * it executes as root gets root's capabilities again: for the client, whose hooks need them.
 */
int td_caps_limit(uint64_t keep) __attribute__((warn_unused_result));

/*
 * For good, and for all that it may ever execute: user and group (0: unchanged) without
 * supplementary groups, only keep in all sets, nothing inheritable, no new privileges.
 */
int td_caps_confine(uint64_t keep, uid_t uid, gid_t gid) __attribute__((warn_unused_result));

#endif
