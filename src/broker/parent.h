/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The parent process of the broker, which stays root: opens the sockets, starts the worker and
 * starts it again when it dies, runs hooks, and keeps a record and a descriptor of each tunnel, so that a
 * new worker goes on with all of them. It reads nothing that comes from the network, and checks what
 * the worker asks for.
 */
#ifndef TD_BROKER_PARENT_H
#define TD_BROKER_PARENT_H

#include "broker/config.h"

/* Runs until SIGTERM or SIGINT, or until it cannot go on. The program's exit status. */
int td_parent_run(const struct td_broker_options *options);

#endif
