/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Work on which the kernel may take its time, kept out of the loop: one thread runs jobs, one after
 * the other, and the loop learns of their ends.
 *
 * A job is embedded in its owner and is under way once at a time, so nothing is allocated and
 * nothing can overflow. run() is called by the thread and touches nothing but what belongs to the
 * job while it is under way; done() is called by the loop, and may start the same job again.
 *
 * Lanes are strict: whoever comes is served before those who change, those before who goes. And
 * removals are paced, for the kernel answers long before it has removed anything, and what it has
 * accepted delays everybody: a job of TD_LANE_DESTROY takes a place from the time it runs until
 * its owner says td_jobs_removed(), and there are few places while others come.
 *
 * A program without the thread, which is the client, has no struct td_jobs: then a job runs and is
 * done at once. All of it but the thread is here, so that the client links none of that.
 */
#ifndef TD_SYS_JOBS_H
#define TD_SYS_JOBS_H

#include "base/build.h"
#include "base/list.h"
#include "sys/loop.h"

#define TD_REMOVALS_MAX  32 /* that the kernel has under way */
#define TD_REMOVALS_BUSY 4  /* … while others come */

enum td_lane {
	TD_LANE_CREATE,
	TD_LANE_CHANGE,
	TD_LANE_DESTROY,
	TD_LANE_COUNT,
};

enum td_job_state {
	TD_JOB_IDLE,
	TD_JOB_QUEUED,
	TD_JOB_RUNNING,
	TD_JOB_ENDED, /* done() is still to be called */
};

struct td_job {
	void (*run)(struct td_job *job);
	void (*done)(struct td_job *job);
	enum td_lane lane;
	/* The rest is the thread's. */
	enum td_job_state state;
	struct td_link link;
	struct td_time started;
};

struct td_lane_figures {
	uint64_t jobs;      /* that have run */
	int64_t longest_us; /* from start to end */
};

struct td_jobs {
	/* td_job_start(), td_job_recall(), td_jobs_removed() */
	void (*start)(struct td_jobs *jobs, struct td_job *job);
	bool (*recall)(struct td_jobs *jobs, struct td_job *job);
	void (*removed)(struct td_jobs *jobs);
};

/* --- for owners; in the loop; jobs is NULL in a program without the thread --- */

static inline void td_job_start(struct td_jobs *jobs, struct td_job *job)
{
	if (TD_WITH_BROKER && jobs) {
		jobs->start(jobs, job);
	} else {
		job->run(job);
		job->done(job);
	}
}

/* Takes it back: done() will not be called. Waits while it is running. Has it run? */
static inline bool td_job_recall(struct td_jobs *jobs, struct td_job *job)
{
	return TD_WITH_BROKER && jobs && jobs->recall(jobs, job);
}

/* What a job of TD_LANE_DESTROY asked for is gone, or will not go. Once for each that has run. */
static inline void td_jobs_removed(struct td_jobs *jobs)
{
	if (TD_WITH_BROKER && jobs)
		jobs->removed(jobs);
}

/* --- for the program --- */

/* Jobs may be started from now on. NULL: no memory, or no descriptors. */
struct td_jobs *td_jobs_new(struct td_loop *loop);
/*
 * Has the thread of that name (15 bytes) run them. It inherits what this thread may do, with all
 * signals blocked, and makes no system call but those of the jobs after this has returned.
 */
int td_jobs_run(struct td_jobs *jobs, const char *name) __attribute__((warn_unused_result));
/* Ends the thread. Their owners have taken all jobs back. NULL: does nothing. */
void td_jobs_free(struct td_jobs *jobs);
struct td_lane_figures td_jobs_figures(struct td_jobs *jobs, enum td_lane lane);

#endif
