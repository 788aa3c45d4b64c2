#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The engine is sans I/O: its objects may need nothing but what is listed here."""
import re
import subprocess
import sys

ALLOWED = re.compile(r"""
    apf_.*                                  # the engine's own, errors, tracepoints
  | mem(cpy|set|cmp|move)                   # what a compiler emits on its own
  | _GLOBAL_OFFSET_TABLE_ | __stack_chk_fail
  | __(asan|ubsan|tsan|sanitizer)_.* | __tsan_.* | __llvm_.* | __gcov_.* | __sancov_.*
""", re.VERBOSE)

library = sys.argv[1]
out = subprocess.run(["nm", "-u", library], check=True, capture_output=True, text=True).stdout
needed = {line.split()[1] for line in out.splitlines() if line.strip().startswith(("U ", "w "))}
foreign = sorted(s for s in needed if not ALLOWED.fullmatch(s))
outside = needed & {"apf_error_set", "apf_trace_on", "apf_trace_record"}
if foreign:
    sys.exit(f"engine: needs {', '.join(foreign)}: it must be free of I/O, threads, clock, allocation")
if not outside:
    sys.exit("engine: nm showed no symbols: is this the library?")
print(f"engine: {len(needed)} undefined symbols, all of them pure")
