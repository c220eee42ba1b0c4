/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The program: core/client.h wired to the event loop, sockets, data path, hooks and log. */
#ifndef TD_CLIENT_CLIENT_H
#define TD_CLIENT_CLIENT_H

#include "client/options.h"

/* Runs until SIGTERM or SIGINT. 0; -errno: could not start or go on, which was logged. */
int td_client_run(const struct td_options *options, const struct td_datapath_ops *ops)
	__attribute__((warn_unused_result));

/* All of main(): the exit status. */
int td_client_main(int argc, char **argv);

#endif
