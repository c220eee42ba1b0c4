/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/cookie.h"

static const uint8_t key[TD_COOKIE_KEY] = "sixteen bytes ..";
static const struct td_flow flow = {
	.local = { .family = TD_FAMILY_IPV4, .ip = { 192, 0, 2, 1 }, .port = 8942 },
	.peer = { .family = TD_FAMILY_IPV4, .ip = { 198, 51, 100, 7 }, .port = 40000 },
};

static struct td_time at_s(int64_t seconds)
{
	return (struct td_time){ TD_SECONDS(seconds) };
}

/* For how long a cookie made at that second is valid, to the microsecond. */
static int64_t lifetime_us(int64_t made_s)
{
	struct td_time end = at_s((made_s / 64 + 3) * 64);
	uint8_t cookie[TD_COOKIE_SIZE];

	td_cookie_make(cookie, key, &flow, at_s(made_s));
	for (int64_t now_s = made_s; now_s < end.us / 1000000; now_s++)
		assert_true(td_cookie_valid(cookie, key, &flow, at_s(now_s)));
	assert_true(td_cookie_valid(cookie, key, &flow, (struct td_time){ end.us - 1 }));
	for (int64_t now_s = end.us / 1000000; now_s < made_s + 64 * 600; now_s++)
		assert_false(td_cookie_valid(cookie, key, &flow, at_s(now_s)));
	return td_time_since(end, at_s(made_s));
}

/* Past the point, too, where the byte of the epoch in the cookie wraps (256 * 64 s). */
static void test_lifetime(void **state)
{
	(void)state;
	assert_int_equal(lifetime_us(0), TD_SECONDS(192));
	assert_int_equal(lifetime_us(63), TD_SECONDS(129));
	assert_int_equal(lifetime_us(64), TD_SECONDS(192));
	assert_int_equal(lifetime_us(256 * 64 - 1), TD_SECONDS(129));
	assert_int_equal(lifetime_us(256 * 64), TD_SECONDS(192));
	assert_int_equal(lifetime_us(1000000000), TD_SECONDS(192));
}

static void test_not_from_the_future(void **state)
{
	uint8_t cookie[TD_COOKIE_SIZE];

	(void)state;
	td_cookie_make(cookie, key, &flow, at_s(1000));
	for (int64_t now_s = 0; now_s < 1000 / 64 * 64; now_s++)
		assert_false(td_cookie_valid(cookie, key, &flow, at_s(now_s)));
}

/* Every bit of cookie, flow and key counts. */
static void test_every_bit(void **state)
{
	uint8_t cookie[TD_COOKIE_SIZE];

	(void)state;
	td_cookie_make(cookie, key, &flow, at_s(1000));
	for (size_t bit = 0; bit < 8 * sizeof(cookie); bit++) {
		uint8_t other[sizeof(cookie)];

		memcpy(other, cookie, sizeof(other));
		other[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(td_cookie_valid(other, key, &flow, at_s(1000)));
	}
	for (size_t bit = 0; bit < 8 * sizeof(flow); bit++) {
		struct td_flow other = flow;

		((uint8_t *)&other)[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(td_cookie_valid(cookie, key, &other, at_s(1000)));
	}
	for (size_t bit = 0; bit < 8 * sizeof(key); bit++) {
		uint8_t other[sizeof(key)];

		memcpy(other, key, sizeof(other));
		other[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(td_cookie_valid(cookie, other, &flow, at_s(1000)));
	}
	assert_true(td_cookie_valid(cookie, key, &flow, at_s(1000)));
}

/* A cookie of an old epoch does not live again by a new epoch byte in front. */
static void test_old_mac_with_new_epoch(void **state)
{
	uint8_t cookie[TD_COOKIE_SIZE], fresh[TD_COOKIE_SIZE];

	(void)state;
	td_cookie_make(cookie, key, &flow, at_s(1000));
	td_cookie_make(fresh, key, &flow, at_s(1000 + 256 * 64));
	assert_int_equal(cookie[0], fresh[0]);
	assert_true(td_cookie_valid(fresh, key, &flow, at_s(1000 + 256 * 64)));
	assert_false(td_cookie_valid(cookie, key, &flow, at_s(1000 + 256 * 64)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lifetime),
		cmocka_unit_test(test_not_from_the_future),
		cmocka_unit_test(test_every_bit),
		cmocka_unit_test(test_old_mac_with_new_epoch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
