/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The kernel back-end on a kernel that has L2TP, against itself and against the TAP back-end. */
#include "datapath_fixture.h"

#include <sys/socket.h>
#include <sys/wait.h>

static const struct td_handle one = { .index = 0, .generation = 7 };

struct pair {
	struct bench bench;
	struct end broker, client;
	struct td_session_info broker_info, client_info;
	int broker_packets, client_packets;
};

static void pair_open(struct pair *pair, const struct td_datapath_ops *broker,
		      const struct td_datapath_ops *client, const char *ip)
{
	struct td_addr addr;

	bench_open(&pair->bench);
	end_open(&pair->broker, &pair->bench, broker, 4);
	end_open(&pair->client, &pair->bench, client, 1);
	end_listen(&pair->broker, ip);
	addr = pair->broker.udp.local;
	end_connect(&pair->client, &addr);
	pair->broker_info = info_of("tdb0", &addr, &pair->client.udp.local);
	pair->client_info = info_of("tdc0", &pair->client.udp.local, &addr);
	pair->client_info.tunnel_id = 102;
	pair->client_info.peer_tunnel_id = 101;
	assert_int_equal(end_create(&pair->broker, one, &pair->broker_info), 0);
	assert_int_equal(end_create(&pair->client, one, &pair->client_info), 0);
	assert_int_equal(interface_mtu("tdb0"), 1446);
	assert_int_equal(interface_mtu("tdc0"), 1446);
	assert_false(interface_is_up("tdb0"));
	interface_up("tdb0");
	interface_up("tdc0");
	pair->broker_packets = packet_open("tdb0");
	pair->client_packets = packet_open("tdc0");
}

static bool is_done(void *ctx)
{
	return ((struct end *)ctx)->sequence == 99;
}

static void destroy(struct pair *pair, struct end *end, const char *ifname)
{
	end->sequence = 0;
	end->ops->destroy(end->dp, one, 99);
	loop_until(&pair->bench, is_done, end, TD_SECONDS(20));
	assert_true(is_done(end));
	assert_int_equal(end->err, 0);
	assert_int_equal(end->losts, 0);
	assert_int_equal(if_nametoindex(ifname), 0);
}

static void pair_close(struct pair *pair)
{
	close(pair->broker_packets);
	close(pair->client_packets);
	destroy(pair, &pair->broker, "tdb0");
	destroy(pair, &pair->client, "tdc0");
	end_close(&pair->broker);
	end_close(&pair->client);
	bench_close(&pair->bench);
}

static void expect_frame(struct pair *pair, int from, int to, const uint8_t *frame, size_t size)
{
	static uint8_t got[FRAME_ROOM];

	assert_int_equal(send(from, frame, size, 0), size);
	loop_until(&pair->bench, is_readable, &to, TD_SECONDS(5));
	assert_int_equal(packet_receive(to, got), size);
	assert_memory_equal(got, frame, size);
}

static void frames(const struct td_datapath_ops *broker, const struct td_datapath_ops *client,
		   const char *ip)
{
	static const size_t sizes[] = { 15, 60, 1460, 9014 };
	static uint8_t frame[FRAME_ROOM];
	struct pair pair;

	pair_open(&pair, broker, client, ip);
	assert_int_equal(end_set_mtu(&pair.broker, one, 9000), 0);
	assert_int_equal(end_set_mtu(&pair.client, one, 9000), 0);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		frame_fill(frame, sizes[i], "\x88\xb5", 2);
		expect_frame(&pair, pair.client_packets, pair.broker_packets, frame, sizes[i]);
		memset(frame, 0xff, 6);
		expect_frame(&pair, pair.broker_packets, pair.client_packets, frame, sizes[i]);
	}
	assert_int_equal(end_stats(&pair.broker).rx_packets, 4);
	/* With the L2TP headers, or without: kernels differ. */
	assert_in_range(end_stats(&pair.broker).rx_bytes, 15 + 60 + 1460 + 9014,
			15 + 60 + 1460 + 9014 + 4 * 12);
	assert_int_equal(end_stats(&pair.broker).tx_bytes, 15 + 60 + 1460 + 9014);
	assert_int_equal(end_stats(&pair.client).tx_bytes, 15 + 60 + 1460 + 9014);
	pair_close(&pair);
}

static void kernel_and_tap(void **state)
{
	(void)state;
	frames(&td_datapath_kernel, &td_datapath_tap, "127.0.0.1");
	frames(&td_datapath_tap, &td_datapath_kernel, "127.0.0.1");
	frames(&td_datapath_kernel, &td_datapath_tap, "::1");
	frames(&td_datapath_tap, &td_datapath_kernel, "::1");
}

