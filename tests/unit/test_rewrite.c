/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Rewriting of ports, with plain sockets in the place of tunnels: a broker's host and a client's, joined
 * by a wire on which checksums are real and large datagrams go in fragments.
 */
#include "datapath_fixture.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <linux/netlink.h>

#include "datapath/rewrite.h"

#define INSTANCE    100
#define MAX         4
#define PUBLIC      8942
#define TABLE       "inet tunneldigger_100"
#define WAIT_MS     2000
#define SILENCE_MS  150
#define LARGE       20000
#define BROKER_IPV4 "192.0.2.1"
#define CLIENT_IPV4 "192.0.2.2"
#define BROKER_IPV6 "2001:db8::1"
#define CLIENT_IPV6 "2001:db8::2"

static int broker_host, client_host;

static void go_to(int host)
{
	assert_int_equal(setns(host, CLONE_NEWNET), 0);
}

static int make_host(void)
{
	int fd;

	own_namespace();
	fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static int make_hosts(void **state)
{
	(void)state;
	client_host = make_host();
	broker_host = make_host();
	run("echo 0 >/proc/sys/net/ipv6/conf/default/disable_ipv6");
	run("ip link add wire type veth peer name wire netns /proc/%d/fd/%d", getpid(),
	    client_host);
	run("ethtool -K wire tx off rx off gso off tso off gro off >/dev/null");
	run("ip address add " BROKER_IPV4 "/24 dev wire && ip address add 192.0.2.3/24 dev wire");
	run("ip address add " BROKER_IPV6 "/64 dev wire nodad && ip link set wire up");
	go_to(client_host);
	run("ethtool -K wire tx off rx off gso off tso off gro off >/dev/null");
	run("echo 0 >/proc/sys/net/ipv6/conf/wire/disable_ipv6");
	run("ip address add " CLIENT_IPV4 "/24 dev wire");
	run("ip address add " CLIENT_IPV6 "/64 dev wire nodad && ip link set wire up");
	go_to(broker_host);
	return 0;
}

/* A namespace of its own takes with it what a failed test has left. */
static int remove_hosts(void **state)
{
	(void)state;
	close(broker_host);
	close(client_host);
	return 0;
}

/* --- a listener, a tunnel's socket, its peer, and a stranger --- */

struct scene {
	int socket; /* the table's */
	struct td_rewrite *rewrite;
	struct td_udp listener, tunnel, peer, stranger;
	struct td_flow flow;
	uint16_t port;
};

static int try_rewrite(struct td_rewrite **rewrite, int socket, uint32_t instance, char *why,
		       size_t size)
{
	const struct td_rewrite_setup setup = { socket, instance, MAX };

	return td_rewrite_open(rewrite, &setup, why, size);
}

static struct td_rewrite *open_rewrite(int socket, uint32_t instance)
{
	struct td_rewrite *rewrite = NULL;
	char why[256] = "";

	if (try_rewrite(&rewrite, socket, instance, why, sizeof(why)) != 0)
		fail_msg("%s", why);
	return rewrite;
}

static int open_socket(void)
{
	int fd = td_rewrite_socket();

	assert_true(fd >= 0);
	return fd;
}

/* All but the table. */
static void scene_prepare(struct scene *s, bool ipv6)
{
	const struct td_addr public = address(ipv6 ? BROKER_IPV6 : BROKER_IPV4, PUBLIC);
	const struct td_addr any = address(ipv6 ? "::" : "0.0.0.0", PUBLIC);

	*s = (struct scene){ .socket = open_socket() };
	assert_int_equal(td_udp_listen(&s->listener, &any, NULL), 0);
	go_to(client_host);
	assert_int_equal(td_udp_connect(&s->peer, &public, NULL, NULL), 0);
	assert_int_equal(td_udp_connect(&s->stranger, &public, NULL, NULL), 0);
	assert_int_equal(td_udp_set_fragment(&s->peer, true), 0);
	go_to(broker_host);
	s->flow = (struct td_flow){ .local = public, .peer = s->peer.local };
	assert_int_equal(td_udp_connect_apart(&s->tunnel, &s->flow, NULL, &s->port), 0);
	assert_int_equal(td_udp_set_fragment(&s->tunnel, true), 0);
	assert_int_not_equal(s->port, PUBLIC);
	assert_int_not_equal(s->port, 0);
}

static void scene_open(struct scene *s, bool ipv6)
{
	scene_prepare(s, ipv6);
	s->rewrite = open_rewrite(s->socket, INSTANCE);
	assert_int_equal(td_rewrite_start(s->rewrite), 0);
}

static void scene_close(struct scene *s)
{
	td_udp_close(&s->listener);
	td_udp_close(&s->tunnel);
	td_udp_close(&s->peer);
	td_udp_close(&s->stranger);
	td_rewrite_close(s->rewrite);
	run("! nft list tables | grep tunneldigger");
	close(s->socket);
}

static void divert(struct scene *s)
{
	assert_int_equal(td_rewrite_add(s->rewrite, &s->flow, s->port), 0);
}

/* Does what one socket sends come to the other, and with that flow? */
static bool passes(struct td_udp *from, struct td_udp *to, const struct td_flow *flow, size_t size)
{
	static uint8_t sent[LARGE], got[LARGE];
	const struct iovec iov = { sent, size };
	struct pollfd poller = { .fd = to->fd, .events = POLLIN };
	struct td_datagram datagram = { .bytes = got, .size = sizeof(got) };

	for (size_t i = 0; i < size; i++)
		sent[i] = (uint8_t)rand();
	assert_int_equal(td_udp_send(from, NULL, &iov, 1), 0);
	if (poll(&poller, 1, WAIT_MS) != 1)
		return false;
	assert_int_equal(td_udp_receive(to, &datagram, 1), 1);
	assert_int_equal(datagram.size, size);
	assert_memory_equal(got, sent, size);
	if (flow)
		assert_true(td_flow_equal(&datagram.flow, flow));
	return true;
}

static bool is_silent(struct td_udp *udp)
{
	struct pollfd poller = { .fd = udp->fd, .events = POLLIN };

	return poll(&poller, 1, SILENCE_MS) == 0;
}

/* Who is known is served by the tunnel's socket, on the port that it knows; others by the listener. */
static void expect_diverted(struct scene *s, size_t size)
{
	const struct td_flow back = { .local = s->flow.peer, .peer = s->flow.local };

	assert_true(passes(&s->peer, &s->tunnel, &s->flow, size));
	assert_true(passes(&s->tunnel, &s->peer, &back, size));
	assert_true(passes(&s->stranger, &s->listener, NULL, size < 1400 ? size : 1400));
	assert_true(is_silent(&s->listener));
}

static void diverts(bool ipv6)
{
	struct scene s;

	scene_open(&s, ipv6);
	assert_true(passes(&s.peer, &s.listener, &s.flow, 100));
	divert(&s);
	expect_diverted(&s, 100);
	expect_diverted(&s, 1);
	expect_diverted(&s, LARGE);
	assert_int_equal(td_rewrite_add(s.rewrite, &s.flow, s.port), -EEXIST);
	assert_int_equal(td_rewrite_add(s.rewrite, &s.flow, 77), -EEXIST);
	expect_diverted(&s, 100);
	assert_int_equal(td_rewrite_remove(s.rewrite, &s.flow, s.port), 0);
	assert_true(passes(&s.peer, &s.listener, &s.flow, 100));
	assert_int_equal(td_rewrite_remove(s.rewrite, &s.flow, s.port), 0);
	divert(&s);
	expect_diverted(&s, 100);
	scene_close(&s);
}

static void known_and_unknown_peers(void **state)
{
	(void)state;
	diverts(false);
	diverts(true);
}

/* What is refused has no effect on the other map either. */
static void refused_as_a_whole(void **state)
{
	struct td_flow other;
	struct scene s;

	(void)state;
	scene_open(&s, false);
	divert(&s);
	other = s.flow;
	other.peer.port++;
	assert_int_equal(td_rewrite_add(s.rewrite, &other, s.port), -EEXIST);
	assert_int_equal(td_rewrite_add(s.rewrite, &other, 77), 0);
	other.peer.port++;
	assert_int_equal(td_rewrite_add(s.rewrite, &other, 78), 0);
	other.peer.port++;
	assert_int_equal(td_rewrite_add(s.rewrite, &other, 79), 0);
	other.peer.port++;
	assert_int_equal(td_rewrite_add(s.rewrite, &other, 80), -ENFILE); /* of four */
	assert_int_equal(td_rewrite_remove(s.rewrite, &s.flow, s.port), 0);
	assert_int_equal(td_rewrite_add(s.rewrite, &other, 80), 0);
	scene_close(&s);
}

static void without_checksum(void **state)
{
	const int on = 1;
	struct scene s;

	(void)state;
	scene_open(&s, false);
	divert(&s);
	assert_int_equal(setsockopt(s.peer.fd, SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on)), 0);
	expect_diverted(&s, 100);
	expect_diverted(&s, LARGE);
	scene_close(&s);
}

