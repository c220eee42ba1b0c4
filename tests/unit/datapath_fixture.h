/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * For tests of data paths: a network namespace of their own, hosts that note what they are told,
 * and packet sockets on interfaces. Each test program includes this once.
 */
#ifndef TD_TESTS_DATAPATH_FIXTURE_H
#define TD_TESTS_DATAPATH_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "datapath/backend.h"
#include "datapath/datapath.h"

/* Operations end in the loop, not before they return: by a thread as the broker has it. */
static bool with_thread;
/* For ends that are opened from now on: each tunnel is on a port of its own. */
static struct td_rewrite *rewriting;

unsigned if_nametoindex(const char *name); /* <net/if.h> and <linux/if.h> do not go together */

/* Runs a command of iproute2's; the test fails with it. */
__attribute__((format(printf, 1, 2))) static inline void run(const char *format, ...)
{
	char command[256];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	if (system(command) != 0)
		fail_msg("failed: %s", command);
}

/* A namespace of this process's own, gone when it ends. 77 is Meson's word for "skipped". */
static inline void own_namespace(void)
{
	if (geteuid() != 0) {
		puts("skipped: needs root for a network namespace");
		exit(77);
	}
	if (unshare(CLONE_NEWNET) < 0) {
		perror("unshare");
		exit(1);
	}
	/* No neighbour discovery among the frames that are counted; ::1 stays. */
	run("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6");
	run("ip link set lo up");
}

/* Without the thread, as the client has it, and with it. */
#define run_both_ways(tests)                                         \
	(cmocka_run_group_tests_name("at once", tests, NULL, NULL) + \
	 cmocka_run_group_tests_name("by the thread", tests, go_threaded, NULL))

static inline int go_threaded(void **state)
{
	(void)state;
	with_thread = true;
	return 0;
}

static inline unsigned open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* --- the loop --- */

struct bench {
	struct td_loop loop;
	struct td_jobs *jobs;
	bool (*until)(void *ctx);
	void *ctx;
	struct td_time deadline;
	unsigned iterations;
	unsigned descriptors; /* open before */
};

static inline struct td_time prepare(void *ctx, struct td_time now)
{
	struct bench *bench = ctx;

	bench->iterations++;
	if (bench->until && bench->until(bench->ctx))
		td_loop_stop(&bench->loop);
	if (td_time_reached(bench->deadline, now))
		td_loop_stop(&bench->loop);
	return bench->deadline;
}

/* Runs the loop until that is true, or for so long. */
static inline void loop_until(struct bench *bench, bool (*until)(void *), void *ctx,
			      int64_t limit_us)
{
	bench->until = until;
	bench->ctx = ctx;
	bench->iterations = 0;
	bench->deadline = td_time_add(td_now(), limit_us);
	assert_int_equal(td_loop_run(&bench->loop), 0);
}

static inline void bench_open(struct bench *bench)
{
	*bench = (struct bench){ .descriptors = open_descriptors() };
	assert_int_equal(td_loop_init(&bench->loop, prepare, bench), 0);
	if (!with_thread)
		return;
	bench->jobs = td_jobs_new(&bench->loop);
	assert_non_null(bench->jobs);
	assert_int_equal(td_jobs_run(bench->jobs, "test-jobs"), 0);
}

/* Everything must have been closed. */
static inline void bench_close(struct bench *bench)
{
	td_jobs_free(bench->jobs);
	td_loop_fini(&bench->loop);
	assert_int_equal(open_descriptors(), bench->descriptors);
}

/* --- one end of tunnels --- */

#define END_STATS 2000

struct end {
	struct bench *bench;
	const struct td_datapath_ops *ops;
	struct td_datapath *dp;
	struct td_udp udp;
	unsigned controls, dones, losts, writables;
	struct td_flow control_flow;
	uint8_t control[2048];
	size_t control_size;
	unsigned awaited;        /* dones */
	struct td_handle handle; /* of the last done or lost */
	uint32_t sequence;
	int err;
	unsigned counted; /* tunnels, and the first of them */
	struct td_handle stats_of[END_STATS];
	struct td_link_stats stats[END_STATS];
	void (*on_control)(struct end *end);
	void (*on_writable)(struct end *end);
};

