#!/bin/sh
# SPDX-License-Identifier: MIT
# What `make run` does on a machine whose KVM is too slow for Linux, in small: the three modes with
# the test kernel on this machine's KVM, then table, picture and JSON. Speaks TAP.
#	modes.sh LAB APF KERNEL
set -u
lab=$1 apf=$2 kernel=$3

if ! [ -w /dev/kvm ]; then
	echo "1..0 # SKIP no /dev/kvm that can be opened"
	exit 0
fi
all='import json, sys; sys.exit(not all(json.load(sys.stdin)["modes"].values()))'
if ! "$apf" doctor --json | python3 -c "$all"; then
	echo "1..0 # SKIP apf doctor: not all three modes work here"
	exit 0
fi

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

check() {	# name, command ...
	number=$((number + 1)) name=$1
	shift
	if "$@" >"$out/log" 2>&1; then
		echo "ok $number - $name"
	else
		echo "not ok $number - $name"
		sed 's/^/# /' "$out/log"
	fi
}

every_mode_finished() {
	python3 - "$out/run.json" <<-END
	import json, sys
	run = json.load(open(sys.argv[1]))
	assert (run["host"], run["guest"]) == ("kvm-slow", "apf-test-kernel")
	modes = {mode["mode"]: mode for mode in run["modes"]}
	assert list(modes) == ["sync", "kernel", "user"]
	for mode in modes.values():
	    assert mode["bytes_verified"] == 8 * 4 * 4096 and mode["wrong_bytes"] == 0, mode
	    assert mode["first_instruction_ms"] < mode["finish_ms"], mode
	assert modes["sync"]["np"] == 0 and modes["kernel"]["np"] > 0 and modes["user"]["np"] > 0
	END
}

number=0
check test_three_modes_with_the_test_kernel "$lab/modes" --apf "$apf" --kernel "$kernel" \
	--out "$out" --tasks 8 --pages 4 --latency 2ms --mem 64M --limit 100
check test_report "$lab/report" --modes "$out" --out "$out/run" --host kvm-slow \
	--guest apf-test-kernel --tasks 8 --pages 4 --latency-us 2000 --cpus 1 --mem 64M
check test_report_has_every_mode every_mode_finished
check test_picture grep -q '</svg>' "$out/run.svg"
echo "1..$number"
