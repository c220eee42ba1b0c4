/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Frames between TAPs and UDP sockets.
 *
 * All TAPs are in an epoll instance of their own, which the loop sees as one descriptor. It names
 * up to TD_TAP_TURNS readable TAPs at once, each has one turn of up to TD_TAP_FRAMES frames, then
 * everybody else in the loop has theirs. The kernel puts those that are still readable at the end
 * of its list, so that is a round robin. When the UDP socket is full, one packet is held back, the
 * instance is watched no more, and the turns stay where they are until resume(): then the same TAP
 * finishes its turn. So a socket that is always full serves all TAPs alike, too.
 *
 * Offloads and batches come here: read several frames per turn into one buffer, hand them to
 * the port at once. Nothing outside this file knows that it is one at a time.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "datapath/tap.h"

int td_tap_watch(struct td_tap *tap, const struct td_tap_tunnel *t)
{
	const struct td_handle handle = t->base.handle;
	struct epoll_event event = {
		.events = EPOLLIN,
		.data.u64 = (uint64_t)handle.generation << 32 | handle.index,
	};

	return epoll_ctl(tap->watch.fd, EPOLL_CTL_ADD, t->fd, &event) < 0 ? -errno : 0;
}

/* The tunnel of a turn; NULL when it is gone since the turn was given. */
static struct td_tap_tunnel *owner(const struct td_tap *tap, const struct epoll_event *turn)
{
	const struct td_handle handle = {
		.index = (uint32_t)turn->data.u64,
		.generation = (uint32_t)(turn->data.u64 >> 32),
	};
	struct td_tap_tunnel *t = (struct td_tap_tunnel *)td_backend_get(&tap->dp, handle);

	return t && t->live ? t : NULL;
}

/* Returns -EAGAIN when the socket is full; anything else is done with, sent or lost. */
static int send_frame(struct td_tap *tap, struct td_tap_tunnel *t, size_t frame_bytes)
{
	const struct td_tunnel_info *info = &t->base.info;
	uint8_t *packet = tap->packet + TD_DATA_COOKIE - info->cookie_size;
	const size_t header =
		td_l2tp_put(packet, info->peer_session_id, info->peer_cookie, info->cookie_size);
	int err = -ENOTCONN;

	if (t->base.port)
		err = td_port_send(t->base.port, &t->flow, packet, header + frame_bytes);
	if (err == 0) {
		t->stats.tx_packets++;
		t->stats.tx_bytes += frame_bytes;
	} else if (err != -EAGAIN) {
		t->stats.tx_errors++;
	}
	return err;
}

static int forward(struct td_tap *tap, struct td_tap_tunnel *t, size_t frame_bytes)
{
	int err;

	if (frame_bytes > TD_FRAME_MAX) {
		t->stats.tx_errors++;
		return 0;
	}
	err = send_frame(tap, t, frame_bytes);
	if (err == -EAGAIN) {
		tap->held_by = t->base.handle;
		tap->held_bytes = frame_bytes;
	}
	return err;
}

/* Returns -EAGAIN when the socket is full. */
static int serve(struct td_tap *tap, struct td_tap_tunnel *t, uint32_t events)
{
	if (events & (EPOLLERR | EPOLLHUP)) {
		td_tap_lost(tap, t);
		return 0;
	}
	while (tap->frames < TD_TAP_FRAMES) {
		ssize_t got = read(t->fd, tap->packet + TD_L2TP_HEADER_MAX,
				   sizeof(tap->packet) - TD_L2TP_HEADER_MAX);

		if (got < 0) {
			/* Whatever else it says would be said for ever. */
			if (errno != EAGAIN && errno != EINTR)
				td_tap_lost(tap, t);
			return 0;
		}
		tap->frames++;
		if (forward(tap, t, (size_t)got) == -EAGAIN)
			return -EAGAIN;
	}
	return 0;
}

void td_tap_ready(struct td_watch *watch, uint32_t events)
{
	struct td_tap *tap = (struct td_tap *)((char *)watch - offsetof(struct td_tap, watch));

	(void)events;
	/* The loop may have fetched this event before the socket was full. */
	if (tap->dp.full > 0)
		return;
	if (tap->turn >= tap->turn_count) {
		tap->turn_count = epoll_wait(watch->fd, tap->turns, TD_TAP_TURNS, 0);
		tap->turn = 0;
	}
	for (; tap->turn < tap->turn_count; tap->turn++) {
		const struct epoll_event *turn = &tap->turns[tap->turn];
		struct td_tap_tunnel *t = owner(tap, turn);

		if (t && serve(tap, t, turn->events) == -EAGAIN)
			return;
		tap->frames = 0;
	}
}

void td_tap_resume(struct td_datapath *dp)
{
	struct td_tap *tap = (struct td_tap *)dp;
	struct td_tap_tunnel *t = (struct td_tap_tunnel *)td_backend_get(dp, tap->held_by);

	if (t && send_frame(tap, t, tap->held_bytes) == -EAGAIN)
		return;
	tap->held_by = TD_NO_HANDLE;
	(void)!td_loop_change(dp->loop, &tap->watch, EPOLLIN);
}

/* The tunnel that takes this packet; NULL: none, which was counted. */
static struct td_tap_tunnel *addressee(struct td_datapath *dp, const struct td_datagram *datagram,
				       size_t *header)
{
	struct td_tap_tunnel *t = td_tap_find((struct td_tap *)dp, &datagram->flow);
	const size_t cookie_size = t ? t->base.info.cookie_size : 0;
	uint32_t session_id;

	*header = td_l2tp_parse(datagram->bytes, datagram->size, cookie_size, &session_id);
	if (*header == 0)
		dp->counters.rx_malformed++;
	else if (!t)
		dp->counters.rx_unknown_flow++;
	else if (session_id != t->base.info.session_id)
		dp->counters.rx_bad_session++;
	else if (memcmp(datagram->bytes + TD_L2TP_COOKIE, t->base.info.cookie, cookie_size) != 0)
		dp->counters.rx_bad_cookie++;
	else
		return t;
	return NULL;
}

void td_tap_data(struct td_datapath *dp, const struct td_datagram *datagram)
{
	size_t header;
	struct td_tap_tunnel *t = addressee(dp, datagram, &header);
	ssize_t written;

	if (!t)
		return;
	/* It fails when the interface is down, or full: the frame is lost, as on any wire. */
	written = t->live ? write(t->fd, datagram->bytes + header, datagram->size - header) : -1;
	if (written < 0) {
		t->stats.rx_errors++;
		return;
	}
	t->stats.rx_packets++;
	t->stats.rx_bytes += (size_t)written;
}
