#!/bin/sh
# SPDX-License-Identifier: MIT
# libapf-guest needs no symbol from outside: linked in one piece, nothing is undefined.
set -eu
object=$(mktemp)
trap 'rm -f "$object"' EXIT
ld -r --whole-archive "$1" -o "$object"
undefined=$(nm -u "$object")
if [ -n "$undefined" ]; then
	echo "libapf-guest needs: $undefined"
	exit 1
fi
