#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# symbols.sh LIBRARY: fails if the library of the two lower floors (base and core) needs anything
# from outside but what docs/ARCHITECTURE.md allows. So it can do no I/O, read no clock and allocate
# nothing, and that is proven by the linker's own tables.
set -eu

library=${1:?usage: symbols.sh LIBRARY}
LC_ALL=C
export LC_ALL

# One name per line. The __*_chk are their fortified variants, bcmp is what clang makes of a
# memcmp() that is compared with 0, the __*di3 divide 64-bit numbers on 32-bit machines.
allowed='memcpy memmove memset memcmp strlen bcmp
__memcpy_chk __memmove_chk __memset_chk
td_assert_failed
crypto_shorthash sodium_memcmp
__stack_chk_fail __stack_chk_guard __stack_chk_fail_local _GLOBAL_OFFSET_TABLE_
__divdi3 __moddi3 __divmoddi4 __udivdi3 __umoddi3 __udivmoddi4'

nm -P "$library" | awk -v allowed="$allowed" '
	BEGIN {
		count = split(allowed, names)
		for (i = 1; i <= count; i++)
			known[names[i]] = 1
	}
	/\]:$/ {	# archive[member]:
		member = $0
		gsub(/.*\/|\]:$/, "", member)
		next
	}
	$2 ~ /^[Uwv]$/ {
		needed[$1] = needed[$1] " " member
		next
	}
	$2 ~ /^[A-Z]$/ {	# a static function of that name in another file would not help
		known[$1] = 1
		defined++
	}
	END {
		for (name in needed) {
			if (name in known)
				continue
			printf "not allowed in base and core: %s, needed by%s\n", name, needed[name]
			failed = 1
		}
		if (member == "" || defined == 0) {
			print "found no symbols to check"
			failed = 1
		}
		exit failed
	}'
