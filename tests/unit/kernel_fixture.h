/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * For tests of the kernel back-end: the kernel's L2TP is played by this file. A session is a TAP, and
 * it is removed when the test says so, as the kernel does it some time after it was asked to. So is
 * the rewriting of ports, which only notes what is asked of it.
 */
#ifndef TD_TESTS_KERNEL_FIXTURE_H
#define TD_TESTS_KERNEL_FIXTURE_H

#include "datapath_fixture.h"

#include <pthread.h>
#include <sys/socket.h>

#include "datapath/l2tp_genl.h"
#include "datapath/rewrite.h"

static const struct td_handle one = { .index = 0, .generation = 7 };

static struct {
	int open_error, tunnel_error, session_error, delete_error;
	bool session_despite_error, session_is_gone, id_is_taken;
	bool finds_by_id_alone;     /* as since Linux 6.11 */
	unsigned tunnels, sessions; /* calls */
	_Atomic unsigned deletions; /* … which are looked at while the thread makes them */
	int fd;
	uint32_t deleted_id;
	int add_error, remove_error;
	unsigned added, removed;   /* flows; calls */
	unsigned deletions_before; /* … the last one was removed */
	struct td_flow flow;
	uint16_t port;
	pthread_mutex_t gate; /* who holds it keeps the kernel from making tunnels */
} kernel;

int td_l2tp_open(struct td_l2tp *l2tp)
{
	*l2tp = (struct td_l2tp){ .family = 1 };
	return kernel.open_error;
}

void td_l2tp_close(struct td_l2tp *l2tp)
{
	(void)l2tp;
}

int td_l2tp_tunnel_create(struct td_l2tp *l2tp, const struct td_tunnel_info *info, int fd)
{
	(void)l2tp;
	(void)info;
	pthread_mutex_lock(&kernel.gate);
	pthread_mutex_unlock(&kernel.gate);
	kernel.tunnels++;
	kernel.fd = fd;
	return kernel.tunnel_error;
}

int td_l2tp_session_create(struct td_l2tp *l2tp, const struct td_tunnel_info *info)
{
	(void)l2tp;
	kernel.sessions++;
	if (strncmp(info->ifname, "tdp", 3) == 0 && kernel.session_error == 0) /* is tried out */
		return kernel.sessions == 1 || kernel.finds_by_id_alone ? 0 : -EEXIST;
	if (if_nametoindex(info->ifname) != 0)
		return -EEXIST;
	if (kernel.session_error == 0 || kernel.session_despite_error)
		run("ip tuntap add mode tap name %s", info->ifname);
	return kernel.session_error;
}

int td_l2tp_tunnel_delete(struct td_l2tp *l2tp, uint32_t tunnel_id)
{
	(void)l2tp;
	kernel.deletions++;
	kernel.deleted_id = tunnel_id;
	return kernel.delete_error;
}

int td_l2tp_tunnel_get(struct td_l2tp *l2tp, uint32_t tunnel_id)
{
	(void)l2tp;
	(void)tunnel_id;
	return kernel.id_is_taken ? 0 : -ENODEV;
}

int td_l2tp_session_get(struct td_l2tp *l2tp, uint32_t tunnel_id, uint32_t session_id)
{
	(void)l2tp;
	(void)tunnel_id;
	return session_id == 0 || kernel.session_is_gone ? -ENODEV : 0;
}

static struct td_rewrite rewriter;

static int add(struct td_rewrite *rewrite, const struct td_flow *flow, uint16_t port)
{
	assert_ptr_equal(rewrite, &rewriter);
	kernel.added++;
	kernel.flow = *flow;
	kernel.port = port;
	return kernel.add_error;
}

static int take_back(struct td_rewrite *rewrite, const struct td_flow *flow, uint16_t port)
{
	assert_ptr_equal(rewrite, &rewriter);
	assert_true(td_flow_equal(flow, &kernel.flow));
	assert_int_equal(port, kernel.port);
	assert_int_equal(fcntl(kernel.fd, F_GETFD), FD_CLOEXEC); /* the port is still taken */
	kernel.removed++;
	kernel.deletions_before = kernel.deletions;
	return kernel.remove_error;
}

static struct td_rewrite rewriter = { add, take_back };

/* --- a broker, its peer, and perhaps their tunnel tdk0 --- */

struct scene {
	struct bench bench;
	struct end end;
	struct td_addr addr;
	struct td_session_info info;
	int fd; /* the peer's */
};

static inline void scene_open(struct scene *scene, const char *ip)
{
	struct td_udp udp;

	memset(&kernel, 0, sizeof(kernel));
	memset(scene, 0, sizeof(*scene));
	bench_open(&scene->bench);
	end_open(&scene->end, &scene->bench, &td_datapath_kernel, 4);
	kernel.tunnels = kernel.sessions = 0;
	kernel.deletions = 0;
	end_listen(&scene->end, ip);
	assert_int_equal(td_udp_connect(&udp, &scene->end.udp.local, NULL, NULL), 0);
	scene->fd = udp.fd;
	scene->addr = udp.local;
	scene->info = info_of("tdk0", &scene->end.udp.local, &scene->addr);
}

static inline void scene_close(struct scene *scene)
{
	close(scene->fd);
	end_close(&scene->end);
	bench_close(&scene->bench);
}

static inline void idle(struct scene *scene)
{
	loop_until(&scene->bench, NULL, NULL, TD_MS(20));
}

static inline bool is_done(void *ctx)
{
	return ((struct end *)ctx)->sequence == 99;
}

static inline bool was_deleted(void *ctx)
{
	(void)ctx;
	return kernel.deletions > 0;
}

/* Destroys it; the kernel takes its time. */
static inline void scene_destroy(struct scene *scene)
{
	scene->end.sequence = 0;
	scene->end.ops->destroy(scene->end.dp, one, 99);
	idle(scene);
	assert_false(is_done(&scene->end));
	/* First the interface goes, then the tunnel. */
	kernel.id_is_taken = true;
	run("ip link del tdk0");
	idle(scene);
	assert_false(is_done(&scene->end));
	kernel.id_is_taken = false;
	loop_until(&scene->bench, is_done, &scene->end, TD_SECONDS(5));
	assert_true(is_done(&scene->end));
	assert_int_equal(scene->end.err, 0);
	assert_int_equal(scene->end.losts, 0);
}

#endif
