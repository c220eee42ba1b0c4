#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# session.up of the broker: puts the tunnel into the bridge for its MTU, and takes it up.
#
# batman-adv wants one MTU for all that it sees as one interface; so there is a bridge per MTU,
# made when it is first needed: br-td1446, br-td1406, ... Ports are isolated: what one client sends
# reaches this host only, and the mesh protocol decides where it goes from here. Isolation comes
# before the link goes up, or the first frames would pass to everybody.
#
# Environment (of the broker):
#   TD_BRIDGE   begin of the bridges' names, at most 10 characters; default br-td
#   TD_BATMAN   batman-adv interface that new bridges are added to, such as bat0; default none
set -eu

bridge_prefix=${TD_BRIDGE:-br-td}
batman=${TD_BATMAN:-}

interface=$3
mtu=$4
bridge=$bridge_prefix$mtu

exists() {
	ip link show dev "$1" >/dev/null 2>&1
}

# Hooks of other tunnels run at the same time: whoever comes second finds it made.
if ! exists "$bridge"; then
	ip link add name "$bridge" type bridge stp_state 0 2>/dev/null || exists "$bridge"
fi
ip link set dev "$interface" master "$bridge"
bridge link set dev "$interface" isolated on
ip link set dev "$bridge" mtu "$mtu" up
if [ -n "$batman" ]; then
	ip link set dev "$bridge" master "$batman"
fi
ip link set dev "$interface" up
