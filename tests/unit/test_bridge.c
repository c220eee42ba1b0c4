/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Interfaces and bridges of a namespace of our own; here the kernel may be made to refuse. */
#include "datapath_fixture.h"

#include "datapath/bridge.h"
#include "sys/log.h"

__typeof__(td_rtnl_isolate) __real_td_rtnl_isolate, __wrap_td_rtnl_isolate;
__typeof__(td_log) __wrap_td_log;
__typeof__(td_rtnl_set_master) __real_td_rtnl_set_master, __wrap_td_rtnl_set_master;

/* What the kernel answers, 0: what it does answer. */
static struct {
	unsigned bridge; /* joining it */
	int join, isolate, release;
} refuse;

int __wrap_td_rtnl_isolate(struct td_rtnl *rtnl, unsigned ifindex)
{
	return refuse.isolate ? refuse.isolate : __real_td_rtnl_isolate(rtnl, ifindex);
}

int __wrap_td_rtnl_set_master(struct td_rtnl *rtnl, unsigned ifindex, unsigned master)
{
	if (refuse.join && master == refuse.bridge)
		return refuse.join;
	if (refuse.release && master == 0)
		return refuse.release;
	return __real_td_rtnl_set_master(rtnl, ifindex, master);
}

/* The log since it was looked at, a line each. */
static char said[1000];

__attribute__((used, format(printf, 2, 3))) void __wrap_td_log(enum td_log_level level,
							       const char *format, ...)
{
	const size_t size = strlen(said);
	va_list args;

	va_start(args, format);
	vsnprintf(said + size, sizeof(said) - size, format, args);
	va_end(args);
	strncat(said, level == TD_LOG_NOTICE ? " (notice)\n" : "\n",
		sizeof(said) - strlen(said) - 1);
}

static struct td_rtnl rtnl;
static struct td_bridges bridges;
static struct td_bridging config;

/* The interface "port" and the bridges br0, br1 and br1400. */
static int set_up(void **state)
{
	(void)state;
	memset(&refuse, 0, sizeof(refuse));
	run("ip link add port mtu 1446 type veth peer name peer");
	run("ip link add br0 type bridge");
	run("ip link add br1 type bridge");
	run("ip link add br1400 type bridge");
	config = (struct td_bridging){ { { 0, true, { 2, { "br0", "br1" } } },
					 { 1400, true, { 1, { "br1400" } } },
					 { 1300, true, { 0 } } } };
	said[0] = '\0';
	td_bridges_init(&bridges, &config, &rtnl);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	run("ip link del port");
	run("for i in br0 br1 br1400 other; do ip link del $i; done 2>&- || :");
	return 0;
}

static struct td_rtnl_link link_of(const char *name)
{
	struct td_rtnl_link link;

	assert_int_equal(td_rtnl_get_link(&rtnl, 0, name, &link), 0);
	return link;
}

static int join(uint32_t mtu)
{
	return td_bridges_join(&bridges, &rtnl, if_nametoindex("port"), mtu);
}

static int set_mtu(uint32_t mtu)
{
	return td_bridges_set_mtu(&bridges, &rtnl, if_nametoindex("port"), mtu);
}

/* Is the port in that bridge (NULL: none) and, if it is, isolated? */
static void assert_port(const char *bridge)
{
	assert_int_equal(link_of("port").master, bridge ? if_nametoindex(bridge) : 0);
	if (bridge)
		run("bridge -d link show dev port | grep -q 'isolated on'");
}

/* One line, which begins so; NULL: nothing. */
static void assert_said(const char *text)
{
	const char *end = strchr(said, '\n');

	if (text ? strncmp(said, text, strlen(text)) != 0 || !end || end[1] : said[0] != '\0')
		fail_msg("log: %s", said);
	said[0] = '\0';
}

static void joins_the_first(void **state)
{
	(void)state;
	assert_int_equal(join(1446), 0);
	assert_port("br0");
	assert_false(link_of("port").is_up);
	assert_int_equal(join(1300), 0); /* none for this one: it is left alone */
	assert_port("br0");
	assert_said(NULL);
}

static void joins_that_for_its_mtu(void **state)
{
	(void)state;
	assert_int_equal(join(1400), 0);
	assert_port("br1400");
	assert_said(NULL);
}

static void unisolated_where_it_is_asked_for(void **state)
{
	(void)state;
	config.sets[0].isolate = false;
	assert_int_equal(join(1446), 0);
	assert_int_equal(link_of("port").master, if_nametoindex("br0"));
	run("bridge -d link show dev port | grep -q 'isolated off'");
}

static void full_one_is_told_once(void **state)
{
	(void)state;
	refuse.bridge = if_nametoindex("br0");
	refuse.join = -EXFULL;
	assert_int_equal(join(1446), 0);
	assert_port("br1");
	assert_said("bridge br0 is full");
	refuse.join = 0; /* somebody left */
	assert_int_equal(join(1446), 0);
	assert_port("br0");
	refuse.join = -EXFULL;
	assert_int_equal(join(1446), 0);
	assert_port("br1");
	assert_said(NULL);
}

static void missing_one_is_told_once(void **state)
{
	(void)state;
	run("ip link del br0");
	assert_int_equal(join(1446), 0);
	assert_port("br1");
	assert_said("bridge br0 is not there");
	assert_int_equal(join(1446), 0);
	assert_said(NULL);
	run("ip link add br0 type bridge");
	assert_int_equal(join(1446), 0);
	assert_said("tunnels join bridge br0 again (notice)");
	assert_port("br0");
}

