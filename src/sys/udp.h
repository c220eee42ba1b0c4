/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * UDP sockets for tunnels: non-blocking, close-on-exec, replies leave from the address that was
 * asked (IP_PKTINFO), probing mode (IP_PMTUDISC_PROBE: DF set, the kernel's own path MTU ignored),
 * IPv6 sockets take no IPv4.
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
	struct td_addr
		local; /* as bound; of a connected one with the address that the route chose */
	struct td_addr peer; /* connected only */
};

/* 65507 bytes are the largest UDP payload. */
#define TD_UDP_MAX 65507

struct td_datagram {
	struct td_flow flow;
	uint8_t *bytes;
	size_t size; /* in: capacity, out: received */
	bool truncated;
};

void td_addr_from_sockaddr(struct td_addr *addr, const struct sockaddr *sa);
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
void td_udp_close(struct td_udp *udp);

/*
 * Up to count datagrams at once. Their number; 0: nothing there now (transient errors, such as what
 * ICMP left on the socket, are drained and count as nothing); -errno: the socket is of no use any
 * more.
 */
int td_udp_receive(struct td_udp *udp, struct td_datagram *datagrams, unsigned count)
	__attribute__((warn_unused_result));
/*
 * 0 sent; -EAGAIN: socket full, try when it is writable; -EMSGSIZE: too large for the link; else
 * -errno: this datagram is lost. An error that ICMP left on the socket is retried once.
 */
int td_udp_send(struct td_udp *udp, const struct td_flow *flow, const struct iovec *iov,
		size_t count) __attribute__((warn_unused_result));

#endif
