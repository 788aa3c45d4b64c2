#!/bin/sh
# SPDX-License-Identifier: MIT
# The sums of lib/trace/apf.bt are what the library's counters say (V1). Speaks TAP.
#	bpftrace.sh SCRIPT PROGRAM
set -u
script=$1 program=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

skip() {
	echo "1..0 # SKIP $*"
	exit 0
}

command -v bpftrace >/dev/null || skip "no bpftrace here: apt-get install bpftrace"
[ "$(id -u)" = 0 ] || skip "bpftrace needs root"
"$program" >"$folder/alone" || skip "$(cat "$folder/alone")"
# The smallest script on the same program: does this kernel have BPF and uprobes?
bpftrace -e "usdt:$program:apf:np { @n = count(); }" -c "$program" >"$folder/tried" 2>&1
grep -q '^@n: ' "$folder/tried" || skip "$(tail -1 "$folder/tried")"

bpftrace -c "$program" "$script" "$program" >"$folder/out" 2>"$folder/err"
number=0
for name in faults np ready broadcasts halts waits repeats full completed reads lost; do
	counted=$(sed -n "s/^$name //p" "$folder/out")
	summed=$(sed -n "s/^@count\[$name\]: //p" "$folder/out")
	number=$((number + 1))
	if [ "${counted:-0}" != 0 ] && [ "$counted" = "$summed" ]; then
		echo "ok $number - test_V1_the_sum_of_the_probes_is_the_counter_$name # $counted"
	else
		echo "not ok $number - test_V1_the_sum_of_the_probes_is_the_counter_$name"
		echo "# counted \"$counted\", summed \"$summed\""
		sed 's/^/# /' "$folder/err"
	fi
done
echo "1..$number"
