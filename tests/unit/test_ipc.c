/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Messages and descriptors between parent and worker. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/ipc.h"
#include "broker/tun.h"

static void test_a_message_arrives_whole(void **state)
{
	struct td_ipc_message sent = { .type = TD_IPC_HOOK_ENDED }, got;
	int fds[2], descriptor = 0;

	(void)state;
	assert_int_equal(td_ipc_pair(fds), 0);
	assert_int_equal(td_ipc_receive(fds[1], &got, &descriptor), 0);
	sent.ended.handle = (struct td_handle){ 3, 9 };
	sent.ended.result = -ETIME;
	assert_int_equal(td_ipc_send(fds[0], &sent, -1), 0);
	assert_int_equal(td_ipc_receive(fds[1], &got, &descriptor), 1);
	assert_int_equal(descriptor, -1);
	assert_memory_equal(&got, &sent, sizeof(sent));
	close(fds[0]);
	assert_int_equal(td_ipc_receive(fds[1], &got, &descriptor), -EPIPE);
	close(fds[1]);
}

/* A worker that dies has seldom read all. What it said itself is heard. */
static void test_who_dies_with_unread_messages_is_gone(void **state)
{
	struct td_ipc_message message = { .type = TD_IPC_STOP };
	int fds[2], descriptor;

	(void)state;
	assert_int_equal(td_ipc_pair(fds), 0);
	assert_int_equal(td_ipc_send(fds[0], &message, -1), 0);
	message.type = TD_IPC_RECORD;
	for (message.record.index = 0; message.record.index < 3; message.record.index++)
		assert_int_equal(td_ipc_send(fds[1], &message, -1), 0);
	close(fds[1]);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(td_ipc_receive(fds[0], &message, &descriptor), 1);
		assert_int_equal(message.record.index, i);
	}
	assert_int_equal(td_ipc_receive(fds[0], &message, &descriptor), -EPIPE);
	assert_int_equal(descriptor, -1);
	close(fds[0]);
}

static void test_a_descriptor_goes_along(void **state)
{
	struct td_ipc_message message = { .type = TD_IPC_RECORD };
	int fds[2], ends[2], descriptor;
	char byte = 'x';

	(void)state;
	assert_int_equal(td_ipc_pair(fds), 0);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(td_ipc_send(fds[1], &message, ends[1]), 0);
	close(ends[1]);
	assert_int_equal(td_ipc_receive(fds[0], &message, &descriptor), 1);
	assert_true(descriptor >= 0);
	assert_int_equal(write(descriptor, &byte, 1), 1);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	close(descriptor);
	assert_int_equal(read(ends[0], &byte, 1), 0); /* that was the last copy */
	close(ends[0]);
	close(fds[0]);
	close(fds[1]);
}

static void test_a_full_queue_says_so_and_loses_nothing(void **state)
{
	struct td_ipc_message message = { .type = TD_IPC_RECORD };
	uint32_t sent = 0, got = 0;
	int fds[2], descriptor;

	(void)state;
	assert_int_equal(td_ipc_pair(fds), 0);
	for (;; sent++) {
		int err;

		message.record.index = sent;
		err = td_ipc_send(fds[1], &message, -1);
		if (err == -EAGAIN)
			break;
		assert_int_equal(err, 0);
		assert_in_range(sent, 0, 1000000);
	}
	assert_true(sent > 0);
	for (; td_ipc_receive(fds[0], &message, &descriptor) == 1; got++)
		assert_int_equal(message.record.index, got);
	assert_int_equal(got, sent);
	close(fds[0]);
	close(fds[1]);
}

static void test_another_size_is_refused(void **state)
{
	struct td_ipc_message message;
	int fds[2], descriptor;

	(void)state;
	assert_int_equal(td_ipc_pair(fds), 0);
	assert_int_equal(send(fds[1], "short", 5, 0), 5);
	assert_int_equal(td_ipc_receive(fds[0], &message, &descriptor), -EBADMSG);
	close(fds[0]);
	close(fds[1]);
}

