/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * For LD_PRELOAD, in test_kernel_life.py: a kernel that takes its time. The first request to make a
 * session that a tunnel is to have is held back for longer than the broker waits for a tunnel.
 */
#include <dlfcn.h>
#include <linux/genetlink.h>
#include <linux/l2tp.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#define DELAY_S 17

/* Without a system call that the sandbox does not know. */
static void wait_long(void)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t never = PTHREAD_COND_INITIALIZER;
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += DELAY_S;
	pthread_mutex_lock(&mutex);
	while (pthread_cond_timedwait(&never, &mutex, &end) == 0)
		;
	pthread_mutex_unlock(&mutex);
}

static int in_kernel_thread(void)
{
	char name[16] = "";

	prctl(PR_GET_NAME, name);
	return strcmp(name, "td-kernel") == 0;
}

ssize_t sendto(int fd, const void *data, size_t size, int flags, __CONST_SOCKADDR_ARG to,
	       socklen_t to_size)
{
	static int waited;
	ssize_t (*real)(int, const void *, size_t, int, __CONST_SOCKADDR_ARG, socklen_t);
	const struct nlmsghdr *nlh = data;
	const struct genlmsghdr *genl = NLMSG_DATA(nlh);

	*(void **)&real = dlsym(RTLD_NEXT, "sendto");
	if (!waited && size >= NLMSG_HDRLEN + GENL_HDRLEN && nlh->nlmsg_type > NLMSG_MIN_TYPE &&
	    genl->cmd == L2TP_CMD_SESSION_CREATE && genl->version == L2TP_GENL_VERSION &&
	    in_kernel_thread()) {
		waited = 1;
		wait_long();
	}
	return real(fd, data, size, flags, to, to_size);
}
