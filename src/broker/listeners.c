/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "broker/listeners.h"

#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "sys/log.h"

static const char *remedy(int err)
{
	switch (-err) {
	case EADDRINUSE:
		return "; is another broker running?";
	case EADDRNOTAVAIL:
		return "; this host does not have the address (yet): configure 0.0.0.0 or :: to "
		       "take any";
	case ENODEV:
		return "; there is no such interface";
	case EACCES:
	case EPERM:
		return "; start it as root";
	default:
		return "";
	}
}

static int open_one(struct td_listeners *listeners, const struct td_broker_options *options,
		    uint32_t address, uint32_t port)
{
	const char *ifname = options->interface[0] != '\0' ? options->interface : NULL;
	struct td_addr local = options->addresses[address];
	char text[TD_ADDR_TEXT];
	int err;

	local.port = options->ports[port];
	td_addr_text(text, &local, true);
	err = td_udp_listen(&listeners->udp[listeners->count], &local, ifname);
	if (err != 0) {
		td_log(TD_LOG_WARNING, "cannot listen on %s%s%s: %s%s", text, ifname ? " of " : "",
		       ifname ? ifname : "", strerror(-err), remedy(err));
		return err;
	}
	td_log(TD_LOG_NOTICE, "listening on %s%s%s", text, ifname ? " of " : "",
	       ifname ? ifname : "");
	listeners->count++;
	return 0;
}

int td_listeners_open(struct td_listeners *listeners, const struct td_broker_options *options)
{
	int result = -EADDRNOTAVAIL;

	listeners->count = 0;
	for (uint32_t a = 0; a < options->address_count; a++)
		for (uint32_t p = 0; p < options->port_count; p++) {
			int err = open_one(listeners, options, a, p);

			if (listeners->count == 0)
				result = err;
		}
	if (listeners->count > 0)
		return 0;
	td_log(TD_LOG_ERROR, "no address and port is left to listen on");
	return result;
}

void td_listeners_close(struct td_listeners *listeners)
{
	while (listeners->count > 0)
		td_udp_close(&listeners->udp[--listeners->count]);
}

struct td_udp *td_listeners_find(struct td_listeners *listeners, const struct td_flow *flow)
{
	struct td_udp *wildcard = NULL;

	for (uint32_t i = 0; i < listeners->count; i++) {
		struct td_udp *udp = &listeners->udp[i];

		if (udp->local.port != flow->local.port || udp->local.family != flow->local.family)
			continue;
		if (td_addr_equal(&udp->local, &flow->local))
			return udp;
		if (udp->wildcard)
			wildcard = udp;
	}
	return wildcard;
}
