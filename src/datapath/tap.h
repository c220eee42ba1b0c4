/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Inside the TAP back-end: tap.c has the tunnels, tap_io.c moves their frames, tap_dev.c makes
 * their interfaces.
 */
#ifndef TD_DATAPATH_TAP_H
#define TD_DATAPATH_TAP_H

#include <sys/epoll.h>

#include "base/index.h"
#include "datapath/backend.h"
#include "datapath/flow_hash.h"

/* Frames from one TAP in its turn, and TAPs in one iteration of the loop. */
#define TD_TAP_FRAMES 8
#define TD_TAP_TURNS  32

struct td_tap_tunnel {
	struct td_tunnel base;
	int fd;        /* of the TAP; -1: a task has it */
	bool live;     /* moves frames */
	uint32_t hash; /* of flow */
	struct td_flow flow;
	struct td_link_stats stats; /* rx: from the peer */
};

struct td_tap {
	struct td_datapath dp;
	struct td_watch watch; /* of the epoll instance that has all TAPs */
	struct td_flow_key key;
	struct td_index flows;
	struct td_index_cell *cells;
	/* Whose turn it is: TAPs that are readable, and how far we are with them. */
	struct epoll_event turns[TD_TAP_TURNS];
	int turn_count, turn;
	unsigned frames; /* of the current turn */
	/* The packet that found the socket full. */
	struct td_handle held_by;
	size_t held_bytes; /* of its frame */
	/* A frame is read behind room for a header, which is put right before it. The last byte: frame
	 * too long. */
	uint8_t packet[TD_L2TP_HEADER_MAX + TD_FRAME_MAX + 1];
};

/* tap.c */
struct td_tap_tunnel *td_tap_find(const struct td_tap *tap, const struct td_flow *flow);
/* The interface is gone; tells the host. */
void td_tap_lost(struct td_tap *tap, struct td_tap_tunnel *t);

/* tap_io.c */
int td_tap_watch(struct td_tap *tap, const struct td_tap_tunnel *t)
	__attribute__((warn_unused_result));
void td_tap_ready(struct td_watch *watch, uint32_t events);
void td_tap_data(struct td_datapath *dp, const struct td_datagram *datagram);
void td_tap_resume(struct td_datapath *dp);

/* tap_dev.c: a TAP's descriptor, or -errno; -EEXIST: there is an interface of that name.
 * host: whose open_tun() is to be asked; NULL: nobody's. */
int td_tap_device_open(const struct td_datapath_host *host, const char *ifname)
	__attribute__((warn_unused_result));
/* Is this a TAP's descriptor, and which interface is it now? 0 or -errno. */
int td_tap_device_name(int fd, char ifname[static TD_IFNAME_SIZE])
	__attribute__((warn_unused_result));
int td_tap_probe(char *why, size_t size) __attribute__((warn_unused_result));

#endif
