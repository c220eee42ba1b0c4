/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The worker's system calls: its own work goes on, anything else ends the process. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/sandbox.h"
#include "sys/loop.h"

/* Runs what in a confined child; how the child ended. */
static int confined(void (*what)(void))
{
	const struct rlimit no_core = { 0, 0 };
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (td_sandbox_enter() != 0)
			_exit(99);
		what();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void work(void)
{
	struct td_loop loop;
	void *memory = malloc(1 << 20);
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (!memory || fd < 0 || write(fd, "x", 1) != 1 || td_loop_init(&loop, NULL, NULL) != 0 ||
	    socket(AF_INET, SOCK_DGRAM, 0) < 0)
		_exit(1);
	td_loop_fini(&loop);
	free(memory);
}

static void execute(void)
{
	execl("/bin/true", "true", (char *)NULL);
}

static void trace(void)
{
	syscall(SYS_process_vm_writev, 1, NULL, 0, NULL, 0, 0);
}

static void load_module(void)
{
	syscall(SYS_init_module, NULL, 0, "");
}

static void assert_killed(void (*what)(void))
{
	const int status = confined(what);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void test_work_goes_on(void **state)
{
	const int status = confined(work);

	(void)state;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_anything_else_is_the_end(void **state)
{
	(void)state;
	assert_killed(execute);
	assert_killed(trace);
	assert_killed(load_module);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_work_goes_on),
		cmocka_unit_test(test_anything_else_is_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
