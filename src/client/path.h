/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Does the way to the broker still begin where the tunnel's socket was made? */
#ifndef TD_CLIENT_PATH_H
#define TD_CLIENT_PATH_H

#include <stdbool.h>

#include "sys/udp.h"

/*
 * Would a socket made now (local and ifname as given to td_udp_connect()) leave from another
 * network than udp does, or is the address of udp gone? No while there is no way at all: the old
 * one may come back.
 */
bool td_path_moved(const struct td_udp *udp, const struct td_addr *local, const char *ifname);

#endif
