/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/build.h"
#include "datapath/tap.h"

_Static_assert(TD_IFNAME_SIZE == IFNAMSIZ, "names are copied");

/* IFF_TUN_EXCL: never attach to what is there already, such as another's persistent TAP. */
static int make(int fd, const char *ifname)
{
	struct ifreq request = { .ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL) };

	memcpy(request.ifr_name, ifname, strlen(ifname)); /* checked by td_ifname_valid() */
	if (ioctl(fd, TUNSETIFF, &request) == 0)
		return 0;
	return errno == EBUSY ? -EEXIST : -errno;
}

static int open_device(const struct td_datapath_host *host)
{
	int fd;

	if (TD_WITH_BROKER && host && host->open_tun)
		return host->open_tun(host->ctx);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int td_tap_device_open(const struct td_datapath_host *host, const char *ifname)
{
	int fd = open_device(host);
	int err;

	if (fd < 0)
		return fd;
	err = make(fd, ifname);
	if (err < 0) {
		close(fd);
		return err;
	}
	return fd;
}

int td_tap_device_name(int fd, char ifname[static TD_IFNAME_SIZE])
{
	struct ifreq request = { 0 };

	if (ioctl(fd, TUNGETIFF, &request) < 0)
		return -errno;
	/* Frames would not have the layout that we read and write. */
	if ((request.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) != (IFF_TAP | IFF_NO_PI))
		return -EINVAL;
	memcpy(ifname, request.ifr_name, TD_IFNAME_SIZE);
	return 0;
}

int td_tap_probe(char *why, size_t size)
{
	int fd = td_tap_device_open(NULL, "tdprobe%d");

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	switch (-fd) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		snprintf(why, size,
			 "no /dev/net/tun: load the module (modprobe tun), on OpenWrt install it "
			 "(opkg install kmod-tun), into a container pass the device");
		break;
	case EPERM:
	case EACCES:
		snprintf(why, size,
			 "not permitted to make a TAP interface: run as root (CAP_NET_ADMIN is "
			 "needed, in a container also access to /dev/net/tun)");
		break;
	case EBUSY:
	case EEXIST:
		snprintf(why, size,
			 "/dev/net/tun is busy: remove stale tdprobe interfaces (ip link)");
		break;
	default:
		snprintf(why, size, "cannot make a TAP interface: %s (see dmesg)", strerror(-fd));
	}
	return fd;
}
