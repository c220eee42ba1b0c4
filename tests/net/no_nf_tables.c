/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* For LD_PRELOAD, in test_rx_scaling.py: a kernel without nf_tables, as far as a program can see. */
#include <dlfcn.h>
#include <errno.h>
#include <linux/netlink.h>
#include <sys/socket.h>

int socket(int domain, int type, int protocol)
{
	int (*real)(int, int, int);

	if (domain == AF_NETLINK && protocol == NETLINK_NETFILTER) {
		errno = EPROTONOSUPPORT;
		return -1;
	}
	*(void **)&real = dlsym(RTLD_NEXT, "socket");
	return real(domain, type, protocol);
}
