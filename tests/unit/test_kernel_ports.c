/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Tunnels on ports of their own: what is rewritten when, and what the host sees. */
#include "kernel_fixture.h"

static const uint8_t control[] = "\x80\x73\xa7\x01\x05\x04"
				 "abcdef";

static uint16_t port_of(int fd)
{
	struct td_udp udp;

	assert_int_equal(td_udp_from_fd(&udp, fd), 0);
	return udp.local.port;
}

static void scene_open_apart(struct scene *scene, const char *ip)
{
	rewriting = &rewriter;
	scene_open(scene, ip);
	rewriting = NULL;
}

/* What the peer sends to the public port comes to the private one. */
static void send_rewritten(struct scene *scene, uint16_t port)
{
	struct td_addr to = scene->end.udp.local;
	struct sockaddr_storage sa;
	socklen_t size;

	to.port = port;
	size = td_addr_to_sockaddr(&to, &sa);
	assert_int_equal(connect(scene->fd, (struct sockaddr *)&sa, size), 0);
	assert_int_equal(send(scene->fd, control, sizeof(control), 0), sizeof(control));
	size = td_addr_to_sockaddr(&scene->end.udp.local, &sa);
	assert_int_equal(connect(scene->fd, (struct sockaddr *)&sa, size), 0);
}

static void lives_apart(const char *ip)
{
	struct scene scene;
	uint8_t got[64];

	scene_open_apart(&scene, ip);
	assert_int_equal(end_create(&scene.end, one, &scene.info), 0);
	assert_int_equal(kernel.added, 1);
	assert_true(td_flow_equal(&kernel.flow, &scene.info.flow));
	assert_int_equal(kernel.port, port_of(kernel.fd));
	assert_int_not_equal(kernel.port, scene.end.udp.local.port);

	/* The host knows nothing of that port, and neither does the peer: it gets an answer. */
	send_rewritten(&scene, kernel.port);
	idle(&scene);
	assert_int_equal(scene.end.controls, 1);
	assert_true(td_flow_equal(&scene.end.control_flow, &scene.info.flow));
	assert_int_equal(
		scene.end.ops->send(scene.end.dp, one, &scene.info.flow, control, sizeof(control)),
		0);
	assert_int_equal(recv(scene.fd, got, sizeof(got), MSG_DONTWAIT), sizeof(control));

	assert_int_equal(kernel.removed, 0);
	scene_destroy(&scene);
	assert_int_equal(kernel.removed, 1);
	assert_int_equal(kernel.deletions_before, 0);
	assert_int_equal(kernel.deletions, 1);
	scene_close(&scene);
}

static void port_of_its_own(void **state)
{
	(void)state;
	lives_apart("127.0.0.1");
	lives_apart("::1");
}

/* Nothing half-made stays behind. */
static void refusals(void **state)
{
	struct scene scene;
	unsigned descriptors;

	(void)state;
	scene_open_apart(&scene, "127.0.0.1");
	descriptors = open_descriptors();
	kernel.tunnel_error = -EEXIST;
	assert_int_equal(end_create(&scene.end, one, &scene.info), -EEXIST);
	kernel.tunnel_error = 0;
	kernel.session_error = -EEXIST;
	assert_int_equal(end_create(&scene.end, one, &scene.info), -EEXIST);
	assert_int_equal(kernel.added, 0);
	assert_int_equal(kernel.removed, 0);
	assert_int_equal(open_descriptors(), descriptors);
	scene_close(&scene);
}

static void refused(int error, unsigned removed)
{
	struct scene scene;
	unsigned descriptors;

	scene_open_apart(&scene, "127.0.0.1");
	descriptors = open_descriptors();
	kernel.add_error = error;
	scene.end.ops->create(scene.end.dp, one, 99, &scene.info, &scene.end.udp);
	loop_until(&scene.bench, was_deleted, NULL, TD_SECONDS(5));
	assert_int_equal(kernel.removed, removed);
	assert_int_equal(scene.end.dones, 0);
	run("ip link del tdk0");
	loop_until(&scene.bench, is_done, &scene.end, TD_SECONDS(5));
	assert_int_equal(scene.end.err, error);
	assert_int_equal(open_descriptors(), descriptors);
	scene_close(&scene);
}

static void rewriting_refused(void **state)
{
	(void)state;
	refused(-EEXIST, 0); /* that is another's */
	refused(-ENFILE, 1);
	refused(-ETIMEDOUT, 1); /* it may be there */
}

static void not_forgotten(void **state)
{
	struct scene scene;

	(void)state;
	scene_open_apart(&scene, "127.0.0.1");
	kernel.remove_error = -ENOMEM;
	assert_int_equal(end_create(&scene.end, one, &scene.info), 0);
	scene_destroy(&scene);
	assert_int_equal(kernel.removed, 1);
	scene_close(&scene);
}

