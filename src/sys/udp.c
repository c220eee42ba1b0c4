/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Errors. ICMP leaves an error on a socket (on a connected one always since Linux 6.10, whoever
 * caused it), and the next call reports it instead of doing its work. It says nothing about this
 * datagram, so receiving goes on and sending tries once more. The second answer counts.
 *
 * ENOBUFS is a loss, not -EAGAIN: the queue of the device or the memory is full, not the socket.
 * EPOLLOUT, which knows only the socket, would be reported at once, and the caller would spin.
 */
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/build.h"
#include "sys/udp.h"

#define BATCH         32
#define ERRORS_MAX    16
#define LISTEN_BUFFER (4 << 20)
#define CLIENT_BUFFER (1 << 20)
#define TUNNEL_BUFFER (64 << 10) /* there the kernel keeps the data, only control comes up */

void td_addr_from_sockaddr(struct td_addr *addr, const struct sockaddr *sa)
{
	const struct sockaddr_in *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;

	*addr = (struct td_addr){ .family = TD_FAMILY_NONE };
	if (sa->sa_family == AF_INET) {
		addr->family = TD_FAMILY_IPV4;
		addr->port = ntohs(in->sin_port);
		memcpy(addr->ip, &in->sin_addr, 4);
	} else if (sa->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		addr->family = TD_FAMILY_IPV4;
		addr->port = ntohs(in6->sin6_port);
		memcpy(addr->ip, &in6->sin6_addr.s6_addr[12], 4);
	} else if (sa->sa_family == AF_INET6) {
		addr->family = TD_FAMILY_IPV6;
		addr->port = ntohs(in6->sin6_port);
		memcpy(addr->ip, &in6->sin6_addr, 16);
		if (IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr))
			addr->scope = in6->sin6_scope_id;
	}
}

socklen_t td_addr_to_sockaddr(const struct td_addr *addr, struct sockaddr_storage *sa)
{
	struct sockaddr_in *in = (void *)sa;
	struct sockaddr_in6 *in6 = (void *)sa;

	if (addr->family == TD_FAMILY_IPV4) {
		*in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(addr->port) };
		memcpy(&in->sin_addr, addr->ip, 4);
		return sizeof(*in);
	}
	if (addr->family == TD_FAMILY_IPV6) {
		*in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
					      .sin6_port = htons(addr->port),
					      .sin6_scope_id = addr->scope };
		memcpy(&in6->sin6_addr, addr->ip, 16);
		return sizeof(*in6);
	}
	return 0;
}

static int set_option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Wishes: a refusal, which only who lacks CAP_NET_ADMIN gets, leaves the system's default. */
static void set_buffers(int fd, int bytes)
{
	if (set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes) < 0 && TD_WITH_BROKER)
		(void)set_option(fd, SOL_SOCKET, SO_RCVBUF, bytes);
	if (set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, bytes) < 0 && TD_WITH_BROKER)
		(void)set_option(fd, SOL_SOCKET, SO_SNDBUF, bytes);
}

static int set_family_options(int fd, uint8_t family, bool wildcard)
{
	int err;

	if (family == TD_FAMILY_IPV4) {
		err = set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
		if (err == 0 && wildcard)
			err = set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
		return err;
	}
	err = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (err == 0)
		err = set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
	if (err == 0 && wildcard)
		err = set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	return err;
}

