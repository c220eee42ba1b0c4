/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "broker/hook_runs.h"

#include <errno.h>
#include <stdlib.h>

int td_hook_runs_init(struct td_hook_runs *r, uint32_t count)
{
	*r = (struct td_hook_runs){ .runs = calloc(count, sizeof(*r->runs)), .count = count };
	return r->runs ? 0 : -ENOMEM;
}

void td_hook_runs_fini(struct td_hook_runs *r)
{
	free(r->runs);
	*r = (struct td_hook_runs){ 0 };
}

static void set_untold(struct td_hook_runs *r, struct td_hook_run *run)
{
	if (!run->untold)
		r->untold++;
	run->untold = true;
}

void td_hook_runs_told(struct td_hook_runs *r, struct td_hook_run *run)
{
	if (run->untold)
		r->untold--;
	run->untold = false;
}

uint64_t td_hook_runs_begin(struct td_hook_runs *r, struct td_handle handle, uint32_t sequence)
{
	struct td_hook_run *run = &r->runs[handle.index];

	td_hook_runs_told(r, run);
	*run = (struct td_hook_run){
		.handle = handle,
		.sequence = sequence,
		.call = ++r->calls,
		.running = true,
	};
	return (uint64_t)run->call << 32 | handle.index;
}

struct td_hook_run *td_hook_runs_end(struct td_hook_runs *r, uint64_t token, int result)
{
	struct td_hook_run *run = &r->runs[(uint32_t)token];

	if (!run->running || run->call != token >> 32)
		return NULL;
	run->running = false;
	run->result = result;
	set_untold(r, run);
	return run;
}

void td_hook_runs_forget(struct td_hook_runs *r, uint32_t index)
{
	td_hook_runs_told(r, &r->runs[index]);
	r->runs[index] = (struct td_hook_run){ 0 };
}

void td_hook_runs_worker_died(struct td_hook_runs *r)
{
	for (uint32_t i = 0; i < r->count; i++)
		if (r->runs[i].handle.generation != 0 && !r->runs[i].running)
			set_untold(r, &r->runs[i]);
}
