#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Snapshots that are damaged or half written are never run on. Speaks TAP.

    damaged.py APF KERNEL
"""
import glob
import os
import shutil
import subprocess
import sys
import time

from tap import check, run_all

APF, KERNEL = sys.argv[1:3]
PAGE = 4096
LIMIT = 60


def apf(*args):
    """Exit code and what it said."""
    done = subprocess.run([APF, *args], timeout=LIMIT, check=False, text=True,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return done.returncode, done.stderr


def wait_for(pattern):
    end = time.monotonic() + LIMIT
    while not glob.glob(pattern):
        check(time.monotonic() < end, f"never: {pattern}")
        time.sleep(0.01)
    return glob.glob(pattern)[0]


class Tests:
    def __init__(self, folder, modes):
        self.folder = folder
        self.modes = [name for name, works in modes.items() if works]

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, *args):
        if os.path.exists(self.path("control")):
            os.unlink(self.path("control"))
        return subprocess.Popen([APF, *args, "--control", self.path("control"), "--serial", "/dev/null",
                                 "--timeout", str(LIMIT)], stderr=subprocess.DEVNULL)

    def set_up(self):
        vm = self.start("run", "--kernel", KERNEL, "--mem", "64M", "--cmdline", "tasks=4 pages=4 worker=1")
        try:
            wait_for(self.path("control"))
            code, text = apf("snapshot", "--control", self.path("control"), "--to", self.path("snap"),
                             "--wait-for", "@apf ready", "--stop", "--timeout", str(LIMIT))
            check(code == 0, text)
            vm.wait(LIMIT)
        finally:
            vm.kill()
            vm.wait()

    def copy(self):
        """A copy to be spoilt."""
        shutil.rmtree(self.path("copy"), ignore_errors=True)
        shutil.copytree(self.path("snap"), self.path("copy"))
        return self.path("copy")

    def written_page(self):
        """The first page of RAM that is not all zeroes."""
        with open(self.path("snap/ram"), "rb") as file:
            number = os.lseek(file.fileno(), 0, os.SEEK_DATA) // PAGE
            file.seek(number * PAGE)
            check(any(file.read(PAGE)), f"page {number} is zero")
        return number

    def flip(self, folder):
        """Damage a page; returns its number."""
        number = self.written_page()
        with open(os.path.join(folder, "ram"), "r+b") as file:
            file.seek(number * PAGE + 1234)
            byte = file.read(1)
            file.seek(number * PAGE + 1234)
            file.write(bytes([byte[0] ^ 0x5a]))
        return number

    def restore(self, folder, mode, page):
        with open(self.path("list"), "w", encoding="ascii") as file:
            file.write(f"apf-pages 1\n{page} 1\n")
        return apf("restore", folder, "--delivery", mode, "--preload", self.path("list"), "--serial",
                   "/dev/null", "--timeout", str(LIMIT))

    def test_what_was_saved_verifies(self):
        code, text = apf("snapshot", "--verify", self.path("snap"))
        check(code == 0, text)

    def test_a_damaged_page_is_found_and_never_given_to_the_guest(self):
        folder = self.copy()
        page = self.flip(folder)
        code, text = apf("snapshot", "--verify", folder)
        check(code == 1 and f"page {page} " in text, f"verify: {code} {text}")
        for mode in self.modes:
            code, text = self.restore(folder, mode, page)
            check(code == 6 and f"page {page} is not as it was saved" in text, f"{mode}: {code} {text}")

    def test_ram_that_was_never_written_is_not_taken_for_zeroes(self):
        folder = self.copy()
        size = os.path.getsize(os.path.join(folder, "ram"))
        with open(os.path.join(folder, "ram"), "wb") as file:
            file.truncate(size)
        page = self.written_page()
        code, text = self.restore(folder, self.modes[0], page)
        check(code == 6 and f"page {page} is not as it was saved" in text, f"{code} {text}")
        check(apf("snapshot", "--verify", folder)[0] == 1, "it verifies")

    def test_ram_that_ends_early_is_refused(self):
        folder = self.copy()
        os.truncate(os.path.join(folder, "ram"), 63 << 20)
        code, text = apf("snapshot", "--verify", folder)
        check(code == 1 and "bytes" in text, f"{code} {text}")

    def test_what_a_killed_save_leaves_is_no_snapshot(self):
        vm = self.start("restore", self.path("snap"), "--delivery", self.modes[0], "--latency", "4s")
        try:
            wait_for(self.path("control"))
            with subprocess.Popen([APF, "snapshot", "--control", self.path("control"), "--to",
                                   self.path("half")], stderr=subprocess.DEVNULL):
                wait_for(self.path("half.tmp*") + "/ram")
                vm.kill()
                vm.wait()
        finally:
            vm.kill()
            vm.wait()
        left = glob.glob(self.path("half*"))
        check(len(left) == 1, f"left: {left}")
        for args in (("restore", left[0], "--delivery", self.modes[0]), ("snapshot", "--verify", left[0])):
            code, text = apf(*args)
            check(code == 1 and "state" in text, f"{args}: {code} {text}")


if __name__ == "__main__":
    run_all(Tests, APF, set_up=Tests.set_up)