/* --- others in the same host --- */

static void filters_see_the_public_port(void **state)
{
	static const char *const filters[] = {
		"chain i { type filter hook input priority 0; policy drop; udp dport 8942 accept; "
		"};"
		"chain o { type filter hook output priority 0; policy drop; udp sport 8942 accept; "
		"};",
		"chain i { type filter hook input priority 0; policy drop; udp dport 8942 accept; "
		"};"
		"chain o { type filter hook output priority 0; policy drop;"
		" ct state established,related accept; };",
		"chain r { type filter hook prerouting priority -300; policy drop;"
		" udp dport 8942 accept; };"
		"chain o { type filter hook postrouting priority 300; policy drop;"
		" udp sport 8942 accept; };",
	};
	struct scene s;

	(void)state;
	for (unsigned i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
		scene_open(&s, false);
		run("nft 'table ip operator { %s }'", filters[i]);
		divert(&s);
		expect_diverted(&s, 100);
		run("nft delete table ip operator");
		scene_close(&s);
	}
}

static void nobody_else_removes_it(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s, true);
	divert(&s);
	run("nft flush ruleset");
	run("! nft delete table " TABLE " 2>/dev/null");
	expect_diverted(&s, 100);
	scene_close(&s);
}

/* The same private port on another address, and everything else. */
static void ports_of_others_are_left_alone(void **state)
{
	struct td_addr there = address(CLIENT_IPV4, 7000);
	struct td_addr here;
	struct sockaddr_storage sa;
	struct td_udp other, client;
	struct td_flow flow;
	struct scene s;

	(void)state;
	scene_open(&s, false);
	divert(&s);
	here = address("192.0.2.3", s.port);
	go_to(client_host);
	assert_int_equal(td_udp_listen(&client, &there, NULL), 0);
	assert_int_equal(td_addr_to_sockaddr(&here, &sa), sizeof(struct sockaddr_in));
	assert_int_equal(connect(client.fd, (struct sockaddr *)&sa, sizeof(struct sockaddr_in)), 0);
	go_to(broker_host);
	assert_int_equal(td_udp_listen(&other, &here, NULL), 0);
	assert_int_equal(td_addr_to_sockaddr(&there, &sa), sizeof(struct sockaddr_in));
	assert_int_equal(connect(other.fd, (struct sockaddr *)&sa, sizeof(struct sockaddr_in)), 0);
	client.connected = other.connected = true;
	flow = (struct td_flow){ .local = here, .peer = there };
	assert_true(passes(&client, &other, &flow, 100));
	flow = (struct td_flow){ .local = there, .peer = here };
	assert_true(passes(&other, &client, &flow, 100));
	td_udp_close(&other);
	td_udp_close(&client);
	scene_close(&s);
}

