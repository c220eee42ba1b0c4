/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "sys/netlink.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/build.h"

#define ANSWERS_MAX 16
#define DUMP_ANSWER 16384
#define ERRNO_MAX   4095 /* of the kernel */

int td_netlink_open(struct td_netlink *netlink, int protocol)
{
	/* The kernel has answered before write() returns; but an answer can be lost for want of
	 * memory, and is not to be waited for then. */
	const struct timeval limit = { .tv_sec = 5 };
	int err;

	*netlink =
		(struct td_netlink){ .fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol) };
	if (netlink->fd < 0)
		return -errno;
	if (setsockopt(netlink->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0)
		return 0;
	err = -errno;
	td_netlink_close(netlink);
	return err;
}

void td_netlink_close(struct td_netlink *netlink)
{
	if (netlink->fd >= 0)
		close(netlink->fd);
	netlink->fd = -1;
}

int td_netlink_listen(const struct td_netlink *netlink, unsigned groups)
{
	const struct sockaddr_nl any = { .nl_family = AF_NETLINK, .nl_groups = groups };

	return bind(netlink->fd, (const struct sockaddr *)&any, sizeof(any)) < 0 ? -errno : 0;
}

struct nlmsghdr *td_netlink_begin(void *buf, uint16_t type, unsigned flags, size_t size)
{
	struct nlmsghdr *nlh = memset(buf, 0, NLMSG_SPACE(size));

	nlh->nlmsg_len = (uint32_t)NLMSG_SPACE(size);
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	return nlh;
}

static int send_request(struct td_netlink *netlink, struct nlmsghdr *request)
{
	request->nlmsg_seq = ++netlink->sequence;
	return write(netlink->fd, request, request->nlmsg_len) < 0 ? -errno : 0;
}

/* Returns the answer's size, or -errno. */
static ssize_t receive(const struct td_netlink *netlink, void *answer, size_t capacity)
{
	/* MSG_TRUNC: its size, if it were larger than there is room as well. */
	ssize_t size = recv(netlink->fd, answer, capacity, MSG_TRUNC);

	if (size < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	return size > (ssize_t)capacity ? -EMSGSIZE : size;
}

/* Whole messages, as far as they can be told apart. */
static bool plausible(const struct nlmsghdr *nlh, int left)
{
	for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
		if (nlh->nlmsg_len > INT_MAX)
			return false;
	return true;
}

/*
 * libmnl takes a length for signed, and would never come to the end of one beyond 2 GB. The kernel
 * sends none, and nobody else can send any without CAP_NET_ADMIN: a router has better uses for the
 * bytes.
 */
int td_netlink_parse(const void *answer, size_t size, uint32_t sequence, mnl_cb_t parse, void *ctx)
{
	if (TD_WITH_BROKER && !plausible(answer, (int)size)) {
		errno = EBADMSG;
		return MNL_CB_ERROR;
	}
	return mnl_cb_run(answer, size, sequence, 0, parse, ctx);
}

int td_netlink_transact(struct td_netlink *netlink, struct nlmsghdr *request, mnl_cb_t parse,
			void *ctx)
{
	_Alignas(struct nlmsghdr) char answer[TD_NETLINK_ANSWER];
	int err = send_request(netlink, request);

	if (err < 0)
		return err;
	for (int i = 0; i < ANSWERS_MAX; i++) {
		ssize_t size = receive(netlink, answer, sizeof(answer));
		int more;

		if (size < 0)
			return (int)size;
		more = td_netlink_parse(answer, (size_t)size, request->nlmsg_seq, parse, ctx);
		if (more == MNL_CB_STOP)
			return 0;
		if (more < 0 && errno != EPROTO) { /* else the answer to an earlier request */
			/* The smallest number cannot be negated, and libmnl has tried. */
			return TD_WITH_BROKER && errno < 0 ? -EBADMSG : -errno;
		}
	}
	return -EPROTO;
}

/* Takes what is in an answer: 0 more is to come, 1 that was all, or -errno. */
static int take_dump(const void *answer, size_t size, uint32_t sequence, mnl_cb_t parse, void *ctx)
{
	const struct nlmsghdr *nlh = answer;
	int left = (int)size;

	for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
		if (nlh->nlmsg_len > INT_MAX)
			return -EBADMSG;
		if (nlh->nlmsg_seq != sequence)
			continue;
		if (nlh->nlmsg_type == NLMSG_DONE)
			return 1;
		if (nlh->nlmsg_type == NLMSG_ERROR) {
			const struct nlmsgerr *fault = mnl_nlmsg_get_payload(nlh);
			const bool whole = mnl_nlmsg_get_payload_len(nlh) >= sizeof(*fault);

			return whole && fault->error < 0 && fault->error >= -ERRNO_MAX
				       ? fault->error
				       : -EBADMSG;
		}
		if (nlh->nlmsg_type >= NLMSG_MIN_TYPE)
			parse(nlh, ctx);
	}
	return left > 0 ? -EBADMSG : 0;
}

