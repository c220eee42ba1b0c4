/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What the parent remembers of the hooks of sessions, one place per slot: a session has one hook
 * under way at most.
 *
 * A worker that dies may take a result with it. Hence results are kept until the slot's next hook,
 * and all of them are told to a new worker, which knows from its records what it waits for: a record
 * comes with the hook that it tells of, in one message.
 */
#ifndef TD_BROKER_HOOK_RUNS_H
#define TD_BROKER_HOOK_RUNS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/session_info.h"

struct td_hook_run {
	struct td_handle handle; /* generation 0: the place is free */
	uint32_t sequence;       /* the worker's, to tell it the result */
	uint32_t call;           /* a result of another call comes too late to be told */
	int result;
	bool running;
	bool untold; /* it has ended, and the worker does not know */
};

struct td_hook_runs {
	struct td_hook_run *runs;
	uint32_t count;
	uint32_t untold; /* of them */
	uint32_t calls;
};

int td_hook_runs_init(struct td_hook_runs *r, uint32_t count) __attribute__((warn_unused_result));
void td_hook_runs_fini(struct td_hook_runs *r);

/* A worker asks for a hook of a session; handle.index < count. Returns the token that is to be handed
 * back when it has ended. */
uint64_t td_hook_runs_begin(struct td_hook_runs *r, struct td_handle handle, uint32_t sequence);
/* The run whose result is now to be told, NULL: nobody waits for it any more. */
struct td_hook_run *td_hook_runs_end(struct td_hook_runs *r, uint64_t token, int result);
void td_hook_runs_told(struct td_hook_runs *r, struct td_hook_run *run);
/* The session of that slot is over. */
void td_hook_runs_forget(struct td_hook_runs *r, uint32_t index);
/* Whatever the worker was told is lost with it. */
void td_hook_runs_worker_died(struct td_hook_runs *r);

#endif
