/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The event loop of both programs: epoll, one clock sample per iteration, one deadline.
 *
 * A watch is embedded in its owner, who keeps it in place from add to del. Its callback may add,
 * change and delete any watch, its own included: no event is delivered for a watch after
 * td_loop_del().
 */
#ifndef TD_SYS_LOOP_H
#define TD_SYS_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/time.h"

struct td_watch {
	int fd;
	void (*ready)(struct td_watch *watch, uint32_t events); /* EPOLLIN, … */
};

struct td_loop {
	int epoll_fd;
	struct td_time now; /* sampled once per iteration */
	bool stopped;
	/* Called before each wait, after all events were handled: does what is due, and returns
	 * when it wants to be called again at the latest. */
	struct td_time (*prepare)(void *ctx, struct td_time now);
	void *ctx;
	/* loop.c's own */
	void *batch;
	int batch_count;
};

struct td_time td_now(void); /* CLOCK_MONOTONIC */

int td_loop_init(struct td_loop *loop, struct td_time (*prepare)(void *, struct td_time), void *ctx)
	__attribute__((warn_unused_result));
void td_loop_fini(struct td_loop *loop);
int td_loop_add(struct td_loop *loop, struct td_watch *watch, uint32_t events)
	__attribute__((warn_unused_result));
/* events 0: watched no more until changed again (errors excepted). */
int td_loop_change(struct td_loop *loop, struct td_watch *watch, uint32_t events)
	__attribute__((warn_unused_result));
void td_loop_del(struct td_loop *loop, struct td_watch *watch);
/* Runs until td_loop_stop(); 0 or -errno of epoll_wait(). */
int td_loop_run(struct td_loop *loop) __attribute__((warn_unused_result));
void td_loop_stop(struct td_loop *loop);
/*
 * For a loop that another one has among its watches and that is never run: one batch of events,
 * without prepare() and without a wait; the caller sets now. The number of events, or -errno.
 */
int td_loop_poll(struct td_loop *loop) __attribute__((warn_unused_result));

/*
 * Signals as events: blocks SIGTERM, SIGINT, … and calls back from the loop. SIGPIPE is ignored
 * from then on and SIGCHLD back at its default, whatever was inherited. One signal per loop
 * iteration.
 */
struct td_signals {
	struct td_watch watch;
	void (*received)(struct td_signals *signals, int signo);
};
/* set: zero-terminated list of signal numbers. */
int td_signals_init(struct td_signals *signals, struct td_loop *loop, const int *set)
	__attribute__((warn_unused_result));
void td_signals_fini(struct td_signals *signals, struct td_loop *loop);
/* In a child after fork(): signals back to their defaults, none blocked. */
void td_signals_reset(void);
/* What this process executes from now on gets the standard descriptors and no others: they are none
 * of a script's business. */
void td_child_mark_descriptors(void);

/* A child process as an event (pidfd). */
struct td_child {
	struct td_watch watch;
	struct td_loop *loop;
	pid_t pid; /* 0: none */
	/* status: as of waitpid(), -1 if it was lost; reaped, watch removed */
	void (*ended)(struct td_child *child, int status);
};
/* On error (-errno; no descriptor left, kernel before 5.3) the child is still the caller's. */
int td_child_watch(struct td_child *child, struct td_loop *loop, pid_t pid)
	__attribute__((warn_unused_result));
/* SIGKILL, reaped, watch removed; ended() is not called. Does nothing when there is none. */
void td_child_kill(struct td_child *child);

#endif
