#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# session.up and session.down of the broker (the same file for both): what comes out of a tunnel is
# routed by the mesh's own table, and never by the host's default route.
#
# When session.down runs the interface is gone, and its name is not used again before the hook has
# ended; so whether it exists tells the two apart.
#
# Environment (of the broker):
#   TD_TABLE      routing table; default 42
#   TD_PRIORITY   priority of the rules; default 1000
set -eu

table=${TD_TABLE:-42}
priority=${TD_PRIORITY:-1000}

interface=$3

for family in -4 -6; do
	# Also what was left by a broker that had no time to clean up.
	while ip "$family" rule del iif "$interface" priority "$priority" 2>/dev/null; do
		:
	done
done
ip link show dev "$interface" >/dev/null 2>&1 || exit 0

for family in -4 -6; do
	ip "$family" rule add iif "$interface" lookup "$table" priority "$priority"
done
ip link set dev "$interface" up
