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
	(void)child;
	if (status != 0)
		td_log(TD_LOG_INFO, "hook ended with %s %d",
		       WIFSIGNALED(status) ? "signal" : "exit status",
		       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

_Noreturn static void become(const char *path, const char *event, const char *ifname)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	td_signals_reset();
	setpgid(0, 0);
	if (null >= 0)
		dup2(null, STDIN_FILENO);
	td_child_mark_descriptors();
	execl(path, path, event, ifname, (char *)NULL);
	td_log(TD_LOG_ERROR, "hook %s cannot be executed: %s", path, strerror(errno));
	_exit(127);
}

void td_script_start(struct td_script *script, const char *event, const char *ifname)
{
	struct td_child *child = script->running;
	const struct td_child *end = child + TD_SCRIPT_RUNNING_MAX;

	while (child < end && child->pid != 0)
		child++;
	if (child == end) {
		td_log(TD_LOG_ERROR, "hook %s not started: others hang", event);
		return;
	}
	pid_t pid = fork();
	if (pid == 0)
		become(script->path, event, ifname);
	child->ended = ended;
	int err = pid < 0 ? -errno : td_child_watch(child, script->loop, pid);
	if (err < 0)
		td_log(TD_LOG_ERROR, "hook %s: %s", event, strerror(-err));
}
