/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The wiring of the worker: datagrams from the data path into the engine, the engine's datagrams
 * and actions out to data path and parent, results back in. What may wait for the kernel is done by
 * a second thread (sys/jobs.h), which only the data path speaks to.
 *
 * Nothing is queued here but one datagram that the socket had no room for and one message that the
 * parent had none for: while one of them waits, the engine is not asked for more of the kind.
 */
#include "broker/worker_state.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/assert.h"
#include "broker/descriptors.h"
#include "broker/tun.h"
#include "sys/log.h"

#define ACTIONS_PER_TURN 16 /* so that a thousand arrivals do not hold up the keepalives */

/* --- to the parent --- */

static void watch_ipc(struct worker *w)
{
	int err = td_loop_change(&w->loop, &w->ipc, EPOLLIN | (w->message_waits ? EPOLLOUT : 0));

	if (err == 0)
		return;
	td_log(TD_LOG_ERROR, "cannot watch the parent process: %s", strerror(-err));
	w->broken = true;
}

static void flush_message(struct worker *w)
{
	int err = td_ipc_send(w->ipc.fd, &w->message, w->message_fd);
	const bool waits = err == -EAGAIN;

	if (err != 0 && !waits) {
		td_log(TD_LOG_ERROR, "the parent process cannot be told: %s", strerror(-err));
		w->broken = true;
		td_loop_stop(&w->loop);
	}
	if (waits != w->message_waits) {
		w->message_waits = waits;
		watch_ipc(w);
	}
}

/* Sends w->message, now or as soon as the parent has room. */
static void post(struct worker *w, enum td_ipc_type type, int descriptor)
{
	w->message.type = type;
	w->message_fd = descriptor;
	flush_message(w);
}

/* Into the message, which is cleared; of size 0: the session has none (yet). Returns the descriptor
 * that is to go along, -1: none. */
static int put_record(struct worker *w, struct td_handle handle)
{
	struct td_ipc_message *message = &w->message;
	struct slot *slot = &w->slots[handle.index];
	const int fd = w->ops->keep_fd(w->path, handle);
	const int descriptor = slot->fd_sent ? -1 : fd;

	message->record.index = handle.index;
	message->record.size =
		(uint32_t)td_engine_export(w->engine, handle, message->record.bytes, w->loop.now);
	if (message->record.size == 0)
		return -1;
	message->record.holds = fd >= 0;
	slot->fd_sent = fd >= 0;
	return descriptor;
}

static void post_record(struct worker *w, const struct td_action *action)
{
	int descriptor;

	memset(&w->message, 0, sizeof(w->message));
	descriptor = put_record(w, action->handle);
	if (w->message.record.size > 0)
		post(w, TD_IPC_RECORD, descriptor);
}

static void post_forget(struct worker *w, struct td_handle handle)
{
	memset(&w->message, 0, sizeof(w->message));
	w->message.record.index = handle.index;
	w->slots[handle.index].fd_sent = false;
	post(w, TD_IPC_FORGET, -1);
}

/* In one message: if we die, our successor knows of the hook or the parent does not either. */
static void post_hook(struct worker *w, const struct td_action *action)
{
	int descriptor = -1;

	memset(&w->message, 0, sizeof(w->message));
	if (action->hook != TD_HOOK_RATE_LIMITED) {
		descriptor = put_record(w, action->handle);
		/* Or the parent would let go of the tunnel's descriptor. */
		td_assert(w->message.record.size > 0);
	}
	w->message.hook.handle = action->handle;
	w->message.hook.sequence = action->sequence;
	w->message.hook.hook = action->hook;
	w->message.hook.old_mtu = action->old_mtu;
	w->message.hook.session = *action->session;
	post(w, TD_IPC_HOOK, descriptor);
}

/* --- actions --- */

static void set_rate(struct worker *w, const struct td_action *action)
{
	struct slot *slot = &w->slots[action->handle.index];

	slot->rate_sequence = action->sequence;
	slot->rate_kbps = action->rate_kbps;
	w->ops->set_rate(w->path, action->handle, action->sequence, action->rate_kbps);
}

static void create(struct worker *w, const struct td_action *action)
{
	struct td_udp *udp = td_listeners_find(w->setup->listeners, &action->session->flow);

	if (udp)
		w->ops->create(w->path, action->handle, action->sequence, action->session, udp);
	else
		td_engine_result(w->engine, action->handle, action->sequence, -EADDRNOTAVAIL,
				 w->loop.now);
}

