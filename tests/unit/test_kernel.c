/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The kernel back-end, with the kernel's L2TP played by the fixture. */
#include "kernel_fixture.h"

#include "datapath/kernel.h"

static void lives_on_its_own_socket(const char *ip)
{
	static const uint8_t control[] = "\x80\x73\xa7\x01\x05\x04"
					 "abcdef";
	static const uint8_t data[] = "\0\3\0\0\1\2\3\4\0\0\0\0"
				      "0123456789abcdef";
	struct td_flow flow;
	struct scene scene;
	struct td_udp udp, other;
	uint8_t got[64];

	scene_open(&scene, ip);
	assert_int_equal(end_create(&scene.end, one, &scene.info), 0);
	assert_int_equal(interface_mtu("tdk0"), 1446);
	assert_false(interface_is_up("tdk0"));
	assert_int_equal(kernel.fd, scene.end.ops->keep_fd(scene.end.dp, one));
	assert_int_equal(td_udp_from_fd(&udp, kernel.fd), 0);
	assert_true(udp.connected);
	assert_true(td_addr_equal(&udp.local, &scene.end.udp.local));
	assert_true(td_addr_equal(&udp.peer, &scene.addr));

	/* Control comes up with its flow, data does not. */
	assert_int_equal(send(scene.fd, data, sizeof(data), 0), sizeof(data));
	assert_int_equal(send(scene.fd, control, sizeof(control), 0), sizeof(control));
	idle(&scene);
	assert_int_equal(scene.end.controls, 1);
	assert_memory_equal(scene.end.control, control, sizeof(control));
	assert_true(td_flow_equal(&scene.end.control_flow, &scene.info.flow));
	assert_int_equal(scene.end.ops->counters(scene.end.dp)->rx_unknown_flow, 0);
	/* The listener still has everybody else. */
	assert_int_equal(td_udp_connect(&other, &scene.end.udp.local, NULL, NULL), 0);
	assert_int_equal(send(other.fd, control, 12, 0), 12);
	assert_int_equal(send(other.fd, data, sizeof(data), 0), sizeof(data));
	idle(&scene);
	assert_int_equal(scene.end.controls, 2);
	assert_true(td_addr_equal(&scene.end.control_flow.peer, &other.local));
	assert_int_equal(scene.end.ops->counters(scene.end.dp)->rx_unknown_flow, 1);
	/* Both are answered. */
	flow = scene.info.flow;
	assert_int_equal(scene.end.ops->send(scene.end.dp, one, &flow, control, 12), 0);
	assert_int_equal(recv(scene.fd, got, sizeof(got), 0), 12);
	flow.peer = other.local;
	assert_int_equal(scene.end.ops->send(scene.end.dp, TD_NO_HANDLE, &flow, control, 12), 0);
	assert_int_equal(recv(other.fd, got, sizeof(got), 0), 12);
	td_udp_close(&other);

	assert_int_equal(end_set_mtu(&scene.end, one, 1300), 0);
	assert_int_equal(interface_mtu("tdk0"), 1300);
	assert_int_equal(end_stats(&scene.end).rx_errors, 0);
	scene_destroy(&scene);
	assert_int_equal(kernel.deletions, 1);
	assert_int_equal(kernel.deleted_id, 101);
	scene_close(&scene);
}

