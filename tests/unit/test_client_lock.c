/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The locks that keep two clients from using one interface or one tunnel id. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/lock.h"

static char base[] = "/tmp/td-lock-XXXXXX";
static char dir[64];

static int make_base(void **state)
{
	(void)state;
	if (mkdtemp(base) == NULL)
		return -1;
	snprintf(dir, sizeof(dir), "%s/locks", base);
	return 0;
}

static int remove_base(void **state)
{
	(void)state;
	rmdir(dir);
	return rmdir(base);
}

static int files(void)
{
	DIR *d = opendir(dir);
	int count = 0;

	assert_non_null(d);
	for (const struct dirent *e; (e = readdir(d)) != NULL;)
		count += e->d_name[0] != '.';
	closedir(d);
	return count;
}

/* A child that takes the lock and waits to be killed; its id once it has the lock. */
static pid_t start_holder(const char *name)
{
	int ready[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct td_lock lock;
		int32_t holder;

		alarm(20);
		if (td_lock_take(&lock, dir, name, &holder) == 0 && write(ready[1], "x", 1) == 1)
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

static void the_holder_is_named_and_kill_9_frees_the_lock(void **state)
{
	struct td_lock lock;
	int32_t holder = 0;
	pid_t pid = start_holder("interface l2tp0");

	(void)state;
	assert_int_equal(td_lock_take(&lock, dir, "interface l2tp0", &holder), -EBUSY);
	assert_int_equal(holder, pid);
	assert_int_equal(lock.fd, -1);
	td_lock_release(&lock); /* nothing was taken, nothing is given back */
	assert_int_equal(files(), 1);
	assert_int_equal(td_lock_take(&lock, dir, "interface l2tp0", &holder), -EBUSY);
	end_holder(pid);
	assert_int_equal(files(), 1); /* left behind, and locks nothing */
	assert_int_equal(td_lock_take(&lock, dir, "interface l2tp0", &holder), 0);
	td_lock_release(&lock);
	assert_int_equal(files(), 0);
}

static void other_names_are_other_locks(void **state)
{
	static const char *const names[] = { "interface 7", "interface 8", "tunnel id 7" };
	pid_t pids[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		pids[i] = start_holder(names[i]);
	for (int i = 0; i < 3; i++)
		end_holder(pids[i]);
	for (int i = 0; i < 3; i++) {
		struct td_lock lock;
		int32_t holder;

		assert_int_equal(td_lock_take(&lock, dir, names[i], &holder), 0);
		td_lock_release(&lock);
	}
	assert_int_equal(files(), 0);
}

static void what_is_executed_does_not_inherit_it(void **state)
{
	struct td_lock lock;
	int32_t holder;

	(void)state;
	assert_int_equal(td_lock_take(&lock, dir, "interface l2tp0", &holder), 0);
	assert_true(fcntl(lock.fd, F_GETFD) & FD_CLOEXEC);
	td_lock_release(&lock);
}

static void a_link_in_its_place_is_not_followed(void **state)
{
	struct td_lock lock;
	struct stat there;
	int32_t holder;
	char victim[80];

	(void)state;
	assert_int_equal(td_lock_take(&lock, dir, "interface l2tp0", &holder), 0);
	td_lock_release(&lock);
	snprintf(victim, sizeof(victim), "%s/victim", base);
	assert_int_equal(symlink(victim, lock.path), 0);
	assert_int_equal(td_lock_take(&lock, dir, "interface l2tp0", &holder), -ELOOP);
	assert_int_equal(stat(victim, &there), -1);
	assert_int_equal(unlink(lock.path), 0);
}

static void a_path_that_does_not_fit_is_an_error(void **state)
{
	struct td_lock lock;
	int32_t holder;
	char name[100];

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	assert_int_equal(td_lock_take(&lock, dir, name, &holder), -ENAMETOOLONG);
}

static void a_directory_that_cannot_be_is_an_error(void **state)
{
	struct td_lock lock;
	int32_t holder;

	(void)state;
	assert_int_equal(td_lock_take(&lock, "/nonexistent/locks", "interface l2tp0", &holder),
			 -ENOENT);
	assert_int_equal(lock.fd, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_holder_is_named_and_kill_9_frees_the_lock),
		cmocka_unit_test(other_names_are_other_locks),
		cmocka_unit_test(what_is_executed_does_not_inherit_it),
		cmocka_unit_test(a_link_in_its_place_is_not_followed),
		cmocka_unit_test(a_path_that_does_not_fit_is_an_error),
		cmocka_unit_test(a_directory_that_cannot_be_is_an_error),
	};

	return cmocka_run_group_tests(tests, make_base, remove_base);
}