static void perform(struct worker *w, const struct td_action *action)
{
	switch (action->kind) {
	case TD_ACTION_CREATE:
		create(w, action);
		break;
	case TD_ACTION_SET_MTU:
		td_log(TD_LOG_INFO, "tunnel %u: MTU %u", action->session->tunnel_id,
		       action->session->mtu);
		w->ops->set_mtu(w->path, action->handle, action->sequence, action->session->mtu);
		break;
	case TD_ACTION_SET_RATE:
		set_rate(w, action);
		break;
	case TD_ACTION_DESTROY:
		w->ops->destroy(w->path, action->handle, action->sequence);
		break;
	case TD_ACTION_HOOK:
		post_hook(w, action);
		break;
	case TD_ACTION_UP:
		td_worker_log_up(w, action->session);
		break;
	case TD_ACTION_DOWN:
		td_worker_log_down(action);
		break;
	case TD_ACTION_CHANGED:
		post_record(w, action);
		break;
	case TD_ACTION_FREED:
		post_forget(w, action->handle);
		break;
	case TD_ACTION_COUNT:
		w->ops->count(w->path);
		break;
	}
}

/* --- the data path's side --- */

static void flush_tx(struct worker *w)
{
	while (!w->tx_blocked) {
		int err;

		if (w->tx_size == 0)
			w->tx_size = td_engine_tx(w->engine, &w->tx, w->tx_bytes,
						  sizeof(w->tx_bytes), w->loop.now);
		if (w->tx_size == 0)
			return;
		err = w->ops->send(w->path, w->tx.handle, &w->tx.flow, w->tx_bytes, w->tx_size);
		w->tx_blocked = err == -EAGAIN;
		if (!w->tx_blocked)
			w->tx_size = 0; /* sent, or lost as the network might have lost it */
	}
}

static void on_control(void *ctx, const struct td_flow *flow, const uint8_t *bytes, size_t size)
{
	struct worker *w = ctx;

	td_engine_rx(w->engine, flow, bytes, size, w->loop.now);
	flush_tx(w);
}

static void on_done(void *ctx, struct td_handle handle, uint32_t sequence, int err)
{
	struct worker *w = ctx;
	struct slot *slot = &w->slots[handle.index];
	const struct td_session_info *session = td_engine_session(w->engine, handle);

	if (slot->rate_sequence == sequence && session) {
		slot->rate_sequence = 0;
		td_worker_log_rate(session, slot->rate_kbps, err);
	}
	td_engine_result(w->engine, handle, sequence, err, w->loop.now);
}

static void on_counted(void *ctx, struct td_handle handle, const struct td_link_stats *stats)
{
	struct worker *w = ctx;

	td_engine_counted(w->engine, handle, (uint32_t)stats->tx_packets,
			  (uint32_t)stats->rx_packets, w->loop.now);
}

static void on_lost(void *ctx, struct td_handle handle)
{
	struct worker *w = ctx;

	td_engine_lost(w->engine, handle, w->loop.now);
}

static void on_writable(void *ctx)
{
	struct worker *w = ctx;

	w->tx_blocked = false;
	flush_tx(w);
}

static int open_tun(void *ctx)
{
	const struct worker *w = ctx;

	return td_tun_ask(w->setup->tun_fd);
}

/* --- the loop --- */

/* What this thread has used; sleeping does not count. */
static int64_t cpu_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return TD_SECONDS(ts.tv_sec) + ts.tv_nsec / 1000;
}

/* At the end of an iteration, which began at w->loop.now. */
static void measure(struct worker *w)
{
	struct td_worker_figures *figures = &w->figures;
	const int64_t cpu_us = cpu_now_us();
	const int64_t wall_us = td_time_since(td_now(), w->loop.now);

	figures->iterations++;
	if (w->cpu_us != 0 && cpu_us - w->cpu_us > figures->longest_cpu_us)
		figures->longest_cpu_us = cpu_us - w->cpu_us;
	if (w->cpu_us != 0 && wall_us > figures->longest_wall_us)
		figures->longest_wall_us = wall_us;
	w->cpu_us = cpu_us;
}

static bool act_some(struct worker *w)
{
	struct td_action action;
	unsigned done = 0;

	while (done < ACTIONS_PER_TURN && !w->message_waits && !w->broken &&
	       td_engine_next_action(w->engine, &action, w->loop.now)) {
		perform(w, &action);
		flush_tx(w);
		done++;
	}
	flush_tx(w); /* a TUNNEL may have waited for what was done last */
	return done == ACTIONS_PER_TURN;
}

