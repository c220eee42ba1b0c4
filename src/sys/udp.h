/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * UDP sockets for tunnels: non-blocking, close-on-exec, replies leave from the address that was
 * asked (IP_PKTINFO), probing mode (IP_PMTUDISC_PROBE: DF set, the kernel's own path MTU ignored),
 * IPv6 sockets take no IPv4. Binding to a device needs CAP_NET_RAW on kernels before 5.7.
 */
#ifndef TD_SYS_UDP_H
#define TD_SYS_UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/addr.h"

struct td_udp {
	int fd; /* -1: closed */
	bool connected;
	bool wildcard; /* bound to all addresses: each datagram tells which one was asked */
	/* As bound; of a connected one with the address that the route chose. */
	struct td_addr local;
	struct td_addr peer; /* connected only */
};

/* 65507 bytes are the largest UDP payload. */
#define TD_UDP_MAX 65507

/*
 * flow.peer is the sender, of a connected socket too: until its connect() was done, a socket takes
 * what anybody sends to its port.
 */
struct td_datagram {
	struct td_flow flow;
	uint8_t *bytes;
	size_t size; /* in: capacity, out: received */
	bool truncated;
};

/* The family is TD_FAMILY_NONE, if it is neither IPv4 nor IPv6. */
void td_addr_from_sockaddr(struct td_addr *addr, const struct sockaddr *sa);
/* Writes and returns only as many bytes as the family needs; 0 for TD_FAMILY_NONE. */
socklen_t td_addr_to_sockaddr(const struct td_addr *addr, struct sockaddr_storage *sa);

/* A socket bound to local; ifname: SO_BINDTODEVICE, or NULL. 0 or -errno. */
int td_udp_listen(struct td_udp *udp, const struct td_addr *local, const char *ifname)
	__attribute__((warn_unused_result));
/*
 * A socket with a fresh port, connected to peer; bound to the address local, or (NULL, or of no
 * family) to the one that the route chooses. -ENETUNREACH, -EHOSTUNREACH: no route now;
 * -EADDRNOTAVAIL: this host does not have local now; -EAFNOSUPPORT: local is of the other family.
 */
int td_udp_connect(struct td_udp *udp, const struct td_addr *peer, const struct td_addr *local,
		   const char *ifname) __attribute__((warn_unused_result));
/*
 * A socket for one flow of listener, bound to the address and port that the peer knows and
 * connected to it: what the kernel's L2TP needs for each tunnel.
 *
 * SO_REUSEADDR, not SO_REUSEPORT, lets the two share the port. Kernels before 4.19.76 and 5.2.18
 * deliver to the wrong one of a SO_REUSEPORT group with connected members; later ones gain nothing
 * from the group, which holds 32768 sockets at most and asks for one and the same user id in the
 * process that opened the listener and in the one that opens the tunnels. SO_REUSEADDR would let
 * any other program take the port over, a second broker by mistake included. So the listener has it
 * during this call only: at rest it is the one socket on the port that refuses company.
 *
 * Between bind() and connect() the new socket takes datagrams that were meant for the listener. The
 * caller receives from it until there is none, and treats those of another sender as the
 * listener's.
 */
int td_udp_connect_from(struct td_udp *udp, struct td_udp *listener, const struct td_flow *flow,
			const char *ifname) __attribute__((warn_unused_result));
/*
 * The same on a port of its own, for whoever rewrites the peer's datagrams to come to it: the kernel
 * chooses *port. udp->local is the address that the peer knows, for what is received was sent there.
 */
int td_udp_connect_apart(struct td_udp *udp, const struct td_flow *flow, const char *ifname,
			 uint16_t *port) __attribute__((warn_unused_result));
/* Connects a connected socket to another peer. -EADDRNOTAVAIL: flow is not on its own address. */
int td_udp_move(struct td_udp *udp, const struct td_flow *flow) __attribute__((warn_unused_result));
void td_udp_close(struct td_udp *udp);

/*
 * true: what is too large for the path goes in fragments, DF is not set; false: probing mode, as
 * every socket begins.
 */
int td_udp_set_fragment(struct td_udp *udp, bool fragment) __attribute__((warn_unused_result));

/* Makes of a descriptor, got from another process, what td_udp_listen() or _connect() had made. */
int td_udp_from_fd(struct td_udp *udp, int fd) __attribute__((warn_unused_result));

/*
 * Up to count datagrams at once. Their number; 0: nothing there now (transient errors, such as what
 * ICMP left on the socket, are drained and count as nothing); -errno: the socket is of no use any
 * more.
 */
int td_udp_receive(struct td_udp *udp, struct td_datagram *datagrams, unsigned count)
	__attribute__((warn_unused_result));
/*
 * 0 sent; -EAGAIN: socket full, try when it is writable; -EMSGSIZE: too large for the link; else
 * -errno: this datagram is lost. An error that ICMP left on the socket is retried once. A connected
 * socket sends to its peer, whatever flow (which may be NULL) says.
 */
int td_udp_send(struct td_udp *udp, const struct td_flow *flow, const struct iovec *iov,
		size_t count) __attribute__((warn_unused_result));

/*
 * For back-ends that make system calls of their own (sendmmsg, UDP_SEGMENT): name and control part
 * of a message. control has room for one more item of up to 8 bytes behind msg_controllen.
 */
struct td_udp_room {
	struct sockaddr_storage name;
	_Alignas(struct cmsghdr) uint8_t control[72];
};
/* Fills name and control of msg so that it goes out on flow; nothing for a connected socket. */
void td_udp_address(struct msghdr *msg, struct td_udp_room *room, const struct td_udp *udp,
		    const struct td_flow *flow);
/* The flow of a received message, whose name and control part were a td_udp_room. */
void td_udp_flow(struct td_flow *flow, const struct td_udp *udp, struct msghdr *msg);

#endif
