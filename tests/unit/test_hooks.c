/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Real scripts in a directory of the test's own; the log is read from a pipe in place of stderr. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "sys/hooks.h"
#include "sys/log.h"

static char dir[] = "/tmp/td-hooks-XXXXXX";
static struct td_loop loop;
static struct td_hooks *hooks;
static struct td_time end_at;
static int log_reader, saved_stderr;
static char log_text[32768];

static struct {
	uint64_t token;
	int result;
} results[64];
static unsigned result_count;

static void ended(void *ctx, uint64_t token, int result)
{
	assert_ptr_equal(ctx, &results);
	results[result_count].token = token;
	results[result_count++].result = result;
}

static struct td_time prepare(void *ctx, struct td_time now)
{
	(void)ctx;
	td_hooks_tick(hooks, now);
	if (td_hooks_idle(hooks) || td_time_reached(end_at, now))
		td_loop_stop(&loop);
	return td_time_min(end_at, td_hooks_deadline(hooks));
}

static void run_until_idle(void)
{
	end_at = td_time_add(td_now(), TD_SECONDS(20));
	assert_int_equal(td_loop_run(&loop), 0);
	assert_true(td_hooks_idle(hooks));
}

static struct td_time prepare_only(void *ctx, struct td_time now)
{
	(void)ctx;
	td_hooks_tick(hooks, now);
	if (td_time_reached(end_at, now))
		td_loop_stop(&loop);
	return end_at;
}

static void run_for(int64_t us)
{
	end_at = td_time_add(td_now(), us);
	loop.prepare = prepare_only;
	assert_int_equal(td_loop_run(&loop), 0);
	loop.prepare = prepare;
}

static void new_hooks(unsigned running_max, unsigned waiting_max, int64_t limit_us)
{
	const struct td_hooks_config config = {
		.loop = &loop,
		.running_max = running_max,
		.waiting_max = waiting_max,
		.limit_us = limit_us,
		.ended = ended,
		.ctx = &results,
	};

	td_hooks_free(hooks);
	assert_int_equal(td_hooks_new(&hooks, &config), 0);
}

static int set_up(void **state)
{
	int ends[2];

	(void)state;
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0 || td_loop_init(&loop, prepare, NULL) < 0)
		return -1;
	fcntl(ends[0], F_SETPIPE_SZ, 1 << 20);
	saved_stderr = dup(2);
	dup2(ends[1], 2);
	close(ends[1]);
	log_reader = ends[0];
	td_log_open(NULL, true, TD_LOG_INFO);
	result_count = 0;
	hooks = NULL;
	new_hooks(4, 16, TD_SECONDS(10));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	td_hooks_free(hooks);
	td_loop_fini(&loop);
	dup2(saved_stderr, 2);
	close(saved_stderr);
	close(log_reader);
	return 0;
}

static const char *logged(void)
{
	ssize_t size = read(log_reader, log_text, sizeof(log_text) - 1);

	log_text[size < 0 ? 0 : size] = '\0';
	return log_text;
}

