/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * What parent and worker tell each other: a closed list of messages over one SOCK_SEQPACKET pair.
 *
 * Both ends are the same program (the worker is forked, not executed), so the messages are plain
 * structs. The parent still checks all that it uses of them, for the worker speaks with strangers.
 */
#ifndef TD_BROKER_IPC_H
#define TD_BROKER_IPC_H

#include <stdbool.h>
#include <stdint.h>

#include "core/engine.h"

enum td_ipc_type {
	/* worker to parent */
	TD_IPC_READY, /* it listens */
	TD_IPC_HOOK,  /* run one, tell when it has ended, and keep the record that knows of it, as
			 with RECORD */
	TD_IPC_RECORD, /* keep this; the message may carry the descriptor that keeps the tunnel alive */
	TD_IPC_FORGET,   /* forget record and descriptor of record.index */
	TD_IPC_OPEN_TUN, /* over the pair for it: open /dev/net/tun, and answer with the same */
	/* parent to worker */
	TD_IPC_HOOK_ENDED,
	TD_IPC_STOP, /* end in order */
};

struct td_ipc_message {
	enum td_ipc_type type;
	/* RECORD, HOOK of a session, and of FORGET the index. */
	struct {
		uint32_t index;
		/* Has the tunnel a descriptor that is to be kept? No bool: a worker that somebody
		 * else has taken over sends any byte. */
		uint8_t holds;
		uint32_t size;
		uint8_t bytes[TD_RECORD_MAX];
	} record;
	union {
		struct {
			struct td_handle handle;
			uint32_t sequence;
			enum td_hook hook;
			uint16_t old_mtu;
			struct td_session_info session;
		} hook;
		struct {
			struct td_handle handle;
			uint32_t sequence;
			int result;
		} ended;
		int opened; /* 0: the descriptor comes along; -errno */
	};
};

/* Non-blocking. fds[0] is the parent's end, fds[1] the worker's. */
int td_ipc_pair(int fds[2]) __attribute__((warn_unused_result));
/* descriptor: goes along as a copy, -1: none. 0, -EAGAIN: try when writable, else -errno. */
int td_ipc_send(int fd, const struct td_ipc_message *message, int descriptor)
	__attribute__((warn_unused_result));
/* 1 and a message (*descriptor: what came along, or -1); 0: none there; -errno, -EPIPE: the other end
 * is gone. A message of the wrong size is -EBADMSG. */
int td_ipc_receive(int fd, struct td_ipc_message *message, int *descriptor)
	__attribute__((warn_unused_result));

#endif
