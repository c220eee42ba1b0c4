/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * td-raw-l2tp: how fast this kernel makes L2TP tunnels, with no broker around it.
 *
 *	td-raw-l2tp COUNT LOCAL PORT PEER
 *
 * One process, one tunnel after the other, each as the broker's kernel data path makes it: a UDP
 * socket bound to LOCAL and PORT and connected to a port of PEER, the tunnel, its session, and the
 * interface's MTU and IFF_UP in one request. Prints a line of JSON: the rate, and where the time
 * went. All tunnels go with the process.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/assert.h"
#include "datapath/l2tp_genl.h"
#include "sys/loop.h"
#include "sys/rtnl.h"
#include "sys/udp.h"

#define FIRST_PORT 1024
#define FIRST_ID   100 /* as the broker of the benchmark, for names of the same length */
#define MTU        1446

enum step { STEP_SOCKET, STEP_TUNNEL, STEP_SESSION, STEP_LINK, STEP_COUNT };

static const char *const step_names[STEP_COUNT] = { "socket", "tunnel", "session", "link" };

struct raw {
	struct td_l2tp l2tp;
	struct td_rtnl rtnl;
	struct td_udp listener;
	int64_t spent_us[STEP_COUNT];
	struct td_time since;
};

_Noreturn void td_assert_failed(const char *file, int line)
{
	fprintf(stderr, "td-raw-l2tp: %s:%d: this must not happen\n", file, line);
	abort();
}

static void require(const char *what, int err)
{
	if (err == 0)
		return;
	fprintf(stderr, "td-raw-l2tp: %s: %s\n", what, strerror(-err));
	exit(EXIT_FAILURE);
}

static void done(struct raw *raw, enum step step, int err)
{
	const struct td_time now = td_now();

	require(step_names[step], err);
	raw->spent_us[step] += td_time_since(now, raw->since);
	raw->since = now;
}

/* Its socket stays open, and so it lives, until the process ends. */
static void make_tunnel(struct raw *raw, uint32_t number, const struct td_addr *peer)
{
	struct td_flow flow = { raw->listener.local, *peer };
	struct td_tunnel_info info = { .mtu = MTU };
	struct td_udp udp;

	flow.peer.port = (uint16_t)(FIRST_PORT + number);
	info.tunnel_id = info.session_id = FIRST_ID + number;
	info.peer_tunnel_id = info.peer_session_id = FIRST_ID + number;
	snprintf(info.ifname, sizeof(info.ifname), "l2tp%u-%u", info.tunnel_id, info.session_id);
	done(raw, STEP_SOCKET, td_udp_connect_from(&udp, &raw->listener, &flow, NULL));
	done(raw, STEP_TUNNEL, td_l2tp_tunnel_create(&raw->l2tp, &info, udp.fd));
	done(raw, STEP_SESSION, td_l2tp_session_create(&raw->l2tp, &info));
	done(raw, STEP_LINK,
	     td_rtnl_start(&raw->rtnl, td_rtnl_ifindex(&raw->rtnl, info.ifname), MTU));
}

static void print(const struct raw *raw, uint32_t count, int64_t took_us)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	printf("{\"tunnels\": %u, \"seconds\": %.3f, \"per_second\": %.1f, \"cpu_seconds\": %.3f",
	       count, (double)took_us / 1e6, count * 1e6 / (double)took_us,
	       (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
	for (int i = 0; i < STEP_COUNT; i++)
		printf(", \"%s_us\": %.1f", step_names[i], (double)raw->spent_us[i] / count);
	puts("}");
}

int main(int argc, char **argv)
{
	const uint32_t count = argc == 5 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
	const struct rlimit files = { count + 64, count + 64 };
	struct sockaddr_in local = { .sin_family = AF_INET }, peer = { .sin_family = AF_INET };
	struct td_addr local_addr, peer_addr;
	static struct raw raw;
	struct td_time began;

	if (count == 0 || count > UINT16_MAX - FIRST_PORT ||
	    inet_pton(AF_INET, argv[2], &local.sin_addr) != 1 ||
	    inet_pton(AF_INET, argv[4], &peer.sin_addr) != 1) {
		fputs("Usage: td-raw-l2tp COUNT LOCAL PORT PEER (IPv4)\n", stderr);
		return 2;
	}
	td_addr_from_sockaddr(&local_addr, (struct sockaddr *)&local);
	td_addr_from_sockaddr(&peer_addr, (struct sockaddr *)&peer);
	local_addr.port = (uint16_t)strtoul(argv[3], NULL, 10);
	require("files", setrlimit(RLIMIT_NOFILE, &files) < 0 ? -errno : 0);
	require("listener", td_udp_listen(&raw.listener, &local_addr, NULL));
	require("the kernel's L2TP", td_l2tp_open(&raw.l2tp));
	require("rtnetlink", td_rtnl_open(&raw.rtnl));
	began = raw.since = td_now();
	for (uint32_t i = 0; i < count; i++)
		make_tunnel(&raw, i, &peer_addr);
	print(&raw, count, td_time_since(td_now(), began));
	return 0;
}
