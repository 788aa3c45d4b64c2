#!/bin/sh
# SPDX-License-Identifier: MIT
# Boots the test kernel on an emulated machine without APF: does it start, run every workload right,
# obey the console and end as it should? Speaks TAP.
#	boot.sh KERNEL x86_64|aarch64
set -u
kernel=$1 arch=$2
qemu=qemu-system-$arch
case $arch in
x86_64)
	machine='-serial stdio -device isa-debug-exit,iobase=0xf4,iosize=0x04'
	exit_ok=1 exit_panic=5 exit_7=15	# what isa-debug-exit makes of 0, 2 and 7
	touches=shadow command='cpuid 40000001' answer='^@apf cpuid eax=' other=arm2
	;;
aarch64)
	machine='-M virt,gic-version=3 -cpu cortex-a72 -serial stdio'
	exit_ok=0 exit_panic=0 exit_7=0		# it has no such device
	touches='busy region' command='hvc 84000000' answer='^@apf hvc cpu=.* x0=0x1' other=int
	;;
esac

if ! command -v "$qemu" >/dev/null; then
	echo "1..0 # SKIP no $qemu"
	exit 0
fi

out=$(mktemp)
trap 'rm -f "$out"' EXIT
number=0

boot() {	# cpus, memory, command line; console input from stdin
	# shellcheck disable=SC2086 # $machine is several words
	timeout 100 "$qemu" -accel tcg $machine -smp "$1" -m "$2" -kernel "$kernel" -append "$3" \
		-nic none -display none -monitor none -no-reboot >"$out" 2>&1
	code=$?
}

check() {	# exit code, name, patterns that the console must show ...
	wanted=$1 name=$2
	shift 2
	number=$((number + 1))
	result=ok
	[ $code = "$wanted" ] || result='not ok'
	for pattern; do
		grep -q -- "$pattern" "$out" || result='not ok'
	done
	echo "$result $number - $name"
	[ "$result" = ok ] || sed "s/^/# exit $code: /" "$out"
}

for cpus in 1 2; do
	for mode in touch random write work pipe kernel atomic irqoff $touches sleep; do
		boot $cpus 64 "auto=1 tasks=9 pages=32 worker=1 mode=$mode" </dev/null
		case $mode in
		work | sleep) bytes=0 ;;
		write) bytes=$((9 * 32 * 4096 * 2)) ;;
		*) bytes=$((9 * 32 * 4096)) ;;
		esac
		check "$exit_ok" "test_boot_${mode}_on_${cpus}_cpus" "cpus=$cpus abi=off" \
			'^@apf ready tasks=9 pages=32' \
			"^@apf done mode=$mode tasks=9 bytes=$bytes wrong=0 worker=[0-9]* elapsed_us="
	done
done

boot 2 128 'tasks=256 pages=8 bad=storm' <<-END
	go touch
	go sleep 100
	go
	counts
	$command
	area
	nonsense
	go nonsense
	off
END
check 0 test_console_commands_as_the_linux_guest_has_them 'mode=touch tasks=256' 'mode=sleep' \
	'^@apf counts np=0' "$answer" '^@apf area cpu=' 'error unknown command' \
	'error unknown mode'

boot 2 64 'tasks=8' <<-END
	fault-and-reset
END
check 0 test_reset_ends_a_machine_that_does_not_reboot '^@apf ready'

boot 1 64 'tasks=8' <<-END
	exit 7
END
check "$exit_7" test_exit_code_reaches_the_host '^@apf ready'

boot 1 64 "abi=$other tasks=4 auto=1" </dev/null
check "$exit_ok" test_N5_a_generation_that_is_not_offered_is_not_used \
	"abi=off refused=$other" 'wrong=0'

boot 3 64 'cpus=2 tasks=4 auto=1' </dev/null
check "$exit_ok" test_the_command_line_overrides_the_number_of_cpus 'cpus=2'

boot 1 64 'tasks=4096 pages=64 auto=1' </dev/null
check "$exit_panic" test_too_little_memory_is_said '^@apf error no memory'

boot 1 64 'mode=nonsense' </dev/null
check "$exit_panic" test_a_wrong_option_is_said '^@apf error mode='

echo "1..$number"
