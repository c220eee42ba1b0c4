/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What the files of the worker share: its state, its steps at the start, its lines in the log. */
#ifndef TD_BROKER_WORKER_STATE_H
#define TD_BROKER_WORKER_STATE_H

#include "broker/ipc.h"
#include "broker/worker.h"
#include "core/engine.h"
#include "datapath/datapath.h"
#include "datapath/rewrite.h"
#include "sys/jobs.h"
#include "sys/loop.h"

struct slot {
	bool fd_sent;           /* the parent has the tunnel's descriptor */
	uint32_t rate_sequence; /* of the SET_RATE under way */
	uint32_t rate_kbps;
};

struct worker {
	const struct td_worker_setup *setup;
	const struct td_broker_options *options;
	struct td_loop loop;
	struct td_engine *engine;
	const struct td_datapath_ops *ops;
	struct td_datapath *path;
	struct td_rewrite *rewrite; /* NULL: receiving is not scaled */
	struct td_jobs *jobs, *count_jobs;
	struct td_watch ipc;

	struct td_ipc_message message; /* waits when message_waits */
	int message_fd;
	bool message_waits;

	struct td_engine_tx tx; /* of the datagram that waits when tx_size > 0 */
	size_t tx_size;
	bool tx_blocked;
	uint8_t tx_bytes[TD_ENGINE_TX_MAX];

	struct slot *slots; /* of the engine */
	int64_t cpu_us;     /* when this iteration of the loop began; 0: there was none */
	struct td_worker_figures figures;
	bool stopping, broken;
};

/* --- worker_start.c, in this order; 0 or -errno, and then the reason has been logged --- */

/* Chooses the data path and opens it on the listeners. */
int td_worker_open_path(struct worker *w, const struct td_datapath_host *host)
	__attribute__((warn_unused_result));
/* Needs the data path. */
int td_worker_open_engine(struct worker *w) __attribute__((warn_unused_result));
/*
 * After this the worker can do no more than its work. The threads inherit what is left, and the
 * list of system calls is for all; none of them can make another thread.
 */
int td_worker_confine(const struct worker *w) __attribute__((warn_unused_result));
/* Takes over what an earlier worker has left. */
void td_worker_adopt(struct worker *w);
/* Up to now the table of the worker before was at work, with its tunnels. */
int td_worker_start_rewriting(struct worker *w) __attribute__((warn_unused_result));

/* --- worker_log.c --- */

void td_worker_log_up(const struct worker *w, const struct td_session_info *session);
void td_worker_log_down(const struct td_action *action);
void td_worker_log_rate(const struct td_session_info *session, uint32_t rate_kbps, int err);
void td_worker_log_counters(const struct worker *w);

#endif
