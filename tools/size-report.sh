#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# What the client costs a router: builds it as a router would get it, and measures the binary, and
# (as root, in two network namespaces of its own, against a real broker) how often it wakes up when
# idle, its processes, and its private memory after ten reconnects.
# Exit status 1 when a limit is exceeded, 2 when something could not be measured.
#
# shellcheck disable=SC2317 # functions are called by name: trap, until_true
set -eu

size_limit=40000     # bytes, stripped
wakeup_limit=0.5     # a second, keepalives of both sides included
process_limit=1
memory_limit=300     # kB, private, after reconnecting
seconds=60           # to count wake-ups
reconnects=10

usage() {
	cat <<'EOT'
usage: tools/size-report.sh [--static] [--broker PROGRAM] [--seconds N]
  --static          only what can be told without running it (no root needed)
  --broker PROGRAM  tunneldigger-broker to use (default: the one in build/, built if missing)
  --seconds N       count wake-ups for so long (default 60)
EOT
}

static=false
broker=''
while [ $# -gt 0 ]; do
	case $1 in
	--static) static=true ;;
	--broker) broker=$2; shift ;;
	--seconds) seconds=$2; shift ;;
	-h | --help) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
work=$(mktemp -d)
broker_ns=tdsize-$$-b
client_ns=tdsize-$$-c
broker_pid='' client_pid='' exceeded=0

die() {
	printf 'size-report: %s\n' "$*" >&2
	for log in "$work"/*.log; do
		[ ! -s "$log" ] || { echo "--- ${log##*/}"; tail -n 20 "$log"; } >&2
	done
	exit 2
}

end() { # PID
	kill "$1" 2>/dev/null || return 0
	wait "$1" 2>/dev/null || :
}

cleanup() {
	[ -z "$client_pid" ] || end "$client_pid"
	[ -z "$broker_pid" ] || end "$broker_pid"
	for ns in "$client_ns" "$broker_ns"; do
		[ ! -e "/run/netns/$ns" ] || ip netns del "$ns" || :
	done
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# report WHAT VALUE UNIT LIMIT: a line of the table; notes when the value is above the limit.
report() {
	verdict=ok
	if awk "BEGIN { exit !($2 > $4) }"; then
		verdict=EXCEEDED
		exceeded=1
	fi
	printf '%-44s %8s %-6s limit %-8s %s\n' "$1" "$2" "$3" "$4" "$verdict"
}

# build DIRECTORY OPTION...
build() {
	directory=$1
	shift
	{
		if [ -f "$directory/build.ninja" ]; then
			meson configure "$directory" "$@"
		else
			meson setup "$directory" "$root" "$@"
		fi
		ninja -C "$directory"
	} >"$work/build.log" 2>&1 || die "the build in $directory failed"
}

# until_true SECONDS WHAT COMMAND...
until_true() {
	tries=$(($1 * 10)) what=$2
	shift 2
	until "$@"; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || die "not in time: $what"
		sleep 0.1
	done
}

tunnel_is_up() {
	ip -n "$client_ns" -o link show dev tunnel 2>/dev/null | grep -q '[<,]UP[,>]'
}

tunnel_is_gone() {
	! ip -n "$client_ns" link show dev tunnel >/dev/null 2>&1
}

# Every time that a process goes to sleep it will wake up once.
sleeps() {
	awk '/^voluntary_ctxt_switches/ { print $2 }' "/proc/$client_pid/status"
}

# The client and what it has started, one process id a line.
processes() {
	echo "$client_pid"
	tr ' ' '\n' <"/proc/$client_pid/task/$client_pid/children"
}

private_kb() {
	for pid in $(processes); do
		cat "/proc/$pid/smaps_rollup"
	done | awk '/^Private_/ { kb += $2 } END { print kb }'
}

start_broker() {
	ip netns exec "$broker_ns" "$broker" "$work/broker.conf" >>"$work/broker.log" 2>&1 &
	broker_pid=$!
}

# Two hosts on a wire. Without IPv6, whose neighbour discovery would wake up an idle tunnel.
make_network() {
	for ns in "$broker_ns" "$client_ns"; do
		ip netns add "$ns"
		ip netns exec "$ns" sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 \
			net.ipv6.conf.default.disable_ipv6=1
		ip -n "$ns" link set lo up
	done
	ip link add wan netns "$broker_ns" type veth peer name wan netns "$client_ns"
	ip -n "$broker_ns" address add 192.0.2.1/24 dev wan
	ip -n "$client_ns" address add 192.0.2.2/24 dev wan
	ip -n "$broker_ns" link set wan up
	ip -n "$client_ns" link set wan up
	cat >"$work/broker.conf" <<-'EOT'
		[broker]
		address=192.0.2.1
		port=8942
		max_tunnels=16
		tunnel_id_base=100
		connection_rate_limit=0
		pmtu=0
		[log]
		verbosity=INFO
		log_ip_addresses=true
		[hooks]
	EOT
}

measure_running() {
	make_network
	start_broker
	ip netns exec "$client_ns" "$work/tunneldigger" -f -u size-report -i tunnel \
		-b 192.0.2.1:8942 >"$work/client.log" 2>&1 &
	client_pid=$!
	until_true 20 "a tunnel" tunnel_is_up
	sleep 10 # for the search of the MTU to end
	before=$(sleeps)
	sleep "$seconds"
	count=$(($(sleeps) - before))
	report "wake-ups a second, idle (of $seconds s)" \
		"$(awk "BEGIN { printf \"%.2f\", $count / $seconds }")" "" "$wakeup_limit"
	report "processes" "$(processes | grep -c .)" "" "$process_limit"
	# A broker that ends tunnels early would be asked less and less often; a new address of the
	# client's is no fault of the broker's.
	old=192.0.2.2
	for number in $(seq "$reconnects"); do
		new=192.0.2.$((number + 2))
		ip -n "$client_ns" address del "$old/24" dev wan
		ip -n "$client_ns" address add "$new/24" dev wan
		until_true 20 "the end of the tunnel" tunnel_is_gone
		until_true 60 "the tunnel from another address" tunnel_is_up
		old=$new
	done
	report "private memory after $reconnects reconnects" "$(private_kb)" kB "$memory_limit"
	grep -o 'data path.*' "$work/client.log" | head -n 1 || :
}

# Not position-independent, as OpenWrt builds for devices with little flash (PKG_ASLR_PIE_NONE).
build "$root/build-size" -Dbuildtype=minsize -Db_lto=true -Db_pie=false -Db_staticpic=false \
	-Dbroker=false -Dtests=false
strip -o "$work/tunneldigger" "$root/build-size/src/client/tunneldigger"
libraries=$(readelf -dW "$work/tunneldigger" |
	sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | tr '\n' ' ')
# As OpenWrt does: what is not loaded is not shipped.
/usr/bin/python3 "$root/tools/sstrip.py" "$work/tunneldigger"
report "binary, stripped" "$(stat -c %s "$work/tunneldigger")" bytes "$size_limit"
printf 'libraries: %s\n' "$libraries"
if ! $static; then
	[ "$(id -u)" -eq 0 ] || die "namespaces need root: sudo tools/size-report.sh, or --static"
	if [ -z "$broker" ]; then
		build "$root/build"
		broker=$root/build/src/broker/tunneldigger-broker
	fi
	measure_running
fi
exit "$exceeded"
