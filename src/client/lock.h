/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * One client for each interface name and for each tunnel id of a network namespace: two would tear
 * down each other's tunnel. The locks are fcntl()'s, which the kernel drops with the process,
 * however it ends, and which know their holder; hooks do not inherit them.
 */
#ifndef TD_CLIENT_LOCK_H
#define TD_CLIENT_LOCK_H

#include <stdint.h>

#define TD_LOCK_DIR  "/var/run/tunneldigger"
#define TD_LOCK_NAME 32

struct td_lock {
	int fd; /* -1: not held */
	char path[96];
};

/*
 * Takes the lock of that name ("interface l2tp0") of this network namespace in the directory dir,
 * which is made if needed. 0; -EBUSY: *holder is the process that has it; else -errno.
 */
int td_lock_take(struct td_lock *lock, const char *dir, const char *name, int32_t *holder)
	__attribute__((warn_unused_result));
void td_lock_release(struct td_lock *lock);

#endif
