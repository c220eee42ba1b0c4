/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/build.h"
#include "sys/entropy.h"

/* Up to 256 bytes neither call is cut short. */
int td_entropy_get(void *to, size_t size)
{
	ssize_t got;
	int fd;

	td_assert(size <= 256);
	if (TD_WITH_BROKER && getrandom(to, size, GRND_NONBLOCK) == (ssize_t)size)
		return 0;
	/* Too early, an old kernel, or no secret wanted: unlike getrandom(), the device never waits. */
	fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	got = read(fd, to, size);
	close(fd);
	return got == (ssize_t)size ? 0 : -EIO;
}