static void kernel_and_kernel(void **state)
{
	(void)state;
	frames(&td_datapath_kernel, &td_datapath_kernel, "127.0.0.1");
	frames(&td_datapath_kernel, &td_datapath_kernel, "::1");
}

static void control_comes_up(void **state)
{
	static const uint8_t control[] = "\x80\x73\xa7\x01\x05\x04"
					 "abcdef";
	static const uint8_t stray[] = "\0\3\0\0\x77\2\3\4\0\0\0\0"
				       "0123456789abcdef";
	struct pair pair;

	(void)state;
	pair_open(&pair, &td_datapath_kernel, &td_datapath_kernel, "127.0.0.1");
	assert_int_equal(send(pair.client.udp.fd, stray, sizeof(stray), 0), sizeof(stray));
	assert_int_equal(send(pair.client.udp.fd, control, sizeof(control), 0), sizeof(control));
	loop_until(&pair.bench, NULL, NULL, TD_MS(300));
	assert_int_equal(pair.broker.controls, 1);
	assert_true(td_flow_equal(&pair.broker.control_flow, &pair.broker_info.flow));
	assert_memory_equal(pair.broker.control, control, sizeof(control));
	assert_int_equal(
		pair.broker.ops->send(pair.broker.dp, one, &pair.broker_info.flow, control, 12), 0);
	loop_until(&pair.bench, NULL, NULL, TD_MS(300));
	assert_int_equal(pair.client.controls, 1);
	pair_close(&pair);
}

/* As soon as it is reported gone, all of it can be had again; many times. */
static void again_at_once(void **state)
{
	struct pair pair;

	(void)state;
	pair_open(&pair, &td_datapath_kernel, &td_datapath_tap, "127.0.0.1");
	for (unsigned i = 0; i < 20; i++) {
		destroy(&pair, &pair.broker, "tdb0");
		assert_int_equal(end_create(&pair.broker, one, &pair.broker_info), 0);
	}
	pair_close(&pair);
}

/* Ids and names of others are refused, and they stay. */
static void taken(void **state)
{
	struct td_session_info info;
	struct pair pair;
	const struct td_handle two = handle_of(1);

	(void)state;
	pair_open(&pair, &td_datapath_kernel, &td_datapath_kernel, "127.0.0.1");
	info = pair.broker_info;
	info.flow.peer.port++;
	snprintf(info.ifname, sizeof(info.ifname), "tdb1");
	assert_int_equal(end_create(&pair.broker, two, &info), -EEXIST);
	info.tunnel_id = 300;
	snprintf(info.ifname, sizeof(info.ifname), "tdc0");
	assert_int_equal(end_create(&pair.broker, two, &info), -EEXIST);
	assert_int_not_equal(if_nametoindex("tdc0"), 0);
	snprintf(info.ifname, sizeof(info.ifname), "tdb1");
	info.session_id = 301;
	assert_int_equal(end_create(&pair.broker, two, &info), 0);
	pair_close(&pair);
	assert_int_equal(system("ip link show tdb1 2>/dev/null | grep -q UP"), 256);
}

static void removed_by_another_hand(void **state)
{
	struct pair pair;

	(void)state;
	pair_open(&pair, &td_datapath_kernel, &td_datapath_tap, "127.0.0.1");
	run("ip l2tp del tunnel tunnel_id 101");
	for (unsigned i = 0; i < 100 && pair.broker.losts == 0; i++)
		loop_until(&pair.bench, NULL, NULL, TD_MS(50));
	assert_int_equal(pair.broker.losts, 1);
	pair.broker.losts = 0;
	pair_close(&pair);
}

static void send_descriptor(int to, int fd)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(fd))] = { 0 };
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg = (struct cmsghdr *)control;

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	if (sendmsg(to, &msg, 0) != 1)
		_exit(1);
}

static int receive_descriptor(int from)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int))];
	uint8_t byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg;
	int fd = -1;

	assert_int_equal(recvmsg(from, &msg, 0), 1);
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg)
		memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

