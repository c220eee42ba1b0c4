/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* On loopback; what needs other links, routes or an MTU in a network namespace of our own. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sys/rtnl.h"
#include "sys/udp.h"

#define LOOPBACK 1 /* its index in every namespace */

static struct td_addr v4(const char *text, uint16_t port)
{
	struct td_addr addr = { .family = TD_FAMILY_IPV4, .port = port };

	assert_int_equal(inet_pton(AF_INET, text, addr.ip), 1);
	return addr;
}

static struct td_addr v6(const char *text, uint16_t port)
{
	struct td_addr addr = { .family = TD_FAMILY_IPV6, .port = port };

	assert_int_equal(inet_pton(AF_INET6, text, addr.ip), 1);
	return addr;
}

static struct td_udp listen_on(struct td_addr addr)
{
	struct td_udp udp;

	assert_int_equal(td_udp_listen(&udp, &addr, NULL), 0);
	assert_true(udp.local.port != 0);
	return udp;
}

static struct td_udp connect_to(struct td_addr addr, const struct td_addr *local)
{
	struct td_udp udp;

	assert_int_equal(td_udp_connect(&udp, &addr, local, NULL), 0);
	assert_true(udp.connected);
	assert_true(td_addr_equal(&udp.peer, &addr));
	return udp;
}

static int send_text(struct td_udp *udp, const struct td_flow *flow, const char *text)
{
	struct iovec iov = { (char *)text, strlen(text) };

	return td_udp_send(udp, flow, &iov, 1);
}

static int send_size(struct td_udp *udp, size_t size)
{
	static uint8_t bytes[70000];
	struct iovec iov[2] = { { bytes, size / 2 }, { bytes, size - size / 2 } };

	return td_udp_send(udp, NULL, iov, 2);
}

/* The next datagram within a few seconds, NUL-terminated; returns its flow. */
static char text_got[64];

static struct td_flow receive(struct td_udp *udp)
{
	struct td_datagram d = { .bytes = (uint8_t *)text_got, .size = sizeof(text_got) - 1 };
	struct pollfd ready = { .fd = udp->fd, .events = POLLIN };

	assert_int_equal(poll(&ready, 1, 5000), 1);
	assert_int_equal(td_udp_receive(udp, &d, 1), 1);
	assert_false(d.truncated);
	text_got[d.size] = '\0';
	return d.flow;
}

static void assert_nothing(struct td_udp *udp)
{
	uint8_t byte;
	struct td_datagram d = { .bytes = &byte, .size = 1 };

	assert_int_equal(td_udp_receive(udp, &d, 1), 0);
}

static void test_addresses(void **state)
{
	struct td_addr addrs[] = { v4("192.0.2.1", 53), v6("2001:db8::1", 65535),
				   v6("fe80::1", 1) };
	struct sockaddr_storage sa;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&sa;
	struct td_addr addr, mapped = v4("192.0.2.1", 53);

	(void)state;
	addrs[2].scope = 3;
	for (unsigned i = 0; i < 3; i++) {
		memset(&sa, 0xff, sizeof(sa));
		assert_int_equal(td_addr_to_sockaddr(&addrs[i], &sa),
				 i == 0 ? sizeof(struct sockaddr_in) : sizeof(*in6));
		memset(&addr, 0xff, sizeof(addr));
		td_addr_from_sockaddr(&addr, (struct sockaddr *)&sa);
		assert_true(td_addr_equal(&addr, &addrs[i]));
	}
	*in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(53) };
	inet_pton(AF_INET6, "::ffff:192.0.2.1", &in6->sin6_addr);
	td_addr_from_sockaddr(&addr, (struct sockaddr *)&sa);
	assert_true(td_addr_equal(&addr, &mapped));
	inet_pton(AF_INET6, "2001:db8::1", &in6->sin6_addr);
	in6->sin6_scope_id = 7; /* says nothing about a global address */
	td_addr_from_sockaddr(&addr, (struct sockaddr *)&sa);
	assert_int_equal(addr.scope, 0);
	sa.ss_family = AF_UNIX;
	td_addr_from_sockaddr(&addr, (struct sockaddr *)&sa);
	assert_int_equal(addr.family, TD_FAMILY_NONE);
	assert_int_equal(td_addr_to_sockaddr(&addr, &sa), 0);
}

