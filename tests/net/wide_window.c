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

/* Makes what fd got from that sender senseless, if that is not its peer by family, port and IPv4
 * address. */
static void spoil(int fd, const void *sender, void *bytes, size_t size)
{
	struct sockaddr_storage peer;
	socklen_t peer_size = sizeof(peer);

	if (getenv("NO_DRAIN") && getpeername(fd, (struct sockaddr *)&peer, &peer_size) == 0 &&
	    memcmp(sender, &peer, 8) != 0)
		memset(bytes, 0xff, size);
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
	int (*real)(int, struct mmsghdr *, unsigned, int, struct timespec *);
	int n;

	*(void **)&real = dlsym(RTLD_NEXT, "recvmmsg");
	n = real(fd, messages, count, flags, timeout);
	for (int i = 0; i < n; i++)
		spoil(fd, messages[i].msg_hdr.msg_name, messages[i].msg_hdr.msg_iov[0].iov_base,
		      messages[i].msg_len);
	return n;
}

ssize_t recvfrom(int fd, void *bytes, size_t size, int flags, __SOCKADDR_ARG sender,
		 socklen_t *sender_size)
{
	ssize_t (*real)(int, void *, size_t, int, __SOCKADDR_ARG, socklen_t *);
	ssize_t n;

	*(void **)&real = dlsym(RTLD_NEXT, "recvfrom");
	n = real(fd, bytes, size, flags, sender, sender_size);
	if (n > 0 && (size_t)n <= size && sender.__sockaddr__)
		spoil(fd, sender.__sockaddr__, bytes, (size_t)n);
	return n;
}
