/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The TAP back-end: frames between two of them, what they drop, and the life of a tunnel. */
#include "datapath_fixture.h"

#include <sys/socket.h>

#include "sys/rtnl.h"

static const struct td_handle one = { .index = 0, .generation = 7 };

struct pair {
	struct bench bench;
	struct end broker, client;
	int broker_packets, client_packets;
};

/* Two ends with a tunnel between their interfaces tdb0 and tdc0. */
static void pair_open(struct pair *pair, const char *listen_ip, const char *ip)
{
	struct td_session_info info;
	struct td_addr broker;

	bench_open(&pair->bench);
	end_open(&pair->broker, &pair->bench, &td_datapath_tap, 4);
	end_open(&pair->client, &pair->bench, &td_datapath_tap, 1);
	end_listen(&pair->broker, listen_ip);
	broker = address(ip, pair->broker.udp.local.port);
	end_connect(&pair->client, &broker);

	info = info_of("tdb0", &broker, &pair->client.udp.local);
	assert_int_equal(end_create(&pair->broker, one, &info), 0);
	info = info_of("tdc0", &pair->client.udp.local, &broker);
	assert_int_equal(end_create(&pair->client, one, &info), 0);
	pair->broker_packets = packet_open("tdb0");
	pair->client_packets = packet_open("tdc0");
}

static void pair_up(struct pair *pair)
{
	interface_up("tdb0");
	interface_up("tdc0");
	/* Setting them up must not be a frame; if it is, it is not ours. */
	loop_until(&pair->bench, NULL, NULL, TD_MS(1));
}

static void pair_close(struct pair *pair)
{
	close(pair->broker_packets);
	close(pair->client_packets);
	end_close(&pair->broker);
	end_close(&pair->client);
	bench_close(&pair->bench);
	assert_int_equal(if_nametoindex("tdb0"), 0);
	assert_int_equal(if_nametoindex("tdc0"), 0);
}

/* --- frames --- */

static void expect_frame(struct pair *pair, int from, int to, const uint8_t *frame, size_t size)
{
	static uint8_t got[FRAME_ROOM];

	assert_int_equal(send(from, frame, size, 0), size);
	loop_until(&pair->bench, is_readable, &to, TD_SECONDS(5));
	assert_int_equal(packet_receive(to, got), size);
	assert_memory_equal(got, frame, size);
}

static void frames_both_ways(const char *listen_ip, const char *ip)
{
	static const struct {
		const char *bytes;
		size_t size;
	} kinds[] = {
		{ "\x88\xb5", 2 },                 /* neither IP nor ARP */
		{ "\x43\x05\x05\x0f", 4 },         /* batman-adv */
		{ "\x08\x00\x45\x00", 4 },         /* IPv4, with a nonsensical rest */
		{ "\x81\x00\x00\x64\x86\xdd", 6 }, /* a VLAN tag */
		{ "\x88\xa8\x00\x65\x81\x00\x00\x64\x08\x06", 10 }, /* two of them */
		{ "\x00\x26\x42\x42\x03", 5 }, /* a length: LLC, spanning tree */
	};
	static const size_t sizes[] = { 14, 15, 42, 60, 64, 65, 590, 1446, 1460, 1514, 8999, 9014 };
	static uint8_t frame[FRAME_ROOM];
	struct pair pair;

	pair_open(&pair, listen_ip, ip);
	assert_int_equal(end_set_mtu(&pair.broker, one, 9000), 0);
	assert_int_equal(end_set_mtu(&pair.client, one, 9000), 0);
	assert_int_equal(interface_mtu("tdc0"), 9000);
	pair_up(&pair);
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
			if (kinds[k].size > 4 && sizes[s] < 42)
				continue; /* the kernel itself drops half a tag */
			frame_fill(frame, sizes[s], kinds[k].bytes, kinds[k].size);
			expect_frame(&pair, pair.client_packets, pair.broker_packets, frame,
				     sizes[s]);
			memset(frame, 0xff, 6);
			expect_frame(&pair, pair.broker_packets, pair.client_packets, frame,
				     sizes[s]);
		}
	}
	/* The largest of all: a whole MTU behind a tag. */
	frame_fill(frame, 9018, kinds[3].bytes, kinds[3].size);
	expect_frame(&pair, pair.client_packets, pair.broker_packets, frame, 9018);
	assert_int_equal(end_stats(&pair.broker).rx_packets, end_stats(&pair.client).tx_packets);
	assert_int_equal(end_stats(&pair.broker).rx_bytes, end_stats(&pair.client).tx_bytes);
	assert_int_equal(end_stats(&pair.client).rx_packets, end_stats(&pair.broker).tx_packets);
	assert_int_equal(end_stats(&pair.client).rx_errors + end_stats(&pair.client).tx_errors, 0);
	pair_close(&pair);
}

