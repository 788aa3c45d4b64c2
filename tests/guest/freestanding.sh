#!/bin/sh
# SPDX-License-Identifier: MIT
# libapf-guest needs no symbol from outside: linked in one piece, nothing is undefined.
#	freestanding.sh LIBRARY COMPILER...
set -eu
library=$1
shift
object=$(mktemp)
trap 'rm -f "$object"' EXIT
"$@" -shared -nostdlib -Wl,--no-undefined -Wl,--whole-archive "$library" -o "$object"
