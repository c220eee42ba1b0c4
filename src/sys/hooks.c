/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A job goes from the waiting to the running list, and to the lingering one if somebody still holds
 * the pipe of its output when its process has ended. There it is only a reader: closing the pipe
 * would kill, by SIGPIPE, the daemon that a hook has started. Few may linger; the oldest goes
 * first.
 *
 * posix_spawn() rather than fork(): it copies no page tables of a large parent, and reports the
 * failure of execve() as its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "sys/hooks.h"
#include "sys/log.h"

#define LINES_MAX     100
#define LINGERING_MAX 8
#define GRACE_US      TD_SECONDS(2)
#define DRAIN_READS   16 /* of a process that has ended: its pipe may hold 64 kB */

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

extern char **environ;

struct job {
	struct job *next;
	struct td_hooks *hooks;
	uint64_t token;
	struct td_child child;
	pid_t group;
	struct td_watch output; /* fd -1: closed */
	struct td_time start_by;
	struct td_time deadline;
	unsigned signals; /* sent at deadlines */
	unsigned lines;
	size_t line_len;
	char line[200];
	char *argv[TD_HOOK_ARGS + 2];
	char strings[];
};

struct list {
	struct job *first;
	unsigned count;
};

struct td_hooks {
	struct td_hooks_config config;
	struct list waiting, running, lingering;
};

static void append(struct list *list, struct job *job)
{
	struct job **end = &list->first;

	while (*end)
		end = &(*end)->next;
	*end = job;
	job->next = NULL;
	list->count++;
}

static void unlink_job(struct list *list, struct job *job)
{
	struct job **at = &list->first;

	while (*at != job)
		at = &(*at)->next;
	*at = job->next;
	list->count--;
}

static const char *base_name(const struct job *job)
{
	const char *slash = strrchr(job->argv[0], '/');

	return slash ? slash + 1 : job->argv[0];
}

static void log_line(struct job *job)
{
	if (job->lines < LINES_MAX)
		td_log(TD_LOG_INFO, "%s: %.*s", base_name(job), (int)job->line_len, job->line);
	else if (job->lines == LINES_MAX)
		td_log(TD_LOG_WARNING, "%s: further output dropped", base_name(job));
	if (job->lines <= LINES_MAX)
		job->lines++;
	job->line_len = 0;
}

/* Empty lines say nothing, and what does not fit into a line is cut. */
static void take_output(struct job *job, const char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (bytes[i] != '\n') {
			if (job->line_len < sizeof(job->line))
				job->line[job->line_len++] = bytes[i];
		} else if (job->line_len > 0) {
			log_line(job);
		}
	}
}

static void close_output(struct job *job)
{
	if (job->output.fd < 0)
		return;
	td_loop_del(job->hooks->config.loop, &job->output);
	close(job->output.fd);
	job->output.fd = -1;
	if (job->line_len > 0)
		log_line(job);
}

/* Is there more to read? Closes the output at its end. */
static bool read_output(struct job *job)
{
	char bytes[4096];
	ssize_t size = read(job->output.fd, bytes, sizeof(bytes));

	if (size > 0)
		take_output(job, bytes, (size_t)size);
	else if (size == 0 || (errno != EAGAIN && errno != EINTR))
		close_output(job);
	return size > 0;
}

static void free_job(struct list *list, struct job *job)
{
	unlink_job(list, job);
	close_output(job);
	free(job);
}

static void output_ready(struct td_watch *watch, uint32_t events)
{
	struct job *job = container_of(watch, struct job, output);

	(void)events;
	(void)read_output(job);
	if (job->output.fd < 0 && job->child.pid == 0)
		free_job(&job->hooks->lingering, job);
}

static int result_of(const struct job *job, int status)
{
	if (job->signals > 0)
		return -ETIME;
	if (status < 0)
		return -ECHILD;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void child_ended(struct td_child *child, int status)
{
	struct job *job = container_of(child, struct job, child);
	struct td_hooks *hooks = job->hooks;
	uint64_t token = job->token;
	int result = result_of(job, status);

	if (job->signals > 0) /* whoever of the group stood SIGTERM */
		kill(-job->group, SIGKILL);
	for (int i = 0; i < DRAIN_READS && job->output.fd >= 0; i++) {
		if (!read_output(job))
			break;
	}
	if (result > 0)
		td_log(TD_LOG_INFO, "%s: ended with status %d", base_name(job), result);
	unlink_job(&hooks->running, job);
	append(&hooks->lingering, job);
	if (job->output.fd < 0)
		free_job(&hooks->lingering, job);
	else if (hooks->lingering.count > LINGERING_MAX)
		free_job(&hooks->lingering, hooks->lingering.first);
	hooks->config.ended(hooks->config.ctx, token, result);
}

static int spawn(struct job *job, int output)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t all, none;
	int err;

	sigfillset(&all);
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF |
						POSIX_SPAWN_SETSIGMASK);
	err = posix_spawn_file_actions_init(&actions);
	if (err)
		goto out_attr;
	err = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	if (!err)
		err = posix_spawn_file_actions_adddup2(&actions, output, 1);
	if (!err)
		err = posix_spawn_file_actions_adddup2(&actions, output, 2);
	td_child_mark_descriptors();
	if (!err)
		err = posix_spawn(&job->group, job->argv[0], &actions, &attr, job->argv, environ);
	posix_spawn_file_actions_destroy(&actions);
