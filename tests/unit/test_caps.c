/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Everything in children: what is given up here does not come back. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <linux/capability.h>

#include "sys/caps.h"
#include "sys/entropy.h"

/* Runs check in a child; it returns the number of what is wrong, 0: nothing. */
static void in_child(int (*check)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(check());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void need_root(void)
{
	if (!td_caps_have(CAP_NET_ADMIN) || !td_caps_have(CAP_SETPCAP)) {
		print_message("not root: no capabilities to give up\n");
		skip();
	}
}

/* A line of /proc/self/status as a number, of a program executed now if by_exec. */
static unsigned long long status_field(const char *name, bool by_exec)
{
	char line[256];
	unsigned long long value = 0;
	FILE *f = by_exec ? popen("cat /proc/self/status", "r") : fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, name, strlen(name)) == 0)
			value = strtoull(line + strlen(name) + 1, NULL, 16);
	}
	if (f && by_exec)
		pclose(f);
	else if (f)
		fclose(f);
	return value;
}

static int limit(void)
{
	unsigned long long bounding = status_field("CapBnd", false);

	if (td_caps_limit(TD_CAP(CAP_NET_ADMIN) | TD_CAP(CAP_NET_RAW)) < 0)
		return 1;
	if (!td_caps_have(CAP_NET_ADMIN) || td_caps_have(CAP_SYS_ADMIN) || td_caps_have(CAP_CHOWN))
		return 2;
	if (status_field("CapPrm", false) != (TD_CAP(CAP_NET_ADMIN) | TD_CAP(CAP_NET_RAW)))
		return 3;
	if (status_field("CapInh", false) != 0 || status_field("CapAmb", false) != 0)
		return 4;
	/* A hook is root again. */
	if (status_field("CapEff", true) != bounding)
		return 5;
	/* No way back for itself. */
	if (td_caps_limit(TD_CAP(CAP_SYS_ADMIN)) < 0 || td_caps_have(CAP_SYS_ADMIN))
		return 6;
	return 0;
}

static int confine(void)
{
	const unsigned long long keep = TD_CAP(CAP_NET_ADMIN);

	if (td_caps_confine(keep, 0, 0) < 0)
		return 1;
	if (status_field("CapPrm", false) != keep || status_field("CapEff", false) != keep ||
	    status_field("CapBnd", false) != keep)
		return 2;
	if (status_field("CapInh", false) != 0 || status_field("CapAmb", false) != 0)
		return 3;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 4;
	return (status_field("CapEff", true) & ~keep) != 0 ? 5 : 0;
}

static int confine_as_user(void)
{
	const unsigned long long keep = TD_CAP(CAP_NET_ADMIN);

	if (td_caps_confine(keep, 65534, 65534) < 0)
		return 1;
	if (getuid() != 65534 || geteuid() != 65534 || getegid() != 65534 ||
	    getgroups(0, NULL) != 0)
		return 2;
	if (status_field("CapEff", false) != keep || status_field("CapPrm", false) != keep)
		return 3;
	if (setuid(0) == 0 || kill(getppid(), 0) == 0)
		return 4;
	return status_field("CapEff", true) != 0 ? 5 : 0;
}

static void test_limit(void **state)
{
	(void)state;
	need_root();
	in_child(limit);
}

static void test_confine(void **state)
{
	(void)state;
	need_root();
	in_child(confine);
}

static void test_confine_as_user(void **state)
{
	(void)state;
	need_root();
	in_child(confine_as_user);
}

static void test_entropy(void **state)
{
	unsigned char a[256] = { 0 }, b[256] = { 0 };
	unsigned zeros = 0;

	(void)state;
	assert_int_equal(td_entropy_get(a, sizeof(a)), 0);
	assert_int_equal(td_entropy_get(b, sizeof(b)), 0);
	assert_memory_not_equal(a, b, sizeof(a));
	for (size_t i = 0; i < sizeof(a); i++)
		zeros += a[i] == 0;
	assert_true(zeros < 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_confine),
		cmocka_unit_test(test_confine_as_user),
		cmocka_unit_test(test_entropy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
