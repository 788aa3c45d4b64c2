# SPDX-License-Identifier: MIT
"""A guest that is booted, saved and lazily restored by the apf command, for checks and measurements.

Each check prints "ok - ..." or "not ok - ...". An emulated processor may lose a guest, or itself (x86's with
several CPUs does, about once in forty restores). So a check that fails is tried a second time, and says
so; and --done names a file that keeps what has been checked, for a run that goes on after L1 died.
"""
import json
import os
import shutil
import subprocess
import tempfile
import time

ARM64 = os.uname().machine == "aarch64"
MODES = ("sync", "user") if ARM64 else ("sync", "kernel", "user")
LAB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../lab")
MEM = "256M"
SECONDS = 480       # until a VM counts as stuck


def linux_cmdline():
    """What the guest's Linux is told here, less the workload's options."""
    with open(os.path.join(LAB, "cmdline." + ("arm64" if ARM64 else "x86")), encoding="utf-8") as f:
        words = subprocess.run([os.path.join(LAB, "guest/words")], stdout=subprocess.PIPE, text=True, check=True)
        return f"{f.read().strip()} {words.stdout.strip()}"


class Failed(Exception):
    """A check that did not hold; its text says what was seen."""


def demand(condition, text):
    if not condition:
        raise Failed(text)


