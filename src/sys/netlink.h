/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* One request to the kernel over netlink, and its answer. */
#ifndef TD_SYS_NETLINK_H
#define TD_SYS_NETLINK_H

#include <libmnl/libmnl.h>
#include <stdint.h>

/* Bytes that a request may have, and an answer. */
#define TD_NETLINK_REQUEST 512
#define TD_NETLINK_ANSWER  4096

struct td_netlink {
	int fd; /* -1: closed */
	uint32_t sequence;
};

/* protocol: NETLINK_ROUTE, NETLINK_GENERIC, … 0 or -errno. */
int td_netlink_open(struct td_netlink *netlink, int protocol) __attribute__((warn_unused_result));
void td_netlink_close(struct td_netlink *netlink);
/* From here on, notifications of these groups (RTMGRP_…) arrive. 0 or -errno. */
int td_netlink_listen(const struct td_netlink *netlink, unsigned groups)
	__attribute__((warn_unused_result));

/* Begins a request with NLM_F_REQUEST | NLM_F_ACK | flags in buf, of TD_NETLINK_REQUEST bytes;
 * behind its header are size bytes, all zero. */
struct nlmsghdr *td_netlink_begin(void *buf, uint16_t type, unsigned flags, size_t size);
/*
 * Sends a request under the next sequence number and reads until it is acknowledged; each message
 * of the answer goes to parse, which may be NULL. 0, or -errno as the kernel answered; -ETIMEDOUT:
 * it did not.
 */
int td_netlink_transact(struct td_netlink *netlink, struct nlmsghdr *request, mnl_cb_t parse,
			void *ctx) __attribute__((warn_unused_result));
/* Messages with consecutive sequence numbers that take effect together or not at all (nfnetlink). */
struct td_netlink_batch {
	const void *bytes;
	size_t size;
	uint32_t first; /* number of the message that begins it */
	uint32_t last; /* … of the one that asks for its acknowledgement, the last to do anything */
};
/*
 * Sends a batch and reads until it is answered. 0, or -errno as the kernel answered to the first
 * message that it did not like, whose number is in *refused: batch->first when it dislikes the
 * whole. -ETIMEDOUT: no answer.
 */
int td_netlink_send_batch(struct td_netlink *netlink, const struct td_netlink_batch *batch,
			  uint32_t *refused) __attribute__((warn_unused_result));
/*
 * Sends a request as NLM_F_DUMP and reads until the end of the list; each item goes to parse,
 * whose result does not matter. What changes meanwhile may be there twice or not at all. 0, or
 * -errno as the kernel answered; -ETIMEDOUT: it did not; -EBADMSG: an answer made no sense.
 */
int td_netlink_dump(struct td_netlink *netlink, struct nlmsghdr *request, mnl_cb_t parse, void *ctx)
	__attribute__((warn_unused_result));
/*
 * mnl_cb_run() for any port, but whatever the lengths of messages claim, it ends. libmnl may read up
 * to the next multiple of 4 bytes, so answer has as many.
 */
int td_netlink_parse(const void *answer, size_t size, uint32_t sequence, mnl_cb_t parse, void *ctx)
	__attribute__((warn_unused_result));

#endif
