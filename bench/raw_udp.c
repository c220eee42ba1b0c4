/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * td-raw-udp: what keepalives cost with no broker around them.
 *
 *	td-raw-udp COUNT SECONDS TURN_MS LOCAL PORT PEER PORT
 *
 * COUNT connected UDP sockets in one process, each of which sends a keepalive every 5 s; whatever
 * arrives is read. One end of the two says LOCAL PORT for all of its sockets and counts the other's
 * up from PEER PORT, the other the other way round: who has port 8942 is the broker. TURN_MS: sends
 * are gathered for so long; 0: each is sent on its own. Prints a line of JSON.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define BROKER_PORT  8942
#define INTERVAL_NS  5000000000
#define EVENTS       256
#define MESSAGE_SIZE 12

struct raw {
	int *sockets;
	unsigned count, next;
	int epoll_fd;
	unsigned long sent, received, turns;
	int64_t send_at_ns;
};

static _Noreturn void fail(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000L + ts.tv_nsec;
}

static struct sockaddr_in address(const char *host, unsigned port, unsigned number)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };

	if (inet_pton(AF_INET, host, &sa.sin_addr) != 1) {
		fprintf(stderr, "td-raw-udp: no IPv4 address: %s\n", host);
		exit(2);
	}
	sa.sin_port = htons((uint16_t)(port == BROKER_PORT ? port : port + number));
	return sa;
}

static void open_socket(struct raw *raw, unsigned number, const struct sockaddr_in *local,
			const struct sockaddr_in *peer)
{
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	const int one = 1;
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	raw->sockets[number] = fd;
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (const struct sockaddr *)local, sizeof(*local)) < 0 ||
	    connect(fd, (const struct sockaddr *)peer, sizeof(*peer)) < 0 ||
	    epoll_ctl(raw->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		fail("td-raw-udp: a socket");
}

static void send_due(struct raw *raw, int64_t now)
{
	static const char message[MESSAGE_SIZE] = "keepalive";

	for (; raw->send_at_ns <= now; raw->send_at_ns += INTERVAL_NS / raw->count) {
		raw->sent += send(raw->sockets[raw->next], message, sizeof(message), 0) > 0;
		raw->next = (raw->next + 1) % raw->count;
	}
}

static void turn(struct raw *raw, int64_t turn_ns)
{
	struct epoll_event events[EVENTS];
	char bytes[64];
	const int64_t wait_ns = raw->send_at_ns - now_ns();
	int count;

	if (turn_ns > 0)
		nanosleep(&(struct timespec){ .tv_nsec = turn_ns }, NULL);
	count = epoll_wait(raw->epoll_fd, events, EVENTS,
			   turn_ns > 0 || wait_ns <= 0 ? 0 : (int)((wait_ns + 999999) / 1000000));
	for (int i = 0; i < count; i++)
		raw->received += recv(events[i].data.fd, bytes, sizeof(bytes), 0) > 0;
	send_due(raw, now_ns());
	raw->turns++;
}

static double cpu_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	static struct raw raw;
	int64_t end_ns, turn_ns;
	double cpu_before;

	if (argc != 8) {
		fputs("Usage: td-raw-udp COUNT SECONDS TURN_MS LOCAL PORT PEER PORT\n", stderr);
		return 2;
	}
	raw.count = (unsigned)atoi(argv[1]);
	raw.sockets = calloc(raw.count, sizeof(*raw.sockets));
	raw.epoll_fd = epoll_create1(0);
	turn_ns = atol(argv[3]) * 1000000;
	if (setrlimit(RLIMIT_NOFILE, &(struct rlimit){ raw.count + 64, raw.count + 64 }) < 0)
		fail("td-raw-udp: files");
	for (unsigned i = 0; i < raw.count; i++) {
		const struct sockaddr_in local = address(argv[4], (unsigned)atoi(argv[5]), i);
		const struct sockaddr_in peer = address(argv[6], (unsigned)atoi(argv[7]), i);

		open_socket(&raw, i, &local, &peer);
	}
	raw.send_at_ns = now_ns();
	end_ns = raw.send_at_ns + atol(argv[2]) * 1000000000;
	cpu_before = cpu_seconds();
	while (now_ns() < end_ns)
		turn(&raw, turn_ns);
	printf("{\"cpu_seconds\": %.3f, \"sent\": %lu, \"received\": %lu, \"turns\": %lu}\n",
	       cpu_seconds() - cpu_before, raw.sent, raw.received, raw.turns);
	return 0;
}
