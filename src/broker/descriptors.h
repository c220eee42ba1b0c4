/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What a worker has of the parent's descriptors: its own and the tunnels', and nothing else. */
#ifndef TD_BROKER_DESCRIPTORS_H
#define TD_BROKER_DESCRIPTORS_H

#include "broker/worker.h"

/* Closes all but standard input, output, error, and those of setup. 0 or -ENOMEM. */
int td_descriptors_drop(const struct td_worker_setup *setup) __attribute__((warn_unused_result));

#endif
