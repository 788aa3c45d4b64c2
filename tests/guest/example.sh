#!/bin/sh
# SPDX-License-Identifier: MIT
# The worked example of docs/guest.md compiles as it stands.
#	example.sh SOURCE_ROOT COMPILER...
set -eu
root=$1
shift
sed -n '/^```c$/,/^```$/p' "$root/docs/guest.md" | grep -v '^```' |
	"$@" -x c -std=gnu11 -ffreestanding -Wall -Wextra -Werror -Wno-unused-parameter -fsyntax-only \
		-I "$root/include" -I "$root" -