static void frames_ipv4(void **state)
{
	(void)state;
	frames_both_ways("127.0.0.1", "127.0.0.1");
}

static void frames_ipv6(void **state)
{
	(void)state;
	frames_both_ways("::1", "::1");
}

/* The broker listens to all addresses and answers from the one that was asked. */
static void frames_wildcard(void **state)
{
	(void)state;
	frames_both_ways("0.0.0.0", "127.9.9.9");
	frames_both_ways("::", "::1");
}

/* What is too large for the link goes in fragments; only probes say so. */
static void larger_than_the_link(const char *ip, size_t fits)
{
	static uint8_t frame[9014], probe[2000] = { 0x80, 0x73, 0xa7, 0x01, 0x06 };
	struct td_flow flow;
	struct pair pair;

	pair_open(&pair, ip, ip);
	pair_up(&pair);
	run("ip link set lo mtu 1400");
	frame_fill(frame, sizeof(frame), "\x88\xb5", 2);
	expect_frame(&pair, pair.client_packets, pair.broker_packets, frame, 1460);
	expect_frame(&pair, pair.broker_packets, pair.client_packets, frame, 1460);
	flow = (struct td_flow){ pair.broker.udp.local, pair.client.udp.local };
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(pair.broker.ops->send(pair.broker.dp, one, &flow, probe, fits + 1),
				 -EMSGSIZE);
		assert_int_equal(pair.broker.ops->send(pair.broker.dp, one, &flow, probe, fits), 0);
		expect_frame(&pair, pair.broker_packets, pair.client_packets, frame, 1460);
	}
	assert_int_equal(pair.client.controls, 2);
	assert_int_equal(pair.client.control_size, fits);
	run("ip link set lo mtu 65536");
	pair_close(&pair);
}

static void fragments(void **state)
{
	(void)state;
	larger_than_the_link("127.0.0.1", 1400 - 28);
	larger_than_the_link("::1", 1400 - 48);
}

/* Frames of an interface that is down are lost, on either side of it, and only they. */
static void interface_down(void **state)
{
	uint8_t frame[100];
	struct pair pair;

	(void)state;
	pair_open(&pair, "127.0.0.1", "127.0.0.1");
	assert_false(interface_is_up("tdb0"));
	interface_up("tdc0");
	frame_fill(frame, sizeof(frame), "\x88\xb5", 2);
	assert_int_equal(send(pair.client_packets, frame, sizeof(frame), 0), sizeof(frame));
	loop_until(&pair.bench, NULL, NULL, TD_MS(20));
	assert_int_equal(end_stats(&pair.client).tx_packets, 1);
	assert_int_equal(end_stats(&pair.broker).rx_packets, 0);
	assert_int_equal(end_stats(&pair.broker).rx_errors, 1);
	pair_up(&pair);
	expect_frame(&pair, pair.client_packets, pair.broker_packets, frame, sizeof(frame));
	pair_close(&pair);
}

/* --- datagrams: a bare socket stands for the peer --- */

struct peer {
	struct bench bench;
	struct end end;
	struct td_addr addr;
	int fd;
};

static int peer_socket(const struct td_addr *to, struct td_addr *self)
{
	struct td_udp udp;

	assert_int_equal(td_udp_connect(&udp, to, NULL, NULL), 0);
	*self = udp.local;
	return udp.fd;
}

static void peer_open(struct peer *peer)
{
	struct td_session_info info;

	bench_open(&peer->bench);
	end_open(&peer->end, &peer->bench, &td_datapath_tap, 4);
	end_listen(&peer->end, "127.0.0.1");
	peer->fd = peer_socket(&peer->end.udp.local, &peer->addr);
	info = info_of("tdb0", &peer->end.udp.local, &peer->addr);
	info.peer_session_id = 0xa0b0c0d0;
	assert_int_equal(end_create(&peer->end, one, &info), 0);
	interface_up("tdb0");
}

static void peer_close(struct peer *peer)
{
	close(peer->fd);
	end_close(&peer->end);
	bench_close(&peer->bench);
}

