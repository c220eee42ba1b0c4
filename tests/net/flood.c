/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * A hostile peer, in test_hostile_load.py: sends so many datagrams of a kind, from many ports, and
 * stops.
 *
 *	flood [-c] KIND COUNT PORTS SEED ADDRESS PORT
 *	flood -l KIND COUNT 1 SEED ADDRESS PORT
 *
 * Towards a broker it is paced by it: it asks for USAGE after each burst, and does not begin the next
 * but one before that was answered. So the broker gets all of it, and whatever it loses it does not
 * lose in a full socket. Each port sends datagrams of one size, so that a reply that is larger than
 * its request is known as one.
 *
 * With -c ADDRESS and PORT are a client's, which answers nobody: it pauses a bit instead.
 * With -l it is a hostile broker: it says when it waits at ADDRESS and PORT for somebody, and sends
 * there.
 *
 * Prints a line of JSON. Kinds "expired" and "foreign" get a cookie for each port first; "expired"
 * then says so, and waits for SIGUSR1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "flood_kinds.h"

#define BATCH          16 /* datagrams of one port and one system call */
#define BURST          64 /* batches between two questions for USAGE */
#define PORTS_MAX      4000
#define ASK_AGAIN_MS   2000
#define GIVE_UP_ASKING 30

struct port {
	int fd;
	size_t size; /* of all its datagrams */
	uint8_t cookie[8];
};

static struct {
	enum flood_kind kind;
	unsigned long count;
	unsigned port_count;
	struct addrinfo *peer;
	struct port ports[PORTS_MAX];
	int poll_fd, asking_fd;
	bool to_client;
	unsigned asked, answered;
	unsigned long sent, unsent, replies, larger;
} flood;

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static int open_socket(void)
{
	const int fd = socket(flood.peer->ai_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, flood.peer->ai_addr, flood.peer->ai_addrlen) != 0)
		fail("socket");
	return fd;
}

/* All small ones, and some of each other size. */
static size_t choose_size(unsigned number)
{
	if (number < 64)
		return number;
	return number % 16 == 0 ? flood_random(1473) : 14 + flood_random(250);
}

static void open_ports(void)
{
	struct rlimit limit = { PORTS_MAX + 100, PORTS_MAX + 100 };

	(void)setrlimit(RLIMIT_NOFILE, &limit);
	flood.poll_fd = epoll_create1(EPOLL_CLOEXEC);
	for (unsigned i = 0; i < flood.port_count; i++) {
		struct port *port = &flood.ports[i];
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = port };

		port->fd = open_socket();
		port->size = choose_size(flood.port_count < 64 ? 64 + i : i);
		if (epoll_ctl(flood.poll_fd, EPOLL_CTL_ADD, port->fd, &event) != 0)
			fail("epoll_ctl");
	}
	flood.asking_fd = open_socket();
}

/* ICMP may leave an error there, and the next call reports it instead of doing its work. */
static bool passing(void)
{
	return errno == ECONNREFUSED || errno == EHOSTUNREACH || errno == ENETUNREACH;
}

/* Data, KEEPALIVE and PMTUD, which begin when there is a tunnel and answer nothing. */
static bool of_tunnel(const uint8_t *message, size_t size)
{
	return size > 4 && (message[0] == 0 || message[4] == 0x05 || message[4] == 0x06);
}

static void read_replies(void)
{
	struct epoll_event events[64];
	uint8_t reply[65536];
	int count;

	while ((count = epoll_wait(flood.poll_fd, events, 64, 0)) > 0) {
		for (int i = 0; i < count; i++) {
			const struct port *port = events[i].data.ptr;
			const ssize_t size = recv(port->fd, reply, sizeof(reply), 0);

			if (size < 0 || of_tunnel(reply, (size_t)size))
				continue;
			flood.replies++;
			flood.larger += (size_t)size > port->size;
		}
	}
}

static void send_batch(struct port *port, unsigned count)
{
	static uint8_t bytes[BATCH][FLOOD_SIZE_MAX];
	struct mmsghdr messages[BATCH] = { 0 };
	struct iovec iov[BATCH];
	int sent = 0;

	for (unsigned i = 0; i < count; i++) {
		flood_make(flood.kind, bytes[i], port->size, port->cookie);
		iov[i] = (struct iovec){ bytes[i], port->size };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
	}
	for (unsigned done = 0; done < count; done += (unsigned)sent) {
		sent = sendmmsg(port->fd, messages + done, count - done, 0);
		if (sent > 0) {
			flood.sent += (unsigned)sent;
			continue;
		}
		sent = 0;
		if (errno == EAGAIN) {
			struct pollfd room = { .fd = port->fd, .events = POLLOUT };

			(void)poll(&room, 1, 100);
		} else if (!passing()) {
			flood.unsent++;
			sent = 1;
		}
	}
}

static void ask(void)
{
	uint8_t question[14] = { 0x80, 0x73, 0xa7, 1, 0x0a, 8 };

	(void)!send(flood.asking_fd, question, sizeof(question), 0);
}

/* Until all questions but so many are answered. (Here and below: the port may be one that a tunnel was
 * opened from before, whose messages come as well.) */
