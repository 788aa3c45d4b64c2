#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Runs meson's tests of some suites, those that speak TAP, where meson is not: in the lab's L1.

    units.py BUILD SUITE...
"""
import json
import os
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def tests(build, suites):
    """Name, command, environment. Meson knows this folder by the name it has outside of the lab."""
    with open(os.path.join(build, "meson-info", "intro-tests.json"), encoding="utf-8") as file:
        listed = json.load(file)
    with open(os.path.join(build, "meson-info", "meson-info.json"), encoding="utf-8") as file:
        outside = json.load(file)["directories"]["source"]
    for test in listed:
        if test["protocol"] == "tap" and any(suite.split(":")[-1] in suites for suite in test["suite"]):
            yield (test["name"], [word.replace(outside, TOP) for word in test["cmd"]],
                   dict(os.environ, **test["env"]))


def run(name, command, environment):
    """Print the results; True: there were some, and all were good."""
    print(f"# {name}", flush=True)
    done = subprocess.run(command, cwd="/tmp", env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          errors="replace", check=False)
    results = [line.replace("1..0", "ok -", 1) for line in done.stdout.splitlines()
               if line.startswith(("ok", "not ok", "1..0"))]
    print("\n".join(results), flush=True)
    good = bool(results) and not done.returncode
    if not good:
        print(f"not ok - {name}: exit code {done.returncode}\n"
              + "\n".join("# " + line for line in (done.stdout + done.stderr).splitlines()[-40:]),
              flush=True)
    return good


def main(build, *suites):
    return 0 if all([run(*test) for test in tests(build, suites)]) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
