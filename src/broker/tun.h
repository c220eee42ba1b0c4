/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * /dev/net/tun, opened by the parent for the worker, which can open no files: not as the user that it
 * is, for often only root may open that device, nor with the system calls that it is left with. What
 * the worker gets has no interface yet, and making one of it needs CAP_NET_ADMIN.
 *
 * Over a socket pair of their own, for the thread that asks waits for the answer, and the worker's
 * loop does not.
 */
#ifndef TD_BROKER_TUN_H
#define TD_BROKER_TUN_H

/* The worker's side, by one thread. A descriptor, or -errno: of open(), -ETIMEDOUT: no answer. */
int td_tun_ask(int fd) __attribute__((warn_unused_result));

/* The parent's side: answers one question. 1; 0: there was none; -EPIPE: the worker is gone; other
 * -errno: what it does makes no sense. */
int td_tun_answer(int fd) __attribute__((warn_unused_result));

#endif