static inline void end_control(void *ctx, const struct td_flow *flow, const uint8_t *bytes,
			       size_t size)
{
	struct end *end = ctx;

	end->controls++;
	end->control_flow = *flow;
	end->control_size = size;
	memcpy(end->control, bytes, size < sizeof(end->control) ? size : sizeof(end->control));
	if (end->on_control)
		end->on_control(end);
}

static inline void end_done(void *ctx, struct td_handle handle, uint32_t sequence, int err)
{
	struct end *end = ctx;

	end->dones++;
	end->handle = handle;
	end->sequence = sequence;
	end->err = err;
}

static inline void end_counted(void *ctx, struct td_handle handle,
			       const struct td_link_stats *stats)
{
	struct end *end = ctx;

	if (end->counted < END_STATS) {
		end->stats_of[end->counted] = handle;
		end->stats[end->counted] = *stats;
	}
	end->counted++;
}

static inline void end_lost(void *ctx, struct td_handle handle)
{
	struct end *end = ctx;

	end->losts++;
	end->handle = handle;
}

static inline void end_writable(void *ctx)
{
	struct end *end = ctx;

	end->writables++;
	if (end->on_writable)
		end->on_writable(end);
}

static inline void end_open(struct end *end, struct bench *bench, const struct td_datapath_ops *ops,
			    uint32_t max_tunnels)
{
	const struct td_datapath_setup setup = {
		.loop = &bench->loop,
		.host = { .control = end_control,
			  .done = end_done,
			  .counted = end_counted,
			  .lost = end_lost,
			  .writable = end_writable,
			  .ctx = end },
		.max_tunnels = max_tunnels,
		.jobs = bench->jobs,
		.rewrite = rewriting,
	};

	*end = (struct end){ .bench = bench, .ops = ops, .udp.fd = -1 };
	assert_int_equal(ops->open(&end->dp, &setup), 0);
}

static inline void end_close(struct end *end)
{
	end->ops->close(end->dp);
	td_udp_close(&end->udp);
}

static inline struct td_addr address(const char *text, uint16_t port)
{
	struct td_addr addr = { .port = port };

	addr.family = strchr(text, ':') ? TD_FAMILY_IPV6 : TD_FAMILY_IPV4;
	assert_int_equal(
		inet_pton(addr.family == TD_FAMILY_IPV6 ? AF_INET6 : AF_INET, text, addr.ip), 1);
	return addr;
}

static inline void end_listen(struct end *end, const char *ip)
{
	const struct td_addr local = address(ip, 0);

	assert_int_equal(td_udp_listen(&end->udp, &local, NULL), 0);
	assert_int_equal(end->ops->listen(end->dp, &end->udp), 0);
}

static inline void end_connect(struct end *end, const struct td_addr *peer)
{
	assert_int_equal(td_udp_connect(&end->udp, peer, NULL, NULL), 0);
	assert_int_equal(end->ops->listen(end->dp, &end->udp), 0);
}

static inline struct td_handle handle_of(uint32_t index)
{
	return (struct td_handle){ .index = index, .generation = index + 7 };
}

static inline struct td_session_info info_of(const char *ifname, const struct td_addr *local,
					     const struct td_addr *peer)
{
	struct td_session_info info = {
		.tunnel_id = 101,
		.session_id = 0x01020304,
		.peer_tunnel_id = 102,
		.peer_session_id = 0x01020304,
		.mtu = 1446,
	};

	info.flow.local = *local;
	info.flow.peer = *peer;
	snprintf(info.ifname, sizeof(info.ifname), "%s", ifname);
	return info;
}

static inline bool end_has_ended(void *ctx)
{
	const struct end *end = ctx;

	return end->dones >= end->awaited;
}

/* The operation that was just begun, when there were so many dones, ends. What done() was told. */
static inline int end_await(struct end *end, unsigned dones, struct td_handle handle,
			    uint32_t sequence)
{
	end->awaited = dones + 1;
	if (!end_has_ended(end)) /* what was made has to go first, or there is a thread */
		loop_until(end->bench, end_has_ended, end, TD_SECONDS(20));
	assert_int_equal(end->dones, dones + 1);
	assert_true(td_handle_equal(end->handle, handle));
	assert_int_equal(end->sequence, sequence);
	return end->err;
}

