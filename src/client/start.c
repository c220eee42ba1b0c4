/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * From the command line to a running client: whatever is missing is told here, in one sentence that
 * names the remedy, before the first datagram leaves.
 */
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/client.h"
#include "client/lock.h"
#include "sys/caps.h"
#include "sys/log.h"

enum { STATUS_FAULT = 1, STATUS_USAGE = 2 };

static int take_lock(int fd, const char *what)
{
	int32_t holder;
	int err = td_lock_take(fd, what, &holder);

	if (err < 0)
		td_log(TD_LOG_ERROR, "another tunneldigger uses %s (pid %d)", what, (int)holder);
	return err;
}

/* For as long as the process lives. */
static int take_locks(const struct td_options *options)
{
	int fd = td_lock_open(TD_LOCK_FILE);
	char what[32];

	if (fd < 0) {
		td_log(TD_LOG_ERROR, "%s cannot be written: %s", TD_LOCK_FILE, strerror(-fd));
		return fd;
	}
	snprintf(what, sizeof(what), "interface %s", options->ifname);
	int err = take_lock(fd, what);
	if (err < 0)
		return err;
	snprintf(what, sizeof(what), "tunnel id %u", options->tunnel_id);
	return take_lock(fd, what);
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
	int err = take_locks(options);

	if (err < 0)
		return err;
	err = td_datapath_choose(options->datapath, &ops, why, sizeof(why));
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

static void say(int fd, const char *text)
{
	(void)!write(fd, text, strlen(text));
}

int td_client_main(int argc, char **argv)
{
	static struct td_options options; /* for as long as the process lives */
	char why[200];
	int status = 0;

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
		} else if (run(&options) < 0) {
			status = STATUS_FAULT;
		}
		break;
	}
	return status;
}
