/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * getaddrinfo() of this program stands in for the C library's: names that begin with "test-" have
 * behaviours that no real name server can be asked for; all others go to the real one.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sys/resolver.h"

static struct td_loop loop;
static struct td_resolve resolve;
static struct td_addr got[TD_RESOLVER_ADDRESSES];
static unsigned got_count, calls;

static bool list_made; /* by make_list() */

static struct addrinfo *make_list(unsigned count)
{
	struct addrinfo *list = NULL, **end = &list;

	list_made = true;
	for (unsigned i = 0; i < count; i++) {
		struct sockaddr_in *in = calloc(1, sizeof(*in));

		in->sin_family = AF_INET;
		in->sin_port = htons(53);
		in->sin_addr.s_addr = htonl(0xc0000200 + i / 2); /* each twice */
		*end = calloc(1, sizeof(**end));
		(*end)->ai_addr = (struct sockaddr *)in;
		end = &(*end)->ai_next;
	}
	return list;
}

static bool descriptors_closed(void)
{
	for (int fd = 4; fd < 256; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			return false;
	}
	return true;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **list)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
		(int (*)(const char *, const char *, const struct addrinfo *,
			 struct addrinfo **))dlsym(RTLD_NEXT, "getaddrinfo");

	if (strncmp(node, "test-", 5) != 0 || (hints->ai_flags & AI_NUMERICHOST))
		return real(node, service, hints, list);
	if (strcmp(node, "test-never") == 0)
		pause();
	if (strcmp(node, "test-crash") == 0)
		raise(SIGKILL);
	if (strcmp(node, "test-many") == 0) {
		*list = make_list(100);
		return 0;
	}
	if (strcmp(node, "test-child") == 0 && descriptors_closed() &&
	    getpgrp() == getpgid(getppid())) {
		*list = make_list(1);
		return 0;
	}
	return EAI_NONAME;
}

/* make_list()'s nodes are not the C library's to free, and its child is about to exit. */
void freeaddrinfo(struct addrinfo *list)
{
	void (*real)(struct addrinfo *) =
		(void (*)(struct addrinfo *))dlsym(RTLD_NEXT, "freeaddrinfo");

	if (!list_made)
		real(list);
}

static struct td_time prepare(void *ctx, struct td_time now)
{
	(void)ctx;
	td_resolve_tick(&resolve, now);
	if (calls)
		td_loop_stop(&loop);
	return td_time_min(td_resolve_deadline(&resolve), td_time_add(now, TD_SECONDS(5)));
}

static void resolved(struct td_resolve *r, const struct td_addr *addrs, unsigned count)
{
	assert_ptr_equal(r, &resolve);
	assert_true(count <= TD_RESOLVER_ADDRESSES);
	if (count > 0)
		memcpy(got, addrs, count * sizeof(*addrs));
	got_count = count;
	calls++;
}

