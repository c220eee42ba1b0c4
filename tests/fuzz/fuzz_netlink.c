/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What the kernel says over netlink: answers to requests (L2TP, links, limits), and notifications of
 * interfaces that go. The socket is the input: datagrams, each with its length in front.
 *
 * Requests have the sequence numbers 1, 2, …, so that answers to them can be found.
 *
 * Input: what is asked, how many datagrams are notifications, then (u16 length, bytes)…; or BATCH, and
 * the datagrams.
 */
#include <errno.h>
#include <stdalign.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../src/datapath/kernel_watch.c" /* its parser is its own */
#include "datapath/datapath.h"
#include "datapath/l2tp_genl.h"
#include "fuzz.h"
#include "sys/rtnl.h"

#define LOOPBACK 1 /* its index in every namespace */
#define BATCH    255

static struct td_reader input;

#define SOCKET 12345 /* which libFuzzer does not have */

__typeof__(write) __real_write, __wrap_write;
__typeof__(recv) __wrap_recv;

ssize_t __wrap_write(int fd, const void *request, size_t size)
{
	const struct nlmsghdr *nlh = request;

	if (fd != SOCKET)
		return __real_write(fd, request, size);
	assert_in_range(size, sizeof(*nlh), TD_NETLINK_REQUEST);
	assert_true(mnl_nlmsg_ok(nlh, (int)size));
	assert_int_equal(nlh->nlmsg_len, size);
	return (ssize_t)size;
}

/* With MSG_TRUNC: of what does not fit, the whole size. */
ssize_t __wrap_recv(int fd, void *to, size_t capacity, int flags)
{
	struct td_reader datagram;
	size_t size;

	assert_int_equal(fd, SOCKET);
	assert_true(flags & MSG_TRUNC);
	if (input.left == 0) {
		errno = EAGAIN;
		return -1;
	}
	datagram = fuzz_piece(&input, td_read_u16(&input));
	size = datagram.left;
	td_read_bytes(&datagram, to, size < capacity ? size : capacity);
	return (ssize_t)size;
}

void td_kernel_gone(struct td_kernel *k, unsigned ifindex, bool moved)
{
	assert_null(k);
	(void)ifindex;
	(void)moved;
}

void td_kernel_missed(struct td_kernel *k)
{
	(void)k;
	fail();
}

void td_kernel_tick(struct td_kernel *k)
{
	(void)k;
	fail();
}

static const struct td_tunnel_info info = {
	.tunnel_id = 100,
	.session_id = 100,
	.peer_tunnel_id = 1,
	.peer_session_id = 1,
	.mtu = 1446,
	.ifname = "l2tp100-1",
};

static int ask_l2tp(uint8_t what)
{
	struct td_l2tp l2tp = { .netlink.fd = SOCKET, .family = 0x23 };

	switch (what) {
	case 0:
		return td_netlink_transact(&l2tp.netlink, td_l2tp_build_get_family(l2tp.request),
					   td_l2tp_parse_family, &l2tp.family);
	case 1:
		return td_l2tp_tunnel_create(&l2tp, &info, 3);
	case 2:
		return td_l2tp_session_create(&l2tp, &info);
	case 3:
		return td_l2tp_tunnel_get(&l2tp, info.tunnel_id);
	default:
		return td_l2tp_session_get(&l2tp, info.tunnel_id, info.session_id);
	}
}

static void count_link(void *links, unsigned ifindex, const struct td_link_stats *stats)
{
	(void)ifindex;
	(void)stats;
	++*(unsigned *)links;
}

static int ask_rtnl(uint8_t what)
{
	struct td_rtnl rtnl = { .netlink.fd = SOCKET };
	struct td_link_stats stats;
	unsigned links = 0;

	switch (what) {
	case 0:
		return td_rtnl_set_mtu(&rtnl, LOOPBACK, 1446);
	case 1:
		return td_rtnl_set_state(&rtnl, LOOPBACK, true);
	case 2:
		return td_rtnl_stats(&rtnl, 1, &stats);
	case 3:
		return td_rtnl_stats_all(&rtnl, count_link, &links);
	default:
		return td_rtnl_set_rate(&rtnl, LOOPBACK, 1024);
	}
}

/* Of five messages; what is sent does not matter. */
static int send_batch(void)
{
	const struct nlmsghdr request = { .nlmsg_len = sizeof(request) };
	const struct td_netlink_batch batch = { &request, sizeof(request), 1, 5 };
	struct td_netlink netlink = { 0 };
	uint32_t refused;
	int err = td_netlink_send_batch(&netlink, &batch, &refused);

	assert_in_range(refused, 1, 5);
	return err;
}

static void notify(void)
{
	alignas(struct nlmsghdr) uint8_t answer[TD_NETLINK_ANSWER] = { 0 };
	const ssize_t size = __wrap_recv(SOCKET, answer, sizeof(answer), MSG_TRUNC);
	uint8_t *exact;

	if (size < 0 || size > (ssize_t)sizeof(answer))
		return;
	exact = fuzz_copy(answer, MNL_ALIGN((size_t)size));
	(void)!td_netlink_parse(exact, (size_t)size, 0, parse, NULL);
	free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	uint8_t what, notifications;
	int err;

	input = td_reader_init(bytes, size);
	what = td_read_u8(&input);
	if (what == BATCH) {
		assert_true(send_batch() <= 0);
		return 0;
	}
	what %= 10;
	notifications = td_read_u8(&input) % 8;
	for (; notifications > 0; notifications--)
		notify();
	err = what < 5 ? ask_l2tp(what) : ask_rtnl(what - 5);
	assert_true(err <= 0);
	return 0;
}
