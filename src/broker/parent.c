/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Three kinds of input: signals, the worker's messages and its end, and the ends of hooks. The
 * worker is forked and not executed, so that it starts with the configuration, the listening sockets and
 * all records in its memory.
 */
#include "broker/parent.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/hook_call.h"
#include "broker/hook_runs.h"
#include "broker/ipc.h"
#include "broker/kept.h"
#include "broker/listeners.h"
#include "broker/tun.h"
#include "broker/worker.h"
#include "datapath/rewrite.h"
#include "sys/hooks.h"
#include "sys/log.h"
#include "sys/loop.h"

#define RESTART_PAUSE_MAX TD_SECONDS(30)
#define STABLE_AFTER      TD_SECONDS(60) /* a worker that lived so long starts anew at once */
#define STOP_GRACE        TD_SECONDS(5)  /* beyond the hooks' deadline, for removing interfaces */
#define TOKEN_NONE        UINT64_MAX     /* of a hook whose result nobody waits for */
#define READS_MAX         16             /* messages in a turn; each may remove an interface */

struct parent {
	const struct td_broker_options *options;
	struct td_loop loop;
	struct td_signals signals;
	struct td_hooks *hooks;
	struct td_listeners listeners;
	int rewrite_fd; /* so that the ports are rewritten also while there is no worker; < 0: none */
	struct td_kept_session *kept;
	struct td_hook_runs runs;

	struct td_child worker;
	struct td_watch ipc; /* fd -1: no worker */
	struct td_watch tun; /* fd -1: no worker, or none that can be understood */
	struct td_time started_at, restart_at, kill_at;
	int64_t pause_us;
	bool ready; /* some worker has been */
	bool stopping;
	bool killed; /* the worker, because it was to end: its end is no news */
	int status;
};

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

static void end(struct parent *p, int status)
{
	p->status = status;
	td_loop_stop(&p->loop);
}

/* --- hooks --- */

static void watch_ipc(struct parent *p)
{
	int err = 0;

	if (p->ipc.fd >= 0)
		err = td_loop_change(&p->loop, &p->ipc, EPOLLIN | (p->runs.untold ? EPOLLOUT : 0));
	if (err == 0)
		return;
	td_log(TD_LOG_ERROR, "cannot watch the worker: %s", strerror(-err));
	end(p, EXIT_FAILURE);
}

static bool tell(struct parent *p, struct td_hook_run *run)
{
	struct td_ipc_message message = { .type = TD_IPC_HOOK_ENDED };

	message.ended.handle = run->handle;
	message.ended.sequence = run->sequence;
	message.ended.result = run->result;
	if (p->ipc.fd < 0 || td_ipc_send(p->ipc.fd, &message, -1) != 0)
		return false;
	td_hook_runs_told(&p->runs, run);
	return true;
}

static void tell_rest(struct parent *p)
{
	for (uint32_t i = 0; i < p->runs.count && p->runs.untold > 0; i++)
		if (p->runs.runs[i].untold && !tell(p, &p->runs.runs[i]))
			break;
	watch_ipc(p);
}

static void on_hook_ended(void *ctx, uint64_t token, int result)
{
	struct parent *p = ctx;
	struct td_hook_run *run;

	if (token == TOKEN_NONE)
		return;
	run = td_hook_runs_end(&p->runs, token, result);
	if (run && !tell(p, run))
		watch_ipc(p);
}

/* The interface waits for its pre-down hook so long and no longer. */
static struct td_time start_by(const struct parent *p, enum td_hook hook)
{
	return hook == TD_HOOK_PRE_DOWN ? td_time_add(p->loop.now, TD_ENGINE_PRE_DOWN_LIMIT)
					: TD_NEVER;
}

