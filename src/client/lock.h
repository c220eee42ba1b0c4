/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * One client for each interface name and for each tunnel id of a network namespace: two would tear
 * down each other's tunnel. Each lock is a byte of one file, whose place is a hash of what it
 * stands for, so nothing is ever left behind. The kernel drops the locks with the process, however
 * it ends, and knows their holder; hooks do not inherit them.
 */
#ifndef TD_CLIENT_LOCK_H
#define TD_CLIENT_LOCK_H

#include <stdint.h>

#define TD_LOCK_FILE "/var/run/tunneldigger.lock"

/* A descriptor that td_lock_take() wants, and that is not closed as long as locks are held (any
 * descriptor of the file: closing one drops them all); or -errno. */
int td_lock_open(const char *path) __attribute__((warn_unused_result));
/* Takes the lock of what ("interface l2tp0") in this network namespace. 0; -EAGAIN: the process
 * *holder has it; else -errno. */
int td_lock_take(int fd, const char *what, int32_t *holder) __attribute__((warn_unused_result));

#endif
