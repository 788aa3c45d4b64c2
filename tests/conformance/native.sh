#!/bin/sh
# SPDX-License-Identifier: MIT
# The conformance suite on this machine's own KVM, a test for each row of each generation. Speaks TAP.
#	native.sh APF CONFORMANCE KERNEL user|kernel
set -u
apf=$1 conformance=$2 kernel=$3 mode=$4

if ! "$apf" doctor --json | grep -q "\"$mode\": true"; then
	echo "1..0 # SKIP mode $mode does not work here (apf doctor)"
	exit 0
fi
exec "$conformance" --tap --kernel "$kernel" --delivery "$mode" --timeout 60