static void run_hook(struct parent *p, const struct td_ipc_message *message)
{
	const enum td_hook hook = message->hook.hook;
	const struct td_handle handle = message->hook.handle;
	uint64_t token = TOKEN_NONE;
	struct td_hook_call call;
	int err = -EINVAL;

	if ((unsigned)hook >= TD_HOOK_COUNT || handle.index >= p->options->max_tunnels) {
		td_log(TD_LOG_ERROR, "the worker asks for a hook that there is not");
		return;
	}
	if (hook != TD_HOOK_RATE_LIMITED)
		token = td_hook_runs_begin(&p->runs, handle, message->hook.sequence);
	if (p->options->hooks[hook][0] != '\0' &&
	    td_hook_call_make(&call, hook, &message->hook.session, message->hook.old_mtu))
		err = td_hooks_run(p->hooks, p->options->hooks[hook], call.args, start_by(p, hook),
				   token);
	if (err == 0)
		return;
	td_log(TD_LOG_WARNING, "hook %s is not run: %s", p->options->hooks[hook], strerror(-err));
	on_hook_ended(p, token, err);
}

/* --- records --- */

static bool record_can_be(const struct parent *p, const struct td_ipc_message *message)
{
	if (message->record.index < p->options->max_tunnels &&
	    message->record.size <= TD_RECORD_MAX)
		return true;
	td_log(TD_LOG_ERROR, "the worker sends a record that cannot be");
	return false;
}

static void keep(struct parent *p, const struct td_ipc_message *message, int descriptor)
{
	if (record_can_be(p, message))
		td_kept_put(&p->kept[message->record.index], message->record.bytes,
			    message->record.size, message->record.holds != 0, descriptor);
	else if (descriptor >= 0)
		close(descriptor);
}

static void forget(struct parent *p, const struct td_ipc_message *message)
{
	if (!record_can_be(p, message))
		return;
	td_kept_forget(&p->kept[message->record.index]);
	td_hook_runs_forget(&p->runs, message->record.index);
}

/* --- the worker --- */

static void handle_message(struct parent *p, const struct td_ipc_message *message, int descriptor)
{
	switch (message->type) {
	case TD_IPC_READY:
		if (!p->ready)
			td_log(TD_LOG_NOTICE, "ready for %u tunnels", p->options->max_tunnels);
		p->ready = true;
		tell_rest(p);
		break;
	case TD_IPC_HOOK:
		if (message->hook.hook != TD_HOOK_RATE_LIMITED) {
			keep(p, message, descriptor);
			descriptor = -1;
		}
		run_hook(p, message);
		break;
	case TD_IPC_RECORD:
		keep(p, message, descriptor);
		return;
	case TD_IPC_FORGET:
		forget(p, message);
		break;
	case TD_IPC_OPEN_TUN:
	case TD_IPC_HOOK_ENDED:
	case TD_IPC_STOP:
		break;
	}
	if (descriptor >= 0)
		close(descriptor);
}

static void kill_worker(const struct parent *p)
{
	if (p->worker.pid > 0)
		kill(p->worker.pid, SIGKILL);
}

static void close_watch(struct parent *p, struct td_watch *watch)
{
	if (watch->fd < 0)
		return;
	td_loop_del(&p->loop, watch);
	close(watch->fd);
	watch->fd = -1;
}

static void close_ipc(struct parent *p)
{
	close_watch(p, &p->ipc);
	close_watch(p, &p->tun);
}

static void kill_senseless(const struct parent *p)
{
	td_log(TD_LOG_ERROR, "the worker cannot be understood: killing it");
	kill_worker(p);
}

/* One message; false: there is none (any more). */
static bool read_ipc(struct parent *p)
{
	struct td_ipc_message message;
	int got, descriptor;

	if (p->ipc.fd < 0)
		return false;
	got = td_ipc_receive(p->ipc.fd, &message, &descriptor);
	if (got > 0)
		handle_message(p, &message, descriptor);
	if (got >= 0)
		return got > 0;
	close_ipc(p); /* the pidfd reports its end */
	if (got != -EPIPE)
		kill_senseless(p);
	return false;
}

static void on_ipc(struct td_watch *watch, uint32_t events)
{
	struct parent *p = container_of(watch, struct parent, ipc);

	if (events & EPOLLOUT)
		tell_rest(p);
	for (unsigned i = 0; i < READS_MAX && read_ipc(p); i++)
		;
}

/* The worker asks for one descriptor at a time. */
static void on_tun(struct td_watch *watch, uint32_t events)
{
	struct parent *p = container_of(watch, struct parent, tun);
	int err = td_tun_answer(watch->fd);

	(void)events;
	if (err >= 0)
		return;
	close_watch(p, watch);
	if (err != -EPIPE)
		kill_senseless(p);
}

