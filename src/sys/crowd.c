/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The members are in an epoll instance of their own, which is itself watched by the loop; once it
 * has been reported, it is not again until we say so (EPOLLONESHOT). During a rest a timer runs
 * instead.
 */
#include "sys/crowd.h"

#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define ROUNDS_MAX 16 /* before the rest of the loop has its turn */

static void arm(struct td_crowd *crowd)
{
	crowd->resting = false;
	(void)!td_loop_change(crowd->loop, &crowd->watch, EPOLLIN | EPOLLONESHOT);
}

/* Until the next multiple of its length. */
static void rest(struct td_crowd *crowd)
{
	const struct td_time now = crowd->loop->now;
	const bool stirred = !td_time_reached(crowd->stirred_until, now);
	const int64_t length_us = stirred ? TD_CROWD_PAUSE : crowd->rest_us;
	const int64_t end_us = (now.us / length_us + 1) * length_us;
	const struct itimerspec spec = { .it_value = { end_us / TD_SECONDS(1),
						       end_us % TD_SECONDS(1) * 1000 } };

	crowd->resting = true;
	if (timerfd_settime(crowd->timer.fd, TFD_TIMER_ABSTIME, &spec, NULL) < 0)
		arm(crowd);
}

/* Returns whether there is nothing left, and in *any whether there was something. */
static bool read_all(struct td_crowd *crowd, bool *any)
{
	int rounds = 0;

	crowd->members.now = crowd->loop->now;
	while (rounds < ROUNDS_MAX && td_loop_poll(&crowd->members) > 0)
		rounds++;
	*any = rounds > 0;
	return rounds < ROUNDS_MAX;
}

static void members_ready(struct td_watch *watch, uint32_t events)
{
	struct td_crowd *crowd =
		(struct td_crowd *)((char *)watch - offsetof(struct td_crowd, watch));
	const struct td_time now = crowd->loop->now;
	const bool alone = td_time_since(now, crowd->read_at) > crowd->rest_us;
	bool any;
	const bool all = read_all(crowd, &any);

	(void)events;
	crowd->read_at = now;
	if (all && any && !alone)
		rest(crowd);
	else
		arm(crowd);
}

static void timer_ready(struct td_watch *watch, uint32_t events)
{
	struct td_crowd *crowd =
		(struct td_crowd *)((char *)watch - offsetof(struct td_crowd, timer));
	uint64_t expirations;
	bool any;

	(void)events;
	if (read(watch->fd, &expirations, sizeof(expirations)) < 0)
		return;
	if (read_all(crowd, &any) && any)
		rest(crowd);
	else
		arm(crowd);
	if (any)
		crowd->read_at = crowd->loop->now;
}

static int add(struct td_crowd *crowd, struct td_watch *watch, int fd, uint32_t events,
	       void (*ready)(struct td_watch *, uint32_t))
{
	*watch = (struct td_watch){ .fd = fd, .ready = ready };
	return fd < 0 ? -errno : td_loop_add(crowd->loop, watch, events);
}

int td_crowd_init(struct td_crowd *crowd, struct td_loop *loop, int64_t rest_us)
{
	int err;

	*crowd = TD_CROWD_NONE;
	crowd->loop = loop;
	crowd->rest_us = rest_us;
	err = td_loop_init(&crowd->members, NULL, NULL);
	if (err == 0)
		err = add(crowd, &crowd->watch, crowd->members.epoll_fd, EPOLLIN | EPOLLONESHOT,
			  members_ready);
	if (err == 0)
		err = add(crowd, &crowd->timer,
			  timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), EPOLLIN,
			  timer_ready);
	return err;
}

void td_crowd_fini(struct td_crowd *crowd)
{
	if (crowd->timer.fd >= 0) {
		td_loop_del(crowd->loop, &crowd->timer);
		close(crowd->timer.fd);
	}
	if (crowd->watch.fd >= 0)
		td_loop_del(crowd->loop, &crowd->watch);
	td_loop_fini(&crowd->members);
}

void td_crowd_stir(struct td_crowd *crowd)
{
	const struct td_time now = crowd->loop->now;
	const bool calm = td_time_reached(crowd->stirred_until, now);

	crowd->stirred_until = td_time_add(now, TD_CROWD_STIR);
	if (calm && crowd->resting)
		rest(crowd);
}
