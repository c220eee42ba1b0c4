#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# Installs what the tests need (Debian 12), builds with and without sanitizers, and runs every
# test and check. The last line is "N passed, N failed, N skipped"; see docs/TESTING.md.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

usage() {
	cat <<'EOT'
usage: ./check.sh [--full]                        everything (as root); --full: on one more kernel
       ./check.sh net [pytest option ...]         only the namespace tests, e.g. net -k takeover
       ./check.sh vm KERNEL [pytest option ...]   the same in a virtual machine with L2TP;
                                                  KERNEL: 6.1, 6.12 or backports
EOT
}

# The tools of the distribution, whatever the caller's shell prefers.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
unset CC CFLAGS CPPFLAGS LDFLAGS
export ASAN_OPTIONS=abort_on_error=1:detect_leaks=1:disable_coredump=1
export UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_stacktrace=1

packages=(
	gcc libc6-dev git meson ninja-build pkg-config
	libcmocka-dev libinih-dev libjson-c-dev libmnl-dev libnftnl-dev libseccomp-dev libsodium-dev
	clang libclang-rt-14-dev clang-format-14 cppcheck mandoc shellcheck
	python3 python3-pytest python3-pytest-xdist
	ethtool iperf3 iproute2 iptables iputils-ping netbase nftables procps
	busybox-static cpio kmod qemu-system-x86
)
results=build-results

die() {
	printf 'check.sh: %s\n' "$*" >&2
	exit 1
}

install_missing() {
	local package missing=()
	command -v apt-get >/dev/null || die "this needs Debian's apt-get; install by hand: ${packages[*]}"
	for package in "${packages[@]}"; do
		# shellcheck disable=SC2016 # the ${} is dpkg's
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>&1)" = installed ] ||
			missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	echo "installing ${missing[*]}"
	{ apt-get update -q && apt-get install -yq --no-install-recommends "${missing[@]}"; } \
		>"$results/install.log" 2>&1 </dev/null ||
		{ tail -n 20 "$results/install.log"; die "apt-get failed"; }
}

# run NAME KIND COMMAND...: runs it with its output in a log of that name and notes the outcome.
# KIND: "check" counts as one; otherwise the JUnit file that says what to count.
run() {
	local name=$1 kind=$2 status=0 start=$SECONDS
	shift 2
	"$@" >"$results/$name.log" 2>&1 </dev/null || status=$?
	printf '%s\t%s\t%s\n' "$name" "$kind" "$status" >>"$results/outcomes"
	if [ "$status" -eq 0 ]; then
		printf 'ok    %-14s %3d s\n' "$name" $((SECONDS - start))
	else
		printf 'FAIL  %-14s %3d s   %s\n' "$name" $((SECONDS - start)) "$results/$name.log"
		tail -n "${CHECK_TAIL:-60}" "$results/$name.log" | sed 's/^/      | /'
	fi
	return 0
}

# build DIRECTORY COMPILER OPTION...
build() {
	local directory=$1 compiler=$2
	shift 2
	if ! { [ -f "$directory/build.ninja" ] && meson configure "$directory" "$@"; }; then
		rm -rf "$directory"
		CC=$compiler meson setup "$directory" "$@" || return
	fi
	ninja -C "$directory"
}

# The project's files, also when the clone belongs to the user who called sudo.
files() {
	git -c safe.directory="$PWD" ls-files -z --cached --others --exclude-standard -- "$@"
}

