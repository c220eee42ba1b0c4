/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The TAP back-end under load: a full socket, fairness, many tunnels. */
#include "datapath_fixture.h"

#include <sys/socket.h>
#include <time.h>

#define TUNNELS 500
#define SLOW    "tbf rate 4mbit burst 8k limit 16mb"

struct load {
	struct bench bench;
	struct end end;
	int peers[TUNNELS]; /* bare sockets */
	uint64_t from[TUNNELS];
	unsigned count;
	uint64_t total, enough;
	int packets; /* on all interfaces */
};

static void name_of(char name[static IFNAMSIZ], unsigned i)
{
	snprintf(name, IFNAMSIZ, "td%u", i);
}

static void load_open(struct load *load, unsigned count)
{
	memset(load, 0, sizeof(*load));
	load->count = count;
	bench_open(&load->bench);
	load->packets = packet_open(NULL);
	end_open(&load->end, &load->bench, &td_datapath_tap, count);
	end_listen(&load->end, "127.0.0.1");
	for (unsigned i = 0; i < count; i++) {
		struct td_session_info info;
		struct td_udp udp;
		char name[IFNAMSIZ];

		assert_int_equal(td_udp_connect(&udp, &load->end.udp.local, NULL, NULL), 0);
		load->peers[i] = udp.fd;
		name_of(name, i);
		info = info_of(name, &load->end.udp.local, &udp.local);
		info.session_id = 1000 + i;
		info.peer_session_id = 2000 + i;
		assert_int_equal(end_create(&load->end, handle_of(i), &info), 0);
		interface_up(name);
	}
}

static void load_close(struct load *load)
{
	for (unsigned i = 0; i < load->count; i++)
		close(load->peers[i]);
	close(load->packets);
	end_close(&load->end);
	bench_close(&load->bench);
	for (unsigned i = 0; i < load->count; i++) {
		char name[IFNAMSIZ];

		name_of(name, i);
		assert_int_equal(if_nametoindex(name), 0);
	}
}

static int inject(const struct load *load, unsigned i, const void *frame, size_t size)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_protocol = htons(0x88b5) };
	char name[IFNAMSIZ];

	name_of(name, i);
	to.sll_ifindex = (int)if_nametoindex(name);
	return sendto(load->packets, frame, size, 0, (struct sockaddr *)&to, sizeof(to)) < 0
		       ? -errno
		       : 0;
}

/* Reads what arrived at peer i, which must carry its session id. */
static void drain_peer(struct load *load, unsigned i)
{
	uint8_t got[2048];

	while (recv(load->peers[i], got, sizeof(got), MSG_DONTWAIT) > 0) {
		assert_int_equal(got[6] << 8 | got[7], 2000 + i);
		load->from[i]++;
		load->total++;
	}
}

static void drain_peers(struct load *load)
{
	for (unsigned i = 0; i < load->count; i++)
		drain_peer(load, i);
}

static void many_tunnels(void **state)
{
	uint8_t frame[12 + 200];
	struct load load;

	(void)state;
	load_open(&load, TUNNELS);
	frame_fill(frame + 12, 200, "\x88\xb5", 2);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < TUNNELS; i++) {
			const uint16_t session_id = (uint16_t)(1000 + i);

			memcpy(frame, "\0\3\0\0\0\0", 6);
			frame[6] = (uint8_t)(session_id >> 8);
			frame[7] = (uint8_t)session_id;
			memset(frame + 8, 0, 4);
			assert_int_equal(send(load.peers[i], frame, sizeof(frame), 0),
					 sizeof(frame));
			assert_int_equal(inject(&load, i, frame + 12, 200), 0);
			if (i % 100 == 99)
				loop_until(&load.bench, NULL, NULL, TD_MS(5));
		}
	}
	loop_until(&load.bench, NULL, NULL, TD_MS(50));
	drain_peers(&load);
	assert_int_equal(end_count(&load.end), TUNNELS);
	for (unsigned i = 0; i < TUNNELS; i++) {
		assert_int_equal(load.from[i], 3);
		assert_true(td_handle_equal(load.end.stats_of[i], handle_of(i)));
		assert_int_equal(load.end.stats[i].rx_packets, 3);
		assert_int_equal(load.end.stats[i].rx_bytes, 600);
		assert_int_equal(load.end.stats[i].tx_packets, 3);
		assert_int_equal(load.end.stats[i].rx_errors + load.end.stats[i].tx_errors, 0);
	}
	load_close(&load);
}

