#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# A tunnel on this machine: a broker and a client in two network namespaces of their own, joined by
# a veth pair whose MTU is that of a PPPoE line; then ping and iperf3 through the tunnel.
# Installs what is missing (Debian), builds, and leaves nothing behind but the build directory.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
unset CC CFLAGS CPPFLAGS LDFLAGS

packages=(
	gcc libc6-dev meson ninja-build pkg-config libinih-dev libmnl-dev libseccomp-dev libsodium-dev
	iperf3 iproute2 iputils-ping
)
build=./build-demo
client=$build/src/client/tunneldigger
broker=$build/src/broker/tunneldigger-broker
broker_ns=tdemo-$$-broker
client_ns=tdemo-$$-client
path_mtu=1492
# Arrays, not functions: the process in the background is then the program, not a shell around it.
in_broker=(ip netns exec "$broker_ns")
in_client=(ip netns exec "$client_ns")
work=

say() {
	printf '%-13s %s\n' "$1" "$2"
}

die() {
	printf 'demo.sh: %s\n' "$*" >&2
	local log
	for log in "${work:-/nonexistent}"/*.log; do
		[ -s "$log" ] || continue
		printf -- '--- %s\n' "$(basename "$log")" >&2
		tail -n 15 "$log" >&2
	done
	exit 1
}

# Runs a command so that a signal to this script is handled at once, not when the command ends.
attended() {
	"$@" </dev/null &
	wait $!
}

# milliseconds FROM TO: between two times in nanoseconds, with one decimal.
milliseconds() {
	local tenths=$((($2 - $1) / 100000))
	printf '%d.%d ms' $((tenths / 10)) $((tenths % 10))
}

# until_true SECONDS COMMAND...: polls; false when the time is over.
until_true() {
	local end=$(($(date +%s%N) + $1 * 1000000000))
	shift
	until "$@"; do
		[ "$(date +%s%N)" -lt "$end" ] || return 1
		sleep 0.05
	done
}

ended() {
	local pid
	for pid in "$@"; do
		! kill -0 "$pid" 2>/dev/null || return 1
	done
}

# In order first, so that both programs remove what they made; then whatever is left.
cleanup() {
	local status=$? pid ns
	trap '' INT TERM HUP
	for pid in ${client_pid-} ${broker_pid-} $(jobs -p); do
		kill -TERM "$pid" 2>/dev/null || :
	done
	# shellcheck disable=SC2046 # a list
	until_true 6 ended $(jobs -p) || :
	for ns in "$client_ns" "$broker_ns"; do
		[ -e "/run/netns/$ns" ] || continue
		for pid in $(ip netns pids "$ns"); do
			kill -KILL "$pid" 2>/dev/null || :
		done
		ip netns del "$ns" || :
	done
	[ -z "$work" ] || rm -rf "$work"
	exit "$status"
}

install_missing() {
	local package missing=()
	command -v dpkg-query >/dev/null || return 0
	for package in "${packages[@]}"; do
		# shellcheck disable=SC2016 # the ${} is dpkg's
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>&1)" = installed ] ||
			missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	say installing "${missing[*]}"
	{ attended apt-get update -q &&
		attended apt-get install -yq --no-install-recommends "${missing[@]}"; } \
		>"$work/apt.log" 2>&1 || die "apt-get could not install them"
}

compile() {
	[ -f "$build/build.ninja" ] ||
		attended meson setup "$build" --buildtype=release -Db_lto=true -Dtests=false || return
	attended ninja -C "$build"
}

build_programs() {
	local start=$SECONDS
	mkdir -p "$build"
	exec 9<"$build"
	attended flock 9 # another copy of this script may be building
	compile >"$work/build.log" 2>&1 || die "the build failed"
	rm "$work/build.log"
	exec 9<&-
	say built "$client and $broker ($((SECONDS - start)) s)"
}

make_network() {
	ip netns add "$broker_ns" 2>"$work/netns.log" ||
		die "cannot make a network namespace (in a container: run it with --privileged)"
	ip netns add "$client_ns"
	ip link add wan netns "$broker_ns" mtu $path_mtu type veth \
		peer name wan mtu $path_mtu netns "$client_ns"
	ip -n "$broker_ns" link set lo up
	ip -n "$broker_ns" address add 192.0.2.1/24 dev wan
	ip -n "$client_ns" address add 192.0.2.2/24 dev wan
	ip -n "$broker_ns" link set wan up
	ip -n "$client_ns" link set wan up
	say network "broker 192.0.2.1 --- veth with MTU $path_mtu --- client 192.0.2.2"
}

start_programs() {
	local started took
	cat >"$work/broker.conf" <<-EOT
		[broker]
		address=192.0.2.1
		port=8942
		max_tunnels=16
		connection_rate_limit=0.2
		pmtu=0
		[log]
		verbosity=INFO
	EOT
	# Without this hook the client would set its interface up itself; here it also tells the time.
	cat >"$work/hook" <<-EOT
		#!/bin/sh
		[ "\$1" = session.up ] || exit 0
		date +%s%N >"$work/up"
		ip link set "\$2" up
	EOT
	chmod +x "$work/hook"
	"${in_broker[@]}" "$broker" "$work/broker.conf" >"$work/broker.log" 2>&1 &
	broker_pid=$!
	until_true 5 broker_listens || die "the broker does not listen"
	started=$(date +%s%N)
	"${in_client[@]}" "$client" -f -u demo -i tunnel -b 192.0.2.1:8942 \
		-s "$work/hook" >"$work/client.log" 2>&1 &
	client_pid=$!
	until_true 10 test -s "$work/up" || die "no tunnel after 10 s"
	took=$(milliseconds "$started" "$(cat "$work/up")")
	say handshake "$took from the client's start to its up hook"
}

broker_listens() {
	ended "$broker_pid" && die "the broker ended"
	[ -n "$("${in_broker[@]}" ss -Hlnu 'sport = :8942')" ]
}

# mtu_of NAMESPACE INTERFACE
mtu_of() {
	ip -n "$1" -o link show dev "$2" | sed 's/.* mtu \([0-9]*\) .*/\1/'
}

