/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * One mutex guards everything here; it is never held while a job runs or is told of. The thread
 * sleeps on wake, the loop on its eventfd, and whoever waits for the thread on changed. Those two
 * are woken without the mutex, or the first thing that they did would be to wait for it.
 *
 * The eventfd is a crowd of one: the end of a job is told at once, but those that follow it closely
 * are told together. With a turn of the loop for each, and all that a turn wakes, thousands of
 * clients that come at once would have their tunnels later, not sooner.
 */
#include "sys/jobs.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/assert.h"
#include "sys/crowd.h"

#define DONE_A_TURN 16         /* of the crowd, which has so many in one of the loop */
#define REST_US     TD_MS(5)   /* what ends meanwhile is told together */
#define BUSY_US     TD_MS(200) /* others come: the last one is that recent */

#define job_of(pointer) ((struct td_job *)(void *)((char *)(pointer)-offsetof(struct td_job, link)))

struct thread {
	struct td_jobs jobs;
	struct td_crowd crowd;
	struct td_watch watch; /* an eventfd, readable while ended is not empty */
	const char *name;
	pthread_t id;
	pthread_mutex_t mutex;
	pthread_cond_t wake, changed;
	bool exists, ready, stopping;
	struct td_link queued[TD_LANE_COUNT], ended;
	unsigned removals;     /* that the kernel has under way */
	struct td_time coming; /* until then there are few places for them */
	struct td_lane_figures figures[TD_LANE_COUNT];
};

static void lock(struct thread *t)
{
	td_assert(pthread_mutex_lock(&t->mutex) == 0);
}

static void unlock(struct thread *t)
{
	td_assert(pthread_mutex_unlock(&t->mutex) == 0);
}

/* --- the thread; all but work() with the mutex --- */

static bool may_remove(const struct thread *t)
{
	const bool busy = !td_time_reached(t->coming, td_now());

	return t->removals < (busy ? TD_REMOVALS_BUSY : TD_REMOVALS_MAX);
}

/* NULL: none, or none that may. As long as there are removals, there will be td_jobs_removed(). */
static struct td_job *next(const struct thread *t)
{
	for (int lane = 0; lane < TD_LANE_COUNT; lane++) {
		if (lane == TD_LANE_DESTROY && !may_remove(t))
			return NULL;
		if (!td_list_empty(&t->queued[lane]))
			return job_of(t->queued[lane].next);
	}
	return NULL;
}

static void begin(struct thread *t, struct td_job *job)
{
	td_list_remove(&job->link);
	job->state = TD_JOB_RUNNING;
	if (job->lane == TD_LANE_DESTROY)
		t->removals++;
}

/* Returns whether the loop has to be woken. */
static bool end(struct thread *t, struct td_job *job)
{
	struct td_lane_figures *figures = &t->figures[job->lane];
	const struct td_time now = td_now();
	const int64_t took_us = td_time_since(now, job->started);
	const bool first = td_list_empty(&t->ended);

	figures->jobs++;
	if (took_us > figures->longest_us)
		figures->longest_us = took_us;
	if (job->lane == TD_LANE_CREATE)
		t->coming = td_time_add(now, BUSY_US);
	job->state = TD_JOB_ENDED;
	td_list_add(&t->ended, &job->link);
	pthread_cond_signal(&t->changed);
	return first;
}

static void wake_loop(const struct thread *t)
{
	const uint64_t one = 1;

	(void)!write(t->watch.fd, &one, sizeof(one));
}

static void *work(void *ctx)
{
	struct thread *t = ctx;

	prctl(PR_SET_NAME, t->name);
	lock(t);
	t->ready = true;
	pthread_cond_signal(&t->changed);
	while (!t->stopping) {
		struct td_job *job = next(t);

		if (!job) {
			pthread_cond_wait(&t->wake, &t->mutex);
			continue;
		}
		begin(t, job);
		unlock(t);
		job->run(job);
		lock(t);
		if (end(t, job)) {
			unlock(t);
			wake_loop(t);
			lock(t);
		}
	}
	unlock(t);
	return NULL;
}

/* --- the loop --- */