static void log_end(int status)
{
	if (WIFSIGNALED(status))
		td_log(TD_LOG_ERROR, "the worker was ended by signal %d", WTERMSIG(status));
	else
		td_log(TD_LOG_ERROR, "the worker ended with status %d", WEXITSTATUS(status));
}

static void on_worker_ended(struct td_child *child, int status)
{
	struct parent *p = container_of(child, struct parent, worker);
	const bool well = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;

	while (read_ipc(p))
		; /* what it still said */
	close_ipc(p);
	td_hook_runs_worker_died(&p->runs);
	if (p->stopping || !p->ready) {
		/* Else it said why itself, or we did. */
		if (!well && !p->killed && (p->ready || WIFSIGNALED(status)))
			log_end(status);
		end(p, well ? EXIT_SUCCESS : EXIT_FAILURE);
		return;
	}
	log_end(status);
	if (td_time_since(p->loop.now, p->started_at) >= STABLE_AFTER)
		p->pause_us = 0;
	td_log(TD_LOG_NOTICE, "starting it again in %u s, the tunnels stay",
	       (unsigned)(p->pause_us / TD_SECONDS(1)));
	p->restart_at = td_time_add(p->loop.now, p->pause_us);
	p->pause_us = p->pause_us * 2 + TD_SECONDS(1);
	if (p->pause_us > RESTART_PAUSE_MAX)
		p->pause_us = RESTART_PAUSE_MAX;
}

static _Noreturn void be_worker(struct parent *p, int ipc_fd, int tun_fd)
{
	const struct td_worker_setup setup = { p->options, &p->listeners, p->kept,
					       ipc_fd,     tun_fd,        p->rewrite_fd };
	int status;

	td_signals_reset();
	td_loop_fini(&p->loop);
	status = td_worker_run(&setup);
	_exit(status);
}

/* Listens to the worker that has just been made. */
static int watch_worker(struct parent *p, pid_t pid)
{
	int err = td_loop_add(&p->loop, &p->ipc, EPOLLIN);

	if (err == 0)
		err = td_loop_add(&p->loop, &p->tun, EPOLLIN);
	if (err == 0)
		err = td_child_watch(&p->worker, &p->loop, pid);
	if (err != 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		close_ipc(p);
	}
	return err;
}

