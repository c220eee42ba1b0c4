/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The child writes all addresses at once, fewer bytes than any pipe takes, and exits. So nobody
 * waits for the pipe: once the child has ended, everything that it had to say is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "sys/caps.h"
#include "sys/resolver.h"
#include "sys/udp.h"

struct answer {
	struct td_addr addrs[TD_RESOLVER_ADDRESSES];
	unsigned count;
};

static void add_address(struct answer *answer, const struct sockaddr *sa)
{
	struct td_addr addr;

	td_addr_from_sockaddr(&addr, sa);
	if (addr.family == TD_FAMILY_NONE || addr.port == 0)
		return;
	for (unsigned i = 0; i < answer->count; i++) {
		if (td_addr_equal(&answer->addrs[i], &addr))
			return;
	}
	if (answer->count < TD_RESOLVER_ADDRESSES)
		answer->addrs[answer->count++] = addr;
}

static void look_up(struct answer *answer, const char *host, const char *service, int flags)
{
	const struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_DGRAM,
		.ai_flags = flags,
	};
	struct addrinfo *list = NULL;

	answer->count = 0;
	if (getaddrinfo(host, service, &hints, &list) != 0)
		return;
	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
		add_address(answer, ai->ai_addr);
	freeaddrinfo(list);
}

static void close_from(int first)
{
#ifdef SYS_close_range
	if (syscall(SYS_close_range, (unsigned)first, ~0U, 0U) == 0)
		return;
#endif
	for (int fd = first; fd < 1024; fd++)
		close(fd);
}

_Noreturn static void run_child(int output, const char *host, const char *service)
{
	struct answer answer;
	ssize_t written;

	td_signals_reset();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (output != 3 && dup2(output, 3) < 0)
		_exit(1);
	close_from(4);
	/* It parses what servers answer, for which nobody needs any. */
	if (td_caps_limit(0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		_exit(1);
	look_up(&answer, host, service, 0);
	written = write(3, answer.addrs, answer.count * sizeof(answer.addrs[0]));
	_exit(written < 0);
}

static void finish(struct td_resolve *resolve, const struct td_addr *addrs, unsigned count)
{
	resolve->deadline = TD_NEVER;
	close(resolve->answer);
	resolve->resolved(resolve, addrs, count);
}

static void child_ended(struct td_child *child, int status)
{
	struct td_resolve *resolve = (void *)((char *)child - offsetof(struct td_resolve, child));
	struct answer answer = { .count = 0 };
	ssize_t size = read(resolve->answer, answer.addrs, sizeof(answer.addrs));

	if (status == 0 && size > 0)
		answer.count = (unsigned)((size_t)size / sizeof(answer.addrs[0]));
	finish(resolve, answer.addrs, answer.count);
}

static int start_child(struct td_resolve *resolve, const char *host, const char *service)
{
	int ends[2];
	pid_t pid;
	int err;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		run_child(ends[1], host, service);
	err = pid < 0 ? -errno : 0;
	close(ends[1]);
	resolve->answer = ends[0];
	resolve->child.ended = child_ended;
	if (err == 0) {
		err = td_child_watch(&resolve->child, resolve->loop, pid);
		if (err < 0) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
		}
	}
	if (err < 0)
		close(ends[0]);
	return err;
}

void td_resolve_start(struct td_resolve *resolve, const char *host, const char *service,
		      int64_t limit_us)
{
	struct answer answer;

	td_assert(resolve->child.pid == 0);
	resolve->deadline = TD_NEVER;
	look_up(&answer, host, service, AI_NUMERICHOST | AI_NUMERICSERV);
	if (answer.count == 0 && start_child(resolve, host, service) == 0)
		resolve->deadline = td_time_add(resolve->loop->now, limit_us);
	else
		resolve->resolved(resolve, answer.addrs, answer.count);
}

void td_resolve_stop(struct td_resolve *resolve)
{
	if (resolve->child.pid == 0)
		return;
	td_child_kill(&resolve->child);
	close(resolve->answer);
	resolve->deadline = TD_NEVER;
}

struct td_time td_resolve_deadline(const struct td_resolve *resolve)
{
	return resolve->child.pid == 0 ? TD_NEVER : resolve->deadline;
}

void td_resolve_tick(struct td_resolve *resolve, struct td_time now)
{
	if (!td_time_reached(td_resolve_deadline(resolve), now))
		return;
	td_child_kill(&resolve->child);
	finish(resolve, NULL, 0);
}

static bool port_possible(const char *service)
{
	char *end;
	unsigned long port = strtoul(service, &end, 10);

	if (*end != '\0')
		return true; /* perhaps a name */
	return port >= 1 && port <= 65535;
}

int td_split_host_port(char *text, char **host, char **service)
{
	char *colon = text + strlen(text);
	size_t size;

	while (colon > text && *colon != ':')
		colon--;
	if (colon == text || !port_possible(colon + 1))
		return -EINVAL;
	*service = colon + 1;
	*host = text;
	size = (size_t)(colon - text);
	if (text[0] == '[') {
		if (size < 3 || text[size - 1] != ']')
			return -EINVAL;
		(*host)++;
		colon--;
	}
	*colon = '\0';
	return 0;
}
