/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Counting the packets of all tunnels. The list of all links is linear in their number, where
 * asking L2TP for its sessions is quadratic; and it takes RTNL, which is somebody else's for seconds
 * while many tunnels go. So it has a thread of its own, which makes a list by ifindex; what the
 * loop knows by then decides whose they are.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/build.h"
#include "datapath/kernel.h"

struct found {
	unsigned ifindex;
	struct td_link_stats stats;
};

struct td_kernel_counting {
	struct td_job job;
	struct td_kernel *k;
	bool busy;
	struct td_rtnl rtnl;
	/* While it is busy, these are the thread's. */
	struct found *found;
	size_t count, capacity;
	int err;
};

static struct td_kernel_counting *counting_of(struct td_job *job)
{
	return (struct td_kernel_counting *)job; /* its first member */
}

/* --- in the thread --- */

static void add(void *ctx, unsigned ifindex, const struct td_link_stats *stats)
{
	struct td_kernel_counting *c = ctx;

	if (c->count == c->capacity) {
		const size_t capacity = c->capacity ? 2 * c->capacity : 64;
		struct found *found = realloc(c->found, capacity * sizeof(*found));

		if (!found) {
			c->err = -ENOMEM;
			return;
		}
		c->found = found;
		c->capacity = capacity;
	}
	c->found[c->count++] = (struct found){ ifindex, *stats };
}

static void run(struct td_job *job)
{
	struct td_kernel_counting *c = counting_of(job);
	int err;

	c->err = 0;
	err = td_rtnl_stats_all(&c->rtnl, add, c);
	if (err < 0)
		c->err = err;
}

/* --- in the loop --- */

static void forget(struct td_kernel_counting *c)
{
	free(c->found);
	c->found = NULL;
	c->count = c->capacity = 0;
}

static void report(struct td_kernel *k, unsigned ifindex, const struct td_link_stats *stats)
{
	const struct td_kernel_tunnel *t = td_kernel_find(k, ifindex);

	if (t && t->state == TD_KERNEL_LIVE)
		k->dp.host.counted(k->dp.host.ctx, t->base.handle, stats);
}

/* What was found before an error is true all the same. */
static void ended(struct td_job *job)
{
	struct td_kernel_counting *c = counting_of(job);

	for (size_t i = 0; i < c->count; i++)
		report(c->k, c->found[i].ifindex, &c->found[i].stats);
	forget(c);
	c->busy = false;
}

static void count_one_by_one(struct td_kernel *k)
{
	struct td_link_stats stats = { 0 };

	for (uint32_t i = 0; i < td_backend_places(&k->dp); i++) {
		const struct td_kernel_tunnel *t = td_kernel_at(k, i);

		if (t && t->base.ifindex != 0 &&
		    td_rtnl_stats(&k->dp.rtnl, t->base.ifindex, &stats) == 0)
			report(k, t->base.ifindex, &stats);
	}
}

void td_kernel_count(struct td_datapath *dp)
{
	struct td_kernel *k = (struct td_kernel *)dp;
	struct td_kernel_counting *c = k->counting;

	if (!TD_WITH_BROKER || !c) {
		count_one_by_one(k);
	} else if (!c->busy) {
		c->busy = true;
		td_job_start(dp->count_jobs, &c->job);
	}
}

int td_kernel_count_open(struct td_kernel *k)
{
	struct td_kernel_counting *c;
	int err;

	if (!k->dp.count_jobs)
		return 0;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	err = td_rtnl_open(&c->rtnl);
	if (err < 0) {
		free(c);
		return err;
	}
	c->k = k;
	c->job.run = run;
	c->job.done = ended;
	c->job.lane = TD_LANE_CHANGE;
	k->counting = c;
	return 0;
}

void td_kernel_count_close(struct td_kernel *k)
{
	struct td_kernel_counting *c = k->counting;

	if (!c)
		return;
	if (c->busy)
		(void)!td_job_recall(k->dp.count_jobs, &c->job);
	forget(c);
	td_rtnl_close(&c->rtnl);
	free(c);
	k->counting = NULL;
}
