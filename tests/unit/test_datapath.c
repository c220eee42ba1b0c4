/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Which back-end is chosen, and what is said about it, on this machine as it is. */
#include "datapath_fixture.h"

#include <sys/mount.h>
#include <sys/wait.h>

#include "core/engine.h"
#include "datapath/kernel.h"
#include "datapath/tap.h"

static bool kernel_has_l2tp(void)
{
	struct td_l2tp l2tp;

	if (td_l2tp_open(&l2tp) < 0)
		return false;
	td_l2tp_close(&l2tp);
	return true;
}

/* Runs it in a child, which may ruin itself; assertions of its own would not be seen. */
static void in_child(const char *(*check)(void))
{
	const char *fault;
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		fault = check();
		if (fault)
			fprintf(stderr, "%s\n", fault);
		_exit(fault != NULL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static const char *expect(enum td_datapath_choice choice, int error,
			  const struct td_datapath_ops *expected, const char *says)
{
	static char why[300];
	const struct td_datapath_ops *ops = NULL;
	int err;

	why[0] = '\0';
	err = td_datapath_choose(choice, &ops, why, sizeof(why));
	if (err != error || (err == 0 && ops != expected) || !strstr(why, says) ||
	    strchr(why, '\n'))
		return why[0] ? why : "nothing said";
	return NULL;
}

static void as_root(void **state)
{
	(void)state;
	assert_null(expect(TD_DATAPATH_TAP, 0, &td_datapath_tap, "tap"));
	if (kernel_has_l2tp()) {
		assert_null(expect(TD_DATAPATH_AUTO, 0, &td_datapath_kernel, "kernel"));
		assert_null(expect(TD_DATAPATH_KERNEL, 0, &td_datapath_kernel, "kernel"));
	} else {
		assert_null(expect(TD_DATAPATH_AUTO, 0, &td_datapath_tap,
				   "tap: kernel has no L2TP: load the module (modprobe l2tp_eth)"));
		assert_null(expect(TD_DATAPATH_KERNEL, -ENOENT, NULL, "modprobe l2tp_eth"));
	}
}

static const char *nobody(void)
{
	const char *fault;

	if (setuid(65534) < 0)
		return "cannot become another user";
	fault = expect(TD_DATAPATH_TAP, access("/dev/net/tun", R_OK | W_OK) < 0 ? -EACCES : -EPERM,
		       NULL, "not permitted to make a TAP interface: run as root");
	if (fault || !kernel_has_l2tp())
		return fault;
	return expect(TD_DATAPATH_KERNEL, -EPERM, NULL, "run as root");
}

static void without_permission(void **state)
{
	(void)state;
	in_child(nobody);
}

static const char *bare(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", "/dev/net", "tmpfs", 0, NULL) < 0)
		return "cannot hide /dev/net";
	if (!kernel_has_l2tp()) {
		const char *fault =
			expect(TD_DATAPATH_AUTO, -ENOENT, NULL, "no data path: kernel has no L2TP");
		if (fault)
			return fault;
	}
	return expect(TD_DATAPATH_TAP, -ENOENT, NULL, "no /dev/net/tun: load the module");
}

static void without_device(void **state)
{
	(void)state;
	in_child(bare);
}

/* What the worker has for each, so that with the parent's record it stays below 2 kB. */
static void a_tunnel_costs_little(void **state)
{
	const size_t engine = (td_engine_size(4096) - td_engine_size(2048)) / 2048;

	(void)state;
	assert_in_range(engine + sizeof(struct td_tap_tunnel), 1000, 1700);
	assert_in_range(engine + sizeof(struct td_kernel_tunnel), 1000, 1700);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_root),
		cmocka_unit_test(without_permission),
		cmocka_unit_test(without_device),
		cmocka_unit_test(a_tunnel_costs_little),
	};

	own_namespace();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
