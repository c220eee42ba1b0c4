/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * For LD_PRELOAD, in test_kernel_life.py: a kernel that takes its time. The first request to make a
 * session that a tunnel is to have is held back for longer than the broker waits for a tunnel.
 */
#include <dlfcn.h>
#include <linux/genetlink.h>
#include <linux/l2tp.h>
#include <linux/netlink.h>
#include <poll.h>
#include <unistd.h>

#define DELAY_MS 17000

/* The thread that speaks to the kernel, not the loop. */
static int in_thread(void)
{
	return gettid() != getpid();
}

ssize_t write(int fd, const void *data, size_t size)
{
	static int waited;
	ssize_t (*real)(int, const void *, size_t);
	const struct nlmsghdr *nlh = data;
	const struct genlmsghdr *genl = NLMSG_DATA(nlh);

	*(void **)&real = dlsym(RTLD_NEXT, "write");
	if (!waited && size >= NLMSG_HDRLEN + GENL_HDRLEN && nlh->nlmsg_type > NLMSG_MIN_TYPE &&
	    genl->cmd == L2TP_CMD_SESSION_CREATE && genl->version == L2TP_GENL_VERSION &&
	    in_thread()) {
		waited = 1;
		poll(NULL, 0, DELAY_MS); /* which its sandbox lets it do */
	}
	return real(fd, data, size);
}
