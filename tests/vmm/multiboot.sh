#!/bin/sh
# SPDX-License-Identifier: MIT
# A small multiboot kernel under `apf run`, which knows nothing of libapf: command line, modules,
# exit codes of port 0xf4. Speaks TAP.
#	multiboot.sh APF KERNEL
set -u
apf=$1 kernel=$2

if ! [ -w /dev/kvm ]; then
	echo "1..0 # SKIP no /dev/kvm that can be opened"
	exit 0
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
printf 'of one\0' >"$out/one"
printf 'of two\0' >"$out/two"

# Name, exit code, lines that the kernel says, options.
check() {
	name=$1
	printf '%b' "$3" >"$out/expected"
	code=$2
	shift 3
	"$apf" run --kernel "$kernel" --mem 16M --timeout 30 "$@" >"$out/said" 2>"$out/log"
	got=$?
	tr -d '\r' <"$out/said" >"$out/lines"
	verdict "$name" "$code"
}

# Name, exit code; what it said is compared.
verdict() {
	number=$((number + 1)) name=$1 code=$2
	if [ $got = "$code" ] && cmp -s "$out/lines" "$out/expected"; then
		echo "ok $number - $name"
	else
		echo "not ok $number - $name"
		sed "s/^/# exit $got: /" "$out/lines" "$out/log"
	fi
}

# Nothing of it is there when it runs on.
saved_and_restored() {
	"$apf" run --kernel "$kernel" --mem 16M --timeout 60 --cmdline 3w --module "$out/one" \
		--control "$out/control" >"$out/said" 2>"$out/log" &
	vm=$!
	while ! [ -e "$out/control" ] && kill -0 $vm 2>/dev/null; do sleep 0.01; done
	"$apf" snapshot --control "$out/control" --wait-for 3w --to "$out/snapshot" --stop --timeout 60 \
		>>"$out/log" 2>&1 && wait $vm &&
	"$apf" restore "$out/snapshot" --delivery user --latency 1ms --input x --timeout 60 \
		>"$out/rest" 2>>"$out/log"
	got=$?
	cat "$out/said" "$out/rest" | tr -d '\r' >"$out/lines"
	printf '3w\n%s\nof one\n' "$out/one" >"$out/expected"
	verdict test_a_kernel_saved_early_of_which_nothing_is_there_runs_on 7
}

number=0
check test_0_is_exit_code_8 8 '0\n' --cmdline 0
check test_1_is_exit_code_10 10 '1 a=b\n' --cmdline '1 a=b'
check test_2_is_exit_code_12 12 '2\n' --cmdline 2
check test_others_are_twice_the_value_and_1 19 '9\n' --cmdline 9
check test_modules_come_in_order_with_their_strings 8 "0\nfirst=1 x\nof one\n$out/two\nof two\n" \
	--cmdline 0 --module "$out/one=first=1 x" --module "$out/two"
if "$apf" doctor --json | python3 -c 'import json, sys; sys.exit(not json.load(sys.stdin)["modes"]["user"])'
then
	saved_and_restored
fi
echo "1..$number"
