/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sys/log.h"

static int reader, saved_stderr;
static char got[8192];

/* stderr into a pipe for the time of a test. */
static int capture(void **state)
{
	int ends[2];

	(void)state;
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	saved_stderr = dup(2);
	dup2(ends[1], 2);
	close(ends[1]);
	reader = ends[0];
	td_log_open(NULL, true, TD_LOG_INFO);
	return 0;
}

static int release(void **state)
{
	(void)state;
	dup2(saved_stderr, 2);
	close(saved_stderr);
	close(reader);
	return 0;
}

static const char *captured(void)
{
	ssize_t size = read(reader, got, sizeof(got) - 1);

	got[size < 0 ? 0 : size] = '\0';
	return got;
}

static void test_line(void **state)
{
	(void)state;
	td_log(TD_LOG_WARNING, "port %d: %s", 53, "in use");
	assert_string_equal(captured(), "WARNING port 53: in use\n");
}

static void test_level(void **state)
{
	(void)state;
	td_log(TD_LOG_DEBUG, "quiet");
	assert_string_equal(captured(), "");
	assert_false(td_log_enabled(TD_LOG_DEBUG));
	assert_true(td_log_enabled(TD_LOG_INFO));
	td_log_open(NULL, true, TD_LOG_ERROR);
	td_log(TD_LOG_WARNING, "quiet");
	td_log(TD_LOG_ERROR, "loud");
	assert_string_equal(captured(), "ERROR loud\n");
}

static void test_injection(void **state)
{
	(void)state;
	td_log(TD_LOG_INFO, "uuid %s", "a\nERROR fake\r\x1b[2J\x7f\xc2\x9b");
	assert_string_equal(captured(), "INFO uuid a?ERROR fake??[2J???\n");
}

static void test_length(void **state)
{
	char text[5000];
	const char *line;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	td_log(TD_LOG_INFO, "%s", text);
	line = captured();
	assert_true(strlen(line) <= 1040);
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void test_stuck_reader_blocks_nobody(void **state)
{
	char text[1000];
	int flags = fcntl(2, F_GETFL);

	(void)state;
	fcntl(2, F_SETFL, flags & ~O_NONBLOCK);
	memset(text, 'x', sizeof(text));
	for (int i = 0; i < 200; i++)
		td_log(TD_LOG_INFO, "%.*s", (int)sizeof(text), text);
	assert_true(strlen(captured()) > 1000);
}

static void test_no_syslog_is_no_fault(void **state)
{
	(void)state;
	td_log_open("td-client", true, TD_LOG_INFO);
	td_log(TD_LOG_NOTICE, "hello");
	assert_string_equal(captured(), "NOTICE hello\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_line, capture, release),
		cmocka_unit_test_setup_teardown(test_level, capture, release),
		cmocka_unit_test_setup_teardown(test_injection, capture, release),
		cmocka_unit_test_setup_teardown(test_length, capture, release),
		cmocka_unit_test_setup_teardown(test_stuck_reader_blocks_nobody, capture, release),
		cmocka_unit_test_setup_teardown(test_no_syslog_is_no_fault, capture, release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
