/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The client's command line. What --help prints is the table of options: the parser and the test of
 * the manual page read it.
 */
#ifndef TD_CLIENT_OPTIONS_H
#define TD_CLIENT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "core/client.h"
#include "datapath/datapath.h"

/* What fits in PREPARE beside cookie, tunnel id and features. */
#define TD_OPTIONS_UUID_MAX 238

struct td_broker_name {
	const char *host;
	const char *service; /* a port, or the name of one */
};

struct td_options {
	const char *uuid;
	const char *ifname;
	const char *bind_ifname; /* NULL: any */
	const char *hook;        /* NULL: none */
	struct td_addr local;    /* of no family: any */
	uint32_t tunnel_id;
	uint32_t limit_kbps; /* 0: none */
	uint32_t max_mtu;
	bool log_to_stderr;
	enum td_selection selection;
	enum td_datapath_choice datapath;
	struct td_broker_name *brokers; /* on the heap */
	uint32_t broker_count;
};

enum td_options_verdict {
	TD_OPTIONS_RUN,
	TD_OPTIONS_HELP,
	TD_OPTIONS_VERSION,
	TD_OPTIONS_WRONG, /* why is one sentence for the user */
};

/* Strings in options point into argv, whose "HOST:PORT" is cut in two. */
enum td_options_verdict td_options_parse(struct td_options *options, int argc, char **argv,
					 char *why, size_t size);
/* For tests: the program keeps them to its end. */
void td_options_fini(struct td_options *options);

/* A line for each option: two spaces, "-u UUID", "-h, --help" or "--datapath WHICH", tabs, what it
 * means. */
extern const char td_options_help[];

#endif
