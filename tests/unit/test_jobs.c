/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Jobs and their thread: order, pace, taking back, the end; also with nothing but the thread's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sys/jobs.h"

#define MANY 2000

static struct {
	struct td_loop loop;
	struct td_jobs *jobs;
	pthread_mutex_t gate; /* while it is locked, the job that needs it goes on running */
	char ran[MANY + 1];   /* the names, in that order */
	unsigned ran_count;
	char told[MANY + 1];
	unsigned told_count, expected;
	pthread_t runner, teller;
	struct td_time deadline;
} scene;

struct job {
	struct td_job job;
	char name;
	unsigned again; /* times that done() starts it anew */
};

static void run(struct td_job *job)
{
	scene.runner = pthread_self();
	scene.ran[scene.ran_count++] = ((struct job *)job)->name;
}

static void run_at_gate(struct td_job *job)
{
	pthread_mutex_lock(&scene.gate);
	pthread_mutex_unlock(&scene.gate);
	run(job);
}

static void done(struct td_job *job)
{
	struct job *j = (struct job *)job;

	scene.teller = pthread_self();
	scene.told[scene.told_count++] = j->name;
	if (j->again > 0) {
		j->again--;
		td_job_start(scene.jobs, job);
	}
}

static struct td_time prepare(void *ctx, struct td_time now)
{
	(void)ctx;
	if (scene.told_count >= scene.expected || td_time_reached(scene.deadline, now))
		td_loop_stop(&scene.loop);
	return scene.deadline;
}

static void loop_for(int64_t us, unsigned expected)
{
	scene.expected = expected;
	scene.deadline = td_time_add(td_now(), us);
	assert_int_equal(td_loop_run(&scene.loop), 0);
}

static void expect(const char *told)
{
	loop_for(TD_SECONDS(5), (unsigned)strlen(told));
	assert_string_equal(scene.told, told);
}

static unsigned entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static int open_scene(void **state)
{
	(void)state;
	memset(&scene, 0, sizeof(scene));
	pthread_mutex_init(&scene.gate, NULL);
	assert_int_equal(td_loop_init(&scene.loop, prepare, NULL), 0);
	scene.jobs = td_jobs_new(&scene.loop);
	assert_non_null(scene.jobs);
	assert_int_equal(td_jobs_run(scene.jobs, "td-test"), 0);
	return 0;
}

static int close_scene(void **state)
{
	(void)state;
	td_jobs_free(scene.jobs);
	td_loop_fini(&scene.loop);
	pthread_mutex_destroy(&scene.gate);
	return 0;
}

static void start(struct job *job, char name, enum td_lane lane)
{
	*job = (struct job){ .job = { .run = run, .done = done, .lane = lane }, .name = name };
	td_job_start(scene.jobs, &job->job);
}

/* Has the thread busy until unlock. */
static void block(struct job *job)
{
	pthread_mutex_lock(&scene.gate);
	*job = (struct job){ .job = { .run = run_at_gate, .done = done }, .name = '-' };
	td_job_start(scene.jobs, &job->job);
	usleep(20000);
}

static void unblock(void)
{
	pthread_mutex_unlock(&scene.gate);
}

static void lanes_in_order(void **state)
{
	static const char names[] = "dcaDbCAB";
	struct job gate, jobs[sizeof(names)];

	(void)state;
	block(&gate);
	for (unsigned i = 0; names[i]; i++)
		start(&jobs[i], names[i],
		      strchr("abAB", names[i]) ? TD_LANE_CREATE
		      : strchr("cC", names[i]) ? TD_LANE_CHANGE
					       : TD_LANE_DESTROY);
	loop_for(TD_MS(20), 1);
	assert_int_equal(scene.told_count, 0); /* and the loop went on meanwhile */
	unblock();
	expect("-abABcCdD");
	assert_string_equal(scene.ran, scene.told);
	assert_false(pthread_equal(scene.runner, pthread_self()));
	assert_true(pthread_equal(scene.teller, pthread_self()));
	assert_int_equal(td_jobs_figures(scene.jobs, TD_LANE_CREATE).jobs, 5);
	assert_true(td_jobs_figures(scene.jobs, TD_LANE_CREATE).longest_us >= TD_MS(20));
	assert_int_equal(td_jobs_figures(scene.jobs, TD_LANE_DESTROY).jobs, 2);
}

/* More than the loop takes in a turn, started anew by done(). */
static void many(void **state)
{
	static struct job jobs[200];

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		start(&jobs[i], 'x', i % 2 ? TD_LANE_CREATE : TD_LANE_CHANGE);
		jobs[i].again = 4;
	}
	loop_for(TD_SECONDS(10), 1000);
	assert_int_equal(scene.told_count, 1000);
	assert_int_equal(scene.ran_count, 1000);
	loop_for(TD_MS(20), 1001);
	assert_int_equal(scene.told_count, 1000);
}

