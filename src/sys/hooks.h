/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Hook scripts: executed directly (no shell), standard input from /dev/null, output to the log line
 * by line (100 lines of 200 bytes a run, the rest is read and dropped), environment and working
 * directory inherited, no descriptor beyond 2, its own session and so process group, ended after a
 * time limit (SIGTERM, two seconds later SIGKILL, to the whole group).
 *
 * Starting one marks every descriptor of this process beyond 2 close-on-exec, inherited ones too.
 *
 * A run ends when its process ends. What it left running in the background may go on writing: that
 * is still logged, within the bounds of the run, until td_hooks_free().
 *
 * A program that ends while a hook runs takes the reader of its output away, and SIGPIPE may end
 * the hook half-done: give it time until td_hooks_idle().
 */
#ifndef TD_SYS_HOOKS_H
#define TD_SYS_HOOKS_H

#include <stdbool.h>
#include <stdint.h>

#include "sys/loop.h"

#define TD_HOOK_ARGS 12

struct td_hooks;

struct td_hooks_config {
	struct td_loop *loop;
	unsigned running_max; /* at once; the others wait in order */
	unsigned waiting_max; /* beyond that td_hooks_run() refuses */
	int64_t limit_us;     /* for each run */
	/*
	 * A hook ended: 0, its exit status (> 0; 128 + n if signal n killed it), or -errno: it
	 * could not be started (already in the log), -ETIME: time limit, or its turn came too late.
	 * Called from the loop or from tick(), never from td_hooks_run(); may call td_hooks_run(),
	 * not td_hooks_free().
	 */
	void (*ended)(void *ctx, uint64_t token, int result);
	void *ctx;
};

int td_hooks_new(struct td_hooks **hooks, const struct td_hooks_config *config)
	__attribute__((warn_unused_result));
/* Kills what runs, forgets what waits; ended() is not called any more. */
void td_hooks_free(struct td_hooks *hooks);
/*
 * Queues path with args (NULL-terminated, argv[1] …; copied); the next tick() starts it if it is
 * its turn, but not from start_by on (TD_NEVER: whenever that is). 0: ended() will be called with
 * token; -ENOBUFS: too many are waiting; -E2BIG: too many arguments; -ENOMEM.
 */
int td_hooks_run(struct td_hooks *hooks, const char *path, const char *const *args,
		 struct td_time start_by, uint64_t token) __attribute__((warn_unused_result));
/* Is nothing running or waiting? */
bool td_hooks_idle(const struct td_hooks *hooks);
/* When tick() wants to be called (a past time while one can be started); and the call. */
struct td_time td_hooks_deadline(const struct td_hooks *hooks);
void td_hooks_tick(struct td_hooks *hooks, struct td_time now);

#endif