static void peer_send(struct peer *peer, int fd, const void *bytes, size_t size)
{
	assert_int_equal(send(fd, bytes, size, 0), size);
	loop_until(&peer->bench, NULL, NULL, TD_MS(2));
}

#define DATA     "\0\3\0\0\1\2\3\4\0\0\0\0"
#define ETHERNET "\2\0\0\0\0\1\2\0\0\0\0\2\x88\xb5"

static void data_is_checked(void **state)
{
	static const uint8_t whole[] = DATA ETHERNET "payload";
	static const uint8_t reserved_bits[] = "\x7f\xf3\0\0\1\2\3\4\0\0\0\0" ETHERNET;
	static const uint8_t other_session[] = "\0\3\0\0\1\2\3\5\0\0\0\0" ETHERNET;
	static const uint8_t version_2[] = "\0\2\0\0\1\2\3\4\0\0\0\0" ETHERNET;
	static uint8_t huge[20000] = DATA;
	const struct td_datapath_counters *counters;
	struct td_addr stranger_addr;
	struct peer peer;
	int stranger;

	(void)state;
	peer_open(&peer);
	counters = peer.end.ops->counters(peer.end.dp);
	stranger = peer_socket(&peer.end.udp.local, &stranger_addr);

	peer_send(&peer, peer.fd, whole, sizeof(whole));
	assert_int_equal(end_stats(&peer.end).rx_packets, 1);
	assert_int_equal(end_stats(&peer.end).rx_bytes, sizeof(whole) - 12);
	peer_send(&peer, peer.fd, reserved_bits, sizeof(reserved_bits));
	assert_int_equal(end_stats(&peer.end).rx_packets, 2);

	peer_send(&peer, peer.fd, other_session, sizeof(other_session));
	assert_int_equal(counters->rx_bad_session, 1);
	peer_send(&peer, stranger, whole, sizeof(whole));
	assert_int_equal(counters->rx_unknown_flow, 1);
	peer_send(&peer, peer.fd, version_2, sizeof(version_2));
	assert_int_equal(counters->rx_malformed, 1);
	for (size_t size = 0; size < 26; size++)
		peer_send(&peer, peer.fd, whole, size);
	assert_int_equal(counters->rx_malformed, 27);
	peer_send(&peer, peer.fd, huge, sizeof(huge));
	assert_int_equal(counters->rx_truncated, 1);

	assert_int_equal(end_stats(&peer.end).rx_packets, 2);
	assert_int_equal(end_stats(&peer.end).rx_errors, 0);
	assert_int_equal(peer.end.controls, 0);
	close(stranger);
	peer_close(&peer);
}

static void data_on_the_wire(void **state)
{
	static const uint8_t expected[] = "\0\3\0\0\xa0\xb0\xc0\xd0\0\0\0\0" ETHERNET "hello";
	uint8_t got[100];
	struct peer peer;
	int packets;

	(void)state;
	peer_open(&peer);
	packets = packet_open("tdb0");
	assert_int_equal(send(packets, ETHERNET "hello", 20, 0), 20);
	loop_until(&peer.bench, is_readable, &peer.fd, TD_SECONDS(5));
	assert_int_equal(recv(peer.fd, got, sizeof(got), 0), sizeof(expected));
	assert_memory_equal(got, expected, sizeof(expected));
	close(packets);
	peer_close(&peer);
}

static void control_is_passed(void **state)
{
	static const uint8_t message[] = "\x80\x73\xa7\x01\x06\x06"
					 "abcdef";
	struct td_addr stranger_addr;
	struct td_flow flow;
	struct peer peer;
	uint8_t got[64];
	int stranger;

	(void)state;
	peer_open(&peer);
	stranger = peer_socket(&peer.end.udp.local, &stranger_addr);
	peer_send(&peer, stranger, message, sizeof(message));
	assert_int_equal(peer.end.controls, 1);
	assert_int_equal(peer.end.control_size, sizeof(message));
	assert_memory_equal(peer.end.control, message, sizeof(message));
	assert_true(td_addr_equal(&peer.end.control_flow.peer, &stranger_addr));
	assert_true(td_addr_equal(&peer.end.control_flow.local, &peer.end.udp.local));
	peer_send(&peer, peer.fd, message, 1);
	assert_int_equal(peer.end.controls, 2);
	assert_true(td_addr_equal(&peer.end.control_flow.peer, &peer.addr));

	/* And sent: on a flow of nobody's, and on a tunnel's. */
	flow = (struct td_flow){ peer.end.udp.local, stranger_addr };
	assert_int_equal(peer.end.ops->send(peer.end.dp, TD_NO_HANDLE, &flow, message, 12), 0);
	assert_int_equal(recv(stranger, got, sizeof(got), 0), 12);
	flow.peer = peer.addr;
	assert_int_equal(peer.end.ops->send(peer.end.dp, one, &flow, message, 13), 0);
	assert_int_equal(recv(peer.fd, got, sizeof(got), 0), 13);
	flow.local.port++;
	assert_int_equal(peer.end.ops->send(peer.end.dp, TD_NO_HANDLE, &flow, message, 12),
			 -ENOTCONN);
	close(stranger);
	peer_close(&peer);
}