/* So many go at once, and who comes need not wait for them. */
static void removals_are_paced(void **state)
{
	static struct job jobs[1000];
	struct job comer;
	unsigned gone = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		start(&jobs[i], 'd', TD_LANE_DESTROY);
	loop_for(TD_MS(100), 1000);
	assert_int_equal(scene.told_count, TD_REMOVALS_MAX);
	start(&comer, 'c', TD_LANE_CREATE);
	loop_for(TD_SECONDS(5), TD_REMOVALS_MAX + 1);
	assert_int_equal(scene.told[TD_REMOVALS_MAX], 'c');
	/* Somebody came: fewer places, until nobody has come for a while. */
	for (; gone < TD_REMOVALS_MAX - TD_REMOVALS_BUSY; gone++)
		td_jobs_removed(scene.jobs);
	loop_for(TD_MS(20), 1001);
	assert_int_equal(scene.told_count, TD_REMOVALS_MAX + 1);
	td_jobs_removed(scene.jobs);
	gone++;
	loop_for(TD_MS(50), 1001);
	assert_int_equal(scene.told_count, TD_REMOVALS_MAX + 2);
	usleep(250000);
	while (gone < 1000) {
		const unsigned places = ++gone + TD_REMOVALS_MAX;

		td_jobs_removed(scene.jobs);
		loop_for(TD_SECONDS(5), 1 + (places < 1000 ? places : 1000));
	}
	assert_int_equal(scene.told_count, 1001);
}

static void taken_back(void **state)
{
	struct job gate, first, second, third;

	(void)state;
	block(&gate);
	start(&first, 'a', TD_LANE_CREATE);
	start(&second, 'b', TD_LANE_CREATE);
	start(&third, 'c', TD_LANE_CREATE);
	assert_false(td_job_recall(scene.jobs, &second.job));
	unblock();
	assert_true(td_job_recall(scene.jobs, &gate.job)); /* it was running */
	expect("ac");
	assert_string_equal(scene.ran, "-ac");
	/* It ended, but nobody was told yet. */
	start(&second, 'B', TD_LANE_CREATE);
	usleep(50000);
	assert_true(td_job_recall(scene.jobs, &second.job));
	assert_false(td_job_recall(scene.jobs, &second.job));
	loop_for(TD_MS(20), 3);
	assert_string_equal(scene.told, "ac");
	start(&second, 'b', TD_LANE_CREATE);
	expect("acb");
}

/* What is queued when it ends has been taken back, or nobody minds. */
static void ends_with_jobs(void **state)
{
	const unsigned descriptors = entries("/proc/self/fd"), threads = entries("/proc/self/task");
	static struct job jobs[10];
	struct td_jobs *jobs_before = scene.jobs;

	(void)state;
	scene.jobs = td_jobs_new(&scene.loop);
	for (unsigned i = 0; i < 10; i++)
		start(&jobs[i], 'x', TD_LANE_CHANGE);
	loop_for(TD_MS(10), 1);
	assert_int_equal(scene.ran_count, 0); /* nobody runs them yet */
	td_jobs_free(scene.jobs);
	scene.jobs = td_jobs_new(&scene.loop);
	for (unsigned i = 0; i < 10; i++)
		start(&jobs[i], 'x', TD_LANE_CHANGE);
	assert_int_equal(td_jobs_run(scene.jobs, "td-second"), 0);
	td_jobs_free(scene.jobs);
	assert_int_equal(entries("/proc/self/fd"), descriptors);
	assert_int_equal(entries("/proc/self/task"), threads);
	scene.jobs = jobs_before;
}

static void look_at_itself(struct td_job *job)
{
	sigset_t blocked;

	pthread_sigmask(SIG_BLOCK, NULL, &blocked);
	((struct job *)job)->name =
		sigismember(&blocked, SIGTERM) && sigismember(&blocked, SIGCHLD) ? 'b' : 'u';
	pthread_getname_np(pthread_self(), scene.ran, 16);
}

static void signals_are_not_its(void **state)
{
	struct job job = { .job = { .run = look_at_itself, .done = done } };
	sigset_t blocked;

	(void)state;
	td_job_start(scene.jobs, &job.job);
	expect("b");
	assert_string_equal(scene.ran, "td-test");
	pthread_sigmask(SIG_BLOCK, NULL, &blocked);
	assert_false(sigismember(&blocked, SIGTERM));
}

/* A program without the thread. */
static void at_once(void **state)
{
	struct td_jobs *jobs = scene.jobs;
	struct job job;

	(void)state;
	scene.jobs = NULL;
	start(&job, 'a', TD_LANE_DESTROY);
	assert_string_equal(scene.told, "a");
	assert_true(pthread_equal(scene.runner, pthread_self()));
	assert_false(td_job_recall(NULL, &job.job));
	td_jobs_removed(NULL);
	td_jobs_free(NULL);
	scene.jobs = jobs;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lanes_in_order, open_scene, close_scene),
		cmocka_unit_test_setup_teardown(many, open_scene, close_scene),
		cmocka_unit_test_setup_teardown(removals_are_paced, open_scene, close_scene),
		cmocka_unit_test_setup_teardown(taken_back, open_scene, close_scene),
		cmocka_unit_test_setup_teardown(ends_with_jobs, open_scene, close_scene),
		cmocka_unit_test_setup_teardown(signals_are_not_its, open_scene, close_scene),
		cmocka_unit_test_setup_teardown(at_once, open_scene, close_scene),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
