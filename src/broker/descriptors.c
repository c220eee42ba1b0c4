/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A fork copies all: those by which the parent hears of signals and children, the output of hooks, and
 * what the parent itself has inherited without knowing of it.
 */
#include "broker/descriptors.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FIRST (STDERR_FILENO + 1)

/* Those from first to last. */
static void close_all(int first, int last)
{
	struct rlimit limit;

	if (first > last)
		return;
#ifdef SYS_close_range
	if (syscall(SYS_close_range, (unsigned)first, (unsigned)last, 0U) == 0)
		return;
#endif
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && (rlim_t)last > limit.rlim_cur)
		last = (int)limit.rlim_cur;
	for (int fd = first; fd <= last; fd++)
		close(fd);
}

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b; /* none is negative */
}

static size_t collect(int *fds, const struct td_worker_setup *setup)
{
	size_t count = 0;

	fds[count++] = setup->ipc_fd;
	fds[count++] = setup->tun_fd;
	if (setup->rewrite_fd >= 0)
		fds[count++] = setup->rewrite_fd;
	for (uint32_t i = 0; i < setup->listeners->count; i++)
		fds[count++] = setup->listeners->udp[i].fd;
	for (uint32_t i = 0; i < setup->options->max_tunnels; i++)
		if (setup->kept[i].fd >= 0)
			fds[count++] = setup->kept[i].fd;
	return count;
}

int td_descriptors_drop(const struct td_worker_setup *setup)
{
	const size_t room = 3 + setup->listeners->count + setup->options->max_tunnels;
	int *fds = malloc(room * sizeof(*fds));
	int next = FIRST;
	size_t count;

	if (!fds)
		return -ENOMEM;
	count = collect(fds, setup);
	qsort(fds, count, sizeof(*fds), compare);
	for (size_t i = 0; i < count; i++) {
		close_all(next, fds[i] - 1);
		if (fds[i] >= next)
			next = fds[i] + 1;
	}
	close_all(next, INT_MAX);
	free(fds);
	return 0;
}
