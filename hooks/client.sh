#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# Hook of the client (-s): called with "session.up INTERFACE" when the tunnel is there, and with
# "session.down INTERFACE" before it goes. The client does not wait for it.
#
# Environment (of the client):
#   TD_ADDRESSES   addresses for the interface, separated by blanks: "10.42.0.2/24 fd42::2/64"
#   TD_BATMAN      batman-adv interface to add it to, such as bat0
set -eu

event=$1
interface=$2

case $event in
session.up)
	for address in ${TD_ADDRESSES:-}; do
		ip address replace "$address" dev "$interface"
	done
	if [ -n "${TD_BATMAN:-}" ]; then
		ip link set dev "$interface" master "$TD_BATMAN"
	fi
	ip link set dev "$interface" up
	# babeld, with "local-port 33123" in its configuration, has to be told of a new interface:
	#   echo "interface $interface type tunnel" | nc ::1 33123
	;;
session.down)
	# Addresses and memberships go with the interface; tell those who would wait for a timeout:
	#   echo "flush interface $interface" | nc ::1 33123
	;;
*)
	echo "${0##*/}: unknown event '$event'" >&2
	exit 1
	;;
esac