/* Stopped, and nothing left to send or to wait for. */
static bool finished(const struct worker *w)
{
	return w->stopping && td_engine_idle(w->engine) && w->tx_size == 0 && !w->message_waits;
}

static struct td_time prepare(void *ctx, struct td_time now)
{
	struct worker *w = ctx;
	bool more;

	if (td_time_reached(td_engine_deadline(w->engine), now))
		td_engine_tick(w->engine, now);
	flush_tx(w);
	more = act_some(w);
	if (finished(w) || w->broken)
		td_loop_stop(&w->loop);
	measure(w);
	return more ? now : td_engine_deadline(w->engine);
}

static void handle_message(struct worker *w, const struct td_ipc_message *message)
{
	switch (message->type) {
	case TD_IPC_HOOK_ENDED:
		td_engine_result(w->engine, message->ended.handle, message->ended.sequence,
				 message->ended.result, w->loop.now);
		break;
	case TD_IPC_STOP:
		w->stopping = true;
		td_engine_shutdown(w->engine, w->options->shutdown_timeout_us, w->loop.now);
		break;
	case TD_IPC_READY:
	case TD_IPC_HOOK:
	case TD_IPC_RECORD:
	case TD_IPC_FORGET:
	case TD_IPC_OPEN_TUN:
		break;
	}
}

static void on_ipc(struct td_watch *watch, uint32_t events)
{
	struct worker *w = (struct worker *)((char *)watch - offsetof(struct worker, ipc));
	struct td_ipc_message message;
	int got, descriptor;

	if ((events & EPOLLOUT) && w->message_waits)
		flush_message(w);
	while ((got = td_ipc_receive(watch->fd, &message, &descriptor)) > 0)
		handle_message(w, &message);
	if (got < 0) {
		td_log(TD_LOG_ERROR, "the parent process is gone: ending");
		w->broken = true;
		td_loop_stop(&w->loop);
	}
}

/* --- start and end --- */

static int open_all(struct worker *w)
{
	const struct td_datapath_host host = {
		on_control, on_done, on_counted, on_lost, on_writable, w, open_tun,
	};
	int err = td_loop_init(&w->loop, prepare, w);

	w->loop.now = td_now();
	if (err == 0) {
		w->jobs = td_jobs_new(&w->loop);
		w->count_jobs = td_jobs_new(&w->loop);
		err = w->jobs && w->count_jobs ? 0 : -ENOMEM;
	}
	if (err != 0) {
		td_log(TD_LOG_ERROR, "cannot make an event loop: %s", strerror(-err));
		return err;
	}
	err = td_worker_open_path(w, &host);
	if (err == 0)
		err = td_worker_open_engine(w);
	if (err != 0)
		return err;
	err = td_loop_add(&w->loop, &w->ipc, EPOLLIN);
	if (err != 0)
		td_log(TD_LOG_ERROR, "cannot watch the parent process: %s", strerror(-err));
	return err;
}

int td_worker_run(const struct td_worker_setup *setup)
{
	struct worker *w = calloc(1, sizeof(*w));
	int err;

	/* Signals of the terminal are for the parent, which ends us in order. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	prctl(PR_SET_NAME, "td-worker");
	if (!w || td_descriptors_drop(setup) != 0) {
		td_log(TD_LOG_ERROR, "the worker has no memory to start");
		return EXIT_FAILURE;
	}
	w->setup = setup;
	w->options = setup->options;
	w->ipc = (struct td_watch){ .fd = setup->ipc_fd, .ready = on_ipc };
	if (open_all(w) != 0 || td_worker_confine(w) != 0)
		return EXIT_FAILURE;
	td_worker_adopt(w);
	if (w->rewrite && td_worker_start_rewriting(w) != 0)
		return EXIT_FAILURE;
	memset(&w->message, 0, sizeof(w->message));
	post(w, TD_IPC_READY, -1);
	err = td_loop_run(&w->loop);
	if (err != 0)
		td_log(TD_LOG_ERROR, "event loop: %s", strerror(-err));
	if (w->stopping)
		td_worker_log_counters(w);
	w->ops->close(w->path);
	td_rewrite_close(w->rewrite);
	td_jobs_free(w->count_jobs);
	td_jobs_free(w->jobs);
	return err == 0 && !w->broken ? EXIT_SUCCESS : EXIT_FAILURE;
}
