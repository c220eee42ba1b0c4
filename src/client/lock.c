/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "client/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

int td_lock_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd < 0 ? -errno : fd;
}

/* FNV-1a, begun with the namespace; without /proc all are in one. */
static int64_t place_of(const char *what)
{
	struct stat netns = { 0 };
	uint64_t hash = 0xcbf29ce484222325;

	(void)!stat("/proc/self/ns/net", &netns);
	hash ^= netns.st_ino;
	for (; *what != 0; what++)
		hash = (hash ^ (uint8_t)*what) * 0x100000001b3;
	return (int64_t)(hash >> 2); /* a place that every file may have */
}

int td_lock_take(int fd, const char *what, int32_t *holder)
{
	struct flock byte = { .l_type = F_WRLCK, .l_start = place_of(what), .l_len = 1 };
	int err;

	if (fcntl(fd, F_SETLK, &byte) == 0)
		return 0;
	err = errno == EACCES ? EAGAIN : errno;
	*holder = fcntl(fd, F_GETLK, &byte) == 0 ? byte.l_pid : 0;
	return -err;
}