static bool second_iteration(void *bench)
{
	return ((struct bench *)bench)->iterations == 2;
}

static bool all_arrived(void *ctx)
{
	struct load *load = ctx;

	drain_peers(load);
	return load->from[0] >= 400;
}

/* One floods, one says a little: that goes out in between, not behind. */
static void flood_does_not_starve(void **state)
{
	uint8_t frame[100];
	struct load load;

	(void)state;
	load_open(&load, 3);
	frame_fill(frame, sizeof(frame), "\x88\xb5", 2);
	for (unsigned i = 0; i < 400; i++)
		assert_int_equal(inject(&load, 0, frame, sizeof(frame)), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(inject(&load, 1 + i % 2, frame, sizeof(frame)), 0);
	/* The loop's first iteration. */
	loop_until(&load.bench, second_iteration, &load.bench, TD_SECONDS(1));
	drain_peers(&load);
	assert_int_equal(load.from[1], 2);
	assert_int_equal(load.from[2], 2);
	assert_true(load.from[0] < 100);
	loop_until(&load.bench, all_arrived, &load, TD_SECONDS(30));
	assert_int_equal(load.from[0], 400);
	load_close(&load);
}

/* Keeps the queues of all interfaces filled, and reads the peers until they have got enough. */
static bool flood(void *ctx)
{
	struct load *load = ctx;
	uint8_t frame[1000];

	frame_fill(frame, sizeof(frame), "\x88\xb5", 2);
	for (unsigned i = 0; i < load->count; i++)
		for (unsigned k = 0; k < 20; k++)
			(void)inject(load, i, frame, sizeof(frame));
	drain_peers(load);
	return load->total >= load->enough;
}

static void small_buffer(int fd)
{
	const int bytes = 8000;

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
}

/*
 * The socket is full nearly all the time: no frame is lost in it, all TAPs get the same, more of
 * them than have a turn at once; and the loop sleeps in between.
 */
static void full_socket_is_fair(void **state)
{
	struct load load;
	uint64_t least = UINT64_MAX, most = 0;

	(void)state;
	run("tc qdisc add dev lo root " SLOW);
	load_open(&load, 48);
	small_buffer(load.end.udp.fd);
	load.enough = 600; /* 4 Mbit/s, 1000-byte frames: a little more than a second */
	loop_until(&load.bench, flood, &load, TD_SECONDS(60));
	for (unsigned i = 0; i < load.count; i++) {
		least = load.from[i] < least ? load.from[i] : least;
		most = load.from[i] > most ? load.from[i] : most;
	}
	assert_true(load.total >= load.enough); /* 12 each, give or take a turn */
	assert_true(least >= 4);
	assert_true(most - least <= 12);
	assert_true(load.end.writables > 10);
	assert_true(load.bench.iterations < 20 * load.total);
	assert_int_equal(end_count(&load.end), 48);
	for (unsigned i = 0; i < load.count; i++)
		assert_int_equal(load.end.stats[i].tx_errors, 0);
	load_close(&load);
	run("tc qdisc del dev lo root");
}

static bool was_writable(void *end)
{
	return ((struct end *)end)->writables > 0;
}

static const uint8_t message[600] = { 0x80, 0x73, 0xa7, 0x01 };

static void send_again(struct end *end)
{
	const struct td_flow flow = { end->udp.local, end->udp.local };

	end->err = end->ops->send(end->dp, TD_NO_HANDLE, &flow, message, sizeof(message));
	end->on_writable = NULL;
}

/* The host is told when it may send again, and then there is room: data waits behind it. */
static void control_before_data(void **state)
{
	struct td_flow flow;
	struct load load;
	unsigned sent = 0;
	int err;

	(void)state;
	run("tc qdisc add dev lo root " SLOW);
	load_open(&load, 1);
	small_buffer(load.end.udp.fd);
	flow = (struct td_flow){ load.end.udp.local, load.end.udp.local };
	while ((err = load.end.ops->send(load.end.dp, TD_NO_HANDLE, &flow, message, 600)) == 0)
		assert_true(++sent < 100);
	assert_int_equal(err, -EAGAIN);
	assert_int_equal(load.end.ops->send(load.end.dp, handle_of(0), &flow, message, 600),
			 -EAGAIN);
	flood(&load);
	load.end.on_writable = send_again;
	load.end.err = 1;
	loop_until(&load.bench, was_writable, &load.end, TD_SECONDS(5));
	assert_int_equal(load.end.err, 0);
	load.enough = 10;
	loop_until(&load.bench, flood, &load, TD_SECONDS(60));
	assert_true(load.from[0] >= load.enough);
	load_close(&load);
	run("tc qdisc del dev lo root");
}

/* --- many at once --- */

struct mass {
	struct load *load;
	unsigned target; /* dones */
	int64_t cpu_us, longest_us;
	unsigned comer_done; /* dones when the newcomer's was one of them; 0: not yet */
};

static bool mass_has_ended(void *ctx)
{
	struct mass *mass = ctx;
	const struct end *end = &mass->load->end;
	struct timespec ts;
	int64_t cpu_us;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	cpu_us = TD_SECONDS(ts.tv_sec) + ts.tv_nsec / 1000;
	if (mass->cpu_us != 0 && cpu_us - mass->cpu_us > mass->longest_us)
		mass->longest_us = cpu_us - mass->cpu_us;
	mass->cpu_us = cpu_us;
	if (mass->comer_done == 0 && if_nametoindex("tdcomer") != 0)
		mass->comer_done = end->dones;
	return end->dones >= mass->target;
}

static void mass_create(struct load *load, unsigned i, const char *name)
{
	const struct td_addr peer = address("127.0.0.1", (uint16_t)(2000 + i));
	struct td_session_info info = info_of(name, &load->end.udp.local, &peer);

	load->end.ops->create(load->end.dp, handle_of(i), 5, &info, &load->end.udp);
}

static void mass_wait(struct mass *mass, unsigned dones)
{
	mass->target = mass->load->end.dones + dones;
	mass->cpu_us = 0;
	loop_until(&mass->load->bench, mass_has_ended, mass, TD_SECONDS(300));
	assert_int_equal(mass->load->end.dones, mass->target);
}

/* All but one come at once, most of them go at once, and then the last one comes. */
static void come_and_go(void **state)
{
	struct load load;
	struct mass mass = { .load = &load };
	char name[IFNAMSIZ];
	unsigned goers = 0;

	(void)state;
	if (!with_thread)
		return;
	memset(&load, 0, sizeof(load));
	bench_open(&load.bench);
	load.packets = packet_open(NULL);
	end_open(&load.end, &load.bench, &td_datapath_tap, TUNNELS);
	end_listen(&load.end, "127.0.0.1");
	for (unsigned i = 0; i < TUNNELS - 1; i++) {
		name_of(name, i);
		mass_create(&load, i, name);
	}
	assert_int_equal(load.end.dones, 0);
	mass_wait(&mass, TUNNELS - 1);
	assert_int_equal(load.end.err, 0);
	for (unsigned i = 0; i < TUNNELS - 1; i++) {
		name_of(name, i);
		assert_int_not_equal(if_nametoindex(name), 0);
	}
	load.end.dones = 0;
	for (; goers < 200; goers++)
		load.end.ops->destroy(load.end.dp, handle_of(goers), 6);
	mass_create(&load, TUNNELS - 1, "tdcomer");
	mass_wait(&mass, goers + 1);
	/* It came before nearly all of them had gone. */
	assert_in_range(mass.comer_done, 1, 2 * TD_REMOVALS_MAX);
	for (unsigned i = 0; i < goers; i++) {
		name_of(name, i);
		assert_int_equal(if_nametoindex(name), 0);
	}
	assert_in_range(mass.longest_us, 1, TD_MS(50));
	/* Closed while others go. */
	for (; goers < 300; goers++)
		load.end.ops->destroy(load.end.dp, handle_of(goers), 6);
	load_close(&load);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_tunnels),        cmocka_unit_test(flood_does_not_starve),
		cmocka_unit_test(full_socket_is_fair), cmocka_unit_test(control_before_data),
		cmocka_unit_test(come_and_go),
	};

	own_namespace();
	return run_both_ways(tests);
}
