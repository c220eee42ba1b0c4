/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * For LD_PRELOAD, in test_flood.py: what an unlucky broker meets, and what a careless one loses.
 *
 * Between bind() and connect() a tunnel's socket takes datagrams that were meant for the listener.
 * Here that lasts some milliseconds longer, as if the broker had been interrupted just there. And with
 * NO_DRAIN in the environment, what such a socket got from others than its peer becomes senseless,
 * as if nobody looked at it.
 */
#include <dlfcn.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define WINDOW_MS 5

/* Its own declaration of the peer is a union, with attributes that must be the same here. */
int connect(int fd, __CONST_SOCKADDR_ARG peer, socklen_t size)
{
	int (*real)(int, __CONST_SOCKADDR_ARG, socklen_t);

	*(void **)&real = dlsym(RTLD_NEXT, "connect");
	poll(NULL, 0, WINDOW_MS); /* which the worker's sandbox lets it do, unlike sleeping */
	return real(fd, peer, size);
}

/* Family, port and IPv4 address. */
static int is_peer(const struct msghdr *message, const struct sockaddr_storage *peer)
{
	return memcmp(message->msg_name, peer, 8) == 0;
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
	int (*real)(int, struct mmsghdr *, unsigned, int, struct timespec *);
	struct sockaddr_storage peer;
	socklen_t size = sizeof(peer);
	int n;

	*(void **)&real = dlsym(RTLD_NEXT, "recvmmsg");
	n = real(fd, messages, count, flags, timeout);
	if (!getenv("NO_DRAIN") || getpeername(fd, (struct sockaddr *)&peer, &size) != 0)
		return n;
	for (int i = 0; i < n; i++)
		if (!is_peer(&messages[i].msg_hdr, &peer))
			memset(messages[i].msg_hdr.msg_iov[0].iov_base, 0xff, messages[i].msg_len);
	return n;
}