/* The program that all sockets share, and the one that each has where there is no bpf(2). */
static void filters(void **state)
{
	const int shared = td_kernel_load_filter();

	(void)state;
	assert_true(shared >= 0 || shared == -EPERM || shared == -ENOSYS);
	for (unsigned i = 0; i < 2; i++) {
		static const char *const sent[] = { "\x7f data", "", "\x80 control", "\xff" };
		char got[16];
		int pair[2] = { socket(AF_INET, SOCK_DGRAM, 0), socket(AF_INET, SOCK_DGRAM, 0) };
		struct sockaddr_in sa = { .sin_family = AF_INET,
					  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		socklen_t size = sizeof(sa);

		assert_int_equal(bind(pair[0], (struct sockaddr *)&sa, sizeof(sa)), 0);
		assert_int_equal(getsockname(pair[0], (struct sockaddr *)&sa, &size), 0);
		assert_int_equal(connect(pair[1], (struct sockaddr *)&sa, size), 0);
		assert_int_equal(td_kernel_only_control(pair[0], i == 0 ? shared : -1), 0);
		for (unsigned k = 0; k < 4; k++)
			assert_int_equal(send(pair[1], sent[k], strlen(sent[k]), 0),
					 strlen(sent[k]));
		assert_int_equal(recv(pair[0], got, sizeof(got), 0), 9);
		assert_memory_equal(got, sent[2], 9);
		assert_int_equal(recv(pair[0], got, sizeof(got), 0), 1);
		assert_int_equal(recv(pair[0], got, sizeof(got), MSG_DONTWAIT), -1);
		close(pair[0]);
		close(pair[1]);
	}
	if (shared >= 0)
		close(shared);
}

static void own_socket(void **state)
{
	(void)state;
	lives_on_its_own_socket("127.0.0.1");
	lives_on_its_own_socket("::1");
}

/* A tunnel's socket that is full holds up nobody else: what it does not take is lost. */
static void socket_is_full(void **state)
{
	static const uint8_t control[400] = "\x80\x73\xa7\x01\x05\x04";
	const int smallest = 1;
	struct scene scene;
	int err = 0;

	(void)state;
	scene_open(&scene, "127.0.0.1");
	assert_int_equal(end_create(&scene.end, one, &scene.info), 0);
	assert_int_equal(setsockopt(kernel.fd, SOL_SOCKET, SO_SNDBUF, &smallest, sizeof(smallest)),
			 0);
	run("tc qdisc add dev lo root tbf rate 8kbit burst 1600 limit 1000000");
	for (unsigned i = 0; err == 0 && i < 100; i++)
		err = scene.end.ops->send(scene.end.dp, one, &scene.info.flow, control,
					  sizeof(control));
	assert_int_equal(err, -ENOBUFS);
	assert_int_equal(scene.end.ops->send(scene.end.dp, TD_NO_HANDLE, &scene.info.flow, control,
					     sizeof(control)),
			 0);
	run("tc qdisc del dev lo root");
	scene_destroy(&scene);
	assert_int_equal(scene.end.writables, 0);
	scene_close(&scene);
}

/* What the kernel refuses leaves nothing behind, and the place is free for the next. */
static void refusals(void **state)
{
	struct scene scene;
	unsigned descriptors;

	(void)state;
	scene_open(&scene, "127.0.0.1");
	descriptors = open_descriptors();

	run("ip tuntap add mode tap name tdk0");
	assert_int_equal(end_create(&scene.end, one, &scene.info), -EEXIST);
	assert_int_equal(scene.end.losts, 0);
	assert_int_not_equal(if_nametoindex("tdk0"), 0);
	run("ip link del tdk0");
	kernel.deletions = kernel.sessions = 0;

	scene.info.ifname[0] = '\0';
	assert_int_equal(end_create(&scene.end, one, &scene.info), -EINVAL);
	scene.info.ifname[0] = 't';

	kernel.tunnel_error = -EEXIST; /* an id of somebody else's */
	assert_int_equal(end_create(&scene.end, one, &scene.info), -EEXIST);
	assert_int_equal(kernel.deletions, 0);

	kernel.tunnel_error = 0;
	kernel.session_error = -EEXIST;
	assert_int_equal(end_create(&scene.end, one, &scene.info), -EEXIST);
	assert_int_equal(kernel.deletions, 1);

	kernel.session_error = 0;
	kernel.tunnel_error = -ENOBUFS; /* it may have been made */
	assert_int_equal(end_create(&scene.end, one, &scene.info), -ENOBUFS);
	assert_int_equal(kernel.deletions, 2);
	assert_int_equal(kernel.sessions, 1);
	kernel.tunnel_error = 0;

	assert_int_equal(open_descriptors(), descriptors);
	assert_int_equal(end_create(&scene.end, one, &scene.info), 0);
	assert_int_equal(end_create(&scene.end, one, &scene.info), -EADDRINUSE);
	scene_destroy(&scene);
	assert_int_equal(open_descriptors(), descriptors);
	assert_int_equal(end_destroy(&scene.end, one), -ENODEV);
	scene_close(&scene);
}

/* An interface that was made is gone again before the error is reported. */
static void late_refusals(void **state)
{
	struct scene scene;

	(void)state;
	scene_open(&scene, "127.0.0.1");
	scene.info.mtu = 20; /* less than it can have */
	scene.end.ops->create(scene.end.dp, one, 99, &scene.info, &scene.end.udp);
	loop_until(&scene.bench, was_deleted, NULL, TD_SECONDS(5));
	idle(&scene);
	assert_int_equal(scene.end.dones, 0);
	kernel.deletions = 0;
	run("ip link del tdk0");
	loop_until(&scene.bench, is_done, &scene.end, TD_SECONDS(5));
	assert_int_equal(scene.end.err, -EINVAL);

	scene.info.mtu = 1446;
	scene.end.sequence = 0;
	kernel.session_error = -ENOBUFS;
	kernel.session_despite_error = true;
	scene.end.ops->create(scene.end.dp, one, 99, &scene.info, &scene.end.udp);
	loop_until(&scene.bench, was_deleted, NULL, TD_SECONDS(5));
	assert_int_equal(end_destroy(&scene.end, one), -EALREADY);
	run("ip link del tdk0");
	loop_until(&scene.bench, is_done, &scene.end, TD_SECONDS(5));
	assert_int_equal(scene.end.err, -ENOBUFS);
	scene_close(&scene);
}

static void deleted_by_another_hand(void **state)
{
	struct scene scene;

	(void)state;
	scene_open(&scene, "127.0.0.1");
	assert_int_equal(end_create(&scene.end, one, &scene.info), 0);
	run("ip link del tdk0");
	idle(&scene);
	assert_int_equal(scene.end.losts, 1);
	assert_true(td_handle_equal(scene.end.handle, one));
	idle(&scene);
	assert_int_equal(scene.end.losts, 1);
	assert_int_equal(end_set_mtu(&scene.end, one, 1300), -ENODEV);
	assert_int_equal(end_destroy(&scene.end, one), 0);
	/* That id may be another's by now. */
	assert_int_equal(kernel.deletions, 0);
	scene_close(&scene);
}

/* A port of a bridge that leaves it, an interface that moves: neither is gone. */
static void not_gone(void **state)
{
	struct scene scene;

	(void)state;
	scene_open(&scene, "127.0.0.1");
	assert_int_equal(end_create(&scene.end, one, &scene.info), 0);
	if (system("ip link add tdbridge type bridge 2>/dev/null") == 0) {
		run("ip link set tdk0 master tdbridge && ip link set tdk0 nomaster");
		run("ip link del tdbridge");
	}
	idle(&scene);
	assert_int_equal(scene.end.losts, 0);
	run("ip link set tdk0 name tdrenamed");
	assert_int_equal(end_set_mtu(&scene.end, one, 1300), 0);
	assert_int_equal(interface_mtu("tdrenamed"), 1300);
	run("ip netns add td-test-%d && ip link set tdrenamed netns td-test-%d", getpid(),
	    getpid());
	idle(&scene);
	assert_int_equal(scene.end.losts, 0);
	assert_int_equal(end_set_mtu(&scene.end, one, 1300), -ENODEV);
	assert_int_equal(end_destroy(&scene.end, one), 0);
	assert_int_equal(kernel.deletions, 1);
	run("ip netns del td-test-%d", getpid());
	scene_close(&scene);
}

/* So many interfaces go that the kernel cannot tell of all, ours among them. */
static void notifications_overrun(void **state)
{
	struct scene scene;

	(void)state;
	scene_open(&scene, "127.0.0.1");
	assert_int_equal(end_create(&scene.end, one, &scene.info), 0);
	scene.end.ops->destroy(scene.end.dp, one, 99);
	run("for i in $(seq 300); do echo link add tdo$i type veth peer name tdp$i; "
	    "echo link del tdo$i; done | ip -batch -");
	run("ip link del tdk0");
	loop_until(&scene.bench, is_done, &scene.end, TD_SECONDS(5));
	assert_int_equal(scene.end.err, 0);
	scene_close(&scene);
}

/* The socket is closed then, but not what others have of it, such as a parent process. */
static void deleted_at_the_second_try(void **state)
{
	struct scene scene;

	(void)state;
	scene_open(&scene, "127.0.0.1");
	assert_int_equal(end_create(&scene.end, one, &scene.info), 0);
	kernel.deletions = 0;
	kernel.delete_error = -ENOBUFS;
	scene.end.sequence = 0;
	scene.end.ops->destroy(scene.end.dp, one, 99);
	loop_until(&scene.bench, was_deleted, NULL, TD_SECONDS(5));
	idle(&scene);
	kernel.deletions = 0;
	kernel.delete_error = 0;
	loop_until(&scene.bench, was_deleted, NULL, TD_SECONDS(5));
	assert_true(kernel.deletions > 0);
	loop_until(&scene.bench, NULL, NULL, TD_SECONDS(1));
	assert_int_equal(kernel.deletions, 1); /* and no third one */
	assert_false(is_done(&scene.end));
	run("ip link del tdk0");
	loop_until(&scene.bench, is_done, &scene.end, TD_SECONDS(5));
	assert_int_equal(scene.end.err, 0);
	scene_close(&scene);
}

/* The client's socket is the tunnel's, before, meanwhile and afterwards. */
static void socket_of_the_client(void **state)
{
	const struct td_addr any = address("127.0.0.1", 0);
	struct td_udp broker;
	struct scene scene;

	(void)state;
	memset(&kernel, 0, sizeof(kernel));
	memset(&scene, 0, sizeof(scene));
	bench_open(&scene.bench);
	end_open(&scene.end, &scene.bench, &td_datapath_kernel, 1);
	assert_int_equal(td_udp_listen(&broker, &any, NULL), 0);
	scene.fd = broker.fd;
	end_connect(&scene.end, &broker.local);
	scene.info = info_of("tdk0", &any, &any);
	assert_int_equal(end_create(&scene.end, one, &scene.info), 0);
	assert_int_equal(kernel.fd, scene.end.udp.fd);
	assert_int_equal(scene.end.ops->keep_fd(scene.end.dp, one), scene.end.udp.fd);

	scene_destroy(&scene);
	assert_int_equal(fcntl(scene.end.udp.fd, F_GETFD), FD_CLOEXEC);

	/* It cannot be deleted: closing the socket will do it, and the caller is not kept waiting. */
	assert_int_equal(end_create(&scene.end, one, &scene.info), 0);
	kernel.delete_error = -ETIMEDOUT;
	assert_int_equal(end_destroy(&scene.end, one), -ETIMEDOUT);
	run("ip link del tdk0");
	scene_close(&scene);
}

/* A socket as an earlier process left it, with somebody else's datagram from before connect(). */
static void adopted(void **state)
{
	struct sockaddr_storage sa;
	struct td_udp own, other;
	struct scene scene;
	socklen_t size;
	int copy, fd;

	(void)state;
	scene_open(&scene, "127.0.0.1");
	assert_int_equal(td_udp_connect_from(&own, &scene.end.udp, &scene.info.flow, NULL), 0);
	memset(&sa, 0, sizeof(sa));
	assert_int_equal(connect(own.fd, (struct sockaddr *)&sa, sizeof(sa)), 0); /* AF_UNSPEC */
	assert_int_equal(td_udp_connect(&other, &own.local, NULL, NULL), 0);
	assert_int_equal(send(other.fd, "\x80stranger", 9, 0), 9);
	size = td_addr_to_sockaddr(&scene.addr, &sa);
	assert_int_equal(connect(own.fd, (struct sockaddr *)&sa, size), 0);

	run("ip tuntap add mode tap name tdk0");
	copy = dup(own.fd);
	assert_int_equal(
		scene.end.ops->adopt(scene.end.dp, one, &scene.info, &scene.end.udp, own.fd), 0);
	idle(&scene);
	assert_int_equal(scene.end.controls, 1);
	assert_true(td_addr_equal(&scene.end.control_flow.peer, &other.local));
	assert_true(td_addr_equal(&scene.end.control_flow.local, &scene.end.udp.local));
	scene_destroy(&scene);

	/* A hook has moved its interface: it is alive. */
	fd = dup(copy);
	assert_int_equal(scene.end.ops->adopt(scene.end.dp, one, &scene.info, &scene.end.udp, fd),
			 0);
	assert_int_equal(end_destroy(&scene.end, one), 0);

	/* It is gone: refused, and the descriptor closed. */
	kernel.session_is_gone = true;
	assert_int_equal(scene.end.ops->adopt(scene.end.dp, one, &scene.info, &scene.end.udp, copy),
			 -ENODEV);
	assert_int_equal(fcntl(copy, F_GETFD), -1);
	td_udp_close(&other);
	scene_close(&scene);
}

static void peer_moves(void **state)
{
	struct td_udp other;
	struct td_flow flow;
	struct scene scene;
	uint8_t got[64];

	(void)state;
	scene_open(&scene, "127.0.0.1");
	assert_int_equal(end_create(&scene.end, one, &scene.info), 0);
	assert_int_equal(td_udp_connect(&other, &scene.end.udp.local, NULL, NULL), 0);
	flow = (struct td_flow){ scene.end.udp.local, other.local };
	scene.end.ops->set_peer(scene.end.dp, one, 3, &flow);
	assert_int_equal(scene.end.err, 0);
	assert_int_equal(scene.end.ops->send(scene.end.dp, one, &flow, (const uint8_t *)"\x80", 1),
			 0);
	assert_int_equal(recv(other.fd, got, sizeof(got), 0), 1);
	flow.local.port++;
	scene.end.ops->set_peer(scene.end.dp, one, 3, &flow);
	assert_int_equal(scene.end.err, -EADDRNOTAVAIL);
	td_udp_close(&other);
	scene_destroy(&scene);
	scene_close(&scene);
}

/* While the kernel is busy with a tunnel the loop goes on, and the tunnel has that one task. */
static void one_task_at_a_time(void **state)
{
	struct scene scene;

	(void)state;
	if (!with_thread)
		return;
	scene_open(&scene, "127.0.0.1");
	pthread_mutex_lock(&kernel.gate);
	scene.end.ops->create(scene.end.dp, one, 99, &scene.info, &scene.end.udp);
	assert_int_equal(scene.end.dones, 0);
	assert_int_equal(send(scene.fd, "\x80 from the peer", 16, 0), 16);
	idle(&scene);
	assert_int_equal(scene.end.controls, 1);
	assert_int_equal(scene.end.ops->keep_fd(scene.end.dp, one), -1);
	assert_int_equal(end_destroy(&scene.end, one), -EBUSY);
	assert_int_equal(end_set_mtu(&scene.end, one, 1300), -EBUSY);
	pthread_mutex_unlock(&kernel.gate);
	loop_until(&scene.bench, is_done, &scene.end, TD_SECONDS(5));
	assert_int_equal(scene.end.err, 0);
	assert_int_equal(interface_mtu("tdk0"), 1446);
	scene_destroy(&scene);
	scene_close(&scene);
}

/* Deleted by another hand before anybody here knew its index. */
static void gone_before_it_is_known(void **state)
{
	struct scene scene;

	(void)state;
	if (!with_thread)
		return;
	scene_open(&scene, "127.0.0.1");
	scene.end.ops->create(scene.end.dp, one, 99, &scene.info, &scene.end.udp);
	while (td_jobs_figures(scene.bench.jobs, TD_LANE_CREATE).jobs == 0)
		usleep(1000);
	run("ip link del tdk0");
	loop_until(&scene.bench, is_done, &scene.end, TD_SECONDS(5));
	assert_int_equal(scene.end.err, -ENODEV);
	assert_int_equal(scene.end.losts, 0);
	assert_int_equal(kernel.deletions, 1);
	assert_int_equal(end_create(&scene.end, one, &scene.info), 0);
	scene_destroy(&scene);
	scene_close(&scene);
}

/* Closed while the thread makes one, another waits, and others are being deleted. */
static void closed_with_tasks(void **state)
{
	struct scene scene;

	(void)state;
	if (!with_thread)
		return;
	scene_open(&scene, "127.0.0.1");
	for (uint32_t i = 0; i < 2; i++) {
		scene.info.ifname[3] = (char)('0' + i);
		assert_int_equal(end_create(&scene.end, handle_of(i), &scene.info), 0);
	}
	scene.end.ops->destroy(scene.end.dp, handle_of(0), 5);
	loop_until(&scene.bench, was_deleted, NULL, TD_SECONDS(5));
	assert_int_equal(kernel.deletions, 1);
	for (uint32_t i = 2; i < 4; i++) {
		scene.info.ifname[3] = (char)('0' + i);
		scene.end.ops->create(scene.end.dp, handle_of(i), 5, &scene.info, &scene.end.udp);
	}
	scene.end.ops->destroy(scene.end.dp, handle_of(1), 5);
	scene_close(&scene);
	/* Those that were there are deleted once, what was not begun is not begun. */
	assert_int_equal(kernel.deletions, 1 + 1 + (kernel.tunnels - 2));
	run("for i in 0 1 2 3; do ip link del tdk$i 2>/dev/null; done; true");
}

/* close() removes all of it, whatever state it is in. */
static void closed_with_tunnels(void **state)
{
	struct scene scene;

	(void)state;
	scene_open(&scene, "127.0.0.1");
	assert_int_equal(end_create(&scene.end, one, &scene.info), 0);
	scene.info.ifname[3] = '1';
	assert_int_equal(end_create(&scene.end, handle_of(1), &scene.info), 0);
	scene.end.ops->destroy(scene.end.dp, one, 5);
	scene_close(&scene);
	assert_int_equal(kernel.deletions, 2);
	run("ip link del tdk0 && ip link del tdk1");
}

static void cannot_open(void **state)
{
	const struct td_datapath_setup setup = { .max_tunnels = 1 };
	struct td_datapath *dp;

	(void)state;
	kernel.open_error = -ENOENT;
	assert_int_equal(td_datapath_kernel.open(&dp, &setup), -ENOENT);
}

static void probe(void **state)
{
	static const struct {
		int open_error, tunnel_error, session_error;
		const char *says;
	} cases[] = {
		{ -ENOENT, 0, 0, "modprobe l2tp_eth" },      { 0, -EPERM, 0, "CAP_NET_ADMIN" },
		{ 0, 0, -EPROTONOSUPPORT, "kmod-l2tp-eth" }, { 0, -EIO, 0, "Input/output error" },
		{ 0, 0, -ENOMEM, "Cannot allocate memory" },
	};
	char why[256];

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(&kernel, 0, sizeof(kernel));
		kernel.open_error = cases[i].open_error;
		kernel.tunnel_error = cases[i].tunnel_error;
		kernel.session_error = cases[i].session_error;
		assert_true(td_datapath_kernel.probe(why, sizeof(why)) < 0);
		assert_non_null(strstr(why, cases[i].says));
		/* What was made is removed. */
		assert_int_equal(kernel.deletions, kernel.sessions);
	}
	memset(&kernel, 0, sizeof(kernel));
	assert_int_equal(td_datapath_kernel.probe(why, sizeof(why)), 0);
	assert_int_equal(kernel.deletions, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(filters),
		cmocka_unit_test(own_socket),
		cmocka_unit_test(socket_is_full),
		cmocka_unit_test(refusals),
		cmocka_unit_test(late_refusals),
		cmocka_unit_test(deleted_by_another_hand),
		cmocka_unit_test(not_gone),
		cmocka_unit_test(notifications_overrun),
		cmocka_unit_test(deleted_at_the_second_try),
		cmocka_unit_test(socket_of_the_client),
		cmocka_unit_test(adopted),
		cmocka_unit_test(peer_moves),
		cmocka_unit_test(one_task_at_a_time),
		cmocka_unit_test(gone_before_it_is_known),
		cmocka_unit_test(closed_with_tasks),
		cmocka_unit_test(closed_with_tunnels),
		cmocka_unit_test(cannot_open),
		cmocka_unit_test(probe),
	};

	own_namespace();
	return run_both_ways(tests);
}
