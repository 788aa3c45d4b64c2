#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""apf ends when it is told to, whatever it is doing, and whoever does not read. Speaks TAP.

    ends.py APF KERNEL

What must end within a second is given LIMIT seconds; without the cures it would take for ever,
or much longer than that.
"""
import fcntl
import glob
import json
import os
import signal
import socket
import subprocess
import sys
import time

from tap import Failure, check, run_all

APF, KERNEL = sys.argv[1:3]
LIMIT = 15
LONG = "1000s"


def wait_until(true, what):
    end = time.monotonic() + 60
    while not true():
        check(time.monotonic() < end, f"never: {what}")
        time.sleep(0.01)


class Program:
    """apf, running; killed at the end of the block."""

    def __init__(self, *args, **more):
        self.process = subprocess.Popen([APF, *args], stderr=subprocess.PIPE,
                                        **{"stdout": subprocess.DEVNULL, **more})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        try:
            self.process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            pass        # a thread in the kernel that nothing ends

    def has_thread(self, name):
        check(self.process.poll() is None, f"it has ended with {self.process.returncode}")
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/comm"):
            try:
                with open(path, encoding="ascii") as file:
                    if file.read().strip() == name:
                        return True
            except OSError:
                pass
        return False

    def ends(self, code):
        try:
            got = self.process.wait(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            raise Failure(f"still there after {LIMIT} s") from None
        check(got == code, f"exit code {got}, not {code}")

    def told(self, code=1):
        self.process.send_signal(signal.SIGTERM)
        self.ends(code)


class Tests:
    def __init__(self, folder, modes):
        self.folder, self.modes = folder, modes

    def path(self, name):
        return os.path.join(self.folder, name)

    def fresh(self, name):
        if os.path.exists(self.path(name)):
            os.unlink(self.path(name))
        return self.path(name)

    def fifo(self):
        os.mkfifo(self.fresh("fifo"))
        return self.path("fifo")

    def run_args(self, *options):
        return ("run", "--kernel", KERNEL, "--mem", "64M", "--cmdline", "tasks=4 pages=4 worker=1",
                *options)

    def full_pipe(self):
        """A pipe whose reader never reads."""
        read, write = os.pipe()
        fcntl.fcntl(write, fcntl.F_SETFL, os.O_NONBLOCK)
        try:
            while True:
                os.write(write, bytes(4096))
        except BlockingIOError:
            pass
        fcntl.fcntl(write, fcntl.F_SETFL, 0)
        self.pipes.append(read)
        return write

    pipes = []

    def snapshot(self, name, *options):
        return subprocess.run([APF, "snapshot", "--control", self.path("control"), "--to",
                               self.path(name), *options], timeout=60, check=False,
                              stdout=subprocess.DEVNULL).returncode

    def test_a_vm_can_be_managed_while_nobody_reads_its_output(self):
        control = self.fresh("control")
        with Program(*self.run_args("--control", control), stdout=self.full_pipe()) as vm:
            wait_until(lambda: os.path.exists(control), "the control socket")
            check(self.snapshot("snap", "--wait-for", "@apf ready", "--timeout", "30") == 0, "snapshot")
            vm.told()

    def test_the_time_limit_holds_while_nobody_reads_the_output(self):
        with Program(*self.run_args("--timeout", "1"), stdout=self.full_pipe()) as vm:
            vm.ends(5)

    def test_a_report_that_nobody_reads_does_not_hold_the_end_up(self):
        with Program(*self.run_args("--timeout", "1", "--json", "-", "--serial", "/dev/null"),
                     stdout=self.full_pipe()) as vm:
            vm.ends(5)

    def test_a_fifo_is_no_kernel(self):
        with Program("run", "--kernel", self.fifo()) as vm:
            vm.ends(1)

    def test_a_fifo_is_no_state(self):
        os.makedirs(self.path("odd"), exist_ok=True)
        os.mkfifo(self.path("odd/state"))
        with Program("restore", self.path("odd"), "--delivery", "sync") as vm:
            vm.ends(1)

    def restore(self, *options, latency=LONG):
        return Program("restore", self.path("snap"), "--delivery", "sync", "--latency", latency, *options)

    def preload(self):
        with open(self.path("list"), "w", encoding="ascii") as file:
            file.write("apf-pages 1\n0 256\n")
        return ("--preload", self.path("list"))

    def test_a_signal_ends_a_preload(self):
        with self.restore(*self.preload()) as vm:
            wait_until(lambda: vm.has_thread("apf-pager"), "the pager")
            vm.told()

    def test_the_time_limit_ends_a_preload(self):
        with self.restore(*self.preload(), "--timeout", "1") as vm:
            vm.ends(5)

    def test_the_time_limit_ends_the_opening_of_a_store(self):
        with self.restore("--store", f"file:{self.fifo()}", "--timeout", "1") as vm:
            vm.ends(5)

    def test_a_signal_ends_a_save_that_waits_for_the_store_and_nothing_is_left(self):
        control = self.fresh("control")
        with self.restore("--control", control, "--serial", "/dev/null", latency="4s") as vm:
            wait_until(lambda: os.path.exists(control), "the control socket")
            with Program("snapshot", "--control", control, "--to", self.path("second")):
                wait_until(lambda: glob.glob(self.path("second.tmp*")), "the save's folder")
                vm.told()
            check(not glob.glob(self.path("second*")), "something is left of the snapshot")

    def test_the_report_says_what_a_vm_waits_for_that_was_ended_from_outside(self):
        control, report = self.fresh("control"), self.path("report")
        with open(self.path("kernel"), "w", encoding="ascii") as file:
            file.write("apf-pages 1\n0 1024\n")
        with Program("restore", self.path("snap"), "--delivery", "user", "--latency", "8s", "--control",
                     control, "--serial", "/dev/null", "--preload", self.path("kernel"), "--input",
                     "go touch\\n", "--json", report) as vm:
            wait_until(lambda: os.path.exists(control), "the control socket")
            wait_until(lambda: self.status(control)["outstanding"] > 0, "a fault")
            vm.told()
        with open(report, encoding="utf-8") as file:
            stall = json.load(file)["stall"]
        vcpu = stall["vcpus"][0]
        check(stall["in_flight"] > 0 and vcpu["outstanding"] > 0, f"{stall}")
        check(vcpu["enabled"] and int(vcpu["area"], 16) and int(vcpu["pc"], 16), f"{stall}")
        check(vcpu["mp_state"] in ("runnable", "halted"), f"{stall}")
        check("interrupts" in vcpu and "irr" in vcpu and "late_readies" in stall, f"{stall}")

    def status(self, control):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(control)
            client.sendall(b'{"cmd":"status"}\n')
            return json.loads(client.makefile().readline())

    def test_a_client_does_not_wait_for_ever_for_a_vm_that_does_not_answer(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.fresh("deaf"))
            listener.listen()
            with Program("snapshot", "--control", self.path("deaf"), "--to", self.path("none"),
                         "--timeout", "1") as client:
                client.ends(5)


if __name__ == "__main__":
    run_all(Tests, APF, needs="sync")
