/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "base/rng.h"
#include "base/text.h"

#define UUID_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:@+=~-/"

static void test_uuid(void **state)
{
	char longest[256];

	(void)state;
	memset(longest, 'a', sizeof(longest));
	assert_true(td_uuid_valid("c4:e9:84:01:02:03", 17));
	assert_true(td_uuid_valid("node-a", 6));
	assert_true(td_uuid_valid(longest, 255));
	assert_false(td_uuid_valid(longest, 256));
	assert_false(td_uuid_valid("a", 0));
	assert_false(td_uuid_valid("-a", 2));
	assert_false(td_uuid_valid("-", 1));
	assert_true(td_uuid_valid("a-", 2));
	assert_false(td_uuid_valid("a\0b", 3));
	assert_false(td_uuid_valid("a b", 3));
	assert_true(td_uuid_valid("a b", 1)); /* what is beyond len does not count */
}

static void test_uuid_every_byte(void **state)
{
	(void)state;
	for (int c = 0; c < 256; c++) {
		const char text[2] = { 'x', (char)c };

		assert_int_equal(td_uuid_valid(text, 2),
				 c != 0 && strchr(UUID_CHARACTERS, c) != NULL);
	}
}

static void test_ifname(void **state)
{
	(void)state;
	assert_true(td_ifname_valid("l2tp0"));
	assert_true(td_ifname_valid("mesh-vpn"));
	assert_true(td_ifname_valid("..."));
	assert_true(td_ifname_valid(".a"));
	assert_true(td_ifname_valid("123456789012345"));
	assert_false(td_ifname_valid("1234567890123456"));
	assert_false(td_ifname_valid(""));
	assert_false(td_ifname_valid("."));
	assert_false(td_ifname_valid(".."));
	for (int c = 1; c < 256; c++) {
		const char name[] = { 'x', (char)c, '\0' };

		assert_int_equal(td_ifname_valid(name),
				 c > ' ' && c < 0x7f && strchr("/:%", c) == NULL);
	}
}

static void test_u32(void **state)
{
	static const uint32_t values[] = { 0, 1, 9, 10, 99, 100, 65535, 999999999, UINT32_MAX };
	char text[11], expected[11];

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		int len = snprintf(expected, sizeof(expected), "%u", values[i]);

		assert_int_equal(td_text_u32(text, values[i]), len);
		assert_string_equal(text, expected);
	}
}

static void check_addr(struct td_addr addr, const char *with_port, const char *alone)
{
	char text[TD_ADDR_TEXT];

	td_addr_text(text, &addr, true);
	assert_string_equal(text, with_port);
	td_addr_text(text, &addr, false);
	assert_string_equal(text, alone);
}

static void test_addr(void **state)
{
	struct td_addr addr = { .family = TD_FAMILY_IPV4, .ip = { 192, 0, 2, 255 }, .port = 8942 };

	(void)state;
	check_addr(addr, "192.0.2.255:8942", "192.0.2.255");
	addr.family = TD_FAMILY_NONE;
	check_addr(addr, "-:8942", "-");
	addr = (struct td_addr){ .family = TD_FAMILY_IPV6, .port = 53 };
	check_addr(addr, "[::]:53", "::");
	addr.ip[15] = 1;
	check_addr(addr, "[::1]:53", "::1");
	addr.ip[0] = 0xfe;
	addr.ip[1] = 0x80;
	addr.scope = UINT32_MAX;
	check_addr(addr, "[fe80::1%4294967295]:53", "fe80::1%4294967295");
	memset(addr.ip, 0xff, sizeof(addr.ip));
	addr.port = 65535;
	check_addr(addr, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535",
		   "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295");
}

/* Against libc, with many zeros; libc writes ::/80 in a mixed notation that we do not use. */
static void test_ipv6_like_libc(void **state)
{
	struct td_rng rng;

	(void)state;
	td_rng_init(&rng, 10);
	for (int round = 0; round < 20000; round++) {
		struct td_addr addr = { .family = TD_FAMILY_IPV6 };
		char text[TD_ADDR_TEXT], expected[INET6_ADDRSTRLEN];

		for (size_t i = 0; i < sizeof(addr.ip); i++) {
			if (td_rng_below(&rng, 4) == 0)
				addr.ip[i] = (uint8_t)td_rng_below(&rng, 256);
		}
		if (memcmp(addr.ip, (uint8_t[10]){ 0 }, 10) == 0)
			continue;
		assert_non_null(inet_ntop(AF_INET6, addr.ip, expected, sizeof(expected)));
		td_addr_text(text, &addr, false);
		assert_string_equal(text, expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uuid),   cmocka_unit_test(test_uuid_every_byte),
		cmocka_unit_test(test_ifname), cmocka_unit_test(test_u32),
		cmocka_unit_test(test_addr),   cmocka_unit_test(test_ipv6_like_libc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