int td_netlink_dump(struct td_netlink *netlink, struct nlmsghdr *request, mnl_cb_t parse, void *ctx)
{
	_Alignas(struct nlmsghdr) char answer[DUMP_ANSWER];
	int done;

	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	done = send_request(netlink, request);
	while (done == 0) {
		ssize_t size = receive(netlink, answer, sizeof(answer));

		if (size < 0)
			return (int)size;
		done = take_dump(answer, (size_t)size, request->nlmsg_seq, parse, ctx);
	}
	return done < 0 ? done : 0;
}

struct outcome {
	const struct td_netlink_batch *batch;
	uint32_t refused;
	int err; /* to that message */
	bool complete;
};

/* What it says of one of the messages; others are answers to earlier requests. */
static void note(struct outcome *outcome, uint32_t sequence, int error)
{
	const struct td_netlink_batch *batch = outcome->batch;

	if (sequence - batch->first > batch->last - batch->first)
		return;
	if (error > 0 || error < -ERRNO_MAX)
		error = -EBADMSG;
	if (error != 0 && outcome->err == 0) {
		outcome->err = error;
		outcome->refused = sequence;
	}
	/* To what begins it there is an answer only when that is the only one. */
	if (sequence == batch->last || (sequence == batch->first && error != 0))
		outcome->complete = true;
}

/* mnl_cb_run() would end at the first error, and not say whose it is. */
static void parse_outcomes(const struct nlmsghdr *nlh, int left, struct outcome *outcome)
{
	struct nlmsgerr error;

	for (; mnl_nlmsg_ok(nlh, left) && nlh->nlmsg_len <= INT_MAX;
	     nlh = mnl_nlmsg_next(nlh, &left)) {
		if (nlh->nlmsg_type != NLMSG_ERROR ||
		    mnl_nlmsg_get_payload_len(nlh) < sizeof(error))
			continue;
		memcpy(&error, mnl_nlmsg_get_payload(nlh), sizeof(error));
		note(outcome, nlh->nlmsg_seq, error.error);
	}
}

int td_netlink_send_batch(struct td_netlink *netlink, const struct td_netlink_batch *batch,
			  uint32_t *refused)
{
	_Alignas(struct nlmsghdr) char answer[TD_NETLINK_ANSWER];
	struct outcome outcome = { .batch = batch, .refused = batch->first };
	int err = 0;

	*refused = batch->first;
	if (write(netlink->fd, batch->bytes, batch->size) < 0)
		return -errno;
	for (uint32_t i = 0; err == 0 && !outcome.complete; i++) {
		ssize_t size = receive(netlink, answer, sizeof(answer));

		if (size < 0)
			err = (int)size;
		else if (i > batch->last - batch->first + ANSWERS_MAX)
			err = -EPROTO;
		else
			parse_outcomes((const void *)answer, (int)size, &outcome);
	}
	*refused = outcome.refused;
	return outcome.err < 0 ? outcome.err : err;
}
