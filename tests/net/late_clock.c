/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * For LD_PRELOAD, in test_hostile_load.py: a monotonic clock that can be set forward. It is ahead by
 * as many seconds as the first number of the file LATE_CLOCK says, which is looked at each time.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const volatile int32_t *ahead_s;
static int (*real)(clockid_t, struct timespec *);

/* Early, because the worker may open and map no file. */
__attribute__((constructor)) static void open_file(void)
{
	const char *path = getenv("LATE_CLOCK");
	const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *map = fd >= 0 ? mmap(NULL, sizeof(*ahead_s), PROT_READ, MAP_SHARED, fd, 0) : NULL;

	*(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
	if (map && map != MAP_FAILED)
		ahead_s = map;
	if (fd >= 0)
		close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
	const int result = real(clock, time);

	if (result == 0 && clock == CLOCK_MONOTONIC && ahead_s)
		time->tv_sec += *ahead_s;
	return result;
}
