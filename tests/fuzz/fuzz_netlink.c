/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What the kernel says over netlink: answers to requests (L2TP, links, limits), and notifications of
 * interfaces that go. The socket is the input: datagrams, each with its length in front.
 *
 * Requests have the sequence numbers 1, 2, …, so that answers to them can be found.
 *
 * Input: what is asked, how many datagrams are notifications, then (u16 length, bytes)…
 */
#include <errno.h>
#include <stdalign.h>

#include "../../src/datapath/kernel_watch.c" /* its parser is its own */
#include "datapath/datapath.h"
#include "datapath/l2tp_genl.h"
#include "fuzz.h"
#include "sys/rtnl.h"

static struct td_reader input;

__typeof__(mnl_socket_sendto) __wrap_mnl_socket_sendto;
__typeof__(mnl_socket_recvfrom) __wrap_mnl_socket_recvfrom;

ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *nl, const void *request, size_t size)
{
	const struct nlmsghdr *nlh = request;

	(void)nl;
	assert_in_range(size, sizeof(*nlh), TD_NETLINK_REQUEST);
	assert_true(mnl_nlmsg_ok(nlh, (int)size));
	assert_int_equal(nlh->nlmsg_len, size);
	return (ssize_t)size;
}

/* As libmnl: what does not fit is an error. */
ssize_t __wrap_mnl_socket_recvfrom(const struct mnl_socket *nl, void *to, size_t capacity)
{
	struct td_reader datagram;
	size_t size;

	(void)nl;
	if (input.left == 0) {
		errno = EAGAIN;
		return -1;
	}
	datagram = fuzz_piece(&input, td_read_u16(&input));
	size = datagram.left;
	if (size > capacity) {
		errno = ENOSPC;
		return -1;
	}
	td_read_bytes(&datagram, to, size);
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
	struct td_l2tp l2tp = { .family = 0x23 };

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
	struct td_rtnl rtnl = { 0 };
	struct td_link_stats stats;
	unsigned links = 0;

	switch (what) {
	case 0:
		return td_rtnl_set_mtu(&rtnl, "lo", 1446);
	case 1:
		return td_rtnl_set_up(&rtnl, "lo");
	case 2:
		return td_rtnl_stats(&rtnl, 1, &stats);
	case 3:
		return td_rtnl_stats_all(&rtnl, count_link, &links);
	default:
		return td_rtnl_set_rate(&rtnl, "lo", 1024);
	}
}

static void notify(void)
{
	alignas(struct nlmsghdr) uint8_t answer[TD_NETLINK_ANSWER] = { 0 };
	const ssize_t size = __wrap_mnl_socket_recvfrom(NULL, answer, sizeof(answer));
	uint8_t *exact;

	if (size < 0)
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
	what = td_read_u8(&input) % 10;
	notifications = td_read_u8(&input) % 8;
	for (; notifications > 0; notifications--)
		notify();
	err = what < 5 ? ask_l2tp(what) : ask_rtnl(what - 5);
	assert_true(err <= 0);
	return 0;
}
