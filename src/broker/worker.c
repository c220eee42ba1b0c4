/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The wiring of the worker: datagrams from the data path into the engine, the engine's datagrams
 * and actions out to data path and parent, results back in. What may wait for the kernel is done by
 * a second thread (sys/jobs.h), which only the data path speaks to.
 *
 * Nothing is queued here but one datagram that the socket had no room for and one message that the
 * parent had none for: while one of them waits, the engine is not drained, and keeps what it wants.
 */
#include "broker/worker.h"

#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "broker/descriptors.h"
#include "broker/ipc.h"
#include "broker/sandbox.h"
#include "broker/tun.h"
#include "core/engine.h"
#include "datapath/datapath.h"
#include "datapath/rewrite.h"
#include "sys/caps.h"
#include "sys/entropy.h"
#include "sys/jobs.h"
#include "sys/log.h"
#include "sys/loop.h"

#define NOBODY           65534U /* user and group */
#define ACTIONS_PER_TURN 16     /* so that a thousand arrivals do not hold up the keepalives */

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

/* --- log --- */

static const char *end_text(enum td_end end)
{
	switch (end) {
	case TD_END_NONE:
		break;
	case TD_END_PEER:
		return "the client ended it";
	case TD_END_TIMEOUT:
		return "nothing heard from the client for two minutes";
	case TD_END_REPLACED:
		return "the client came again";
	case TD_END_FAILED:
		return "the data path could not make it";
	case TD_END_LOST:
		return "its interface was deleted by another hand";
	case TD_END_DATA:
		return "data did not get through";
	case TD_END_SHUTDOWN:
		return "the broker stops";
	}
	return "unknown";
}

static void log_up(const struct worker *w, const struct td_session_info *session)
{
	char peer[TD_ADDR_TEXT] = "(address not logged)";

	if (w->options->log_ip_addresses)
		td_addr_text(peer, &session->flow.peer, true);
	td_log(TD_LOG_INFO, "tunnel %u up: %s from %s, interface %s", session->tunnel_id,
	       session->uuid, peer, session->ifname);
}

static void log_down(const struct td_action *action)
{
	const struct td_session_info *session = action->session;

	if (action->end == TD_END_FAILED)
		td_log(TD_LOG_WARNING, "tunnel %u of %s failed: cannot make interface %s: %s%s",
		       session->tunnel_id, session->uuid, session->ifname, strerror(-action->err),
		       action->err == -EEXIST
			       ? "; something else has that name or id (see ip link, "
				 "ip l2tp show tunnel): remove it, or change "
				 "tunnel_id_base"
			       : "");
	else if (action->end == TD_END_DATA)
		td_log(TD_LOG_WARNING,
		       "tunnel %u down: %s, data did not get through: sent %u, the client got %u; "
		       "the client sent %u, got %u",
		       session->tunnel_id, session->uuid, action->counts.sent,
		       action->counts.peer_received, action->counts.peer_sent,
		       action->counts.received);
	else
		td_log(TD_LOG_INFO, "tunnel %u down: %s, %s", session->tunnel_id, session->uuid,
		       end_text(action->end));
}

static void log_rate(const struct td_session_info *session, uint32_t rate_kbps, int err)
{
	if (err != 0)
		td_log(TD_LOG_WARNING, "cannot limit %s to %u kbit/s: %s%s", session->ifname,
		       rate_kbps, strerror(-err),
		       err == -ENOENT ? "; does the kernel have sch_tbf?" : "");
	else
		td_log(TD_LOG_INFO, "tunnel %u: limited to %u kbit/s at the client's request",
		       session->tunnel_id, rate_kbps);
}

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

static void post_record(struct worker *w, const struct td_action *action)
{
	const uint32_t index = action->handle.index;
	struct td_ipc_message *message = &w->message;
	const int fd = w->ops->keep_fd(w->path, action->handle);
	const bool news = fd >= 0 && !w->slots[index].fd_sent;
	size_t size;

	memset(message, 0, sizeof(*message));
	size = td_engine_export(w->engine, action->handle, message->record.bytes, w->loop.now);
	if (size == 0)
		return;
	message->record.index = index;
	message->record.size = (uint32_t)size;
	message->record.holds = fd >= 0;
	w->slots[index].fd_sent = fd >= 0;
	post(w, TD_IPC_RECORD, news ? fd : -1);
}

static void post_forget(struct worker *w, struct td_handle handle)
{
	memset(&w->message, 0, sizeof(w->message));
	w->message.record.index = handle.index;
	w->slots[handle.index].fd_sent = false;
	post(w, TD_IPC_FORGET, -1);
}

