/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
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

/* A /dev/log of our own, in a mount namespace. Returns its descriptor. */
static int listen_syslog(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	unlink("/dev/log");
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

static void assert_syslog(int fd, const char *want)
{
	char line[2048], expect[2048];
	ssize_t size = recv(fd, line, sizeof(line) - 1, 0);

	assert_true(size > 0);
	line[size] = '\0';
	snprintf(expect, sizeof(expect), "td-client[%d]: %s", getpid(), want);
	assert_memory_equal(line, "<27>", 4); /* daemon.err */
	assert_string_equal(line + 4, expect);
}

static void test_syslog(void **state)
{
	int fd;

	(void)state;
	if (unshare(CLONE_NEWNS) < 0) {
		print_message("not root: no mount namespace\n");
		skip();
	}
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount("tmpfs", "/dev", "tmpfs", 0, NULL), 0);
	td_log_open("td-client", false, TD_LOG_INFO);
	fd = listen_syslog(); /* later than the program: found nevertheless */
	td_log(TD_LOG_ERROR, "one\ntwo");
	assert_syslog(fd, "one?two");
	close(fd);
	td_log(TD_LOG_ERROR, "nobody listens");
	fd = listen_syslog();
	td_log(TD_LOG_ERROR, "back");
	assert_syslog(fd, "back");
	for (int i = 0; i < 2000; i++) /* a logger that hangs blocks nobody */
		td_log(TD_LOG_ERROR, "flood %d", i);
	close(fd);
	assert_string_equal(captured(), "");
	td_log_open(NULL, true, TD_LOG_INFO);
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
		cmocka_unit_test_setup_teardown(test_syslog, capture, release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