/* A connected client takes the reply only if it comes from the address that it asked. */
static void assert_reply_from(struct td_udp *listener, struct td_addr asked)
{
	struct td_udp client;
	struct td_flow flow;

	asked.port = listener->local.port;
	client = connect_to(asked, NULL);
	assert_int_equal(send_text(&client, NULL, "ping"), 0);
	flow = receive(listener);
	assert_string_equal(text_got, "ping");
	assert_true(td_addr_equal(&flow.local, &asked));
	assert_true(td_addr_equal(&flow.peer, &client.local));
	assert_int_equal(send_text(listener, &flow, "pong"), 0);
	flow = receive(&client);
	assert_string_equal(text_got, "pong");
	assert_true(td_addr_equal(&flow.peer, &asked));
	assert_true(td_addr_equal(&flow.local, &client.local));
	td_udp_close(&client);
}

static void test_reply_address(void **state)
{
	struct td_udp any = listen_on(v4("0.0.0.0", 0)), one = listen_on(v4("127.0.7.1", 0));

	(void)state;
	assert_true(any.wildcard);
	assert_reply_from(&any, v4("127.0.0.1", 0));
	assert_reply_from(&any, v4("127.1.2.3", 0));
	assert_reply_from(&any, v4("127.255.0.9", 0));
	assert_false(one.wildcard);
	assert_reply_from(&one, v4("127.0.7.1", 0));
	td_udp_close(&any);
	td_udp_close(&one);
}

static bool ipv6_there(void)
{
	struct td_addr addr = v6("::1", 0);
	struct td_udp udp;
	bool there = td_udp_listen(&udp, &addr, NULL) == 0;

	td_udp_close(&udp);
	if (!there)
		print_message("no IPv6 here\n");
	return there;
}

static void test_ipv6(void **state)
{
	struct td_udp any, any4, one;
	struct td_addr same = v4("0.0.0.0", 0);

	(void)state;
	if (!ipv6_there())
		skip();
	any = listen_on(v6("::", 0));
	one = listen_on(v6("::1", 0));
	assert_reply_from(&any, v6("::1", 0));
	assert_reply_from(&one, v6("::1", 0));
	same.port = any.local.port;
	assert_int_equal(td_udp_listen(&any4, &same, NULL), 0); /* IPV6_V6ONLY */
	td_udp_close(&any);
	td_udp_close(&any4);
	td_udp_close(&one);
}

static void test_batch(void **state)
{
	static uint8_t room[40][8];
	struct td_datagram d[40];
	struct td_udp listener = listen_on(v4("127.0.0.1", 0));
	struct td_udp client = connect_to(listener.local, NULL);

	(void)state;
	for (unsigned i = 0; i < 40; i++) {
		assert_int_equal(send_text(&client, NULL, i % 2 ? "0123456789" : ""), 0);
		d[i] = (struct td_datagram){ .bytes = room[i], .size = sizeof(room[i]) };
	}
	assert_int_equal(td_udp_receive(&listener, d, 40), 32);
	for (unsigned i = 0; i < 32; i++) {
		assert_int_equal(d[i].truncated, i % 2);
		assert_int_equal(d[i].size, i % 2 ? 8 : 0);
		assert_true(td_addr_equal(&d[i].flow.peer, &client.local));
	}
	assert_int_equal(td_udp_receive(&listener, d + 32, 8), 8);
	assert_int_equal(td_udp_receive(&listener, d + 32, 8), 0);

	/* One at a time. */
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(send_text(&client, NULL, i % 2 ? "0123456789" : ""), 0);
		d[i] = (struct td_datagram){ .bytes = room[i], .size = sizeof(room[i]) };
		assert_int_equal(td_udp_receive(&listener, &d[i], 1), 1);
		assert_int_equal(d[i].truncated, i % 2);
		assert_int_equal(d[i].size, i % 2 ? 8 : 0);
		assert_true(td_addr_equal(&d[i].flow.peer, &client.local));
		assert_true(td_addr_equal(&d[i].flow.local, &listener.local));
	}
	assert_int_equal(td_udp_receive(&listener, d, 1), 0);
	td_udp_close(&listener);
	td_udp_close(&client);
}