static void deleted_by_another_hand(void **state)
{
	struct scene scene;

	(void)state;
	scene_open_apart(&scene, "127.0.0.1");
	assert_int_equal(end_create(&scene.end, one, &scene.info), 0);
	run("ip link del tdk0");
	idle(&scene);
	assert_int_equal(scene.end.losts, 1);
	assert_int_equal(kernel.removed, 0);
	assert_int_equal(end_destroy(&scene.end, one), 0);
	assert_int_equal(kernel.removed, 1);
	assert_int_equal(kernel.deletions, 0);
	scene.end.losts = 0;
	assert_int_equal(end_create(&scene.end, one, &scene.info), 0);
	scene_destroy(&scene);
	scene_close(&scene);
}

static int adopt(struct scene *scene, int fd)
{
	kernel.fd = fd;
	return scene->end.ops->adopt(scene->end.dp, one, &scene->info, &scene->end.udp, fd);
}

/* It takes over where the process before, whose rewriting went with it, has ended. */
static void adopted(void **state)
{
	struct scene scene;
	struct td_udp own;
	uint16_t port;

	(void)state;
	scene_open_apart(&scene, "127.0.0.1");
	run("ip tuntap add mode tap name tdk0");
	assert_int_equal(td_udp_connect_apart(&own, &scene.info.flow, NULL, &port), 0);
	assert_int_equal(adopt(&scene, own.fd), 0);
	assert_int_equal(kernel.added, 1);
	assert_int_equal(kernel.port, port);
	assert_true(td_flow_equal(&kernel.flow, &scene.info.flow));
	send_rewritten(&scene, port);
	idle(&scene);
	assert_int_equal(scene.end.controls, 1);
	assert_true(td_flow_equal(&scene.end.control_flow, &scene.info.flow));
	scene_destroy(&scene);
	assert_int_equal(kernel.removed, 1);

	/* From a process that did not rewrite: it stays as it was. */
	run("ip tuntap add mode tap name tdk0");
	assert_int_equal(td_udp_connect_from(&own, &scene.end.udp, &scene.info.flow, NULL), 0);
	assert_int_equal(adopt(&scene, own.fd), 0);
	assert_int_equal(kernel.added, 1);
	scene_destroy(&scene);
	assert_int_equal(kernel.removed, 1);
	scene_close(&scene);
}

static void cannot_be_adopted(void **state)
{
	struct scene scene;
	struct td_udp own;
	uint16_t port;

	(void)state;
	scene_open_apart(&scene, "127.0.0.1");
	/* Its interface is gone: what was added is removed again. */
	assert_int_equal(td_udp_connect_apart(&own, &scene.info.flow, NULL, &port), 0);
	assert_int_equal(adopt(&scene, own.fd), -ENODEV);
	assert_int_equal(kernel.removed, kernel.added);
	assert_int_equal(fcntl(own.fd, F_GETFD), -1);

	run("ip tuntap add mode tap name tdk0");
	assert_int_equal(td_udp_connect_apart(&own, &scene.info.flow, NULL, &port), 0);
	kernel.add_error = -EEXIST;
	assert_int_equal(adopt(&scene, own.fd), -EEXIST);
	assert_int_equal(fcntl(own.fd, F_GETFD), -1);
	scene_close(&scene);

	/* This process does not rewrite. */
	scene_open(&scene, "127.0.0.1");
	assert_int_equal(td_udp_connect_apart(&own, &scene.info.flow, NULL, &port), 0);
	assert_int_equal(adopt(&scene, own.fd), -EADDRNOTAVAIL);
	assert_int_equal(fcntl(own.fd, F_GETFD), -1);
	run("ip link del tdk0");
	scene_close(&scene);
}

static void peer_does_not_move(void **state)
{
	struct scene scene;
	struct td_flow flow;

	(void)state;
	scene_open_apart(&scene, "127.0.0.1");
	assert_int_equal(end_create(&scene.end, one, &scene.info), 0);
	flow = scene.info.flow;
	flow.peer.port++;
	scene.end.ops->set_peer(scene.end.dp, one, 3, &flow);
	assert_int_equal(scene.end.err, -EOPNOTSUPP);
	scene_destroy(&scene);
	scene_close(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(port_of_its_own),         cmocka_unit_test(refusals),
		cmocka_unit_test(rewriting_refused),       cmocka_unit_test(not_forgotten),
		cmocka_unit_test(deleted_by_another_hand), cmocka_unit_test(adopted),
		cmocka_unit_test(cannot_be_adopted),       cmocka_unit_test(peer_does_not_move),
	};

	own_namespace();
	return run_both_ways(tests);
}