out_attr:
	posix_spawnattr_destroy(&attr);
	return -err;
}

static int spawn_watched(struct job *job, int output)
{
	int err = spawn(job, output);

	if (err < 0)
		return err;
	job->child.ended = child_ended;
	err = td_child_watch(&job->child, job->hooks->config.loop, job->group);
	if (err < 0) {
		kill(-job->group, SIGKILL);
		waitpid(job->group, NULL, 0);
	}
	return err;
}

static int start(struct job *job)
{
	int ends[2];
	int err;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	job->output = (struct td_watch){ .fd = ends[0], .ready = output_ready };
	err = fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
	if (err == 0)
		err = td_loop_add(job->hooks->config.loop, &job->output, EPOLLIN);
	if (err == 0)
		err = spawn_watched(job, ends[1]);
	close(ends[1]);
	return err;
}

static const char *remedy(int err)
{
	switch (err) {
	case -ENOENT:
		return "there is no such file, or not the interpreter that its first line names";
	case -EACCES:
		return "make it executable (chmod +x)";
	case -ENOEXEC:
		return "its first line must name an interpreter, such as #!/bin/sh";
	default:
		return "check the system's limits of processes, files and memory";
	}
}

static void start_next(struct td_hooks *hooks, struct td_time now)
{
	struct job *job = hooks->waiting.first;
	uint64_t token = job->token;
	int err;

	if (td_time_reached(job->start_by, now)) {
		td_log(TD_LOG_WARNING, "%s is not run: its turn came too late", base_name(job));
		free_job(&hooks->waiting, job);
		hooks->config.ended(hooks->config.ctx, token, -ETIME);
		return;
	}
	unlink_job(&hooks->waiting, job);
	append(&hooks->running, job);
	job->deadline = td_time_add(now, hooks->config.limit_us);
	err = start(job);
	if (err == 0)
		return;
	td_log(TD_LOG_ERROR, "cannot run the hook %s (%s): %s", job->argv[0], strerror(-err),
	       remedy(err));
	free_job(&hooks->running, job);
	hooks->config.ended(hooks->config.ctx, token, err);
}

static void enforce_limit(struct job *job, struct td_time now)
{
	if (!td_time_reached(job->deadline, now))
		return;
	if (job->signals == 0)
		td_log(TD_LOG_WARNING, "%s: ran into the time limit of %u s", base_name(job),
		       (unsigned)(job->hooks->config.limit_us / TD_SECONDS(1)));
	kill(-job->group, job->signals++ == 0 ? SIGTERM : SIGKILL);
	job->deadline = td_time_add(now, GRACE_US);
}

int td_hooks_new(struct td_hooks **hooks, const struct td_hooks_config *config)
{
	td_assert(config->running_max > 0);
	*hooks = calloc(1, sizeof(**hooks));
	if (!*hooks)
		return -ENOMEM;
	(*hooks)->config = *config;
	return 0;
}

static void free_list(struct list *list)
{
	while (list->first) {
		struct job *job = list->first;

		if (job->child.pid > 0)
			kill(-job->group, SIGKILL);
		td_child_kill(&job->child);
		free_job(list, job);
	}
}

void td_hooks_free(struct td_hooks *hooks)
{
	if (!hooks)
		return;
	free_list(&hooks->running);
	free_list(&hooks->waiting);
	free_list(&hooks->lingering);
	free(hooks);
}

static char *store(char **at, const char *text)
{
	size_t size = strlen(text) + 1;
	char *stored = memcpy(*at, text, size);

	*at += size;
	return stored;
}

int td_hooks_run(struct td_hooks *hooks, const char *path, const char *const *args,
		 struct td_time start_by, uint64_t token)
{
	size_t size = strlen(path) + 1;
	size_t count = 0;
	struct job *job;
	char *at;

	if (hooks->waiting.count >= hooks->config.waiting_max)
		return -ENOBUFS;
	for (; args[count]; count++)
		size += strlen(args[count]) + 1;
	if (count > TD_HOOK_ARGS)
		return -E2BIG;
	job = calloc(1, sizeof(*job) + size);
	if (!job)
		return -ENOMEM;
	job->hooks = hooks;
	job->token = token;
	job->start_by = start_by;
	job->output.fd = -1;
	at = job->strings;
	job->argv[0] = store(&at, path);
	for (size_t i = 0; i < count; i++)
		job->argv[i + 1] = store(&at, args[i]);
	append(&hooks->waiting, job);
	return 0;
}

bool td_hooks_idle(const struct td_hooks *hooks)
{
	return !hooks->waiting.first && !hooks->running.first;
}

static bool can_start(const struct td_hooks *hooks)
{
	return hooks->waiting.first && hooks->running.count < hooks->config.running_max;
}

struct td_time td_hooks_deadline(const struct td_hooks *hooks)
{
	struct td_time deadline = TD_NEVER;

	if (can_start(hooks))
		return (struct td_time){ 0 };
	for (const struct job *job = hooks->running.first; job; job = job->next)
		deadline = td_time_min(deadline, job->deadline);
	return deadline;
}

void td_hooks_tick(struct td_hooks *hooks, struct td_time now)
{
	for (struct job *job = hooks->running.first; job; job = job->next)
		enforce_limit(job, now);
	while (can_start(hooks))
		start_next(hooks, now);
}