/* Another process makes the tunnel, hands its socket over, and ends without a word. */
static int made_by_another(const struct td_session_info *info, struct td_udp *listener)
{
	int pair[2], fd, status;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		struct bench bench;
		struct end end;

		bench_open(&bench);
		end_open(&end, &bench, &td_datapath_kernel, 4);
		if (end.ops->listen(end.dp, listener) == 0)
			end.ops->create(end.dp, one, 1, info, listener);
		end.awaited = 1;
		if (bench.jobs)
			loop_until(&bench, end_has_ended, &end, TD_SECONDS(5));
		if (end.dones == 1 && end.err == 0)
			send_descriptor(pair[1], end.ops->keep_fd(end.dp, one));
		_exit(0);
	}
	close(pair[1]);
	fd = receive_descriptor(pair[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(pair[0]);
	return fd;
}

static void survives_a_crash(void **state)
{
	static uint8_t frame[200];
	struct pair pair;
	int fd;

	(void)state;
	pair_open(&pair, &td_datapath_kernel, &td_datapath_tap, "127.0.0.1");
	close(pair.broker_packets);
	destroy(&pair, &pair.broker, "tdb0");
	fd = made_by_another(&pair.broker_info, &pair.broker.udp);
	assert_int_equal(pair.broker.ops->adopt(pair.broker.dp, one, &pair.broker_info,
						&pair.broker.udp, fd),
			 0);
	interface_up("tdb0");
	pair.broker_packets = packet_open("tdb0");
	frame_fill(frame, sizeof(frame), "\x88\xb5", 2);
	expect_frame(&pair, pair.client_packets, pair.broker_packets, frame, sizeof(frame));
	expect_frame(&pair, pair.broker_packets, pair.client_packets, frame, sizeof(frame));
	pair_close(&pair);
}

static void peer_moves(void **state)
{
	static uint8_t frame[200];
	struct td_flow flow;
	struct td_udp other;
	struct pair pair;
	uint8_t got[300];

	(void)state;
	pair_open(&pair, &td_datapath_kernel, &td_datapath_tap, "127.0.0.1");
	assert_int_equal(td_udp_connect(&other, &pair.broker.udp.local, NULL, NULL), 0);
	flow = (struct td_flow){ pair.broker.udp.local, other.local };
	pair.broker.ops->set_peer(pair.broker.dp, one, 4, &flow);
	assert_int_equal(pair.broker.err, 0);
	frame_fill(frame, sizeof(frame), "\x88\xb5", 2);
	assert_int_equal(send(pair.broker_packets, frame, sizeof(frame), 0), sizeof(frame));
	loop_until(&pair.bench, is_readable, &other.fd, TD_SECONDS(5));
	assert_int_equal(recv(other.fd, got, sizeof(got), 0), 212);
	assert_memory_equal(got + 12, frame, sizeof(frame));
	td_udp_close(&other);
	pair_close(&pair);
}

static void many(void **state)
{
	enum { COUNT = 200 };
	struct td_session_info info;
	struct bench bench;
	struct end end;

	(void)state;
	bench_open(&bench);
	end_open(&end, &bench, &td_datapath_kernel, COUNT);
	end_listen(&end, "127.0.0.1");
	for (unsigned i = 0; i < COUNT; i++) {
		struct td_addr peer = address("127.0.0.2", (uint16_t)(20000 + i));
		info = info_of("x", &end.udp.local, &peer);
		snprintf(info.ifname, sizeof(info.ifname), "l2tp%u-%u", 100 + i, 100 + i);
		info.tunnel_id = info.session_id = 100 + i;
		assert_int_equal(end_create(&end, handle_of(i), &info), 0);
	}
	end.dones = 0;
	loop_until(&bench, NULL, NULL, TD_MS(1)); /* it knows what time it is */
	for (unsigned i = 0; i < COUNT; i++)
		end.ops->destroy(end.dp, handle_of(i), i);
	for (unsigned i = 0; i < 1800 && end.dones < COUNT; i++)
		loop_until(&bench, NULL, NULL, TD_MS(100));
	assert_int_equal(end.dones, COUNT);
	assert_int_equal(end.err, 0);
	assert_int_equal(system("ip link | grep -q l2tp"), 256);
	end_close(&end);
	bench_close(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kernel_and_tap),
		cmocka_unit_test(kernel_and_kernel),
		cmocka_unit_test(control_comes_up),
		cmocka_unit_test(again_at_once),
		cmocka_unit_test(taken),
		cmocka_unit_test(removed_by_another_hand),
		cmocka_unit_test(survives_a_crash),
		cmocka_unit_test(peer_moves),
		cmocka_unit_test(many),
	};
	char why[256];

	own_namespace();
	if (td_datapath_kernel.probe(why, sizeof(why)) < 0) {
		printf("skipped: %s\n", why);
		return 77;
	}
	return run_both_ways(tests);
}