static void close_pair(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static int make_pairs(int ipc[2], int tun[2])
{
	int err = td_ipc_pair(ipc);

	if (err == 0) {
		err = td_ipc_pair(tun);
		if (err != 0)
			close_pair(ipc);
	}
	return err;
}

static int start_worker(struct parent *p)
{
	int ipc[2], tun[2];
	int err = make_pairs(ipc, tun);
	pid_t pid;

	if (err != 0)
		return err;
	pid = fork();
	if (pid == 0) {
		close(ipc[0]);
		close(tun[0]);
		be_worker(p, ipc[1], tun[1]);
	}
	if (pid < 0) {
		err = -errno;
		close_pair(ipc);
		close_pair(tun);
		return err;
	}
	close(ipc[1]);
	close(tun[1]);
	p->ipc = (struct td_watch){ .fd = ipc[0], .ready = on_ipc };
	p->tun = (struct td_watch){ .fd = tun[0], .ready = on_tun };
	p->worker.ended = on_worker_ended;
	p->started_at = p->loop.now;
	p->restart_at = TD_NEVER;
	return watch_worker(p, pid);
}

/* --- signals and time --- */

static void stop(struct parent *p, const char *why)
{
	const struct td_ipc_message message = { .type = TD_IPC_STOP };

	if (p->stopping) {
		td_log(TD_LOG_WARNING, "%s again: ending at once", why);
		p->killed = true;
		kill_worker(p);
		return;
	}
	p->stopping = true;
	p->restart_at = TD_NEVER;
	td_log(TD_LOG_NOTICE, "%s: ending in order", why);
	/* Between two workers the tunnels live on, and want an end in order as well. */
	if (p->ipc.fd < 0 && (p->worker.pid > 0 || !p->ready || start_worker(p) != 0)) {
		end(p, EXIT_FAILURE);
		return;
	}
	p->kill_at = td_time_add(p->loop.now, p->options->shutdown_timeout_us + STOP_GRACE);
	if (td_ipc_send(p->ipc.fd, &message, -1) != 0)
		kill_worker(p); /* so many results unread: it hangs */
}

static void on_signal(struct td_signals *signals, int signo)
{
	struct parent *p = container_of(signals, struct parent, signals);

	if (signo == SIGHUP)
		td_log(TD_LOG_NOTICE, "SIGHUP: a new configuration is read at the next start only");
	else
		stop(p, signo == SIGINT ? "SIGINT" : "SIGTERM");
}

static struct td_time prepare(void *ctx, struct td_time now)
{
	struct parent *p = ctx;
	int err;

	if (td_time_reached(td_hooks_deadline(p->hooks), now))
		td_hooks_tick(p->hooks, now);
	if (td_time_reached(p->restart_at, now)) {
		err = start_worker(p);
		if (err != 0) {
			td_log(TD_LOG_ERROR, "cannot start the worker: %s", strerror(-err));
			if (!p->ready)
				end(p, EXIT_FAILURE); /* there is nothing to lose */
			p->restart_at = td_time_add(now, RESTART_PAUSE_MAX);
		}
	}
	if (td_time_reached(p->kill_at, now)) {
		td_log(TD_LOG_ERROR, "the worker does not end: killing it");
		p->kill_at = TD_NEVER;
		p->killed = true;
		kill_worker(p);
	}
	return td_time_min(td_hooks_deadline(p->hooks), td_time_min(p->restart_at, p->kill_at));
}

/* --- start and end --- */

static int allocate(struct parent *p)
{
	const uint32_t count = p->options->max_tunnels;

	p->kept = td_kept_new(count);
	return p->kept ? td_hook_runs_init(&p->runs, count) : -ENOMEM;
}

static int open_all(struct parent *p)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, 0 };
	const struct td_hooks_config hooks = {
		.loop = &p->loop,
		.running_max = p->options->hook_parallel,
		.waiting_max = p->options->max_tunnels + 64,
		.limit_us = p->options->hook_timeout_us,
		.ended = on_hook_ended,
		.ctx = p,
	};
	int err = td_loop_init(&p->loop, prepare, p);

	if (err == 0)
		err = td_signals_init(&p->signals, &p->loop, signals);
	if (err == 0)
		err = td_hooks_new(&p->hooks, &hooks);
	if (err == 0)
		err = allocate(p);
	if (err != 0) {
		td_log(TD_LOG_ERROR, "cannot start: %s", strerror(-err));
		return err;
	}
	p->signals.received = on_signal;
	if (p->options->datapath != TD_DATAPATH_TAP && p->options->rx_scaling != TD_RX_SCALING_OFF)
		p->rewrite_fd = td_rewrite_socket();
	return td_listeners_open(&p->listeners, p->options);
}

static void close_all(struct parent *p)
{
	if (p->hooks && !td_hooks_idle(p->hooks))
		td_log(TD_LOG_WARNING, "hooks that still run are ended");
	td_hooks_free(p->hooks);
	td_kept_free(p->kept, p->options->max_tunnels);
	td_listeners_close(&p->listeners);
	if (p->rewrite_fd >= 0)
		close(p->rewrite_fd);
	td_signals_fini(&p->signals, &p->loop);
	td_loop_fini(&p->loop);
	td_hook_runs_fini(&p->runs);
}

int td_parent_run(const struct td_broker_options *options)
{
	struct parent *p = calloc(1, sizeof(*p));
	int status = EXIT_FAILURE;
	int err;

	if (!p) {
		td_log(TD_LOG_ERROR, "cannot start: %s", strerror(ENOMEM));
		return EXIT_FAILURE;
	}
	p->options = options;
	p->ipc.fd = p->tun.fd = p->rewrite_fd = -1;
	p->kill_at = TD_NEVER;
	signal(SIGPIPE, SIG_IGN);
	if (open_all(p) == 0) {
		p->restart_at = p->loop.now; /* the first start is no other than the next ones */
		err = td_loop_run(&p->loop);
		if (err != 0)
			td_log(TD_LOG_ERROR, "event loop: %s", strerror(-err));
		status = err == 0 ? p->status : EXIT_FAILURE;
	}
	close_all(p);
	free(p);
	return status;
}
