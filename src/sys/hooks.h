/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Hook scripts: executed directly (no shell), standard input from /dev/null, output to the log line
 * by line (bounded), environment and working directory inherited, no descriptor beyond 2, its own
 * process group, ended after a time limit (SIGTERM, two seconds later SIGKILL, to the whole group).
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
	/* A hook ended: 0, its exit status (> 0), or -errno (-ETIME: time limit). */
	void (*ended)(void *ctx, uint64_t token, int result);
	void *ctx;
};

int td_hooks_new(struct td_hooks **hooks, const struct td_hooks_config *config)
	__attribute__((warn_unused_result));
/* Kills what runs, forgets what waits; ended() is not called any more. */
void td_hooks_free(struct td_hooks *hooks);
/*
 * Starts (or queues) path with args (NULL-terminated, argv[1] …; copied). 0: ended() will be called
 * with token; -ENOBUFS: too many are waiting.
 */
int td_hooks_run(struct td_hooks *hooks, const char *path, const char *const *args, uint64_t token)
	__attribute__((warn_unused_result));
/* Is nothing running or waiting? */
bool td_hooks_idle(const struct td_hooks *hooks);
/* When tick() wants to be called; and the call. */
struct td_time td_hooks_deadline(const struct td_hooks *hooks);
void td_hooks_tick(struct td_hooks *hooks, struct td_time now);

#endif
