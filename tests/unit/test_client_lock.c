/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The locks that keep two clients from using one interface or one tunnel id. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/lock.h"

static char dir[] = "/tmp/td-lock-XXXXXX";
static char path[64];
static int fd = -1;

static int begin(void **state)
{
	(void)state;
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/lock", dir);
	fd = td_lock_open(path);
	return fd < 0 ? -1 : 0;
}

static int end(void **state)
{
	(void)state;
	close(fd);
	unlink(path);
	return rmdir(dir);
}

/* A child that takes the lock and waits to be killed; its id once it has the lock. */
static pid_t start_holder(const char *what)
{
	int ready[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int32_t holder;
		int own = td_lock_open(path);

		alarm(20);
		if (own >= 0 && td_lock_take(own, what, &holder) == 0 &&
		    write(ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void end_holder(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* What a process of its own gets. */
static int try_elsewhere(const char *what, bool other_namespace)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		int32_t holder;
		int own = td_lock_open(path);

		if (other_namespace && unshare(CLONE_NEWNET) < 0)
			_exit(255);
		_exit(own < 0 ? 254 : -td_lock_take(own, what, &holder));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void the_holder_is_named_and_kill_9_frees_the_lock(void **state)
{
	int32_t holder = 0;
	pid_t pid = start_holder("interface l2tp0");

	(void)state;
	assert_int_equal(td_lock_take(fd, "interface l2tp0", &holder), -EAGAIN);
	assert_int_equal(holder, pid);
	end_holder(pid);
	assert_int_equal(td_lock_take(fd, "interface l2tp0", &holder), 0);
	assert_int_equal(try_elsewhere("interface l2tp0", false), EAGAIN);
}

static void each_name_has_a_lock_of_its_own(void **state)
{
	int32_t holder = 0;
	char what[32];

	(void)state;
	for (int i = 0; i < 500; i++) {
		snprintf(what, sizeof(what), "tunnel id %d", i);
		assert_int_equal(try_elsewhere(what, false), 0);
		assert_int_equal(td_lock_take(fd, what, &holder), 0);
	}
	assert_int_equal(try_elsewhere("tunnel id 7", false), EAGAIN);
	assert_int_equal(try_elsewhere("interface 7", false), 0);
}

static void another_network_namespace_has_locks_of_its_own(void **state)
{
	int32_t holder;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(td_lock_take(fd, "interface l2tp1", &holder), 0);
	assert_int_equal(try_elsewhere("interface l2tp1", false), EAGAIN);
	assert_int_equal(try_elsewhere("interface l2tp1", true), 0);
}

static void what_is_executed_does_not_inherit_them(void **state)
{
	(void)state;
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void a_file_that_cannot_be_is_an_error(void **state)
{
	char link[64], victim[64];
	struct stat there;

	(void)state;
	assert_int_equal(td_lock_open("/nonexistent/lock"), -ENOENT);
	snprintf(link, sizeof(link), "%s/link", dir);
	snprintf(victim, sizeof(victim), "%s/victim", dir);
	assert_int_equal(symlink(victim, link), 0);
	assert_int_equal(td_lock_open(link), -ELOOP);
	assert_int_equal(stat(victim, &there), -1);
	assert_int_equal(unlink(link), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_holder_is_named_and_kill_9_frees_the_lock),
		cmocka_unit_test(each_name_has_a_lock_of_its_own),
		cmocka_unit_test(another_network_namespace_has_locks_of_its_own),
		cmocka_unit_test(what_is_executed_does_not_inherit_them),
		cmocka_unit_test(a_file_that_cannot_be_is_an_error),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
