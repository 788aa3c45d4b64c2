#!/bin/sh
# SPDX-License-Identifier: MIT
# The command line of `apf-conformance`: what it refuses, what it prints, what it leaves. Speaks TAP.
#	cli.sh APF CONFORMANCE KERNEL
set -u
apf=$1 conformance=$2 kernel=$3
number=0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export TMPDIR="$folder"

ok() {	# name, code that is expected, text that the output has; the command
	name=$1 code=$2 text=$3
	shift 3
	number=$((number + 1))
	"$@" >"$folder/out" 2>&1
	got=$?
	if [ $got = "$code" ] && grep -q -- "$text" "$folder/out"; then
		echo "ok $number - $name"
	else
		echo "not ok $number - $name"
		sed "s/^/# exit $got: /" "$folder/out"
	fi
}

leaves_nothing() {
	[ -z "$(find "$folder" -name 'apf-conformance-*')" ] && echo clean
}

ok test_an_unknown_generation_is_refused 2 "no generation" "$conformance" --abi 1999
ok test_a_row_that_no_generation_has_is_refused 2 "no such row" "$conformance" --rows Z1
ok test_a_generation_that_KVM_lacks_is_refused 2 "no such generation" \
	"$conformance" --delivery kernel --abi 2010
ok test_sync_is_no_implementation 2 "no implementation" "$conformance" --delivery sync
ok test_too_few_cpus_are_refused 2 "from 2 to 8" "$conformance" --cpus 1

if ! "$apf" doctor --json | grep -q '"user": true'; then
	echo "1..$number"
	exit 0
fi
ok test_only_the_wanted_rows_are_judged 0 "conformance 2010/user: 1 pass, 0 fail, 0 differ, 0 skip" \
	"$conformance" --kernel "$kernel" --abi 2010 --rows L1
ok test_json_has_row_result_and_reason 0 '"result": "SKIP"' \
	"$conformance" --kernel "$kernel" --abi int --rows N5,N9 --json -
ok test_a_kernel_that_is_none_is_an_error 1 "no VM" \
	"$conformance" --kernel "$0" --abi int --rows N5
ok test_snapshots_are_removed 0 clean leaves_nothing
echo "1..$number"