/* These return what done() was told. */
static inline int end_create(struct end *end, struct td_handle handle,
			     const struct td_session_info *info)
{
	const unsigned dones = end->dones;

	end->ops->create(end->dp, handle, 5, info, &end->udp);
	return end_await(end, dones, handle, 5);
}

static inline int end_set_mtu(struct end *end, struct td_handle handle, uint16_t mtu)
{
	const unsigned dones = end->dones;

	end->ops->set_mtu(end->dp, handle, 3, mtu);
	return end_await(end, dones, handle, 3);
}

static inline int end_destroy(struct end *end, struct td_handle handle)
{
	const unsigned dones = end->dones;

	end->ops->destroy(end->dp, handle, 4);
	return end_await(end, dones, handle, 4);
}

/* Has all tunnels counted; returns how many they are. */
static inline unsigned end_count(struct end *end)
{
	end->counted = 0;
	end->ops->count(end->dp);
	return end->counted;
}

/* Of the only tunnel. */
static inline struct td_link_stats end_stats(struct end *end)
{
	assert_int_equal(end_count(end), 1);
	return end->stats[0];
}

/* --- frames on interfaces --- */

#define FRAME_ROOM (TD_FRAME_MAX + 64)

/* A packet socket on one interface (ifname NULL: all), which does not see what is sent there. */
static inline int packet_open(const char *ifname)
{
	const int on = 1;
	struct sockaddr_ll addr = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
	socklen_t size = sizeof(int);
	int pending;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)), 0);
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on)), 0);
	if (ifname) {
		addr.sll_ifindex = (int)if_nametoindex(ifname);
		assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
		/* That the interface is down, perhaps; it goes up later. */
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &pending, &size);
	}
	return fd;
}

static inline void interface_up(const char *ifname)
{
	struct ifreq request = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(request.ifr_name, IFNAMSIZ, "%s", ifname);
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &request), 0);
	request.ifr_flags |= IFF_UP;
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
	close(fd);
}

static inline bool interface_is_up(const char *ifname)
{
	struct ifreq request = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(request.ifr_name, IFNAMSIZ, "%s", ifname);
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &request), 0);
	close(fd);
	return request.ifr_flags & IFF_UP;
}

static inline int interface_mtu(const char *ifname)
{
	struct ifreq request = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(request.ifr_name, IFNAMSIZ, "%s", ifname);
	assert_int_equal(ioctl(fd, SIOCGIFMTU, &request), 0);
	close(fd);
	return request.ifr_mtu;
}

/* The next frame, -1 when there is none. A VLAN tag, which the kernel keeps aside, is put back. */
static inline ssize_t packet_receive(int fd, uint8_t frame[static FRAME_ROOM])
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	struct iovec iov = { frame, FRAME_ROOM - 4 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	ssize_t size = recvmsg(fd, &msg, 0);
	struct cmsghdr *cmsg;

	if (size < 0) {
		assert_int_equal(errno, EAGAIN);
		return -1;
	}
	for (cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
		struct tpacket_auxdata aux;
		uint16_t tag[2];

		if (cmsg->cmsg_type != PACKET_AUXDATA)
			continue;
		memcpy(&aux, CMSG_DATA(cmsg), sizeof(aux));
		if (!(aux.tp_status & TP_STATUS_VLAN_VALID))
			continue;
		tag[0] = htons(aux.tp_vlan_tpid);
		tag[1] = htons(aux.tp_vlan_tci);
		memmove(frame + 16, frame + 12, (size_t)size - 12);
		memcpy(frame + 12, tag, sizeof(tag));
		size += 4;
	}
	return size;
}

static inline bool is_readable(void *fd)
{
	struct pollfd poller = { .fd = *(int *)fd, .events = POLLIN };

	return poll(&poller, 1, 0) == 1;
}

/* A frame of that size: addresses, the bytes that follow them, a pattern. */
static inline void frame_fill(uint8_t *frame, size_t size, const char *kind, size_t kind_size)
{
	for (size_t i = 0; i < size; i++)
		frame[i] = (uint8_t)(i * 7 + size + (i >> 8));
	memcpy(frame, "\x02\x11\x22\x33\x44\x55\x02\x66\x77\x88\x99\xaa", 12);
	memcpy(frame + 12, kind, kind_size < size - 12 ? kind_size : size - 12);
}

#endif
