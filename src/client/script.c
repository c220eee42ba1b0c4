/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "client/script.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/log.h"

static void ended(struct td_child *child, int status)
{
	struct td_script_run *run = (struct td_script_run *)child;

	run->busy = false;
	if (WIFSIGNALED(status))
		td_log(TD_LOG_WARNING, "hook ended by signal %d", WTERMSIG(status));
	else if (WEXITSTATUS(status) != 0)
		td_log(TD_LOG_INFO, "hook ended with exit status %d", WEXITSTATUS(status));
}

_Noreturn static void become(const char *path, const char *event, const char *ifname)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	td_signals_reset();
	setpgid(0, 0);
	if (null >= 0)
		dup2(null, STDIN_FILENO);
	execl(path, path, event, ifname, (char *)NULL);
	td_log(TD_LOG_ERROR, "hook %s cannot be executed: %s", path, strerror(errno));
	_exit(127);
}

void td_script_start(struct td_script *script, const char *event, const char *ifname)
{
	struct td_script_run *run = script->runs;
	const struct td_script_run *end = run + TD_SCRIPT_RUNNING_MAX;

	while (run < end && run->busy)
		run++;
	if (run == end) {
		td_log(TD_LOG_ERROR, "hook %s not started: %d of them hang", event,
		       TD_SCRIPT_RUNNING_MAX);
		return;
	}
	pid_t pid = fork();
	if (pid == 0)
		become(script->path, event, ifname);
	run->child.ended = ended;
	int err = pid < 0 ? -errno : td_child_watch(&run->child, script->loop, pid);
	run->busy = err == 0;
	if (err < 0)
		td_log(TD_LOG_ERROR, "hook %s: %s", event, strerror(-err));
}
