/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The worker process of the broker: protocol engine, loop and data path, and a thread in which the
 * data path waits for the kernel (sys/jobs.h). It alone reads what comes from the network, and
 * holds no more privileges than that needs. Hooks run, and records are kept, in the parent (parent.h).
 */
#ifndef TD_BROKER_WORKER_H
#define TD_BROKER_WORKER_H

#include "broker/config.h"
#include "broker/kept.h"
#include "broker/listeners.h"

struct td_worker_setup {
	const struct td_broker_options *options;
	struct td_listeners *listeners;
	/* What an earlier worker left behind: options->max_tunnels places, whose descriptors become
	 * the worker's. */
	struct td_kept_session *kept;
	int ipc_fd;
	int tun_fd;     /* for td_tun_ask() */
	int rewrite_fd; /* of td_rewrite_socket(), which outlives workers; < 0: why there is none */
};

/* How long the loop keeps everybody waiting; for the operator. */
struct td_worker_figures {
	uint64_t iterations;
	int64_t longest_cpu_us;  /* of one iteration, by the loop's thread's own clock */
	int64_t longest_wall_us; /* … and what a clock on the wall says, others' work included */
};

/* Runs until it is told to stop. The process's exit status. */
int td_worker_run(const struct td_worker_setup *setup);

#endif