static void instances_side_by_side(void **state)
{
	const int other_socket = open_socket(), third_socket = open_socket();
	struct td_rewrite *other, *third = NULL;
	struct scene s;
	char why[256];

	(void)state;
	scene_open(&s, false);
	divert(&s);
	other = open_rewrite(other_socket, INSTANCE + 1);
	assert_int_equal(td_rewrite_start(other), 0);
	assert_int_equal(td_rewrite_add(other, &s.flow, 77), 0);
	assert_int_equal(td_rewrite_remove(other, &s.flow, 77), 0);
	expect_diverted(&s, 100);
	assert_int_equal(try_rewrite(&third, third_socket, INSTANCE, why, sizeof(why)), -EPERM);
	assert_non_null(strstr(why, "tunnel_id_base"));
	assert_null(third);
	expect_diverted(&s, 100);
	td_rewrite_close(other);
	expect_diverted(&s, 100);
	close(other_socket);
	close(third_socket);
	scene_close(&s);
}

/* --- begin and end --- */

static void left_over_is_replaced(void **state)
{
	struct scene s;

	(void)state;
	run("nft 'table " TABLE " { map in4 { type mark : mark; };"
	    " chain input { type filter hook input priority 0; policy drop; }; }'");
	scene_open(&s, false);
	divert(&s);
	expect_diverted(&s, 100);
	run("! nft list table " TABLE " | grep -e drop -e mark");
	scene_close(&s);
}