static void await_answers(unsigned open)
{
	struct pollfd answer = { .fd = flood.asking_fd, .events = POLLIN };
	uint8_t bytes[64];

	for (unsigned tries = 0; flood.asked - flood.answered > open;) {
		if (poll(&answer, 1, ASK_AGAIN_MS) == 1) {
			const ssize_t size = recv(flood.asking_fd, bytes, sizeof(bytes), 0);

			flood.answered += size > 4 && bytes[0] == 0x80 && bytes[4] == 0x0a;
			continue;
		}
		if (++tries == GIVE_UP_ASKING) {
			fprintf(stderr, "flood: the broker does not answer any more\n");
			exit(EXIT_FAILURE);
		}
		flood.asked = flood.answered + 1; /* one of them was lost */
		ask();
	}
}

/* Until it is time for more. */
static void pace(void)
{
	read_replies();
	if (flood.to_client) {
		(void)poll(NULL, 0, 1);
		return;
	}
	flood.asked++;
	ask();
	await_answers(1);
}

static void send_all(void)
{
	unsigned turn = 0;

	while (flood.sent + flood.unsent < flood.count) {
		for (unsigned i = 0; i < BURST; i++) {
			const unsigned long left = flood.count - flood.sent - flood.unsent;

			send_batch(&flood.ports[turn++ % flood.port_count],
				   left < BATCH ? (unsigned)left : BATCH);
			if (left <= BATCH)
				break;
		}
		pace();
	}
	await_answers(0);
	read_replies();
}

static bool get_cookie(struct port *port)
{
	uint8_t question[14] = { 0x80, 0x73, 0xa7, 1, 0x01, 8 };
	struct pollfd answer = { .fd = port->fd, .events = POLLIN };
	uint8_t bytes[64];

	for (unsigned tries = 0; tries < 10; tries++) {
		(void)!send(port->fd, question, sizeof(question), 0);
		while (poll(&answer, 1, ASK_AGAIN_MS) == 1) {
			if (recv(port->fd, bytes, sizeof(bytes), 0) < 14 || bytes[4] != 1)
				continue;
			memcpy(port->cookie, bytes + 6, 8);
			return true;
		}
	}
	return false;
}

static void get_cookies(void)
{
	struct port *ports = flood.ports;
	uint8_t first[8];
	sigset_t set;
	int signo;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (unsigned i = 0; i < flood.port_count; i++)
		if (!get_cookie(&ports[i]))
			fail("no cookie");
	if (flood.kind == FLOOD_EXPIRED) {
		puts("cookies");
		fflush(stdout);
		sigwait(&set, &signo);
	} else if (flood.kind == FLOOD_FOREIGN) {
		memcpy(first, ports[0].cookie, 8);
		for (unsigned i = 1; i < flood.port_count; i++)
			memcpy(ports[i - 1].cookie, ports[i].cookie, 8);
		memcpy(ports[flood.port_count - 1].cookie, first, 8);
	}
}

static void be_broker(void)
{
	const int fd = socket(flood.peer->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_storage victim;
	socklen_t length = sizeof(victim);
	uint8_t bytes[FLOOD_SIZE_MAX];

	if (fd < 0 || bind(fd, flood.peer->ai_addr, flood.peer->ai_addrlen) != 0)
		fail("bind");
	puts("ready");
	fflush(stdout);
	while (recvfrom(fd, bytes, sizeof(bytes), 0, (void *)&victim, &length) < 0)
		;
	while (flood.sent + flood.unsent < flood.count) {
		const size_t size = choose_size(flood_random(1000));

		flood_make(flood.kind, bytes, size, NULL);
		if (sendto(fd, bytes, size, 0, (void *)&victim, length) < 0)
			flood.unsent++;
		else
			flood.sent++;
		if (flood.sent % 64 == 0) {
			/* Whoever came last, and its new port. */
			(void)poll(NULL, 0, 1);
			length = sizeof(victim);
			while (recvfrom(fd, bytes, sizeof(bytes), MSG_DONTWAIT, (void *)&victim,
					&length) >= 0)
				flood.replies++;
			length = flood.peer->ai_addrlen;
		}
	}
}

int main(int argc, char **argv)
{
	const bool broker = argc > 1 && strcmp(argv[1], "-l") == 0;
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_DGRAM };

	flood.to_client = argc > 1 && strcmp(argv[1], "-c") == 0;
	argv += broker || flood.to_client;
	argc -= broker || flood.to_client;
	if (argc != 7 || !flood_kind_of(&flood.kind, argv[1])) {
		fprintf(stderr, "usage: flood [-c | -l] KIND COUNT PORTS SEED ADDRESS PORT\n");
		return 2;
	}
	flood.count = strtoul(argv[2], NULL, 10);
	flood.port_count = (unsigned)strtoul(argv[3], NULL, 10);
	flood_seed(strtoul(argv[4], NULL, 10));
	if (flood.port_count == 0 || flood.port_count > PORTS_MAX ||
	    getaddrinfo(argv[5], argv[6], &hints, &flood.peer) != 0)
		return 2;
	if (broker) {
		be_broker();
	} else {
		open_ports();
		if (flood.kind == FLOOD_EXPIRED || flood.kind == FLOOD_FOREIGN ||
		    flood.kind == FLOOD_HALF)
			get_cookies();
		send_all();
	}
	printf("{\"sent\": %lu, \"unsent\": %lu, \"replies\": %lu, \"larger\": %lu}\n", flood.sent,
	       flood.unsent, flood.replies, flood.larger);
	return EXIT_SUCCESS;
}
