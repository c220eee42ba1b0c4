/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sys/loop.h"

static struct td_loop loop;
static struct td_time end_at;
static unsigned prepares;

static struct td_time prepare(void *ctx, struct td_time now)
{
	(void)ctx;
	prepares++;
	if (td_time_reached(end_at, now))
		td_loop_stop(&loop);
	return end_at;
}

static int set_up(void **state)
{
	(void)state;
	prepares = 0;
	end_at = td_time_add(td_now(), TD_SECONDS(10));
	return td_loop_init(&loop, prepare, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	td_loop_fini(&loop);
	return 0;
}

struct counter {
	struct td_watch watch;
	unsigned calls;
	struct counter *victim; /* deleted and freed by the callback */
};

static void count(struct td_watch *watch, uint32_t events)
{
	struct counter *c = (struct counter *)watch;

	assert_true(events & EPOLLIN);
	c->calls++;
}

static struct counter *new_counter(void (*ready)(struct td_watch *, uint32_t))
{
	struct counter *c = calloc(1, sizeof(*c));

	c->watch.fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
	c->watch.ready = ready;
	assert_int_equal(td_loop_add(&loop, &c->watch, EPOLLIN), 0);
	return c;
}

static void free_counter(struct counter *c)
{
	td_loop_del(&loop, &c->watch);
	close(c->watch.fd);
	free(c);
}

static void delete_other(struct td_watch *watch, uint32_t events)
{
	struct counter *c = (struct counter *)watch;

	(void)events;
	c->calls++;
	if (c->victim) {
		c->victim->victim = NULL;
		free_counter(c->victim);
	}
	c->victim = NULL;
	td_loop_stop(&loop);
}

/* Both are ready in one batch; whichever comes first frees the other (ASan sees a late event). */
static void test_delete_in_batch(void **state)
{
	struct counter *a = new_counter(delete_other), *b = new_counter(delete_other);
	struct counter *left;

	(void)state;
	a->victim = b;
	b->victim = a;
	left = a; /* epoll delivers in the order of readiness: a is first */
	assert_int_equal(td_loop_run(&loop), 0);
	assert_int_equal(left->calls, 1);
	free_counter(left);
}

static void delete_itself(struct td_watch *watch, uint32_t events)
{
	(void)events;
	td_loop_del(&loop, watch);
	close(watch->fd);
	free(watch);
	end_at = td_time_add(loop.now, TD_MS(20));
}

static void test_delete_itself(void **state)
{
	(void)state;
	new_counter(delete_itself);
	assert_int_equal(td_loop_run(&loop), 0);
}

static struct counter *added;

static void add_another(struct td_watch *watch, uint32_t events)
{
	(void)events;
	td_loop_del(&loop, watch);
	added = new_counter(count);
	end_at = td_time_add(loop.now, TD_MS(20));
}

static void test_add_in_callback(void **state)
{
	struct counter *a = new_counter(add_another);

	(void)state;
	assert_int_equal(td_loop_run(&loop), 0);
	assert_true(added->calls >= 1);
	free_counter(added);
	free_counter(a);
}

static void mute(struct td_watch *watch, uint32_t events)
{
	count(watch, events);
	assert_int_equal(td_loop_change(&loop, watch, 0), 0);
	end_at = td_time_add(loop.now, TD_MS(20));
}

static void test_change_to_nothing(void **state)
{
	struct counter *c = new_counter(mute);

	(void)state;
	assert_int_equal(td_loop_run(&loop), 0);
	assert_int_equal(c->calls, 1);
	free_counter(c);
}

static void test_deadline_does_not_spin(void **state)
{
	struct td_time started = td_now();

	(void)state;
	end_at = td_time_add(started, TD_MS(50) + 300);
	assert_int_equal(td_loop_run(&loop), 0);
	assert_true(td_time_since(td_now(), started) >= TD_MS(50) + 300);
	assert_true(prepares <= 3);
}

static void stop_now(struct td_watch *watch, uint32_t events)
{
	(void)watch, (void)events;
	td_loop_stop(&loop);
}

static void test_never_waits_for_events(void **state)
{
	struct counter *c = new_counter(stop_now);

	(void)state;
	end_at = TD_NEVER;
	assert_int_equal(td_loop_run(&loop), 0);
	assert_int_equal(prepares, 1);
	free_counter(c);
}

static void test_many_watches(void **state)
{
	struct counter *c[100];

	(void)state;
	for (int i = 0; i < 100; i++)
		c[i] = new_counter(count);
	end_at = td_time_add(td_now(), TD_MS(5));
	assert_int_equal(td_loop_run(&loop), 0);
	for (int i = 0; i < 100; i++) {
		assert_true(c[i]->calls >= 1);
		free_counter(c[i]);
	}
}

static int last_signal;

static void received(struct td_signals *signals, int signo)
{
	(void)signals;
	last_signal = signo;
	td_loop_stop(&loop);
}

static void test_signals(void **state)
{
	struct td_signals signals = { .received = received };

	(void)state;
	assert_int_equal(td_signals_init(&signals, &loop, (const int[]){ SIGUSR1, SIGTERM, 0 }), 0);
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGTERM);
	assert_int_equal(td_loop_run(&loop), 0);
	assert_int_equal(last_signal, SIGUSR1);
	assert_int_equal(td_loop_run(&loop), 0);
	assert_int_equal(last_signal, SIGTERM);
	td_signals_fini(&signals, &loop);
}

static void test_signals_reset_in_child(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	pid = fork(); /* SIGTERM is still blocked by the test before */
	if (pid == 0) {
		td_signals_reset();
		raise(SIGTERM);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

static int last_status;

static void child_ended(struct td_child *child, int status)
{
	assert_int_equal(child->pid, 0);
	last_status = status;
	td_loop_stop(&loop);
}

static void test_child(void **state)
{
	struct td_child child = { .ended = child_ended };
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(7);
	assert_int_equal(td_child_watch(&child, &loop, pid), 0);
	assert_int_equal(td_loop_run(&loop), 0);
	assert_true(WIFEXITED(last_status) && WEXITSTATUS(last_status) == 7);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), -1); /* reaped */
}

static void test_child_kill(void **state)
{
	struct td_child child = { .ended = child_ended };
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		pause();
		_exit(0);
	}
	last_status = -2;
	assert_int_equal(td_child_watch(&child, &loop, pid), 0);
	td_child_kill(&child);
	td_child_kill(&child);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
	end_at = td_time_add(td_now(), TD_MS(20));
	assert_int_equal(td_loop_run(&loop), 0);
	assert_int_equal(last_status, -2);
}

static void test_child_unknown(void **state)
{
	struct td_child child = { .ended = child_ended };

	(void)state;
	assert_true(td_child_watch(&child, &loop, 0x7ffffff0) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_delete_in_batch, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_delete_itself, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_add_in_callback, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_change_to_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_deadline_does_not_spin, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_never_waits_for_events, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_many_watches, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_signals, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_signals_reset_in_child, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_child, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_child_kill, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_child_unknown, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
