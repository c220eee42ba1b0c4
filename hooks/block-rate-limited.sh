#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# broker.connection-rate-limit of the broker: keeps an address that comes too often away for a while.
#
# The broker makes such clients wait by itself; this is against those that do not care. Only what
# begins a new tunnel (the messages COOKIE and USAGE) is dropped, before it costs the broker
# anything: tunnels that exist, from the same address too, go on, and so do clients that wait.
#
# Environment (of the broker):
#   TD_PORTS     UDP ports of the broker, separated by commas; default 8942
#   TD_SECONDS   for so long; default 60
set -eu

ports=${TD_PORTS:-8942}
seconds=${TD_SECONDS:-60}

ip=$1

# One transaction, which changes nothing when all of it is there already. "@th,64,40" are the first
# five bytes behind the UDP header: magic, version and type of a control message.
set_up() {
	nft -f - <<-EOT
		add table inet tunneldigger
		add set inet tunneldigger blocked4 { type ipv4_addr; flags timeout; size 65535; }
		add set inet tunneldigger blocked6 { type ipv6_addr; flags timeout; size 65535; }
		add chain inet tunneldigger begin
		add chain inet tunneldigger input { type filter hook input priority -300; policy accept; }
		flush chain inet tunneldigger begin
		flush chain inet tunneldigger input
		add rule inet tunneldigger begin @th,64,40 0x8073a70101 counter drop
		add rule inet tunneldigger begin @th,64,40 0x8073a7010a counter drop
		add rule inet tunneldigger input udp dport { $ports } ip saddr @blocked4 jump begin
		add rule inet tunneldigger input udp dport { $ports } ip6 saddr @blocked6 jump begin
	EOT
}

case $ip in
*:*) set=blocked6 ;;
*) set=blocked4 ;;
esac

nft list chain inet tunneldigger begin >/dev/null 2>&1 || set_up
nft add element inet tunneldigger "$set" "{ $ip timeout ${seconds}s }"