static void post_hook(struct worker *w, const struct td_action *action)
{
	memset(&w->message, 0, sizeof(w->message));
	w->message.hook.handle = action->handle;
	w->message.hook.sequence = action->sequence;
	w->message.hook.hook = action->hook;
	w->message.hook.old_mtu = action->old_mtu;
	w->message.hook.session = *action->session;
	post(w, TD_IPC_HOOK, -1);
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
		log_up(w, action->session);
		break;
	case TD_ACTION_DOWN:
		log_down(action);
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
		log_rate(session, slot->rate_kbps, err);
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

static int open_engine(struct worker *w)
{
	struct td_engine_config config = { 0 };
	void *memory = malloc(td_engine_size(w->options->max_tunnels));

	w->slots = calloc(w->options->max_tunnels, sizeof(*w->slots));
	if (!memory || !w->slots) {
		free(memory);
		td_log(TD_LOG_ERROR, "not enough memory for %u tunnels: lower max_tunnels",
		       w->options->max_tunnels);
		return -ENOMEM;
	}
	td_config_engine(w->options, &config);
	config.shared_session_id = w->ops->shares_session_id(w->path);
	if (td_entropy_get(config.cookie_key, sizeof(config.cookie_key)) != 0 ||
	    td_entropy_get(config.index_key, sizeof(config.index_key)) != 0 ||
	    td_entropy_get(&config.seed, sizeof(config.seed)) != 0) {
		free(memory);
		td_log(TD_LOG_ERROR, "the kernel gives no random numbers");
		return -EIO;
	}
	w->engine = td_engine_init(memory, &config, w->loop.now);
	return 0;
}

/* How the kernel data path receives. */
static int scale_receiving(struct worker *w)
{
	const enum td_rx_scaling choice = w->options->rx_scaling;
	const struct td_rewrite_setup setup = { w->setup->rewrite_fd, w->options->tunnel_id_base,
						w->options->max_tunnels };
	char why[200];
	int err;

	if (choice == TD_RX_SCALING_OFF) {
		td_log(TD_LOG_NOTICE, "rx_scaling off: as configured");
		return 0;
	}
	err = td_rewrite_open(&w->rewrite, &setup, why, sizeof(why));
	if (err == 0)
		td_log(TD_LOG_NOTICE, "rx_scaling nft: each tunnel has a port of its own");
	else if (choice == TD_RX_SCALING_NFT)
		td_log(TD_LOG_ERROR, "rx_scaling nft: %s", why);
	else
		td_log(TD_LOG_WARNING,
		       "rx_scaling off, so that receiving costs more with each tunnel: %s", why);
	return choice == TD_RX_SCALING_NFT ? err : 0;
}

static int choose_path(struct worker *w)
{
	char why[256];
	int err = td_datapath_choose(w->options->datapath, &w->ops, why, sizeof(why));

	if (err != 0) {
		td_log(TD_LOG_ERROR, "%s", why);
		return err;
	}
	td_log(TD_LOG_NOTICE, "data path %s", why);
	return w->ops == &td_datapath_kernel ? scale_receiving(w) : 0;
}

static int open_path(struct worker *w)
{
	const bool bridging = td_bridging_any(&w->options->bridging);
	struct td_datapath_setup setup = {
		.loop = &w->loop,
		.host = { on_control, on_done, on_counted, on_lost, on_writable, w, open_tun },
		.max_tunnels = w->options->max_tunnels,
		.jobs = w->jobs,
		.count_jobs = w->count_jobs,
		/* A hook does it otherwise: field scripts bridge the interface first. */
		.link_up = bridging || w->options->hooks[TD_HOOK_UP][0] == '\0',
		.bridging = bridging ? &w->options->bridging : NULL,
	};
	struct td_listeners *listeners = w->setup->listeners;
	int err = choose_path(w);

	if (err != 0)
		return err;
	setup.rewrite = w->rewrite;
	err = w->ops->open(&w->path, &setup);
	for (uint32_t i = 0; err == 0 && i < listeners->count; i++)
		err = w->ops->listen(w->path, &listeners->udp[i]);
	if (err != 0)
		td_log(TD_LOG_ERROR, "cannot open the data path: %s", strerror(-err));
	return err;
}

static void adopt_one(struct worker *w, struct td_kept_session *kept)
{
	const struct td_session_info *session;
	const int fd = kept->fd;
	struct td_handle handle;
	struct td_udp *udp;

	if (td_engine_adopt(w->engine, kept->record, kept->size, &handle, w->loop.now) != 0) {
		td_log(TD_LOG_WARNING,
		       "a session cannot be taken over: its client has to come again");
		return;
	}
	session = td_engine_session(w->engine, handle);
	if (!session)
		return;
	udp = td_listeners_find(w->setup->listeners, &session->flow);
	if (udp && fd >= 0) {
		kept->fd = -1; /* the back-end's now, also if it fails */
		w->slots[handle.index].fd_sent =
			w->ops->adopt(w->path, handle, session, udp, fd) == 0;
	}
	if (!w->slots[handle.index].fd_sent)
		td_engine_lost(w->engine, handle, w->loop.now);
}

static void adopt_all(struct worker *w)
{
	for (uint32_t i = 0; i < w->options->max_tunnels; i++) {
		struct td_kept_session *kept = &w->setup->kept[i];

		if (kept->size > 0)
			adopt_one(w, kept);
		if (kept->fd >= 0)
			close(kept->fd);
		kept->fd = -1;
	}
}

/* Up to now the table of the worker before was at work, with its tunnels. */
static int start_rewriting(struct worker *w)
{
	int err = td_rewrite_start(w->rewrite);

	if (err != 0)
		td_log(TD_LOG_ERROR, "rx_scaling nft: the table cannot be made: %s",
		       strerror(-err));
	return err;
}

static int open_all(struct worker *w)
{
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
	err = open_path(w);
	if (err == 0)
		err = open_engine(w);
	if (err != 0)
		return err;
	err = td_loop_add(&w->loop, &w->ipc, EPOLLIN);
	if (err != 0)
		td_log(TD_LOG_ERROR, "cannot watch the parent process: %s", strerror(-err));
	return err;
}

/*
 * Where root cannot change the user, in containers of few ids or capabilities, the worker stays root
 * without root's capabilities, and without files.
 */
static int drop_privileges(uint64_t keep)
{
	int err;

	if (geteuid() != 0)
		return td_caps_confine(keep, 0, 0);
	err = td_sandbox_leave_files();
	if (err != 0)
		td_log(TD_LOG_NOTICE, "the worker keeps its root directory: %s", strerror(-err));
	err = td_caps_confine(keep, NOBODY, NOBODY);
	if (err != -EPERM && err != -EINVAL)
		return err;
	td_log(TD_LOG_NOTICE, "the worker keeps the user id 0: %u cannot be had (%s)", NOBODY,
	       strerror(-err));
	return td_caps_confine(keep, 0, 0);
}

/*
 * After this the worker can do no more than its work. The threads inherit what is left, and the
 * list of system calls is for all; none of them can make another thread.
 */
static int confine(const struct worker *w)
{
	uint64_t keep = TD_CAP(CAP_NET_ADMIN);
	int err;

	/* It binds a socket to the listener's port (53, perhaps) for each tunnel. */
	if (w->ops == &td_datapath_kernel && !w->rewrite)
		keep |= TD_CAP(CAP_NET_BIND_SERVICE);
	err = drop_privileges(keep);
	if (err == 0)
		err = td_jobs_run(w->jobs, "td-kernel");
	if (err == 0)
		err = td_jobs_run(w->count_jobs, "td-stats");
	if (err == 0)
		err = td_sandbox_enter();
	if (err != 0)
		td_log(TD_LOG_ERROR, "cannot give up privileges: %s", strerror(-err));
	return err;
}

static void log_counters(const struct worker *w)
{
	const struct td_engine_counters *c = td_engine_counters(w->engine);
	const struct td_lane_figures creates = td_jobs_figures(w->jobs, TD_LANE_CREATE);

	td_log(TD_LOG_NOTICE,
	       "%llu tunnels established, %llu refused, %llu made to wait; "
	       "hooks skipped for lack of time: %llu; longest turn of the loop %lld us, "
	       "%lld us of them busy; longest wait for an interface %lld us",
	       (unsigned long long)c->established, (unsigned long long)c->refused,
	       (unsigned long long)c->parked, (unsigned long long)c->hooks_skipped,
	       (long long)w->figures.longest_wall_us, (long long)w->figures.longest_cpu_us,
	       (long long)creates.longest_us);
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
	if (open_all(w) != 0 || confine(w) != 0)
		return EXIT_FAILURE;
	adopt_all(w);
	if (w->rewrite && start_rewriting(w) != 0)
		return EXIT_FAILURE;
	memset(&w->message, 0, sizeof(w->message));
	post(w, TD_IPC_READY, -1);
	err = td_loop_run(&w->loop);
	if (err != 0)
		td_log(TD_LOG_ERROR, "event loop: %s", strerror(-err));
	if (w->stopping)
		log_counters(w);
	w->ops->close(w->path);
	td_rewrite_close(w->rewrite);
	td_jobs_free(w->count_jobs);
	td_jobs_free(w->jobs);
	return err == 0 && !w->broken ? EXIT_SUCCESS : EXIT_FAILURE;
}
