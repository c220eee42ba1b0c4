/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Random bytes of the kernel, for keys and seeds. Never waits: on a router in its first seconds,
 * before the kernel has gathered enough, they are the best there is.
 */
#ifndef TD_SYS_ENTROPY_H
#define TD_SYS_ENTROPY_H

#include <stddef.h>

/* size <= 256. 0 or -errno. */
int td_entropy_get(void *to, size_t size) __attribute__((warn_unused_result));

#endif
