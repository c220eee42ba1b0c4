/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The source address that the kernel would choose now tells what became of the route, at the price
 * of a socket. Of an IPv6 address only the network counts: hosts take new temporary addresses in it
 * all the time, and the old ones go on working, until they are removed.
 */
#include "client/path.h"

#include <errno.h>
#include <string.h>

bool td_path_moved(const struct td_udp *udp, const struct td_addr *local, const char *ifname)
{
	struct td_udp now;

	if (td_udp_connect(&now, &udp->peer, local, ifname) < 0)
		return false;
	td_udp_close(&now);
	if (now.local.scope != udp->local.scope || memcmp(now.local.ip, udp->local.ip, 8) != 0)
		return true;
	int err = td_udp_connect(&now, &udp->peer, &udp->local, ifname);
	td_udp_close(&now);
	return err == -EADDRNOTAVAIL;
}