static void forget_all(struct end *end)
{
	end->ops->destroy(end->dp, one, 9);
	end->ops->forget(end->dp, &end->udp);
	td_udp_close(&end->udp);
}

static bool is_gone(void *ctx)
{
	(void)ctx;
	return if_nametoindex("tdb0") == 0;
}

/* The host may do anything from within a callback; the rest of the batch is then nobody's. */
static void closed_from_within(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer);
	peer.end.on_control = forget_all;
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(send(peer.fd, "\x80", 1, 0), 1);
	loop_until(&peer.bench, is_gone, NULL, TD_SECONDS(5));
	assert_true(is_gone(NULL));
	assert_int_equal(peer.end.controls, 1);
	assert_int_equal(peer.end.err, 0);
	peer_close(&peer);
}

static void peer_moves(void **state)
{
	static const uint8_t whole[] = DATA ETHERNET;
	struct td_addr new_addr;
	struct td_flow flow;
	struct peer peer;
	int fd, packets;

	(void)state;
	peer_open(&peer);
	fd = peer_socket(&peer.end.udp.local, &new_addr);
	flow = (struct td_flow){ peer.end.udp.local, new_addr };
	peer.end.ops->set_peer(peer.end.dp, one, 3, &flow);
	assert_int_equal(peer.end.err, 0);
	peer_send(&peer, peer.fd, whole, sizeof(whole));
	assert_int_equal(end_stats(&peer.end).rx_packets, 0);
	peer_send(&peer, fd, whole, sizeof(whole));
	assert_int_equal(end_stats(&peer.end).rx_packets, 1);
	packets = packet_open("tdb0");
	assert_int_equal(send(packets, ETHERNET, 14, 0), 14);
	loop_until(&peer.bench, is_readable, &fd, TD_SECONDS(5));
	assert_true(is_readable(&fd));
	assert_false(is_readable(&peer.fd));
	close(fd);
	close(packets);
	peer_close(&peer);
}

/* --- the life of a tunnel --- */

static void name_is_taken(void **state)
{
	struct td_session_info info;
	struct bench bench;
	struct td_addr to;
	struct end end;

	(void)state;
	run("ip tuntap add mode tap name tdforeign");
	run("ip link add tdveth type veth peer name tdveth2");
	bench_open(&bench);
	end_open(&end, &bench, &td_datapath_tap, 2);
	end_listen(&end, "127.0.0.1");
	to = address("127.0.0.1", 9);
	info = info_of("tdforeign", &end.udp.local, &to);
	assert_int_equal(end_create(&end, one, &info), -EEXIST);
	info = info_of("tdveth", &end.udp.local, &to);
	assert_int_equal(end_create(&end, one, &info), -EEXIST);
	info = info_of("td%d", &end.udp.local, &to);
	assert_int_equal(end_create(&end, one, &info), -EINVAL);
	info = info_of("", &end.udp.local, &to);
	assert_int_equal(end_create(&end, one, &info), -EINVAL);
	/* Nothing is left of it, and nothing is used up. */
	info = info_of("tdnew", &end.udp.local, &to);
	assert_int_equal(end_create(&end, one, &info), 0);
	assert_int_equal(interface_mtu("tdnew"), 1446);
	assert_false(interface_is_up("tdnew"));
	/* The same flow again, the same place again. */
	info = info_of("tdnew2", &end.udp.local, &to);
	assert_int_equal(end_create(&end, handle_of(1), &info), -EADDRINUSE);
	info.flow.peer.port++;
	assert_int_equal(end_create(&end, one, &info), -EADDRINUSE);
	assert_int_equal(if_nametoindex("tdnew2"), 0);

	end.ops->destroy(end.dp, (struct td_handle){ 0, 8 }, 6);
	assert_int_equal(end.err, -ENODEV);
	assert_int_equal(end_destroy(&end, one), 0);
	assert_int_equal(if_nametoindex("tdnew"), 0);
	end_close(&end);
	bench_close(&bench);
	assert_int_not_equal(if_nametoindex("tdforeign"), 0);
	assert_int_not_equal(if_nametoindex("tdveth"), 0);
	run("ip link del tdforeign && ip link del tdveth");
}

