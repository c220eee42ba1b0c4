/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Data paths: what moves Ethernet frames between a tunnel's interface and its UDP flow.
 *
 * A back-end is a const table of functions. It reads all UDP sockets that it was given, keeps the
 * data packets and hands control datagrams to its host, so that it may batch as it likes.
 * Operations on tunnels are asynchronous: they return nothing and end with exactly one
 * host->done(), possibly before they return, with 0 or -errno. A tunnel has one of them under way
 * at a time; another one ends with -EBUSY. Everything is called in the loop's thread, and what may
 * keep the kernel busy is done in the jobs' thread, where there is one. A host's function may call
 * any operation but close().
 *
 * A tunnel whose udp is connected uses that socket's own addresses, whatever info->flow says.
 *
 * A back-end touches nothing that it has not made itself, and removes all of that when it is
 * closed.
 */
#ifndef TD_DATAPATH_DATAPATH_H
#define TD_DATAPATH_DATAPATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "core/session_info.h"
#include "datapath/bridge.h"
#include "sys/jobs.h"
#include "sys/loop.h"
#include "sys/rtnl.h"
#include "sys/udp.h"

struct td_datapath_host {
	/* A control datagram arrived. bytes are valid during the call. */
	void (*control)(void *ctx, const struct td_flow *flow, const uint8_t *bytes, size_t size);
	void (*done)(void *ctx, struct td_handle handle, uint32_t sequence, int err);
	/* What count() found. */
	void (*counted)(void *ctx, struct td_handle handle, const struct td_link_stats *stats);
	/* The interface was deleted by another hand; destroy() is still to be called. */
	void (*lost)(void *ctx, struct td_handle handle);
	/* After send() said -EAGAIN: it can be tried again. */
	void (*writable)(void *ctx);
	void *ctx;
	/* Broker: /dev/net/tun, as open() would return it, or -errno; called in the thread of jobs.
	 * NULL: the back-end opens it itself. */
	int (*open_tun)(void *ctx);
};

struct td_rewrite;

struct td_datapath_setup {
	struct td_loop *loop;
	struct td_datapath_host host;
	uint32_t max_tunnels;       /* handles have an index below this */
	struct td_jobs *jobs;       /* NULL: the loop waits for the kernel */
	struct td_jobs *count_jobs; /* for count(), which can wait for long where many come or go */
	bool link_up;               /* create() sets the interface up as well */
	/* Broker: the bridges that interfaces join; stays the caller's until close(). NULL: none. */
	const struct td_bridging *bridging;
	/* Broker, kernel: each tunnel gets a port of its own. NULL: they share the listener's. It is
	 * closed after close(). */
	struct td_rewrite *rewrite;
};

/* Datagrams that were dropped without a word, since open(). */
struct td_datapath_counters {
	uint64_t rx_malformed;    /* neither a control message nor an L2TPv3 data packet */
	uint64_t rx_truncated;    /* larger than any frame of ours */
	uint64_t rx_unknown_flow; /* data from a flow that has no tunnel */
	uint64_t rx_bad_session;  /* data for another session id than its flow's */
	uint64_t rx_bad_cookie;   /* data without the tunnel's cookie */
};

struct td_datapath; /* each back-end has its own */

/* Those for the broker are NULL in the build of a client alone (base/build.h). */
struct td_datapath_ops {
	const char *name; /* "kernel", "tap" */

	/* Self-test: makes and removes a throw-away tunnel. 0, or -errno and a sentence that names
	 * what is missing and the remedy. */
	int (*probe)(char *why, size_t size);

	int (*open)(struct td_datapath **dp, const struct td_datapath_setup *setup);
	/* Broker: with all tunnels. Where there is a client alone, the end of its process does it. */
	void (*close)(struct td_datapath *dp);

	/* Begins to read this socket; it stays the caller's, who keeps it open until close() or
	 * forget(). */
	int (*listen)(struct td_datapath *dp, struct td_udp *udp);
	void (*forget)(struct td_datapath *dp, struct td_udp *udp);

	/* Makes tunnel and interface (MTU set) as info says, for the flow info->flow on the socket
	 * udp. */
	void (*create)(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
		       const struct td_session_info *info, struct td_udp *udp);
	/* Broker: takes over what an earlier process made and keep_fd() had kept; owns fd from now on.
	 * Waits for the kernel: at the start, before any other operation. */
	int (*adopt)(struct td_datapath *dp, struct td_handle handle,
		     const struct td_session_info *info, struct td_udp *udp, int fd);
	void (*set_mtu)(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
			uint16_t mtu);
	/* Broker: the limit of what goes to the peer; 0: none. */
	void (*set_rate)(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
			 uint32_t rate_kbps);
	/* Broker: data goes to, and is accepted from, this flow from now on. -EOPNOTSUPP: of a tunnel
	 * on a port of its own. */
	void (*set_peer)(struct td_datapath *dp, struct td_handle handle, uint32_t sequence,
			 const struct td_flow *flow);
	void (*destroy)(struct td_datapath *dp, struct td_handle handle, uint32_t sequence);

	/* Sends a control datagram, of a tunnel or (handle none) of a flow without one. As
	 * td_udp_send(). */
	int (*send)(struct td_datapath *dp, struct td_handle handle, const struct td_flow *flow,
		    const uint8_t *bytes, size_t size);
	/* Broker: the descriptor that keeps the tunnel alive, -1 if there is none; stays the back-end's. */
	int (*keep_fd)(struct td_datapath *dp, struct td_handle handle);
	/* Has host->counted() called for each tunnel whose interface is in sight, now or later;
	 * does nothing while an earlier call is under way. */
	void (*count)(struct td_datapath *dp);
	/* Broker: does the kernel find a session by its id alone, whoever the packet is from? Then
	 * tunnels without data cookies are safe from each other only if they share the session id 1. */
	bool (*shares_session_id)(const struct td_datapath *dp);
	/* Broker: valid until close(). The kernel back-end sees only what the kernel did not take. */
	const struct td_datapath_counters *(*counters)(const struct td_datapath *dp);
};

extern const struct td_datapath_ops td_datapath_kernel;
extern const struct td_datapath_ops td_datapath_tap;

enum td_datapath_choice {
	TD_DATAPATH_AUTO,
	TD_DATAPATH_KERNEL,
	TD_DATAPATH_TAP,
};

/*
 * Probes and picks a back-end. auto: kernel if its probe passes, else TAP. why then says, in one
 * line for the log, which one and why; on error (-errno) it is the sentence for the operator.
 */
int td_datapath_choose(enum td_datapath_choice choice, const struct td_datapath_ops **ops,
		       char *why, size_t size) __attribute__((warn_unused_result));

#endif
