/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * From the command line to a running client: whatever is missing is told here, in one sentence that
 * names the remedy, before the first datagram leaves.
 */
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/client.h"
#include "client/lock.h"
#include "sys/caps.h"
#include "sys/log.h"

enum { STATUS_FAULT = 1, STATUS_USAGE = 2 };

static int take_lock(struct td_lock *lock, const char *what)
{
	int32_t holder;
	int err = td_lock_take(lock, TD_LOCK_DIR, what, &holder);

	if (err == -EBUSY)
		td_log(TD_LOG_ERROR, "another tunneldigger uses %s (pid %d), choose another", what,
		       (int)holder);
	else if (err < 0)
		td_log(TD_LOG_ERROR, "%s must be a directory that this user can write to: %s",
		       TD_LOCK_DIR, strerror(-err));
	return err;
}

/* A hook that root executes has root's capabilities again. */
static int drop_privileges(void)
{
	int err = td_caps_limit(TD_CAP(CAP_NET_ADMIN) | TD_CAP(CAP_NET_RAW));
	if (err < 0)
		td_log(TD_LOG_ERROR, "capabilities cannot be dropped: %s", strerror(-err));
	return err;
}

static int run(const struct td_options *options)
{
	const struct td_datapath_ops *ops;
	char why[256];
	int err = td_datapath_choose(options->datapath, &ops, why, sizeof(why));

	if (err < 0) {
		td_log(TD_LOG_ERROR, "%s", why);
		return err;
	}
	err = drop_privileges();
	if (err < 0)
		return err;
	/* From here on, standard error gets a copy only if asked for. */
	td_log_open("td-client", options->log_to_stderr, TD_LOG_INFO);
	td_log(TD_LOG_NOTICE, "data path %s", why);
	return td_client_run(options, ops);
}

static int run_locked(const struct td_options *options)
{
	struct td_lock interface, id;
	char what[TD_LOCK_NAME];

	snprintf(what, sizeof(what), "interface %s", options->ifname);
	int err = take_lock(&interface, what);
	if (err < 0)
		return err;
	snprintf(what, sizeof(what), "tunnel id %u", options->tunnel_id);
	err = take_lock(&id, what);
	if (err == 0) {
		err = run(options);
		td_lock_release(&id);
	}
	td_lock_release(&interface);
	return err;
}

static void say(int fd, const char *text)
{
	(void)!write(fd, text, strlen(text));
}

int td_client_main(int argc, char **argv)
{
	struct td_options options;
	char why[200];
	int status = 0;

	signal(SIGPIPE, SIG_IGN); /* nobody has to read what we say */
	switch (td_options_parse(&options, argc, argv, why, sizeof(why))) {
	case TD_OPTIONS_HELP:
		say(STDOUT_FILENO, td_options_help);
		break;
	case TD_OPTIONS_VERSION:
		say(STDOUT_FILENO, "tunneldigger " TD_VERSION "\n");
		break;
	case TD_OPTIONS_WRONG:
		say(STDERR_FILENO, "tunneldigger: ");
		say(STDERR_FILENO, why);
		say(STDERR_FILENO, "\n");
		status = STATUS_USAGE;
		break;
	case TD_OPTIONS_RUN:
		td_log_open("td-client", true, TD_LOG_INFO);
		if (!td_caps_have(CAP_NET_ADMIN)) {
			td_log(TD_LOG_ERROR, "start it as root: interfaces need CAP_NET_ADMIN");
			status = STATUS_FAULT;
		} else if (run_locked(&options) < 0) {
			status = STATUS_FAULT;
		}
		break;
	}
	td_options_fini(&options);
	return status;
}