static void deleted_by_another_hand(void **state)
{
	static const uint8_t whole[] = DATA ETHERNET;
	struct peer peer;

	(void)state;
	peer_open(&peer);
	run("ip link del tdb0");
	loop_until(&peer.bench, NULL, NULL, TD_MS(100));
	assert_int_equal(peer.end.losts, 1);
	assert_true(td_handle_equal(peer.end.handle, one));
	assert_true(peer.bench.iterations < 10);
	assert_int_equal(peer.end.ops->keep_fd(peer.end.dp, one), -1);
	peer_send(&peer, peer.fd, whole, sizeof(whole));
	assert_int_equal(end_stats(&peer.end).rx_errors, 1);
	assert_int_equal(end_set_mtu(&peer.end, one, 1300), -ENODEV);
	assert_int_equal(end_destroy(&peer.end, one), 0);
	assert_int_equal(peer.end.losts, 1);
	peer_close(&peer);
}

/* Another hand may rename it, too: it stays ours. */
static void renamed_by_another_hand(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer);
	run("ip link set tdb0 down && ip link set tdb0 name tdother");
	assert_int_equal(end_set_mtu(&peer.end, one, 1300), 0);
	assert_int_equal(interface_mtu("tdother"), 1300);
	peer_close(&peer);
	assert_int_equal(if_nametoindex("tdother"), 0);
}

static void survives_a_restart(void **state)
{
	static const uint8_t whole[] = DATA ETHERNET;
	struct td_session_info info;
	struct peer peer;
	unsigned index;
	int fd, other;

	(void)state;
	peer_open(&peer);
	info = info_of("tdb0", &peer.end.udp.local, &peer.addr);
	index = if_nametoindex("tdb0");
	fd = dup(peer.end.ops->keep_fd(peer.end.dp, one));
	assert_true(fd >= 0);
	peer.end.ops->close(peer.end.dp);
	assert_int_equal(if_nametoindex("tdb0"), index);

	{
		struct td_udp udp = peer.end.udp;

		end_open(&peer.end, &peer.bench, &td_datapath_tap, 4);
		peer.end.udp = udp;
		assert_int_equal(peer.end.ops->listen(peer.end.dp, &peer.end.udp), 0);
	}
	other = open("/dev/null", O_RDWR);
	assert_true(peer.end.ops->adopt(peer.end.dp, one, &info, &peer.end.udp, other) < 0);
	assert_int_equal(fcntl(other, F_GETFD), -1);
	assert_int_equal(peer.end.ops->adopt(peer.end.dp, one, &info, &peer.end.udp, fd), 0);
	assert_true(interface_is_up("tdb0"));
	peer_send(&peer, peer.fd, whole, sizeof(whole));
	assert_int_equal(end_stats(&peer.end).rx_packets, 1);
	peer_close(&peer);
	assert_int_equal(if_nametoindex("tdb0"), 0);
}

static void probe_passes(void **state)
{
	char why[200] = "";

	(void)state;
	assert_int_equal(td_datapath_tap.probe(why, sizeof(why)), 0);
	assert_string_equal(why, "");
	assert_int_equal(if_nametoindex("tdprobe0"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_ipv4),
		cmocka_unit_test(frames_ipv6),
		cmocka_unit_test(frames_wildcard),
		cmocka_unit_test(fragments),
		cmocka_unit_test(interface_down),
		cmocka_unit_test(data_is_checked),
		cmocka_unit_test(data_on_the_wire),
		cmocka_unit_test(control_is_passed),
		cmocka_unit_test(closed_from_within),
		cmocka_unit_test(peer_moves),
		cmocka_unit_test(name_is_taken),
		cmocka_unit_test(deleted_by_another_hand),
		cmocka_unit_test(renamed_by_another_hand),
		cmocka_unit_test(survives_a_restart),
		cmocka_unit_test(probe_passes),
	};

	own_namespace();
	return run_both_ways(tests);
}
