/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Answers to a batch, in all the orders in which the kernel may give them, and hostile ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "sys/netlink.h"

/* The kernel: datagrams, in the order in which they are received. */
static struct {
	_Alignas(struct nlmsghdr) char bytes[64][128];
	size_t sizes[64];
	unsigned count, next;
	int send_error;
} answers;

/* Of libc: these are linked in their place. */
ssize_t __wrap_write(int fd, const void *request, size_t size);
ssize_t __wrap_recv(int fd, void *to, size_t capacity, int flags);

ssize_t __wrap_write(int fd, const void *request, size_t size)
{
	(void)fd;
	(void)request;
	errno = answers.send_error;
	return answers.send_error ? -1 : (ssize_t)size;
}

ssize_t __wrap_recv(int fd, void *to, size_t capacity, int flags)
{
	const unsigned i = answers.next++;

	(void)fd;
	(void)flags;
	assert_true(capacity >= sizeof(answers.bytes[0]));
	if (i >= answers.count) {
		errno = EAGAIN;
		return -1;
	}
	memcpy(to, answers.bytes[i], answers.sizes[i]);
	return (ssize_t)answers.sizes[i];
}

/* The answer to a message, in a datagram of its own, or behind the one before. */
static struct nlmsghdr *answer(uint32_t sequence, int error, bool apart)
{
	const unsigned i = apart || answers.count == 0 ? answers.count++ : answers.count - 1;
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(answers.bytes[i] + answers.sizes[i]);
	struct nlmsgerr *body = mnl_nlmsg_put_extra_header(nlh, sizeof(*body));

	nlh->nlmsg_type = NLMSG_ERROR;
	nlh->nlmsg_seq = sequence;
	body->error = error;
	answers.sizes[i] += nlh->nlmsg_len;
	return nlh;
}

static int reset(void **state)
{
	(void)state;
	memset(&answers, 0, sizeof(answers));
	return 0;
}

/* Of a batch whose messages have the numbers 10 to 14. */
static int ask(uint32_t *refused)
{
	struct td_netlink netlink = { 0 };
	const struct td_netlink_batch batch = { "", 1, 10, 14 };

	return td_netlink_send_batch(&netlink, &batch, refused);
}

static void expect(int err, uint32_t refused)
{
	uint32_t number = 99;

	assert_int_equal(ask(&number), err);
	if (err < 0)
		assert_int_equal(number, refused);
	assert_int_equal(answers.next, answers.count);
}

static void accepted(void **state)
{
	(void)state;
	answer(14, 0, true);
	expect(0, 0);
}

static void answers_to_earlier_batches(void **state)
{
	(void)state;
	answer(9, -EPERM, true);
	answer(9, 0, false);
	answer(15, -EPERM, true);
	answer(3, 0, true);
	answer(14, 0, true);
	expect(0, 0);
}

/* The last one is acknowledged all the same: it could have been done. */
static void one_is_refused(void **state)
{
	(void)state;
	answer(12, -EEXIST, true);
	answer(13, -ENOENT, false);
	answer(14, 0, true);
	expect(-EEXIST, 12);
}

static void the_last_is_refused(void **state)
{
	(void)state;
	answer(14, -ENFILE, true);
	expect(-ENFILE, 14);
}

static void all_is_refused(void **state)
{
	(void)state;
	answer(10, -EPERM, true);
	expect(-EPERM, 10);
}

static void numbers_wrap(void **state)
{
	struct td_netlink netlink = { 0 };
	const struct td_netlink_batch batch = { "", 1, UINT32_MAX - 1, 2 };
	uint32_t refused;

	(void)state;
	answer(3, -EPERM, true);
	answer(0, -EEXIST, true);
	answer(2, 0, true);
	assert_int_equal(td_netlink_send_batch(&netlink, &batch, &refused), -EEXIST);
	assert_int_equal(refused, 0);
}

static void no_answer(void **state)
{
	uint32_t refused;

	(void)state;
	assert_int_equal(ask(&refused), -ETIMEDOUT);
	reset(NULL);
	answer(12, -EEXIST, true);
	assert_int_equal(ask(&refused), -EEXIST);
	assert_int_equal(refused, 12);
	answers.send_error = ENOBUFS;
	assert_int_equal(ask(&refused), -ENOBUFS);
	assert_int_equal(refused, 10);
}

static void hostile(void **state)
{
	uint32_t refused;

	(void)state;
	answer(14, INT_MIN, true);
	expect(-EBADMSG, 14);
	reset(NULL);
	answer(14, 1, true);
	expect(-EBADMSG, 14);
	reset(NULL);
	answer(14, 0, true)->nlmsg_len = UINT32_MAX;
	answer(14, 0, true)->nlmsg_len = 0x80000010;
	answer(14, 0, true)->nlmsg_len = 0;
	answer(14, 0, true)->nlmsg_len = 18;
	answer(14, 0, true)->nlmsg_type = 16;
	answer(14, 0, true);
	answers.sizes[5]--;
	assert_int_equal(ask(&refused), -ETIMEDOUT);
	reset(NULL);
	for (unsigned i = 0; i < 64; i++)
		answer(9, 0, true);
	assert_int_equal(ask(&refused), -EPROTO);
	assert_true(answers.next < 64);
}

#define from_new(test) cmocka_unit_test_setup(test, reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		from_new(accepted),       from_new(answers_to_earlier_batches),
		from_new(one_is_refused), from_new(the_last_is_refused),
		from_new(all_is_refused), from_new(numbers_wrap),
		from_new(no_answer),      from_new(hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
