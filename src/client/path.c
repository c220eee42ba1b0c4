/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The source address that the kernel would choose now tells what became of the route, at the price
 * of one socket. Where it differs, the interfaces that have the two addresses are compared: IPv6
 * hosts take new temporary addresses all the time, and the old ones go on working.
 */
#include "client/path.h"

#include <ifaddrs.h>
#include <string.h>

static bool same_address(const struct td_addr *a, const struct td_addr *b)
{
	return a->family == b->family && a->scope == b->scope &&
	       memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

static const char *interface_with(const struct ifaddrs *list, const struct td_addr *wanted)
{
	for (; list != NULL; list = list->ifa_next) {
		const struct sockaddr *sa = list->ifa_addr;
		struct td_addr addr;

		if (sa == NULL || (sa->sa_family != AF_INET && sa->sa_family != AF_INET6))
			continue;
		td_addr_from_sockaddr(&addr, sa);
		if (same_address(&addr, wanted))
			return list->ifa_name;
	}
	return "";
}

bool td_path_moved(const struct td_udp *udp, const struct td_addr *local, const char *ifname)
{
	struct td_udp now;
	struct ifaddrs *list;

	if (td_udp_connect(&now, &udp->peer, local, ifname) < 0)
		return false;
	td_udp_close(&now);
	if (same_address(&now.local, &udp->local) || getifaddrs(&list) < 0)
		return false;
	bool moved =
		strcmp(interface_with(list, &udp->local), interface_with(list, &now.local)) != 0;
	freeifaddrs(list);
	return moved;
}
