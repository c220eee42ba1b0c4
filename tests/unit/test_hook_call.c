/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What the parent makes of a hook that the worker asks for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "broker/hook_call.h"

static struct td_session_info session(void)
{
	return (struct td_session_info){
		.flow = { .local = { .ip = { 192, 0, 2, 1 },
				     .port = 8942,
				     .family = TD_FAMILY_IPV4 },
			  .peer = { .ip = { 198, 51, 100, 7 },
				    .port = 40000,
				    .family = TD_FAMILY_IPV4 } },
		.tunnel_id = 105,
		.session_id = 1,
		.mtu = 1438,
		.ifname = "l2tp105-1",
		.uuid_len = 6,
		.uuid = "node-a",
	};
}

static void assert_args(const struct td_hook_call *call, const char *const *expected)
{
	for (unsigned i = 0; expected[i] || call->args[i]; i++) {
		assert_non_null(expected[i]);
		assert_non_null(call->args[i]);
		assert_string_equal(call->args[i], expected[i]);
	}
}

static void test_arguments_are_the_deployed_ones(void **state)
{
	static const char *const tunnel[] = { "105",   "1",    "l2tp105-1", "1438", "198.51.100.7",
					      "40000", "8942", "node-a",    "8942", NULL };
	static const char *const mtu[] = {
		"105", "1", "l2tp105-1", "1446", "1438", "node-a", NULL
	};
	static const char *const limited[] = { "198.51.100.7", "40000", "node-a", NULL };
	struct td_session_info s = session();
	struct td_hook_call call;

	(void)state;
	assert_true(td_hook_call_make(&call, TD_HOOK_UP, &s, 0));
	assert_args(&call, tunnel);
	assert_true(td_hook_call_make(&call, TD_HOOK_PRE_DOWN, &s, 0));
	assert_args(&call, tunnel);
	assert_true(td_hook_call_make(&call, TD_HOOK_DOWN, &s, 0));
	assert_args(&call, tunnel);
	assert_true(td_hook_call_make(&call, TD_HOOK_MTU_CHANGED, &s, 1446));
	assert_args(&call, mtu);
	s.ifname[0] = '\0'; /* there is none yet */
	assert_true(td_hook_call_make(&call, TD_HOOK_RATE_LIMITED, &s, 0));
	assert_args(&call, limited);
}

static void test_ipv6_address_has_no_brackets(void **state)
{
	struct td_session_info s = session();
	struct td_hook_call call;

	(void)state;
	s.flow.peer = (struct td_addr){ .ip = { 0x20, 0x01, 0x0d, 0xb8, [15] = 7 },
					.port = 40000,
					.family = TD_FAMILY_IPV6 };
	assert_true(td_hook_call_make(&call, TD_HOOK_UP, &s, 0));
	assert_string_equal(call.args[4], "2001:db8::7");
}

static void test_unsound_sessions_make_no_call(void **state)
{
	struct td_session_info s = session();
	struct td_hook_call call;

	(void)state;
	s.uuid_len = 5; /* not where the string ends */
	assert_false(td_hook_call_make(&call, TD_HOOK_UP, &s, 0));
	s = session();
	memset(s.uuid, 'x', sizeof(s.uuid)); /* no end */
	s.uuid_len = 255;
	assert_false(td_hook_call_make(&call, TD_HOOK_UP, &s, 0));
	s = session();
	s.uuid[0] = '-';
	assert_false(td_hook_call_make(&call, TD_HOOK_UP, &s, 0));
	s = session();
	s.uuid_len = 0;
	s.uuid[0] = '\0';
	assert_false(td_hook_call_make(&call, TD_HOOK_RATE_LIMITED, &s, 0));
	s = session();
	memset(s.ifname, 'x', sizeof(s.ifname)); /* no end */
	assert_false(td_hook_call_make(&call, TD_HOOK_UP, &s, 0));
	s = session();
	memcpy(s.ifname, "a/b", 4);
	assert_false(td_hook_call_make(&call, TD_HOOK_UP, &s, 0));
	s = session();
	s.ifname[0] = '-'; /* an option */
	assert_false(td_hook_call_make(&call, TD_HOOK_UP, &s, 0));
	s = session();
	assert_false(td_hook_call_make(&call, TD_HOOK_COUNT, &s, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arguments_are_the_deployed_ones),
		cmocka_unit_test(test_ipv6_address_has_no_brackets),
		cmocka_unit_test(test_unsound_sessions_make_no_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
