/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "broker/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "broker/ipc.h"

#define WAIT_MS 5000 /* the parent has other things to do, none of which takes long */

/* One message, if it is of the right kind. Its result and descriptor. */
static int take_answer(int fd, int *descriptor)
{
	struct td_ipc_message message;
	int got = td_ipc_receive(fd, &message, descriptor);

	if (got <= 0)
		return got < 0 ? got : -ETIMEDOUT;
	if (message.opened == 0 && *descriptor < 0)
		return -EMFILE; /* no room for it here */
	return message.opened;
}

/* What comes later than anybody waited would be taken for the answer to the next question. */
static void drop_late_answers(int fd)
{
	struct td_ipc_message message;
	int descriptor;

	while (td_ipc_receive(fd, &message, &descriptor) == 1)
		if (descriptor >= 0)
			close(descriptor);
}

int td_tun_ask(int fd)
{
	const struct td_ipc_message question = { .type = TD_IPC_OPEN_TUN };
	struct pollfd answer = { .fd = fd, .events = POLLIN };
	int descriptor = -1;
	int err;

	drop_late_answers(fd);
	err = td_ipc_send(fd, &question, -1);
	if (err == 0)
		err = poll(&answer, 1, WAIT_MS) == 1 ? take_answer(fd, &descriptor) : -ETIMEDOUT;
	return err < 0 ? err : descriptor;
}

int td_tun_answer(int fd)
{
	struct td_ipc_message message;
	int descriptor;
	int err = td_ipc_receive(fd, &message, &descriptor);

	if (err <= 0)
		return err;
	if (descriptor >= 0)
		close(descriptor);
	if (message.type != TD_IPC_OPEN_TUN)
		return -EBADMSG;
	descriptor = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	message.opened = descriptor < 0 ? -errno : 0;
	err = td_ipc_send(fd, &message, descriptor);
	if (descriptor >= 0)
		close(descriptor);
	return err < 0 ? err : 1;
}