static void test_icmp_errors_pass(void **state)
{
	struct td_udp gone = listen_on(v4("127.0.0.1", 0));
	struct td_udp client = connect_to(gone.local, NULL);
	struct td_udp back;

	(void)state;
	td_udp_close(&gone);
	for (int i = 0; i < 5; i++) /* from the second on each finds ECONNREFUSED */
		assert_int_equal(send_text(&client, NULL, "x"), 0);
	assert_nothing(&client);
	assert_int_equal(td_udp_listen(&back, &client.peer, NULL), 0);
	assert_int_equal(send_text(&client, NULL, "again"), 0);
	receive(&back);
	assert_string_equal(text_got, "again");
	td_udp_close(&back);
	td_udp_close(&client);
}

static void test_no_use_any_more(void **state)
{
	struct td_udp udp = listen_on(v4("127.0.0.1", 0));
	uint8_t byte;
	struct td_datagram d = { .bytes = &byte, .size = 1 };

	(void)state;
	td_udp_close(&udp);
	td_udp_close(&udp);
	assert_int_equal(td_udp_receive(&udp, &d, 1), -EBADF);
	assert_int_equal(send_text(&udp, &d.flow, "x"), -EBADF);
}

static void test_connect_from_given_address(void **state)
{
	struct td_udp listener = listen_on(v4("127.0.0.1", 0)), udp;
	struct td_addr local = v4("127.0.0.5", 99), none = { .family = TD_FAMILY_NONE };

	(void)state;
	udp = connect_to(listener.local, &local);
	assert_memory_equal(udp.local.ip, local.ip, 16);
	assert_int_not_equal(udp.local.port, 99); /* always a fresh one */
	td_udp_close(&udp);
	udp = connect_to(listener.local, &none);
	td_udp_close(&udp);
	local = v4("192.0.2.99", 0);
	assert_int_equal(td_udp_connect(&udp, &listener.local, &local, NULL), -EADDRNOTAVAIL);
	assert_int_equal(udp.fd, -1);
	local = v6("::1", 0);
	assert_int_equal(td_udp_connect(&udp, &listener.local, &local, NULL), -EAFNOSUPPORT);
	assert_int_equal(udp.fd, -1);
	td_udp_close(&listener);
}

static void test_device(void **state)
{
	struct td_addr addr = v4("127.0.0.1", 0);
	struct td_udp udp;

	(void)state;
	assert_int_equal(td_udp_listen(&udp, &addr, "no-such-device"), -ENODEV);
	assert_int_equal(udp.fd, -1);
	assert_int_equal(td_udp_listen(&udp, &addr, "lo"), 0);
	td_udp_close(&udp);
}

static void test_from_fd(void **state)
{
	struct td_udp any = listen_on(v4("0.0.0.0", 0)), copy;
	struct td_addr at = v4("127.0.0.1", any.local.port);
	struct td_udp client = connect_to(at, NULL);
	int pair[2];

	(void)state;
	assert_int_equal(td_udp_from_fd(&copy, dup(any.fd)), 0);
	assert_true(copy.wildcard);
	assert_false(copy.connected);
	assert_reply_from(&copy, v4("127.0.0.77", 0));
	td_udp_close(&copy);
	assert_int_equal(td_udp_from_fd(&copy, dup(client.fd)), 0);
	assert_true(copy.connected);
	assert_true(td_addr_equal(&copy.local, &client.local));
	assert_true(td_addr_equal(&copy.peer, &client.peer));
	td_udp_close(&copy);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	assert_int_equal(td_udp_from_fd(&copy, pair[0]), -EAFNOSUPPORT);
	assert_int_equal(copy.fd, -1);
	close(pair[0]);
	close(pair[1]);
	td_udp_close(&any);
	td_udp_close(&client);
}

