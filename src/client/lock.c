/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "client/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int32_t read_holder(int fd)
{
	char text[12] = { 0 };

	return read(fd, text, sizeof(text) - 1) > 0 ? (int32_t)strtoul(text, NULL, 10) : 0;
}

/* A holder that ended may have removed the name between our open() and flock(). */
static bool still_named(int fd, const char *path)
{
	struct stat held, named;

	return fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_ino == named.st_ino &&
	       held.st_dev == named.st_dev;
}

static int take_once(const char *path, int32_t *holder)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);

	if (fd < 0)
		return -errno;
	int err = 0;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		err = errno == EWOULDBLOCK ? -EBUSY : -errno;
		*holder = read_holder(fd);
	} else if (!still_named(fd, path)) {
		err = -EAGAIN;
	}
	if (err < 0) {
		close(fd);
		return err;
	}
	return fd;
}

int td_lock_take(struct td_lock *lock, const char *dir, const char *name, int32_t *holder)
{
	struct stat netns = { 0 };
	int fd;

	lock->fd = -1;
	*holder = 0;
	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return -errno;
	(void)!stat("/proc/self/ns/net", &netns); /* without /proc there is one namespace: 0 */
	snprintf(lock->path, sizeof(lock->path), "%s/%lu %s", dir, (unsigned long)netns.st_ino,
		 name);
	for (char *c = lock->path + strlen(dir); *c != 0; c++)
		if (*c == ' ')
			*c = '-';
	do
		fd = take_once(lock->path, holder);
	while (fd == -EAGAIN);
	if (fd < 0)
		return fd;
	lock->fd = fd;
	/* Of one length always, so that nothing of an earlier holder's is left behind it. Should this
	 * fail, the lock is held all the same: only others cannot name its holder. */
	dprintf(fd, "%10d\n", (int)getpid());
	return 0;
}

void td_lock_release(struct td_lock *lock)
{
	if (lock->fd < 0)
		return;
	unlink(lock->path);
	close(lock->fd);
	lock->fd = -1;
}