static void start_tells_of_missing_ones(void **state)
{
	(void)state;
	run("ip link del br1400");
	td_bridges_init(&bridges, &config, &rtnl);
	assert_said("bridge br1400 is not there");
	assert_int_equal(join(1400), 0);
	assert_said(NULL);
	assert_port(NULL);
	run("ip link add br1400 type veth peer name other");
	assert_int_equal(join(1400), 0);
	assert_said("br1400 is no bridge");
	assert_port(NULL);
}

static void leaves_where_it_cannot_be_isolated(void **state)
{
	(void)state;
	refuse.isolate = -EOPNOTSUPP;
	assert_int_equal(join(1400), 0);
	assert_port(NULL);
	assert_said("tunnels cannot join bridge br1400 as configured: Operation not supp");
	assert_int_equal(join(1400), 0);
	assert_said(NULL);
}

/* It may have joined. */
static void leaves_when_the_kernel_does_not_answer(void **state)
{
	(void)state;
	run("ip link set port master br1400");
	refuse.bridge = if_nametoindex("br1400");
	refuse.join = -ETIMEDOUT;
	assert_int_equal(join(1400), 0);
	assert_port(NULL);
}

static void fails_where_it_cannot_leave(void **state)
{
	(void)state;
	refuse.isolate = -EOPNOTSUPP;
	refuse.release = -ETIMEDOUT;
	assert_int_equal(join(1400), -EOPNOTSUPP);
	refuse.isolate = refuse.release = 0;
	run("ip link del port");
	assert_int_equal(td_bridges_join(&bridges, &rtnl, 999999, 1400), -ENODEV);
	assert_int_equal(td_bridges_set_mtu(&bridges, &rtnl, 999999, 1400), -ENODEV);
	assert_said(NULL);
	run("ip link add port type veth peer name peer");
}

static void moves_to_that_for_its_new_mtu(void **state)
{
	(void)state;
	assert_int_equal(join(1446), 0);
	run("ip link set port up");
	assert_int_equal(set_mtu(1400), 0);
	assert_port("br1400");
	assert_int_equal(link_of("port").mtu, 1400);
	assert_true(link_of("port").is_up);
	run("ip link set port down");
	assert_int_equal(set_mtu(1390), 0);
	assert_port("br0");
	assert_int_equal(link_of("port").mtu, 1390);
	assert_false(link_of("port").is_up);
	assert_int_equal(set_mtu(1300), 0);
	assert_port(NULL);
	assert_int_equal(set_mtu(1400), 0);
	assert_port("br1400");
	assert_said(NULL);
}

static void stays_where_the_bridges_are_the_same(void **state)
{
	(void)state;
	assert_int_equal(join(1446), 0);
	run("ip link set port nomaster"); /* the operator's */
	assert_int_equal(set_mtu(1390), 0);
	assert_int_equal(link_of("port").mtu, 1390);
	assert_port(NULL);
}

static void stays_where_somebody_else_put_it(void **state)
{
	(void)state;
	run("ip link add other type bridge");
	run("ip link set port master other");
	assert_int_equal(set_mtu(1400), 0);
	assert_int_equal(link_of("port").mtu, 1400);
	assert_int_equal(link_of("port").master, if_nametoindex("other"));
}

static void alone_and_up_when_it_cannot_move(void **state)
{
	(void)state;
	assert_int_equal(join(1446), 0);
	run("ip link set port up");
	refuse.isolate = -EOPNOTSUPP;
	assert_int_equal(set_mtu(1400), 0);
	assert_port(NULL);
	assert_true(link_of("port").is_up);
	assert_int_equal(link_of("port").mtu, 1400);
	assert_said("tunnels cannot join bridge br1400");
}

static void down_when_it_cannot_leave(void **state)
{
	(void)state;
	run("ip link set port up");
	refuse.bridge = if_nametoindex("br1400");
	refuse.join = -ENOBUFS;
	assert_int_equal(set_mtu(1400), 0);
	assert_true(link_of("port").is_up);
	assert_said("tunnels cannot join bridge br1400");

	assert_int_equal(set_mtu(1446), 0);
	refuse.release = -EPERM;
	assert_int_equal(set_mtu(1400), -EPERM); /* still where it was */
	assert_true(link_of("port").is_up);
	assert_port("br0");
}

/* The interface of a tunnel that lives, but is in another namespace by now. */
static void none_where_there_is_no_interface(void **state)
{
	(void)state;
	assert_int_equal(td_bridges_set_mtu(&bridges, &rtnl, 0, 1400), -ENODEV);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(joins_the_first),
		TEST(joins_that_for_its_mtu),
		TEST(unisolated_where_it_is_asked_for),
		TEST(full_one_is_told_once),
		TEST(missing_one_is_told_once),
		TEST(start_tells_of_missing_ones),
		TEST(leaves_where_it_cannot_be_isolated),
		TEST(leaves_when_the_kernel_does_not_answer),
		TEST(fails_where_it_cannot_leave),
		TEST(moves_to_that_for_its_new_mtu),
		TEST(stays_where_the_bridges_are_the_same),
		TEST(stays_where_somebody_else_put_it),
		TEST(alone_and_up_when_it_cannot_move),
		TEST(down_when_it_cannot_leave),
		TEST(none_where_there_is_no_interface),
	};
	int failed;

	own_namespace();
	assert_int_equal(td_rtnl_open(&rtnl), 0);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	td_rtnl_close(&rtnl);
	return failed;
}