static void gone_with_its_process(void **state)
{
	struct td_rewrite *rewrite;
	char why[256], byte;
	int pipes[2];
	pid_t child;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	child = fork();
	if (child == 0) {
		if (try_rewrite(&rewrite, td_rewrite_socket(), INSTANCE, why, sizeof(why)) == 0 &&
		    td_rewrite_start(rewrite) == 0 && write(pipes[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	close(pipes[1]);
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	run("nft list table " TABLE " >/dev/null");
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	run("! nft list tables | grep tunneldigger");
	close(pipes[0]);
}

/* A process that has the scene's socket, makes the table, adds both, and dies. */
static void predecessor(const struct scene *s, const struct td_flow *other)
{
	struct td_rewrite *rewrite;
	char why[256];
	pid_t child = fork();

	if (child == 0) {
		if (try_rewrite(&rewrite, s->socket, INSTANCE, why, sizeof(why)) != 0 ||
		    td_rewrite_start(rewrite) != 0 ||
		    td_rewrite_add(rewrite, &s->flow, s->port) != 0 ||
		    td_rewrite_add(rewrite, other, 77) != 0)
			_exit(1);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(child, NULL, 0), child);
}

/* Is it in the table? (Then it is taken out, and back.) */
static bool has(struct td_rewrite *rewrite, const struct td_flow *flow, uint16_t port)
{
	int err = td_rewrite_add(rewrite, flow, port);

	if (err == -EEXIST)
		return true;
	assert_int_equal(err, 0);
	assert_int_equal(td_rewrite_remove(rewrite, flow, port), 0);
	return false;
}

/*
 * What the next process finds at work stays so until it has taken over; then what it did not take over
 * is gone.
 */
static void taken_over(void **state)
{
	struct td_flow dead, undone;
	struct scene s;

	(void)state;
	scene_prepare(&s, false);
	dead = undone = s.flow;
	dead.peer = s.stranger.local;
	undone.peer.port ^= 1;
	predecessor(&s, &dead);
	assert_true(passes(&s.peer, &s.tunnel, &s.flow, 100));
	assert_false(passes(&s.stranger, &s.listener, NULL, 100)); /* to a socket that is gone */
	s.rewrite = open_rewrite(s.socket, INSTANCE);
	assert_true(passes(&s.peer, &s.tunnel, &s.flow, 100));
	divert(&s);
	assert_int_equal(td_rewrite_add(s.rewrite, &undone, 78), 0);
	assert_int_equal(td_rewrite_remove(s.rewrite, &undone, 78), 0);
	assert_true(passes(&s.peer, &s.tunnel, &s.flow, 100));
	assert_int_equal(td_rewrite_start(s.rewrite), 0);
	expect_diverted(&s, 100);
	assert_true(has(s.rewrite, &s.flow, s.port));
	assert_false(has(s.rewrite, &dead, 77));
	assert_false(has(s.rewrite, &undone, 78));
	scene_close(&s);
}

/* It is owned still, and goes with the last who has its socket. */
static void predecessor_without_successor(void **state)
{
	struct td_flow dead;
	struct scene s;

	(void)state;
	scene_prepare(&s, false);
	dead = s.flow;
	dead.peer = s.stranger.local;
	predecessor(&s, &dead);
	run("! nft delete table " TABLE " 2>/dev/null");
	close(s.socket);
	s.socket = open_socket();
	run("! nft list tables | grep tunneldigger");
	s.rewrite = open_rewrite(s.socket, INSTANCE);
	scene_close(&s);
}

/* Answers that nobody has read, more than the socket has room for. */
static void answers_of_the_predecessor(void **state)
{
	struct nlmsghdr noop = { sizeof(noop), NLMSG_NOOP, NLM_F_REQUEST | NLM_F_ACK, 1, 0 };
	struct scene s;

	(void)state;
	scene_prepare(&s, false);
	for (unsigned i = 0; i < 2000; i++)
		assert_int_equal(write(s.socket, &noop, sizeof(noop)), sizeof(noop));
	s.rewrite = open_rewrite(s.socket, INSTANCE);
	divert(&s);
	assert_int_equal(td_rewrite_start(s.rewrite), 0);
	expect_diverted(&s, 100);
	scene_close(&s);
}

/* In one transaction, whichever family. */
static void thousands_taken_over(void **state)
{
	enum { TUNNELS = 4000 };
	const struct td_rewrite_setup setup = { open_socket(), INSTANCE, TUNNELS };
	struct td_flow flow = { .local = address(BROKER_IPV4, PUBLIC),
				.peer = address(CLIENT_IPV4, 0) };
	struct td_flow flow6 = { .local = address(BROKER_IPV6, PUBLIC),
				 .peer = address(CLIENT_IPV6, 0) };
	struct td_rewrite *rewrite;
	char why[256];

	(void)state;
	assert_int_equal(td_rewrite_open(&rewrite, &setup, why, sizeof(why)), 0);
	for (uint16_t i = 0; i < TUNNELS; i++) {
		struct td_flow *f = i % 2 ? &flow : &flow6;

		f->peer.port = (uint16_t)(10000 + i);
		assert_int_equal(td_rewrite_add(rewrite, f, (uint16_t)(20000 + i)), 0);
	}
	assert_int_equal(td_rewrite_add(rewrite, &flow, 1), -ENFILE);
	assert_int_equal(td_rewrite_start(rewrite), 0);
	/* Not all: the kernel takes many milliseconds to undo what it refuses. */
	for (uint16_t i = 0; i < TUNNELS; i += 93) {
		struct td_flow *f = i % 2 ? &flow : &flow6;

		f->peer.port = (uint16_t)(10000 + i);
		assert_int_equal(td_rewrite_add(rewrite, f, (uint16_t)(20000 + i)), -EEXIST);
	}
	td_rewrite_close(rewrite);
	close(setup.socket);
}

static void not_permitted(void **state)
{
	struct td_rewrite *rewrite = NULL;
	const int fd = open_socket();
	char why[256];
	int err;

	(void)state;
	assert_int_equal(seteuid(65534), 0);
	err = try_rewrite(&rewrite, fd, INSTANCE, why, sizeof(why));
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(err, -EPERM);
	assert_non_null(strstr(why, "CAP_NET_ADMIN"));
	td_rewrite_close(NULL);
	close(fd);
	assert_int_equal(try_rewrite(&rewrite, -EPROTONOSUPPORT, INSTANCE, why, sizeof(why)),
			 -EPROTONOSUPPORT);
	assert_non_null(strstr(why, "modprobe nf_tables"));
}

static void leaves_no_descriptors(void **state)
{
	const unsigned before = open_descriptors();
	struct scene s;

	(void)state;
	scene_open(&s, false);
	scene_close(&s);
	assert_int_equal(open_descriptors(), before);
}

#define in_new_hosts(test) cmocka_unit_test_setup_teardown(test, make_hosts, remove_hosts)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_new_hosts(known_and_unknown_peers),
		in_new_hosts(refused_as_a_whole),
		in_new_hosts(without_checksum),
		in_new_hosts(filters_see_the_public_port),
		in_new_hosts(nobody_else_removes_it),
		in_new_hosts(ports_of_others_are_left_alone),
		in_new_hosts(instances_side_by_side),
		in_new_hosts(left_over_is_replaced),
		in_new_hosts(gone_with_its_process),
		in_new_hosts(not_permitted),
		in_new_hosts(leaves_no_descriptors),
		in_new_hosts(taken_over),
		in_new_hosts(thousands_taken_over),
		in_new_hosts(predecessor_without_successor),
		in_new_hosts(answers_of_the_predecessor),
	};

	if (geteuid() != 0) {
		puts("skipped: needs root for network namespaces");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