static int open_socket(struct td_udp *udp, uint8_t family, const char *ifname, int buffer)
{
	int err;

	td_assert(family == TD_FAMILY_IPV4 || family == TD_FAMILY_IPV6);
	udp->fd = socket(family == TD_FAMILY_IPV4 ? AF_INET : AF_INET6,
			 SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (udp->fd < 0)
		return -errno;
	set_buffers(udp->fd, buffer);
	err = set_family_options(udp->fd, family, udp->wildcard);
	if (err == 0 && ifname &&
	    setsockopt(udp->fd, SOL_SOCKET, SO_BINDTODEVICE, ifname, (socklen_t)strlen(ifname)) < 0)
		err = -errno;
	return err;
}

int td_udp_set_fragment(struct td_udp *udp, bool fragment)
{
	/* The numbers are the same for IPv6. */
	const int mode = fragment ? IP_PMTUDISC_DONT : IP_PMTUDISC_PROBE;

	if (udp->local.family == TD_FAMILY_IPV4)
		return set_option(udp->fd, IPPROTO_IP, IP_MTU_DISCOVER, mode);
	return set_option(udp->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, mode);
}

static int bind_to(int fd, const struct td_addr *addr)
{
	struct sockaddr_storage sa;
	socklen_t size = td_addr_to_sockaddr(addr, &sa);

	return bind(fd, (struct sockaddr *)&sa, size) < 0 ? -errno : 0;
}

static int connect_to(struct td_udp *udp, const struct td_addr *peer)
{
	struct sockaddr_storage sa;
	socklen_t size = td_addr_to_sockaddr(peer, &sa);

	if (connect(udp->fd, (struct sockaddr *)&sa, size) < 0)
		return -errno;
	udp->peer = *peer;
	udp->connected = true;
	return 0;
}

static int read_local(struct td_udp *udp)
{
	struct sockaddr_storage sa;
	socklen_t size = sizeof(sa);

	if (getsockname(udp->fd, (struct sockaddr *)&sa, &size) < 0)
		return -errno;
	td_addr_from_sockaddr(&udp->local, (struct sockaddr *)&sa);
	return 0;
}

static void read_peer(struct td_udp *udp)
{
	struct sockaddr_storage sa;
	socklen_t size = sizeof(sa);

	udp->connected = getpeername(udp->fd, (struct sockaddr *)&sa, &size) == 0;
	if (udp->connected)
		td_addr_from_sockaddr(&udp->peer, (struct sockaddr *)&sa);
}

static bool is_wildcard(const struct td_addr *addr)
{
	static const uint8_t zero[16];

	return memcmp(addr->ip, zero, sizeof(zero)) == 0;
}

static int close_on_error(struct td_udp *udp, int err)
{
	if (err < 0)
		td_udp_close(udp);
	return err;
}

int td_udp_listen(struct td_udp *udp, const struct td_addr *local, const char *ifname)
{
	int err;

	*udp = (struct td_udp){ .fd = -1, .wildcard = is_wildcard(local) };
	err = open_socket(udp, local->family, ifname, LISTEN_BUFFER);
	if (err == 0)
		err = bind_to(udp->fd, local);
	if (err == 0)
		err = read_local(udp);
	return close_on_error(udp, err);
}

int td_udp_connect(struct td_udp *udp, const struct td_addr *peer, const struct td_addr *local,
		   const char *ifname)
{
	struct td_addr from = { .family = TD_FAMILY_NONE };
	int err;

	*udp = (struct td_udp){ .fd = -1 };
	if (local)
		from = *local;
	from.port = 0;
	if (from.family != TD_FAMILY_NONE && from.family != peer->family)
		return -EAFNOSUPPORT;
	err = open_socket(udp, peer->family, ifname, CLIENT_BUFFER);
	if (err == 0 && from.family != TD_FAMILY_NONE)
		err = bind_to(udp->fd, &from);
	if (err == 0)
		err = connect_to(udp, peer);
	if (err == 0)
		err = read_local(udp);
	return close_on_error(udp, err);
}

int td_udp_connect_from(struct td_udp *udp, struct td_udp *listener, const struct td_flow *flow,
			const char *ifname)
{
	int err;

	*udp = (struct td_udp){ .fd = -1 };
	err = open_socket(udp, flow->local.family, ifname, TUNNEL_BUFFER);
	if (err == 0)
		err = set_option(udp->fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (err == 0)
		err = set_option(listener->fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (err == 0) {
		err = bind_to(udp->fd, &flow->local);
		if (err == 0)
			err = connect_to(udp, &flow->peer);
		(void)set_option(listener->fd, SOL_SOCKET, SO_REUSEADDR, 0);
	}
	if (err == 0)
		err = read_local(udp);
	return close_on_error(udp, err);
}

int td_udp_connect_apart(struct td_udp *udp, const struct td_flow *flow, const char *ifname,
			 uint16_t *port)
{
	struct td_addr from = flow->local;
	int err;

	*udp = (struct td_udp){ .fd = -1 };
	from.port = 0;
	err = open_socket(udp, from.family, ifname, TUNNEL_BUFFER);
	if (err == 0)
		err = bind_to(udp->fd, &from);
	if (err == 0)
		err = connect_to(udp, &flow->peer);
	if (err == 0)
		err = read_local(udp);
	*port = udp->local.port;
	udp->local = flow->local;
	return close_on_error(udp, err);
}

int td_udp_move(struct td_udp *udp, const struct td_flow *flow)
{
	int err = -EADDRNOTAVAIL;

	if (td_addr_equal(&udp->local, &flow->local))
		err = connect_to(udp, &flow->peer);
	return err;
}

int td_udp_from_fd(struct td_udp *udp, int fd)
{
	*udp = (struct td_udp){ .fd = fd };
	int err = read_local(udp);

	read_peer(udp);
	if (err == 0 && udp->local.family == TD_FAMILY_NONE)
		err = -EAFNOSUPPORT;
	if (err < 0)
		udp->fd = -1;
	udp->wildcard = is_wildcard(&udp->local);
	return err;
}

void td_udp_close(struct td_udp *udp)
{
	if (udp->fd >= 0)
		close(udp->fd);
	udp->fd = -1;
}

static void put_control(struct msghdr *msg, struct td_udp_room *room, int level, int type,
			const void *data, size_t size)
{
	struct cmsghdr *cmsg = (void *)room->control;

	cmsg->cmsg_len = CMSG_LEN(size);
	cmsg->cmsg_level = level;
	cmsg->cmsg_type = type;
	memcpy(CMSG_DATA(cmsg), data, size);
	msg->msg_control = room->control;
	msg->msg_controllen = CMSG_SPACE(size);
}

/* The interface is left to the routing table, except where the address says nothing without it. */
static void put_source(struct msghdr *msg, struct td_udp_room *room, const struct td_addr *local)
{
	if (local->family == TD_FAMILY_IPV4) {
		struct in_pktinfo info = { 0 };

		memcpy(&info.ipi_spec_dst, local->ip, 4);
		put_control(msg, room, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	} else if (local->family == TD_FAMILY_IPV6) {
		struct in6_pktinfo info = { .ipi6_ifindex = local->scope };

		memcpy(&info.ipi6_addr, local->ip, 16);
		put_control(msg, room, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	}
}

void td_udp_address(struct msghdr *msg, struct td_udp_room *room, const struct td_udp *udp,
		    const struct td_flow *flow)
{
	msg->msg_name = NULL;
	msg->msg_namelen = 0;
	msg->msg_control = NULL;
	msg->msg_controllen = 0;
	if (!TD_WITH_BROKER || udp->connected)
		return;
	msg->msg_name = &room->name;
	msg->msg_namelen = td_addr_to_sockaddr(&flow->peer, &room->name);
	if (udp->wildcard && !is_wildcard(&flow->local))
		put_source(msg, room, &flow->local);
}

static void read_source(struct td_addr *local, struct cmsghdr *cmsg)
{
	if (cmsg->cmsg_level == IPPROTO_IP && cmsg->cmsg_type == IP_PKTINFO) {
		struct in_pktinfo info;

		memcpy(&info, CMSG_DATA(cmsg), sizeof(info));
		memcpy(local->ip, &info.ipi_spec_dst, 4);
	} else if (cmsg->cmsg_level == IPPROTO_IPV6 && cmsg->cmsg_type == IPV6_PKTINFO) {
		struct in6_pktinfo info;

		memcpy(&info, CMSG_DATA(cmsg), sizeof(info));
		memcpy(local->ip, &info.ipi6_addr, 16);
		if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
			local->scope = info.ipi6_ifindex;
	}
}

void td_udp_flow(struct td_flow *flow, const struct td_udp *udp, struct msghdr *msg)
{
	td_addr_from_sockaddr(&flow->peer, msg->msg_name);
	flow->local = udp->local;
	if (!TD_WITH_BROKER || !udp->wildcard)
		return;
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg))
		read_source(&flow->local, cmsg);
}

static bool is_fatal(int err)
{
	return err == EBADF || err == ENOTSOCK || err == EFAULT || err == EINVAL;
}

static int receive_batch(int fd, struct mmsghdr *msgs, unsigned count)
{
	for (int i = 0; i < ERRORS_MAX; i++) {
		int n = recvmmsg(fd, msgs, count, MSG_DONTWAIT, NULL);

		if (n >= 0)
			return n;
		if (errno == EAGAIN)
			return 0;
		if (is_fatal(errno))
			return -errno;
	}
	return 0;
}

/* Field by field: clearing the whole room would cost more than the rest of a small datagram. */
static void prepare(struct msghdr *msg, struct iovec *iov, struct td_udp_room *room,
		    const struct td_udp *udp, const struct td_datagram *datagram)
{
	*iov = (struct iovec){ datagram->bytes, datagram->size };
	*msg = (struct msghdr){
		.msg_name = &room->name,
		.msg_namelen = sizeof(room->name),
		.msg_iov = iov,
		.msg_iovlen = 1,
		.msg_control = udp->wildcard ? room->control : NULL,
		.msg_controllen = udp->wildcard ? sizeof(room->control) : 0,
	};
}

/* One, without what only a batch or a wildcard address needs: a keepalive costs little else. */
static int receive_one(struct td_udp *udp, struct td_datagram *datagram)
{
	struct sockaddr_storage name;

	for (int i = 0; i < ERRORS_MAX; i++) {
		socklen_t name_size = sizeof(name);
		/* MSG_TRUNC: its size, if it were larger than the room as well. */
		ssize_t size =
			recvfrom(udp->fd, datagram->bytes, datagram->size, MSG_DONTWAIT | MSG_TRUNC,
				 (struct sockaddr *)&name, &name_size);

		if (size >= 0) {
			datagram->truncated = (size_t)size > datagram->size;
			if (!datagram->truncated)
				datagram->size = (size_t)size;
			td_addr_from_sockaddr(&datagram->flow.peer, (struct sockaddr *)&name);
			datagram->flow.local = udp->local;
			return 1;
		}
		if (errno == EAGAIN)
			return 0;
		if (is_fatal(errno))
			return -errno;
	}
	return 0;
}

int td_udp_receive(struct td_udp *udp, struct td_datagram *datagrams, unsigned count)
{
	struct mmsghdr msgs[BATCH];
	struct td_udp_room rooms[BATCH];
	struct iovec iov[BATCH];
	int received;

	if (TD_WITH_BROKER && count == 1 && !udp->wildcard)
		return receive_one(udp, datagrams);
	if (count > BATCH)
		count = BATCH;
	for (unsigned i = 0; i < count; i++)
		prepare(&msgs[i].msg_hdr, &iov[i], &rooms[i], udp, &datagrams[i]);
	received = receive_batch(udp->fd, msgs, count);
	for (int i = 0; i < received; i++) {
		datagrams[i].size = msgs[i].msg_len;
		datagrams[i].truncated = msgs[i].msg_hdr.msg_flags & MSG_TRUNC;
		td_udp_flow(&datagrams[i].flow, udp, &msgs[i].msg_hdr);
	}
	return received;
}

static ssize_t send_msg(int fd, const struct msghdr *msg)
{
	/* It has less to copy and to check. */
	if (TD_WITH_BROKER && msg->msg_controllen == 0 && msg->msg_iovlen == 1)
		return sendto(fd, msg->msg_iov->iov_base, msg->msg_iov->iov_len, MSG_DONTWAIT,
			      msg->msg_name, msg->msg_namelen);
	return sendmsg(fd, msg, MSG_DONTWAIT);
}

int td_udp_send(struct td_udp *udp, const struct td_flow *flow, const struct iovec *iov,
		size_t count)
{
	struct td_udp_room room;
	struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = count };

	td_udp_address(&msg, &room, udp, flow);
	for (int tries = 0;; tries++) {
		if (send_msg(udp->fd, &msg) >= 0)
			return 0;
		if (errno == EAGAIN || tries == 1)
			break;
	}
	/* What a probe beyond the MTU gets on some PPPoE paths. */
	return errno == EAFNOSUPPORT ? -EMSGSIZE : -errno;
}