/* Many tunnels on the listener's port: each gets its peer's datagrams, the listener all others. */
static void check_connect_from(struct td_addr bound, struct td_addr address)
{
	struct td_udp listener = listen_on(bound), clients[50], tunnels[50], second;
	struct td_flow flow;
	int one = 1;

	address.port = listener.local.port;
	for (unsigned i = 0; i < 50; i++) {
		clients[i] = connect_to(address, NULL);
		assert_int_equal(send_text(&clients[i], NULL, "first"), 0);
		flow = receive(&listener);
		assert_int_equal(td_udp_connect_from(&tunnels[i], &listener, &flow, NULL), 0);
		assert_true(td_addr_equal(&tunnels[i].local, &address));
		assert_true(td_addr_equal(&tunnels[i].peer, &clients[i].local));
	}
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(send_text(&clients[i], NULL, "second"), 0);
		receive(&tunnels[i]);
		assert_string_equal(text_got, "second");
		assert_int_equal(send_text(&tunnels[i], NULL, "reply"), 0);
		receive(&clients[i]);
		assert_string_equal(text_got, "reply");
	}
	assert_nothing(&listener);
	assert_reply_from(&listener, address);

	/* Nobody else gets onto the port, not even one who asks to share it. */
	bound.port = address.port;
	assert_int_equal(td_udp_listen(&second, &bound, NULL), -EADDRINUSE);
	second.fd = socket(bound.family == TD_FAMILY_IPV4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
	assert_int_equal(setsockopt(second.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	struct sockaddr_storage sa;
	socklen_t size = td_addr_to_sockaddr(&address, &sa);
	assert_int_equal(bind(second.fd, (struct sockaddr *)&sa, size), -1);
	assert_int_equal(errno, EADDRINUSE);
	td_udp_close(&second);

	for (unsigned i = 0; i < 50; i++) {
		td_udp_close(&clients[i]);
		td_udp_close(&tunnels[i]);
	}
	td_udp_close(&listener);
}

/* On a port of its own, and yet what the peer sent there came to the listener's, as far as it says. */
static void check_connect_apart(struct td_addr address)
{
	struct td_udp listener = listen_on(address), client, tunnel, real;
	struct td_flow flow, got;
	uint16_t port;

	address.port = listener.local.port;
	client = connect_to(address, NULL);
	flow = (struct td_flow){ .local = address, .peer = client.local };
	assert_int_equal(td_udp_connect_apart(&tunnel, &flow, NULL, &port), 0);
	assert_true(td_addr_equal(&tunnel.local, &address));
	assert_true(td_addr_equal(&tunnel.peer, &client.local));
	assert_int_equal(td_udp_from_fd(&real, tunnel.fd), 0);
	assert_int_equal(real.local.port, port);
	assert_int_not_equal(port, address.port);
	td_udp_close(&client);
	address.port = port;
	client = connect_to(address, NULL);
	assert_int_equal(td_udp_move(&tunnel, &(struct td_flow){ flow.local, client.local }), 0);
	assert_int_equal(send_text(&client, NULL, "rewritten"), 0);
	got = receive(&tunnel);
	assert_true(td_addr_equal(&got.local, &flow.local));
	td_udp_close(&tunnel);

	flow.local.ip[3] ^= 1;
	flow.local.ip[0] ^= 0x40;
	assert_int_equal(td_udp_connect_apart(&tunnel, &flow, NULL, &port), -EADDRNOTAVAIL);
	assert_int_equal(tunnel.fd, -1);
	td_udp_close(&client);
	td_udp_close(&listener);
}

static void test_connect_apart(void **state)
{
	(void)state;
	check_connect_apart(v4("127.0.0.1", 0));
	if (ipv6_there())
		check_connect_apart(v6("::1", 0));
}

static void test_connect_from(void **state)
{
	(void)state;
	check_connect_from(v4("0.0.0.0", 0), v4("127.0.3.4", 0));
	check_connect_from(v4("127.0.0.1", 0), v4("127.0.0.1", 0));
	if (ipv6_there()) {
		check_connect_from(v6("::", 0), v6("::1", 0));
		check_connect_from(v6("::1", 0), v6("::1", 0));
	}
}

/* Between bind() and connect() a socket takes what others send: its sender must be told apart. */
static void test_stranger_on_a_connected_socket(void **state)
{
	struct td_udp udp = listen_on(v4("127.0.0.1", 0)), stranger = connect_to(udp.local, NULL);
	struct td_addr peer = v4("127.0.0.1", 9);
	struct sockaddr_storage sa;
	struct td_flow flow;

	(void)state;
	assert_int_equal(send_text(&stranger, NULL, "for the listener"), 0);
	assert_int_equal(connect(udp.fd, (struct sockaddr *)&sa, td_addr_to_sockaddr(&peer, &sa)),
			 0);
	assert_int_equal(td_udp_from_fd(&udp, udp.fd), 0);
	assert_true(udp.connected);
	flow = receive(&udp);
	assert_true(td_addr_equal(&flow.peer, &stranger.local));
	td_udp_close(&udp);
	td_udp_close(&stranger);
}

static void test_largest(void **state)
{
	struct td_udp listener = listen_on(v4("127.0.0.1", 0));
	struct td_udp client = connect_to(listener.local, NULL);

	(void)state;
	assert_int_equal(send_size(&client, TD_UDP_MAX), 0);
	assert_int_equal(send_size(&client, TD_UDP_MAX + 1), -EMSGSIZE);
	assert_int_equal(send_size(&client, TD_UDP_MAX), 0);
	td_udp_close(&listener);
	td_udp_close(&client);
}

/* The link's MTU, to the byte, in both families; a refusal spoils nothing that follows. */
static void check_mtu(struct td_addr address, size_t fits)
{
	struct td_udp listener = listen_on(address), client = connect_to(listener.local, NULL);

	for (int i = 0; i < 3; i++) {
		assert_int_equal(send_size(&client, fits + 1), -EMSGSIZE);
		assert_int_equal(send_size(&client, fits), 0);
	}
	td_udp_close(&listener);
	td_udp_close(&client);
}

/* From here on everything happens in a namespace with only a loopback of MTU 1500. */
static void enter_namespace(void)
{
	struct td_rtnl rtnl;

	if (unshare(CLONE_NEWNET) < 0) {
		print_message("not root: no network namespace\n");
		skip();
	}
	assert_int_equal(td_rtnl_open(&rtnl), 0);
	assert_int_equal(td_rtnl_set_mtu(&rtnl, LOOPBACK, 1500), 0);
	assert_int_equal(td_rtnl_set_state(&rtnl, LOOPBACK, true), 0);
	td_rtnl_close(&rtnl);
}

static void test_mtu(void **state)
{
	(void)state;
	enter_namespace();
	check_mtu(v4("127.0.0.1", 0), 1472);
	if (ipv6_there())
		check_mtu(v6("::1", 0), 1452);
}

static void test_no_route(void **state)
{
	struct td_addr addr4 = v4("192.0.2.1", 53), addr6 = v6("2001:db8::1", 53);
	struct td_udp udp;

	(void)state;
	enter_namespace();
	assert_int_equal(td_udp_connect(&udp, &addr4, NULL, NULL), -ENETUNREACH);
	assert_int_equal(udp.fd, -1);
	if (ipv6_there())
		assert_int_equal(td_udp_connect(&udp, &addr6, NULL, NULL), -ENETUNREACH);
}

/* Not even "nodad" makes an address good for receiving before a worker of the kernel has run. */
static bool give_link_local(void)
{
	return system("ip addr add fe80::7d/64 dev lo nodad && "
		      "while ip addr show dev lo tentative | grep -q fe80; do sleep 0.01; done") ==
	       0;
}

static void test_link_local(void **state)
{
	struct td_addr address = v6("fe80::7d", 0);
	struct td_udp any, one;

	(void)state;
	enter_namespace();
	if (!ipv6_there() || !give_link_local())
		skip();
	address.scope = 1;
	any = listen_on(v6("::", 0));
	assert_reply_from(&any, address);
	assert_reply_from(&any, v6("::1", 0));
	one = listen_on(address);
	assert_int_equal(one.local.scope, 1);
	assert_reply_from(&one, address);
	check_connect_from(v6("::", 0), address);
	td_udp_close(&any);
	td_udp_close(&one);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_reply_address),
		cmocka_unit_test(test_ipv6),
		cmocka_unit_test(test_batch),
		cmocka_unit_test(test_icmp_errors_pass),
		cmocka_unit_test(test_no_use_any_more),
		cmocka_unit_test(test_connect_from_given_address),
		cmocka_unit_test(test_device),
		cmocka_unit_test(test_from_fd),
		cmocka_unit_test(test_connect_from),
		cmocka_unit_test(test_connect_apart),
		cmocka_unit_test(test_stranger_on_a_connected_socket),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_mtu),
		cmocka_unit_test(test_no_route),
		cmocka_unit_test(test_link_local),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
