/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "broker/program.h"

#include <errno.h>
#include <getopt.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/assert.h"
#include "broker/config.h"
#include "broker/parent.h"
#include "sys/caps.h"
#include "sys/log.h"

#define EXIT_USAGE   2
#define FILES_BESIDE 256 /* descriptors that are not of tunnels, nor of listeners and hooks */

_Noreturn void td_assert_failed(const char *file, int line)
{
	td_log(TD_LOG_ERROR, "%s:%d: this must not happen; please report it", file, line);
	abort();
}

static void usage(FILE *to)
{
	fputs("Usage: tunneldigger-broker [-n] CONFIG\n"
	      "Accept L2TPv3-over-UDP tunnels, as the file CONFIG says: "
	      "tunneldigger-broker.conf(5).\n"
	      "\n"
	      "  -n             check CONFIG, print the effective configuration and exit\n"
	      "  -h, --help     print this and exit\n"
	      "  -V, --version  print the version and exit\n",
	      to);
}

static void warn(void *ctx, const char *sentence)
{
	(void)ctx;
	td_log(TD_LOG_WARNING, "%s", sentence);
}

/* Each tunnel takes a descriptor, in parent and worker. */
static void raise_file_limit(const struct td_broker_options *options)
{
	const rlim_t needed = options->max_tunnels + 2 * options->hook_parallel +
			      options->address_count * options->port_count + FILES_BESIDE;
	struct rlimit limit, old;

	if (getrlimit(RLIMIT_NOFILE, &old) != 0 || old.rlim_cur >= needed)
		return;
	limit.rlim_cur = needed;
	limit.rlim_max = old.rlim_max > needed ? old.rlim_max : needed;
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
		return;
	limit.rlim_cur = limit.rlim_max = old.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	td_log(TD_LOG_WARNING,
	       "%u tunnels need %llu open files, the system allows %llu: raise that (ulimit -n, "
	       "in a unit of systemd LimitNOFILE=) or lower max_tunnels",
	       options->max_tunnels, (unsigned long long)needed, (unsigned long long)old.rlim_max);
}

static int run(const char *path, bool check)
{
	struct td_report report = { .warn = warn };
	static struct td_broker_options options;

	td_log_open(NULL, true, TD_LOG_INFO);
	if (td_config_load(&options, path, &report) != 0) {
		td_log(TD_LOG_ERROR, "%s", report.error);
		return EXIT_FAILURE;
	}
	if (check) {
		td_config_print(&options, stdout);
		if (fflush(stdout) == 0 && !ferror(stdout))
			return EXIT_SUCCESS;
		td_log(TD_LOG_ERROR, "the configuration cannot be printed: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	td_log_open(NULL, true, options.verbosity);
	if (!td_caps_have(CAP_NET_ADMIN)) {
		td_log(TD_LOG_ERROR, "making interfaces needs CAP_NET_ADMIN: start it as root");
		return EXIT_FAILURE;
	}
	raise_file_limit(&options);
	return td_parent_run(&options);
}

int td_broker_main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	bool check = false;
	int option;

	while ((option = getopt_long(argc, argv, "nhV", longs, NULL)) != -1) {
		switch (option) {
		case 'n':
			check = true;
			break;
		case 'h':
			usage(stdout);
			return EXIT_SUCCESS;
		case 'V':
			puts("tunneldigger-broker " TD_VERSION);
			return EXIT_SUCCESS;
		default:
			usage(stderr);
			return EXIT_USAGE;
		}
	}
	if (optind + 1 != argc) {
		fputs("tunneldigger-broker: exactly one configuration file is needed\n", stderr);
		usage(stderr);
		return EXIT_USAGE;
	}
	return run(argv[optind], check);
}
