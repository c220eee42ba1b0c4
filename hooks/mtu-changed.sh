#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# session.mtu-changed of the broker, together with bridge-by-mtu.sh as session.up: moves the tunnel
# to the bridge for its new MTU. The link is down meanwhile, because a port is not isolated any
# more once it has left its bridge.
set -eu

tunnel_id=$1
session_id=$2
interface=$3
new_mtu=$5

ip link set dev "$interface" down
ip link set dev "$interface" nomaster
exec "${0%/*}/bridge-by-mtu.sh" "$tunnel_id" "$session_id" "$interface" "$new_mtu"