static unsigned count_lines(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static const char *path_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

/* Writes a file, mode 0755 or other, and returns its path. */
static const char *script_mode(const char *name, const char *text, mode_t mode)
{
	const char *path = path_of(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	fchmod(fd, mode);
	close(fd);
	return path;
}

static const char *script(const char *name, const char *text)
{
	return script_mode(name, text, 0755);
}

static const char *const no_args[] = { NULL };

static void run_one(const char *path, const char *const *args)
{
	result_count = 0;
	assert_int_equal(td_hooks_run(hooks, path, args, TD_NEVER, 7), 0);
	run_until_idle();
	assert_int_equal(result_count, 1);
	assert_int_equal(results[0].token, 7);
}

static void test_arguments_and_output(void **state)
{
	const char *const args[] = { "1", "$(reboot)", "a b", "", "l2tp100-1", NULL };

	(void)state;
	run_one(script("up", "#!/bin/sh\nfor a; do echo \"<$a>\"; done\necho err >&2\n"), args);
	assert_int_equal(results[0].result, 0);
	assert_string_equal(logged(), "INFO up: <1>\nINFO up: <$(reboot)>\nINFO up: <a b>\n"
				      "INFO up: <>\nINFO up: <l2tp100-1>\nINFO up: err\n");
}

static void test_environment(void **state)
{
	char here[256], want[1024];

	(void)state;
	setenv("TD_TEST_HOOK", "inherited", 1);
	assert_non_null(getcwd(here, sizeof(here)));
	/* Its own group and session, no input, nothing blocked or ignored. */
	signal(SIGPIPE, SIG_IGN);
	run_one(script("env",
		       "#!/bin/sh\necho $TD_TEST_HOOK; pwd; cat; cut -d' ' -f5,6 /proc/$$/stat"
		       " | sed \"s/$$/self/g\"; grep -E 'Sig(Blk|Ign)' /proc/self/status"
		       " | grep -o .......$"),
		no_args);
	signal(SIGPIPE, SIG_DFL);
	snprintf(want, sizeof(want),
		 "INFO env: inherited\nINFO env: %s\nINFO env: self self\n"
		 "INFO env: 0000000\nINFO env: 0000000\n",
		 here);
	assert_string_equal(logged(), want);
}

static void test_no_descriptors(void **state)
{
	const char *const args[] = { "/proc/self/fd", NULL };
	int inherited = open("/dev/null", O_RDONLY); /* deliberately not close-on-exec */

	(void)state;
	run_one("/bin/ls", args); /* 3 is its own, the directory */
	assert_string_equal(logged(), "INFO ls: 0\nINFO ls: 1\nINFO ls: 2\nINFO ls: 3\n");
	close(inherited);
}

static void test_status(void **state)
{
	(void)state;
	run_one(script("fails", "#!/bin/sh\nexit 3\n"), no_args);
	assert_int_equal(results[0].result, 3);
	run_one(script("dies", "#!/bin/sh\nkill -9 $$\n"), no_args);
	assert_int_equal(results[0].result, 128 + 9);
}

static void test_exec_failures(void **state)
{
	(void)state;
	run_one(path_of("missing"), no_args);
	assert_int_equal(results[0].result, -ENOENT);
	assert_non_null(strstr(logged(), "/missing ("));
	assert_int_equal(count_lines(log_text), 1);

	run_one(script_mode("plain", "#!/bin/sh\n", 0644), no_args);
	assert_int_equal(results[0].result, -EACCES);
	assert_non_null(strstr(logged(), "chmod +x"));

	run_one(script("bare", "echo no interpreter\n"), no_args);
	assert_int_equal(results[0].result, -ENOEXEC);
	assert_non_null(strstr(logged(), "#!/bin/sh"));

	run_one(script("lost", "#!/no/such/shell\n"), no_args);
	assert_int_equal(results[0].result, -ENOENT);
	assert_non_null(strstr(logged(), "interpreter"));
}

static void test_order_and_bounds(void **state)
{
	const char *path;

	(void)state;
	new_hooks(1, 3, TD_SECONDS(10));
	path = script("one", "#!/bin/sh\necho $1\n");
	for (uint64_t i = 0; i < 3; i++) {
		const char *const args[] = { (const char *[]){ "a", "b", "c" }[i], NULL };

		assert_int_equal(td_hooks_run(hooks, path, args, TD_NEVER, i), 0);
	}
	assert_int_equal(td_hooks_run(hooks, path, no_args, TD_NEVER, 3), -ENOBUFS);
	assert_int_equal(result_count, 0); /* never from within run() */
	assert_false(td_hooks_idle(hooks));
	run_until_idle();
	assert_int_equal(result_count, 3);
	for (uint64_t i = 0; i < 3; i++)
		assert_int_equal(results[i].token, i);
	assert_string_equal(logged(), "INFO one: a\nINFO one: b\nINFO one: c\n");
}

/* It waits behind another; when its turn comes, there is nothing left for it to do. */
static void test_turn_that_comes_too_late(void **state)
{
	(void)state;
	new_hooks(1, 3, TD_SECONDS(10));
	assert_int_equal(td_hooks_run(hooks, script("busy", "#!/bin/sh\nsleep 0.3\n"), no_args,
				      td_time_add(td_now(), TD_SECONDS(60)), 1),
			 0);
	assert_int_equal(td_hooks_run(hooks, script("late", "#!/bin/sh\necho never\n"), no_args,
				      td_time_add(td_now(), TD_MS(100)), 2),
			 0);
	assert_int_equal(td_hooks_run(hooks, "/bin/true", no_args, TD_NEVER, 3), 0);
	run_until_idle();
	assert_int_equal(result_count, 3);
	assert_int_equal(results[0].result, 0);
	assert_int_equal(results[1].token, 2);
	assert_int_equal(results[1].result, -ETIME);
	assert_int_equal(results[2].result, 0);
	assert_string_equal(logged(), "WARNING late is not run: its turn came too late\n");
}

static void test_several_at_once(void **state)
{
	struct td_time started = td_now();
	const char *path = script("slow", "#!/bin/sh\nsleep 1\n");

	(void)state;
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(td_hooks_run(hooks, path, no_args, TD_NEVER, i), 0);
	run_until_idle();
	assert_int_equal(result_count, 8);
	assert_true(td_time_since(td_now(), started) >= TD_SECONDS(2)); /* four at a time */
	assert_true(td_time_since(td_now(), started) < TD_SECONDS(7));
}

static void test_too_many_arguments(void **state)
{
	const char *args[TD_HOOK_ARGS + 2] = { NULL };

	(void)state;
	for (int i = 0; i <= TD_HOOK_ARGS; i++)
		args[i] = "x";
	assert_int_equal(td_hooks_run(hooks, "/bin/true", args, TD_NEVER, 1), -E2BIG);
	args[TD_HOOK_ARGS] = NULL;
	run_one("/bin/true", args);
	assert_int_equal(results[0].result, 0);
}

static int read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	text[got < 0 ? 0 : got] = '\0';
	return got > 0 ? 0 : -1;
}

/* Does the process whose number is in that file run? (Where nobody reaps orphans, zombies stay.) */
static bool process_runs(const char *file)
{
	char pid[32], path[64], stat[512];
	const char *name_end;

	assert_int_equal(read_file(path_of(file), pid, sizeof(pid)), 0);
	snprintf(path, sizeof(path), "/proc/%d/stat", atoi(pid));
	if (read_file(path, stat, sizeof(stat)) < 0)
		return false;
	name_end = strrchr(stat, ')');
	return name_end && name_end[2] != 'Z';
}

static void test_time_limit(void **state)
{
	struct td_time started = td_now();

	(void)state;
	new_hooks(1, 1, TD_MS(200));
	run_one(script("hangs", "#!/bin/sh\nsleep 60\n"), no_args);
	assert_int_equal(results[0].result, -ETIME);
	assert_true(td_time_since(td_now(), started) < TD_SECONDS(2));
	assert_non_null(strstr(logged(), "hangs: ran into the time limit"));
}

static void test_time_limit_against_a_trap(void **state)
{
	struct td_time started = td_now();
	const char *args[] = { dir, NULL };

	(void)state;
	new_hooks(1, 1, TD_MS(500));
	run_one(script("stubborn", "#!/bin/sh\ntrap '' TERM\necho $$ > $1/pid\n"
				   "while :; do sleep 1; done\n"),
		args);
	assert_int_equal(results[0].result, -ETIME);
	assert_true(td_time_since(td_now(), started) >= TD_MS(2500));
	assert_false(process_runs("pid"));
}

/* The leader obeys SIGTERM, a child of it does not. */
static void test_time_limit_ends_the_group(void **state)
{
	const char *args[] = { dir, NULL };

	(void)state;
	new_hooks(1, 1, TD_MS(500));
	run_one(script("nest", "#!/bin/sh\n(trap '' TERM; echo $$; exec sleep 60) &\n"
			       "echo $! > $1/grandchild\nwait\n"),
		args);
	assert_int_equal(results[0].result, -ETIME);
	usleep(100 * 1000);
	assert_false(process_runs("grandchild"));
}

static void test_flood(void **state)
{
	const char *text;

	(void)state;
	run_one(script("flood",
		       "#!/bin/sh\ni=0\nwhile [ $i -lt 3000 ]; do echo line $i; i=$((i+1));"
		       " done\nhead -c 300000 /dev/zero\n"),
		no_args);
	assert_int_equal(results[0].result, 0);
	text = logged();
	assert_int_equal(count_lines(text), 101);
	assert_non_null(
		strstr(text, "INFO flood: line 99\nWARNING flood: further output dropped\n"));
}

static void test_long_and_odd_lines(void **state)
{
	const char *text;

	(void)state;
	run_one(script("odd", "#!/bin/sh\nhead -c 1000 /dev/zero | tr '\\0' x\necho\n\necho\necho\n"
			      "printf 'two\\033[0m\\nno newline'\n"),
		no_args);
	text = logged();
	assert_int_equal(count_lines(text), 3);
	assert_int_equal(strcspn(text, "\n"), strlen("INFO odd: ") + 200);
	assert_non_null(strstr(text, "\nINFO odd: two?[0m\nINFO odd: no newline\n"));
}

/* What a hook leaves behind keeps its pipe, but not the hook. */
static void test_grandchild(void **state)
{
	const char *args[] = { dir, NULL };

	(void)state;
	run_one(script("daemon",
		       "#!/bin/sh\n(until [ -e $1/go ]; do sleep 0.05; done; echo later) &\n"
		       "echo now\n"),
		args);
	assert_int_equal(results[0].result, 0);
	assert_string_equal(logged(), "INFO daemon: now\n");
	script("go", "");
	run_for(TD_MS(500));
	assert_string_equal(logged(), "INFO daemon: later\n");
	assert_int_equal(result_count, 1);
}

static unsigned open_descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_grandchildren_are_bounded(void **state)
{
	unsigned before = open_descriptors();
	const char *path = script("leaks", "#!/bin/sh\nsleep 2 &\n");

	(void)state;
	for (uint64_t i = 0; i < 16; i++)
		assert_int_equal(td_hooks_run(hooks, path, no_args, TD_NEVER, i), 0);
	run_until_idle();
	assert_int_equal(result_count, 16);
	assert_int_equal(open_descriptors(), before + 8);
	run_for(TD_MS(2300));
	assert_int_equal(open_descriptors(), before);
}

static void test_free_kills(void **state)
{
	const char *args[] = { dir, NULL };

	(void)state;
	assert_int_equal(td_hooks_run(hooks,
				      script("forever", "#!/bin/sh\necho $$ > $1/forever.pid\n"
							"sleep 60; :\n"),
				      args, TD_NEVER, 1),
			 0);
	run_for(TD_MS(300));
	assert_true(process_runs("forever.pid"));
	new_hooks(1, 1, TD_SECONDS(1));
	assert_false(process_runs("forever.pid"));
	assert_int_equal(result_count, 0);
}

/* ended() may run the next hook. */
static void run_another(void *ctx, uint64_t token, int result)
{
	(void)ctx;
	assert_int_equal(result, 0);
	result_count++;
	if (token > 0)
		assert_int_equal(td_hooks_run(hooks, "/bin/true", no_args, TD_NEVER, token - 1), 0);
}

static void test_run_from_ended(void **state)
{
	const struct td_hooks_config config = {
		.loop = &loop,
		.running_max = 1,
		.waiting_max = 1,
		.limit_us = TD_SECONDS(5),
		.ended = run_another,
	};

	(void)state;
	td_hooks_free(hooks);
	assert_int_equal(td_hooks_new(&hooks, &config), 0);
	assert_int_equal(td_hooks_run(hooks, "/bin/true", no_args, TD_NEVER, 3), 0);
	run_until_idle();
	assert_int_equal(result_count, 4);
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	char command[160];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command);
}

#define HOOK_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOOK_TEST(test_arguments_and_output),
		HOOK_TEST(test_environment),
		HOOK_TEST(test_no_descriptors),
		HOOK_TEST(test_status),
		HOOK_TEST(test_exec_failures),
		HOOK_TEST(test_order_and_bounds),
		HOOK_TEST(test_several_at_once),
		HOOK_TEST(test_turn_that_comes_too_late),
		HOOK_TEST(test_too_many_arguments),
		HOOK_TEST(test_time_limit),
		HOOK_TEST(test_time_limit_against_a_trap),
		HOOK_TEST(test_time_limit_ends_the_group),
		HOOK_TEST(test_flood),
		HOOK_TEST(test_long_and_odd_lines),
		HOOK_TEST(test_grandchild),
		HOOK_TEST(test_grandchildren_are_bounded),
		HOOK_TEST(test_free_kills),
		HOOK_TEST(test_run_from_ended),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
