/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * epoll gives events in batches, and a callback may delete, and free, a watch whose event is
 * further back in the same batch. So td_loop_del() also strikes the watch from the batch.
 *
 * The wait is rounded up to a millisecond: a loop that wakes just before its deadline would find
 * nothing due and spin until it has come.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "sys/loop.h"

#define BATCH 32

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

struct td_time td_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (struct td_time){ TD_SECONDS(ts.tv_sec) + ts.tv_nsec / 1000 };
}

int td_loop_init(struct td_loop *loop, struct td_time (*prepare)(void *, struct td_time), void *ctx)
{
	*loop = (struct td_loop){
		.epoll_fd = epoll_create1(EPOLL_CLOEXEC),
		.now = td_now(),
		.prepare = prepare,
		.ctx = ctx,
	};
	return loop->epoll_fd < 0 ? -errno : 0;
}

void td_loop_fini(struct td_loop *loop)
{
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	loop->epoll_fd = -1;
}

static int control(struct td_loop *loop, int op, struct td_watch *watch, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };

	return epoll_ctl(loop->epoll_fd, op, watch->fd, &event) < 0 ? -errno : 0;
}

int td_loop_add(struct td_loop *loop, struct td_watch *watch, uint32_t events)
{
	return control(loop, EPOLL_CTL_ADD, watch, events);
}

int td_loop_change(struct td_loop *loop, struct td_watch *watch, uint32_t events)
{
	return control(loop, EPOLL_CTL_MOD, watch, events);
}

void td_loop_del(struct td_loop *loop, struct td_watch *watch)
{
	struct epoll_event *batch = loop->batch;

	/* Fails only when the owner closed the descriptor first: then epoll has forgotten it. */
	(void)control(loop, EPOLL_CTL_DEL, watch, 0);
	for (int i = 0; i < loop->batch_count; i++) {
		if (batch[i].data.ptr == watch)
			batch[i].data.ptr = NULL;
	}
}

static int wait_ms(struct td_time deadline, struct td_time now)
{
	int64_t us = td_time_since(deadline, now);

	if (deadline.us == TD_NEVER.us)
		return -1;
	if (us <= 0)
		return 0;
	return us > TD_SECONDS(3600) ? 3600 * 1000 : (int)((us + 999) / 1000);
}

static void dispatch(struct td_loop *loop, struct epoll_event *batch, int count)
{
	loop->batch = batch;
	loop->batch_count = count;
	for (int i = 0; i < count && !loop->stopped; i++) {
		struct td_watch *watch = batch[i].data.ptr;

		if (watch)
			watch->ready(watch, batch[i].events);
	}
	loop->batch = NULL;
	loop->batch_count = 0;
}

int td_loop_poll(struct td_loop *loop)
{
	struct epoll_event batch[BATCH];
	int count = epoll_wait(loop->epoll_fd, batch, BATCH, 0);

	if (count < 0)
		return -errno;
	dispatch(loop, batch, count);
	return count;
}

int td_loop_run(struct td_loop *loop)
{
	loop->stopped = false;
	loop->now = td_now();
	while (!loop->stopped) {
		struct epoll_event batch[BATCH];
		struct td_time deadline = loop->prepare(loop->ctx, loop->now);
		int count;

		if (loop->stopped)
			break;
		count = epoll_wait(loop->epoll_fd, batch, BATCH, wait_ms(deadline, loop->now));
		if (count < 0 && errno != EINTR)
			return -errno;
		loop->now = td_now();
		dispatch(loop, batch, count);
	}
	return 0;
}

void td_loop_stop(struct td_loop *loop)
{
	loop->stopped = true;
}

/* One a call: the callback may be the end of signals, and the rest stays readable. */
static void signal_ready(struct td_watch *watch, uint32_t events)
{
	struct td_signals *signals = container_of(watch, struct td_signals, watch);
	struct signalfd_siginfo info;

	(void)events;
	if (read(watch->fd, &info, sizeof(info)) == sizeof(info))
		signals->received(signals, (int)info.ssi_signo);
}

int td_signals_init(struct td_signals *signals, struct td_loop *loop, const int *set)
{
	sigset_t mask;
	int err;

	sigemptyset(&mask);
	for (; *set; set++)
		sigaddset(&mask, *set);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);

	signals->watch.ready = signal_ready;
	signals->watch.fd = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
	if (signals->watch.fd < 0)
		return -errno;
	err = td_loop_add(loop, &signals->watch, EPOLLIN);
	if (err < 0)
		close(signals->watch.fd);
	return err;
}

void td_signals_fini(struct td_signals *signals, struct td_loop *loop)
{
	td_loop_del(loop, &signals->watch);
	close(signals->watch.fd);
}

void td_signals_reset(void)
{
	sigset_t none;

	for (int signo = 1; signo < NSIG; signo++)
		signal(signo, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * What this process opened is close-on-exec anyway; what it inherited is not. Kernels before 5.11 lack
 * the call; inherited descriptors have low numbers.
 */
void td_child_mark_descriptors(void)
{
#ifdef SYS_close_range
	if (syscall(SYS_close_range, 3U, ~0U, 1U << 2 /* CLOSE_RANGE_CLOEXEC */) == 0)
		return;
#endif
	for (int fd = 3; fd < 1024; fd++)
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void unwatch(struct td_child *child)
{
	td_loop_del(child->loop, &child->watch);
	close(child->watch.fd);
	child->watch.fd = -1;
	child->pid = 0;
}

static void child_ready(struct td_watch *watch, uint32_t events)
{
	struct td_child *child = container_of(watch, struct td_child, watch);
	int status = -1;
	pid_t pid = waitpid(child->pid, &status, WNOHANG);

	(void)events;
	if (pid == 0 || (pid < 0 && errno == EINTR))
		return;
	unwatch(child);
	child->ended(child, status);
}

int td_child_watch(struct td_child *child, struct td_loop *loop, pid_t pid)
{
	int err;

	/* No wrapper in the C libraries of older systems; close-on-exec is its nature. */
	child->watch.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (child->watch.fd < 0)
		return -errno;
	child->watch.ready = child_ready;
	child->loop = loop;
	child->pid = pid;
	err = td_loop_add(loop, &child->watch, EPOLLIN);
	if (err < 0) {
		close(child->watch.fd);
		child->pid = 0;
	}
	return err;
}

void td_child_kill(struct td_child *child)
{
	pid_t pid = child->pid;

	if (pid == 0)
		return;
	unwatch(child);
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}