static void start(struct td_jobs *jobs, struct td_job *job)
{
	struct thread *t = (struct thread *)jobs;

	lock(t);
	td_assert(job->state == TD_JOB_IDLE);
	job->state = TD_JOB_QUEUED;
	job->started = td_now();
	td_list_add(&t->queued[job->lane], &job->link);
	unlock(t);
	pthread_cond_signal(&t->wake);
}

static bool recall(struct td_jobs *jobs, struct td_job *job)
{
	struct thread *t = (struct thread *)jobs;
	bool has_run;

	lock(t);
	while (job->state == TD_JOB_RUNNING)
		pthread_cond_wait(&t->changed, &t->mutex);
	has_run = job->state == TD_JOB_ENDED;
	if (job->state != TD_JOB_IDLE)
		td_list_remove(&job->link);
	job->state = TD_JOB_IDLE;
	unlock(t);
	return has_run;
}

static void removed(struct td_jobs *jobs)
{
	struct thread *t = (struct thread *)jobs;

	lock(t);
	td_assert(t->removals > 0);
	t->removals--;
	unlock(t);
	pthread_cond_signal(&t->wake);
}

static struct td_job *take_ended(struct thread *t)
{
	struct td_job *job = NULL;
	uint64_t count;

	lock(t);
	if (!td_list_empty(&t->ended)) {
		job = job_of(t->ended.next);
		td_list_remove(&job->link);
		job->state = TD_JOB_IDLE;
	} else {
		(void)!read(t->watch.fd, &count, sizeof(count));
	}
	unlock(t);
	return job;
}

static void some_ended(struct td_watch *watch, uint32_t events)
{
	struct thread *t = (struct thread *)((char *)watch - offsetof(struct thread, watch));
	struct td_job *job;

	(void)events;
	for (unsigned i = 0; i < DONE_A_TURN && (job = take_ended(t)) != NULL; i++)
		job->done(job);
}

/* --- from beginning to end --- */

struct td_jobs *td_jobs_new(struct td_loop *loop)
{
	struct thread *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->jobs = (struct td_jobs){ start, recall, removed };
	t->watch.ready = some_ended;
	t->watch.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	t->crowd = TD_CROWD_NONE;
	if (t->watch.fd < 0 || td_crowd_init(&t->crowd, loop, REST_US) < 0 ||
	    td_loop_add(&t->crowd.members, &t->watch, EPOLLIN) < 0) {
		td_crowd_fini(&t->crowd);
		if (t->watch.fd >= 0)
			close(t->watch.fd);
		free(t);
		return NULL;
	}
	pthread_mutex_init(&t->mutex, NULL);
	pthread_cond_init(&t->wake, NULL);
	pthread_cond_init(&t->changed, NULL);
	for (int lane = 0; lane < TD_LANE_COUNT; lane++)
		td_list_init(&t->queued[lane]);
	td_list_init(&t->ended);
	return &t->jobs;
}

int td_jobs_run(struct td_jobs *jobs, const char *name)
{
	struct thread *t = (struct thread *)jobs;
	sigset_t all, before;
	int err;

	t->name = name;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = -pthread_create(&t->id, NULL, work, t);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err < 0)
		return err;
	t->exists = true;
	/* The caller may forbid from now on what a thread does at its start. */
	lock(t);
	while (!t->ready)
		pthread_cond_wait(&t->changed, &t->mutex);
	unlock(t);
	return 0;
}

void td_jobs_free(struct td_jobs *jobs)
{
	struct thread *t = (struct thread *)jobs;

	if (!t)
		return;
	lock(t);
	t->stopping = true;
	pthread_cond_signal(&t->wake);
	unlock(t);
	if (t->exists)
		pthread_join(t->id, NULL);
	td_loop_del(&t->crowd.members, &t->watch);
	td_crowd_fini(&t->crowd);
	close(t->watch.fd);
	pthread_cond_destroy(&t->changed);
	pthread_cond_destroy(&t->wake);
	pthread_mutex_destroy(&t->mutex);
	free(t);
}

struct td_lane_figures td_jobs_figures(struct td_jobs *jobs, enum td_lane lane)
{
	struct thread *t = (struct thread *)jobs;
	struct td_lane_figures figures;

	lock(t);
	figures = t->figures[lane];
	unlock(t);
	return figures;
}
