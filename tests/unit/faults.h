/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* For tests of programming faults: does this function end the program by td_assert()? */
#ifndef TD_TESTS_FAULTS_H
#define TD_TESTS_FAULTS_H

#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static inline bool faults(void (*function)(void))
{
	char said[256] = "";
	int status = 0, report[2];
	pid_t pid;

	if (pipe(report) < 0)
		return false;
	pid = fork();
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		signal(SIGABRT, SIG_DFL);
		dup2(report[1], STDERR_FILENO);
		function();
		_exit(0);
	}
	close(report[1]);
	/* What a sanitizer has to say does not count as an assertion. */
	if (read(report[0], said, sizeof(said) - 1) < 0)
		said[0] = '\0';
	close(report[0]);
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
	       WTERMSIG(status) == SIGABRT && strstr(said, "assertion failed") != NULL;
}

#endif
