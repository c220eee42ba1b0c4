/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Descriptors that have something in quick succession, and nothing that is urgent: the sockets of
 * thousands of tunnels. A turn of the loop for each of their datagrams costs more than the datagram. So
 * they are read together, and when that was just now, not again before a little time has passed; what
 * comes alone is read at once.
 *
 * The rests end at multiples of their length on the monotonic clock, where other periodic work can
 * meet them. They are shorter while somebody waits for answers (td_crowd_stir()).
 */
#ifndef TD_SYS_CROWD_H
#define TD_SYS_CROWD_H

#include "sys/loop.h"

#define TD_CROWD_REST  TD_MS(200) /* for the sockets of tunnels */
#define TD_CROWD_PAUSE TD_MS(20)  /* the rest while stirred */
#define TD_CROWD_STIR  TD_MS(500) /* for so long */

struct td_crowd {
	struct td_loop members; /* for td_loop_add(), _change() and _del(); it is never run */
	/* crowd.c's own */
	struct td_loop *loop;
	int64_t rest_us;
	struct td_watch watch, timer;
	bool resting;
	struct td_time read_at, stirred_until;
};

#define TD_CROWD_NONE ((struct td_crowd){ .members.epoll_fd = -1, .watch.fd = -1, .timer.fd = -1 })

/*
 * rest_us: how long it rests, in microseconds, more than 0. 0 or -errno; td_crowd_fini() may be called
 * in either case, and for TD_CROWD_NONE.
 */
int td_crowd_init(struct td_crowd *crowd, struct td_loop *loop, int64_t rest_us)
	__attribute__((warn_unused_result));
void td_crowd_fini(struct td_crowd *crowd);
/* Somebody waits for an answer, or will. */
void td_crowd_stir(struct td_crowd *crowd);

#endif