# Shell scripts, whatever their names.
check_shell() {
	local file first scripts=()
	while IFS= read -r -d '' file; do
		IFS= read -r first <"$file" 2>/dev/null || continue
		[[ $first =~ ^#!.*[/\ ](ba|da)?sh($|\ ) ]] && scripts+=("$file")
	done < <(files)
	printf '%s\n' "${scripts[@]}"
	shellcheck -x "${scripts[@]}"
}

check_man() {
	local pages
	mapfile -d '' -t pages < <(files 'docs/man/*.[1-9]')
	mandoc -T lint -W warning "${pages[@]}"
}

check_format() {
	files '*.c' '*.h' | xargs -0 clang-format-14 --dry-run --Werror
}

# check_floor FLOOR MAY_INCLUDE...: docs/ARCHITECTURE.md.
check_floor() {
	local floor=$1 allowed
	shift
	allowed=$(IFS='|'; echo "$*")
	! grep -rnE '^#include "' "src/$floor" | grep -vE "#include \"($allowed)/" ||
		{ echo "src/$floor may include only $*"; return 1; }
}

check_floors() {
	check_floor base base &&
		check_floor core core base &&
		check_floor sys sys core base &&
		check_floor datapath datapath sys core base &&
		check_floor client client datapath sys core base &&
		check_floor broker broker datapath sys core base
}

# Whatever a document points to exists, and README stays short enough to be read.
check_docs() {
	local document path status=0
	while IFS= read -r -d '' document; do
		while IFS= read -r path; do
			[ -e "$(dirname "$document")/$path" ] && continue
			echo "$document: there is no $path"
			status=1
		done < <(grep -oE '\]\([^)#]+' "$document" | cut -c3- | grep -v ://)
	done < <(files '*.md')
	[ "$(wc -l <README.md)" -lt 120 ] || { echo "README.md has 120 lines or more"; return 1; }
	return $status
}

# cppcheck 2.10 takes the address of a member for a use of its value: hence the suppression.
check_cppcheck() {
	cppcheck --enable=warning,performance,portability --inline-suppr --quiet --error-exitcode=1 \
		-j "$(nproc)" -I src -D_GNU_SOURCE -DTD_VERSION='"0"' \
		--suppress=missingIncludeSystem --suppress=uninitvar:src/sys/udp.c --std=c11 src
}

run_net() {
	timeout --kill-after=30 1500 env TD_BUILD="$PWD/build-asan" \
		/usr/bin/python3 -m pytest -p no:cacheprovider -q -n 12 --junit-xml="$results/net.xml" \
		tests/net "$@"
}

# What the client costs. The script waits for most of its time, so it runs beside the others.
begin_size() {
	tools/size-report.sh --broker build/src/broker/tunneldigger-broker \
		>"$results/size-report" 2>&1 </dev/null &
	size_pid=$!
	trap 'kill "$size_pid" 2>/dev/null || :' EXIT
}

end_size() {
	local status=0
	wait "$size_pid" || status=$?
	cat "$results/size-report"
	return $status
}

# run_vm KERNEL [PYTEST OPTION...]: a kernel that cannot be had is a skip.
run_vm() {
	local kernel=$1 status=0
	local directory=$results/vm-$kernel
	shift
	mkdir -p "$directory"
	tests/vm/fetch-kernel "$kernel" "${TD_VM_CACHE:-build-vm}" || status=$?
	if [ "$status" -eq 3 ]; then
		echo '<testsuite><testcase name="kernel"><skipped/></testcase></testsuite>' \
			>"$directory/kernel.xml"
		return
	fi
	[ "$status" -eq 0 ] || return "$status"
	tests/vm/vm -k "$kernel" -m 2048 -t 2400 tests/vm/net "$directory" "$@"
}

full=false only=
case ${1-} in
--full) full=true; shift ;;
net) only=net; shift ;;
vm) only=vm; shift; kernel=${1-}; [ $# -eq 0 ] || shift ;;
-h | --help) usage; exit 0 ;;
esac
[ -n "$only" ] || [ $# -eq 0 ] || { usage >&2; exit 2; }
[ "$(id -u)" -eq 0 ] || die "network namespaces need root: sudo ./check.sh"

rm -rf "$results"
mkdir -p "$results"
install_missing

# Warnings are no errors here: gcc documents false ones in code that sanitizers instrument.
sanitize=(-Dwerror=false "-Db_sanitize=address,undefined" -Db_lundef=false)
if [ "$only" = net ]; then
	run build-asan check build build-asan gcc "${sanitize[@]}"
	run net "$results/net.xml" run_net "$@"
elif [ "$only" = vm ]; then
	run build check build build gcc -Dwerror=true
	run "vm-$kernel" "$results/vm-$kernel" run_vm "$kernel" "$@"
else
	run build-asan check build build-asan gcc "${sanitize[@]}"
	run build check build build gcc -Dwerror=true
	run build-clang check build build-clang clang -Dwerror=true
	for directory in build build-asan; do
		run "test-$directory" "$directory/meson-logs/testlog.junit.xml" \
			meson test -C "$directory" --no-rebuild --print-errorlogs --timeout-multiplier 4
	done
	run shellcheck check check_shell
	run man-pages check check_man
	run documents check check_docs
	run floors check check_floors
	run clang-format check check_format
	run cppcheck check check_cppcheck
	run fuzz check tests/fuzz/run -s 30
	run demo check ./demo.sh
	begin_size
	run net "$results/net.xml" run_net
	run size check end_size
	# One processor's worth of work each, and nothing beside them: their clocks run on.
	run vm-6.1 "$results/vm-6.1" run_vm 6.1 &
	run vm-6.12 "$results/vm-6.12" run_vm 6.12
	wait
	! $full || run vm-backports "$results/vm-backports" run_vm backports
fi
/usr/bin/python3 tests/results.py "$results/outcomes" tests/allowed-skips.txt