/* One too many fits into the buffer of one. */
static void test_two_descriptors_are_refused_and_closed(void **state)
{
	struct td_ipc_message message = { .type = TD_IPC_RECORD };
	alignas(struct cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = { 0 };
	struct iovec iov = { &message, sizeof(message) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int fds[2], pipes[2], descriptor;

	(void)state;
	assert_int_equal(td_ipc_pair(fds), 0);
	assert_int_equal(pipe(pipes), 0);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(2 * sizeof(int));
	memcpy(CMSG_DATA(cmsg), (int[2]){ pipes[1], pipes[1] }, 2 * sizeof(int));
	assert_int_equal(sendmsg(fds[1], &msg, 0), sizeof(message));
	close(pipes[1]);
	assert_int_equal(td_ipc_receive(fds[0], &message, &descriptor), -EBADMSG);
	assert_int_equal(descriptor, -1);
	/* Nobody has the writing end any more. */
	assert_int_equal(read(pipes[0], control, 1), 0);
	close(pipes[0]);
	close(fds[0]);
	close(fds[1]);
}

/* What a child gets that asks once; its result is 0, or the errno. */
static void ask(int fd)
{
	int got = td_tun_ask(fd);

	if (got >= 0 && fcntl(got, F_GETFD) != FD_CLOEXEC)
		_exit(255);
	_exit(got < 0 ? -got : 0);
}

static void test_tun_is_opened_for_who_asks(void **state)
{
	struct pollfd question = { .events = POLLIN };
	const int expected = open("/dev/net/tun", O_RDWR | O_CLOEXEC) < 0 ? errno : 0;
	/* To an earlier question, for which nobody waits any more. */
	const struct td_ipc_message late = { .type = TD_IPC_OPEN_TUN, .opened = -EXDEV };
	int fds[2], status;
	pid_t pid;

	(void)state;
	assert_int_equal(td_ipc_pair(fds), 0);
	assert_int_equal(td_tun_answer(fds[0]), 0);
	assert_int_equal(td_ipc_send(fds[0], &late, -1), 0);
	pid = fork();
	if (pid == 0)
		ask(fds[1]);
	question.fd = fds[0];
	assert_int_equal(poll(&question, 1, 5000), 1);
	assert_int_equal(td_tun_answer(fds[0]), 1);
	assert_int_equal(td_tun_answer(fds[0]), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), expected);
	close(fds[1]);
	assert_int_equal(td_tun_answer(fds[0]), -EPIPE);
	close(fds[0]);
}

static void test_who_asks_for_something_else_gets_nothing(void **state)
{
	const struct td_ipc_message message = { .type = TD_IPC_RECORD };
	struct td_ipc_message got;
	int fds[2], descriptor;

	(void)state;
	assert_int_equal(td_ipc_pair(fds), 0);
	assert_int_equal(td_ipc_send(fds[1], &message, fds[1]), 0);
	assert_int_equal(td_tun_answer(fds[0]), -EBADMSG);
	assert_int_equal(td_ipc_receive(fds[1], &got, &descriptor), 0);
	/* What came along has been closed: this was the only other copy. */
	close(fds[1]);
	assert_int_equal(td_tun_answer(fds[0]), -EPIPE);
	close(fds[0]);
}

static void test_parent_that_is_gone_gives_no_tun(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(td_ipc_pair(fds), 0);
	close(fds[0]);
	assert_int_equal(td_tun_ask(fds[1]), -EPIPE);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_message_arrives_whole),
		cmocka_unit_test(test_who_dies_with_unread_messages_is_gone),
		cmocka_unit_test(test_a_descriptor_goes_along),
		cmocka_unit_test(test_a_full_queue_says_so_and_loses_nothing),
		cmocka_unit_test(test_another_size_is_refused),
		cmocka_unit_test(test_two_descriptors_are_refused_and_closed),
		cmocka_unit_test(test_tun_is_opened_for_who_asks),
		cmocka_unit_test(test_who_asks_for_something_else_gets_nothing),
		cmocka_unit_test(test_parent_that_is_gone_gives_no_tun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
