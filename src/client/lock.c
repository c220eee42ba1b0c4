/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "client/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int make_path(struct td_lock *lock, const char *dir, const char *name)
{
	struct stat netns = { 0 };

	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return -errno;
	/* Without /proc all are in one namespace, 0. */
	(void)!fstatat(AT_FDCWD, "/proc/self/ns/net", &netns, 0);
	int len = snprintf(lock->path, sizeof(lock->path), "%s/%lu %s", dir,
			   (unsigned long)netns.st_ino, name);
	if (len < 0 || (size_t)len >= sizeof(lock->path))
		return -ENAMETOOLONG;
	for (char *c = lock->path + strlen(dir); *c != 0; c++)
		if (*c == ' ')
			*c = '-';
	return 0;
}

/* -EAGAIN: a holder that ended has removed the name since we opened it. */
static int take_open(int fd, int32_t *holder)
{
	struct flock range = { .l_type = F_WRLCK };
	struct stat file;

	if (fcntl(fd, F_SETLK, &range) < 0) {
		fcntl(fd, F_GETLK, &range);
		*holder = range.l_pid;
		return -EBUSY;
	}
	return fstatat(fd, "", &file, AT_EMPTY_PATH) == 0 && file.st_nlink == 0 ? -EAGAIN : 0;
}

int td_lock_take(struct td_lock *lock, const char *dir, const char *name, int32_t *holder)
{
	int err = make_path(lock, dir, name);

	lock->fd = -1;
	if (err < 0)
		return err;
	do {
		lock->fd = open(lock->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
		if (lock->fd < 0)
			return -errno;
		err = take_open(lock->fd, holder);
		if (err < 0) {
			close(lock->fd);
			lock->fd = -1;
		}
	} while (err == -EAGAIN);
	return err;
}

void td_lock_release(struct td_lock *lock)
{
	if (lock->fd < 0)
		return;
	unlink(lock->path);
	close(lock->fd);
	lock->fd = -1;
}