static int set_up(void **state)
{
	(void)state;
	resolve = (struct td_resolve){ .loop = &loop, .resolved = resolved };
	calls = 0;
	return td_loop_init(&loop, prepare, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	td_resolve_stop(&resolve);
	td_loop_fini(&loop);
	return waitpid(-1, NULL, WNOHANG) == -1 ? 0 : -1; /* no child is left */
}

static void look_up(const char *host, const char *service)
{
	calls = 0;
	td_resolve_start(&resolve, host, service, TD_SECONDS(10));
	if (!calls)
		assert_int_equal(td_loop_run(&loop), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(td_resolve_deadline(&resolve).us, TD_NEVER.us);
}

static void test_numeric(void **state)
{
	static const struct td_addr v4 = { .family = TD_FAMILY_IPV4,
					   .port = 8942,
					   .ip = { 192, 0, 2, 7 } };
	static const struct td_addr v6 = { .family = TD_FAMILY_IPV6,
					   .port = 53,
					   .ip = { 0x20, 1, 0xd, 0xb8, [15] = 1 } };

	(void)state;
	td_resolve_start(&resolve, "192.0.2.7", "8942", TD_SECONDS(1));
	assert_int_equal(calls, 1); /* at once, without a child */
	assert_int_equal(got_count, 1);
	assert_true(td_addr_equal(&got[0], &v4));
	td_resolve_start(&resolve, "2001:db8::1", "53", TD_SECONDS(1));
	assert_int_equal(calls, 2);
	assert_true(td_addr_equal(&got[0], &v6));
	td_resolve_start(&resolve, "fe80::1%lo", "53", TD_SECONDS(1));
	assert_int_equal(calls, 3);
	assert_int_equal(got[0].scope, 1);
	td_resolve_start(&resolve, "::ffff:192.0.2.7", "8942", TD_SECONDS(1));
	assert_int_equal(calls, 4);
	assert_true(td_addr_equal(&got[0], &v4));
}

static void test_localhost(void **state)
{
	(void)state;
	look_up("localhost", "8942");
	assert_true(got_count >= 1);
	assert_int_equal(got[0].port, 8942);
}

static void test_service_by_name(void **state)
{
	(void)state;
	if (!getservbyname("domain", "udp")) {
		print_message("no /etc/services\n");
		skip();
	}
	look_up("127.0.0.1", "domain");
	assert_int_equal(got_count, 1);
	assert_int_equal(got[0].port, 53);
}

static void test_no_such_name(void **state)
{
	(void)state;
	look_up("test-nobody", "53");
	assert_int_equal(got_count, 0);
	look_up("127.0.0.1", "no-such-service");
	assert_int_equal(got_count, 0);
	look_up("127.0.0.1", "0");
	assert_int_equal(got_count, 0);
}

static void test_many_without_duplicates(void **state)
{
	(void)state;
	look_up("test-many", "53");
	assert_int_equal(got_count, TD_RESOLVER_ADDRESSES);
	for (unsigned i = 0; i < got_count; i++)
		assert_int_equal(got[i].ip[3], i);
}

static void test_child(void **state)
{
	(void)state;
	look_up("test-child", "53");
	assert_int_equal(got_count, 1); /* it found its surroundings right */
	look_up("test-crash", "53");
	assert_int_equal(got_count, 0);
}

static void test_limit(void **state)
{
	struct td_time started = td_now();

	(void)state;
	td_resolve_start(&resolve, "test-never", "53", TD_MS(150));
	assert_true(td_resolve_deadline(&resolve).us != TD_NEVER.us);
	assert_int_equal(td_loop_run(&loop), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(got_count, 0);
	assert_true(td_time_since(td_now(), started) >= TD_MS(150));
	assert_true(td_time_since(td_now(), started) < TD_SECONDS(3));
	look_up("test-many", "53"); /* and it can be used again */
	assert_true(got_count > 0);
}

static void test_stop(void **state)
{
	(void)state;
	td_resolve_start(&resolve, "test-never", "53", TD_SECONDS(10));
	td_resolve_stop(&resolve);
	td_resolve_stop(&resolve);
	assert_int_equal(calls, 0);
	assert_int_equal(td_resolve_deadline(&resolve).us, TD_NEVER.us);
}

static void assert_split(const char *text, const char *want_host, const char *want_service)
{
	char copy[64];
	char *host = NULL, *service = NULL;
	int err;

	strncpy(copy, text, sizeof(copy) - 1)[sizeof(copy) - 1] = '\0';
	err = td_split_host_port(copy, &host, &service);
	if (!want_host) {
		assert_int_not_equal(err, 0);
		return;
	}
	assert_int_equal(err, 0);
	assert_string_equal(host, want_host);
	assert_string_equal(service, want_service);
}

static void test_split(void **state)
{
	(void)state;
	assert_split("broker.example.net:8942", "broker.example.net", "8942");
	assert_split("192.0.2.1:domain", "192.0.2.1", "domain");
	assert_split("[2001:db8::1]:53", "2001:db8::1", "53");
	assert_split("[fe80::1%br-wan]:53", "fe80::1%br-wan", "53");
	assert_split("2001:db8::1:8942", "2001:db8::1", "8942");
	assert_split("a:65535", "a", "65535");
	assert_split("a:1", "a", "1");
	assert_split("a:4sight", "a", "4sight");
	assert_split("", NULL, NULL);
	assert_split(":", NULL, NULL);
	assert_split("a", NULL, NULL);
	assert_split("a:", NULL, NULL);
	assert_split(":53", NULL, NULL);
	assert_split("[]:53", NULL, NULL);
	assert_split("[:53", NULL, NULL);
	assert_split("[::1]", NULL, NULL);
	assert_split("[::1:53", NULL, NULL);
	assert_split("[::1]53", NULL, NULL);
	assert_split("a:0", NULL, NULL);
	assert_split("a:65536", NULL, NULL);
	assert_split("a:18446744073709551669", NULL, NULL);
}

#define RESOLVER_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RESOLVER_TEST(test_numeric),
		RESOLVER_TEST(test_localhost),
		RESOLVER_TEST(test_service_by_name),
		RESOLVER_TEST(test_no_such_name),
		RESOLVER_TEST(test_many_without_duplicates),
		RESOLVER_TEST(test_child),
		RESOLVER_TEST(test_limit),
		RESOLVER_TEST(test_stop),
		cmocka_unit_test(test_split),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
