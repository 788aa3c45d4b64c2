# SPDX-License-Identifier: MIT
"""What the tests of the apf command share: checks, the modes that work here, TAP."""
import json
import os
import shutil
import subprocess
import tempfile


class Failure(Exception):
    pass


def check(true, what):
    if not true:
        raise Failure(what)


def usable_modes(apf):
    """The delivery modes and whether they work here, and why none does."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError as error:
        return {}, f"/dev/kvm: {error.strerror}"
    done = subprocess.run([apf, "doctor", "--json"], stdout=subprocess.PIPE, check=False)
    modes = json.loads(done.stdout)["modes"]
    return modes, "" if any(modes.values()) else "apf doctor finds no mode that works here"


def run(number, name, reason, function):
    """One test; with a reason it is skipped."""
    if reason:
        print(f"ok {number} - {name} # SKIP {reason}", flush=True)
        return
    try:
        function()
        print(f"ok {number} - {name}", flush=True)
    except (Failure, subprocess.SubprocessError, OSError, LookupError, ValueError) as error:
        print(f"not ok {number} - {name}\n# {error}", flush=True)


def run_all(kind, apf, needs=None, set_up=None, skip=lambda name: ""):
    """Every test_ method of a class that is made with a folder and the modes; needs: a mode."""
    modes, why = usable_modes(apf)
    if not why and needs and not modes[needs]:
        why = f"apf doctor: no mode {needs} here"
    if why:
        print(f"1..0 # SKIP {why}")
        return
    folder = tempfile.mkdtemp(prefix="apf-test-")
    try:
        tests = kind(folder, modes)
        names = [name for name in vars(kind) if name.startswith("test_")]
        print(f"1..{len(names)}", flush=True)
        if set_up:
            set_up(tests)
        for number, name in enumerate(names, 1):
            run(number, name, skip(name), getattr(tests, name))
    finally:
        shutil.rmtree(folder)