class Lab:
    """One guest kernel, one work folder, and the apf commands on them."""

    def __init__(self, args):
        self.args = args
        self.linux = bool(args.initrd)
        self.cmdline = linux_cmdline() if self.linux else ""
        # Whether the guest knows APF: Linux does on x86 only.
        self.told = not (self.linux and ARM64)
        self.folder = tempfile.mkdtemp(prefix="apf-cases-")
        self.failed = 0
        self.number = 0
        self.done = set()
        if args.done and os.path.exists(args.done):
            with open(args.done, encoding="utf-8") as f:
                self.done = set(f.read().splitlines())

    def path(self, name):
        return os.path.join(self.folder, name)

    def apf(self, *words, check=True, timeout=SECONDS + 60):
        done = subprocess.run([self.args.apf, *map(str, words)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              errors="replace", timeout=timeout, check=False)
        if check:
            demand(done.returncode == 0, f"apf {' '.join(map(str, words))}: exit code "
                                         f"{done.returncode}: {done.stderr.strip()[-800:]}")
        return done

    def start(self, *words):
        log = open(self.path("background.log"), "w", encoding="utf-8")
        return subprocess.Popen([self.args.apf, *map(str, words)], stdin=subprocess.DEVNULL,
                                stdout=log, stderr=subprocess.STDOUT)

    def wait(self, process, seconds=SECONDS):
        """The exit code of a background apf; it must end by itself."""
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired as gone:
            process.kill()
            process.wait()
            raise Failed(f"did not end within {seconds} s") from gone

    def wait_for_control(self, vm, control):
        """Until a background apf listens there."""
        while not os.path.exists(control):
            demand(vm.poll() is None, f"apf ended early: {self.log()}")
            time.sleep(0.1)

    def log(self):
        with open(self.path("background.log"), encoding="utf-8", errors="replace") as f:
            return f.read()[-800:]

    def snapshot(self, name, tasks, pages, delivery="user", extra="", cpus=2, options=()):
        """Boots a guest, fills its memory, takes a snapshot; returns its folder."""
        folder, control, report = self.path(name), self.path(name + ".sock"), self.path("run.json")
        cmdline = f"{self.cmdline} tasks={tasks} pages={pages} {extra}"
        self.drop(folder)
        initrd = ("--initrd", self.args.initrd) if self.linux else ()
        vm = self.start("run", "--kernel", self.args.kernel, *initrd, "--cmdline", cmdline,
                        "--mem", MEM, "--cpus", cpus, "--delivery", delivery, "--control", control,
                        "--json", report, "--timeout", SECONDS, *options)
        try:
            self.wait_for_control(vm, control)
            self.apf("snapshot", "--control", control, "--wait-for", "@apf ready", "--to", folder,
                     "--stop", "--timeout", SECONDS - 10)
            code = self.wait(vm)
            demand(code == 0, f"apf run: exit code {code}: {self.log()}")
        finally:
            if vm.poll() is None:
                vm.kill()
                vm.wait()
        with open(report, encoding="utf-8") as f:
            return folder, json.load(f)

    def restore(self, folder, delivery, *extra, line="go touch", latency="10ms", until="@apf done",
                check=True, timeout=SECONDS):
        self.number += 1
        report = self.path(f"restore-{self.number}.json")
        done = self.apf("restore", folder, "--delivery", delivery, "--latency", latency, "--input",
                        line + "\\n", "--until", until, "--json", report, "--serial", "/dev/null",
                        "--timeout", timeout - 10, *extra, check=check, timeout=timeout)
        result = {}
        if os.path.exists(report) and os.path.getsize(report):  # empty: refused before the start
            with open(report, encoding="utf-8") as f:
                result = json.load(f)
        result["exit"], result["stderr"] = done.returncode, done.stderr.strip()[-800:]
        return result

    def hot(self, folder, then=""):
        """The guest kernel's working set: what a run touches whose tasks only sleep.

        then: "off" or "reset", for what the end of the machine touches, too. The latency makes the
        tasks meet on their missing stacks, so that what a fault takes in the guest is among it.
        """
        path = os.path.join(folder, "hot" + then)
        if not os.path.exists(path):
            self.restore(folder, "user", "--record", path, latency="3ms", check=not then,
                         line="go sleep 1000" + (then and "\\n" + then),
                         until="@apf never" if then else "@apf done")
        return path

    def try_case(self, function):
        """None, or what was wrong; and what the check has to say."""
        try:
            return None, function() or ""
        except (Failed, OSError, ValueError, KeyError, subprocess.SubprocessError) as e:
            return f"{type(e).__name__}: {e}", ""

    def case(self, name, function, again=True):
        """One check. again: it makes nothing that others need, so it may be left out if done."""
        name = f"{self.args.name} {name}"
        if again and name in self.done:
            return
        start = time.monotonic()
        wrong, note = self.try_case(function)
        if wrong:
            print(f"# tried again - {name}: {wrong}", flush=True)
            wrong, note = self.try_case(function)
        if not wrong and name in self.done:
            return
        self.failed += bool(wrong)
        spent = time.monotonic() - start
        print(f"not ok - {name}: {wrong}" if wrong else f"ok - {name} ({spent:.1f} s) {note}",
              flush=True)
        self.note_done(name)

    def note_done(self, name):
        self.done.add(name)
        if self.args.done:
            with open(self.args.done, "a", encoding="utf-8") as f:
                f.write(name + "\n")

    def drop(self, folder):
        shutil.rmtree(folder, ignore_errors=True)


def until_met(attempts):
    """The first of some attempts at what depends on who is faster; the last one's words if none succeeds."""
    *early, last = attempts
    for attempt in early:
        try:
            return attempt()
        except Failed:
            pass
    return last()


def numbers(result, line):
    """The name=value pairs of the guest's line that begins so."""
    for mark in result.get("marks", ()):
        if mark["text"].startswith(line):
            words = dict(w.split("=", 1) for w in mark["text"].split() if "=" in w)
            return {k: int(v) if v.isdigit() else v for k, v in words.items()}
    raise Failed(f'the guest did not say "{line}": {result}')


def done_line(result):
    return numbers(result, "@apf done")


def all_verified(result, tasks, pages, wrong=0):
    done = done_line(result)
    demand(done["tasks"] == tasks, f"{done}")
    demand(done["bytes"] == tasks * pages * 4096, f"not all was verified: {done}")
    demand(done["wrong"] == wrong, f"wrong bytes: {done}, expected {wrong}")
    return done