# Do both ends have this MTU?
mtu_found() {
	[ "$(mtu_of "$client_ns" tunnel)" = "$1" ] && [ "$(mtu_of "$broker_ns" "$broker_if")" = "$1" ]
}

show_tunnel() {
	local mtu=$((path_mtu - 62))
	say 'data path' "$(sed -n 's/.*data path //p' "$work/broker.log" | head -n1)"
	broker_if=$(ip -n "$broker_ns" -o link show | grep -oE 'l2tp[0-9]+-[0-9]+' | head -n1)
	ip -n "$broker_ns" address add 10.20.30.1/24 dev "$broker_if"
	ip -n "$client_ns" address add 10.20.30.2/24 dev tunnel
	say interfaces "$broker_if at the broker, tunnel at the client"
	until_true 10 mtu_found $mtu ||
		die "MTU $(mtu_of "$client_ns" tunnel) and $(mtu_of "$broker_ns" "$broker_if"), not $mtu"
	say MTU "$mtu found and set at both ends ($path_mtu - 20 IP - 8 UDP - 20 L2TP with cookie - 14 Ethernet)"
}

# measure OPTION...: one iperf3 run through the tunnel; $rate is what arrived.
measure() {
	"${in_broker[@]}" iperf3 -s -1 -B 10.20.30.1 >/dev/null 2>&1 &
	until_true 5 iperf_listens || die "iperf3 does not listen"
	attended "${in_client[@]}" iperf3 -c 10.20.30.1 -t 2 -f m "$@" >"$work/iperf3.log" 2>&1 ||
		die "iperf3 failed"
	rate=$(sed -n 's/.* \([0-9.]*\) Mbits.*receiver/\1 Mbit\/s/p' "$work/iperf3.log")
}

iperf_listens() {
	[ -n "$("${in_broker[@]}" ss -Hlnt 'sport = :5201')" ]
}

use_tunnel() {
	attended "${in_client[@]}" ping -q -c 10 -i 0.2 -s 1000 10.20.30.1 >"$work/ping.log" 2>&1 ||
		die "no answer to ping through the tunnel"
	say round-trip "$(sed -n 's/^rtt //p' "$work/ping.log")"
	measure
	say throughput "$rate from client to broker (iperf3, one TCP stream)"
	measure -R
	say throughput "$rate from broker to client"
}

[ "$(id -u)" -eq 0 ] || die "network namespaces need root: sudo ./demo.sh"
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
work=$(mktemp -d)
install_missing
# On most machines this makes /dev/net/tun; where that fails, the broker says what is missing.
[ -c /dev/net/tun ] || modprobe tun 2>/dev/null || :
build_programs
make_network
start_programs
show_tunnel
use_tunnel
say "done" "removing namespaces and processes"
