/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "broker/ipc.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Room for a burst of records; the kernel charges a message more than its size. */
#define SEND_BUFFER (1 << 20)

union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

int td_ipc_pair(int fds[2])
{
	const int size = SEND_BUFFER;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
		return -errno;
	/* A smaller buffer would do, just slower. */
	(void)setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	(void)setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return 0;
}

static void attach(struct msghdr *msg, union control *control, int descriptor)
{
	struct cmsghdr *cmsg = &control->header;

	memset(control, 0, sizeof(*control));
	msg->msg_control = control->bytes;
	msg->msg_controllen = sizeof(control->bytes);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &descriptor, sizeof(int));
}

int td_ipc_send(int fd, const struct td_ipc_message *message, int descriptor)
{
	struct iovec iov = { (void *)(uintptr_t)message, sizeof(*message) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union control control;
	ssize_t sent;

	if (descriptor >= 0)
		attach(&msg, &control, descriptor);
	do {
		sent = sendmsg(fd, &msg, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return 0;
	/* The last: so many descriptors are on their way, of all processes of this user. */
	if (errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS)
		return -EAGAIN;
	return -errno;
}

/* Alignment leaves room for a second descriptor, which nobody here sends. */
#define DESCRIPTORS_MAX (sizeof(((union control *)0)->bytes) / sizeof(int))

/* The descriptor that came along, or -1. -EBADMSG: more than one, all closed. */
static int detach(struct msghdr *msg, int *descriptor)
{
	const struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
	int fds[DESCRIPTORS_MAX];
	size_t count;

	if (!cmsg || cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
		return 0;
	count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(cmsg), count * sizeof(int));
	if (count == 1) {
		*descriptor = fds[0];
		return 0;
	}
	while (count > 0)
		close(fds[--count]);
	return -EBADMSG;
}

int td_ipc_receive(int fd, struct td_ipc_message *message, int *descriptor)
{
	struct iovec iov = { message, sizeof(*message) };
	union control control;
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	ssize_t size;

	*descriptor = -1;
	do {
		size = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
		/* The other end is gone and had not read all that it was told, which is reported
		 * once, before what it said itself. */
	} while (size < 0 && (errno == EINTR || errno == ECONNRESET));
	if (size < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (detach(&msg, descriptor) == 0 && size == sizeof(*message))
		return 1;
	if (*descriptor >= 0)
		close(*descriptor);
	*descriptor = -1;
	return size == 0 ? -EPIPE : -EBADMSG;
}
