#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What a real guest on real KVM must show. Runs inside the lab, or on a machine with real KVM.

    cases.py --apf FILE --kernel FILE --initrd FILE --name 6.12 [GROUP...]

Each check prints "ok - ..." or "not ok - ..."; the exit code tells whether all were ok.

The lab's emulated processor loses a guest, or itself, every now and then (about once in forty
restores). So a check that fails is tried a second time, and says so; and --done names a file
that keeps what has been checked, for a run that goes on after L1 died.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

ARM64 = os.uname().machine == "aarch64"
MODES = ("sync", "user") if ARM64 else ("sync", "kernel", "user")
CMDLINE = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../lab/cmdline."
               + ("arm64" if ARM64 else "x86")), encoding="utf-8").read().strip()
MEM = "256M"


class Failed(Exception):
    """A check that did not hold; its text says what was seen."""


def demand(condition, text):
    if not condition:
        raise Failed(text)


class Lab:
    """One guest kernel, one work folder, and the apf commands on them."""

    def __init__(self, args):
        self.args = args
        self.folder = tempfile.mkdtemp(prefix="apf-cases-")
        self.failed = 0
        self.number = 0
        self.done = set()
        if args.done and os.path.exists(args.done):
            with open(args.done, encoding="utf-8") as f:
                self.done = set(f.read().splitlines())

    def path(self, name):
        return os.path.join(self.folder, name)

    def apf(self, *words, check=True, timeout=300):
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

    def wait(self, process, seconds=120):
        """The exit code of a background apf; it must end by itself."""
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired as gone:
            process.kill()
            process.wait()
            raise Failed(f"did not end within {seconds} s") from gone

    def log(self):
        with open(self.path("background.log"), encoding="utf-8", errors="replace") as f:
            return f.read()[-800:]

    def snapshot(self, name, tasks, pages, delivery="user", extra="", cpus=1, options=()):
        """Boots a guest, fills its memory, takes a snapshot; returns its folder."""
        folder, control, report = self.path(name), self.path(name + ".sock"), self.path("run.json")
        cmdline = f"{CMDLINE} tasks={tasks} pages={pages} {extra}"
        self.drop(folder)
        vm = self.start("run", "--kernel", self.args.kernel, "--initrd", self.args.initrd,
                        "--cmdline", cmdline, "--mem", MEM, "--cpus", cpus, "--delivery", delivery,
                        "--control", control, "--json", report, "--timeout", 120, *options)
        try:
            for _ in range(300):
                if os.path.exists(control) or vm.poll() is not None:
                    break
                time.sleep(0.1)
            demand(vm.poll() is None, f"apf run ended early: {self.log()}")
            self.apf("snapshot", "--control", control, "--wait-for", "@apf ready", "--to", folder,
                     "--stop", "--timeout", 110)
            code = self.wait(vm)
            demand(code == 0, f"apf run: exit code {code}: {self.log()}")
        finally:
            if vm.poll() is None:
                vm.kill()
                vm.wait()
        with open(report, encoding="utf-8") as f:
            return folder, json.load(f)

    def restore(self, folder, delivery, *extra, line="go touch", latency="10ms", until="@apf done",
                check=True, timeout=120):
        self.number += 1
        report = self.path(f"restore-{self.number}.json")
        done = self.apf("restore", folder, "--delivery", delivery, "--latency", latency, "--input",
                        line + "\\n", "--until", until, "--json", report, "--serial", "/dev/null",
                        "--timeout", timeout - 10, *extra, check=check, timeout=timeout)
        result = {}
        if os.path.exists(report):
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


def done_line(result):
    """The numbers of the guest's "@apf done" line."""
    for mark in result.get("marks", ()):
        if mark["text"].startswith("@apf done"):
            words = dict(w.split("=", 1) for w in mark["text"].split() if "=" in w)
            return {k: int(v) if v.isdigit() else v for k, v in words.items()}
    raise Failed(f"the guest did not finish: {result}")


def all_verified(result, tasks, pages, wrong=0):
    done = done_line(result)
    demand(done["tasks"] == tasks, f"{done}")
    demand(done["bytes"] == tasks * pages * 4096, f"not all was verified: {done}")
    demand(done["wrong"] == wrong, f"wrong bytes: {done}, expected {wrong}")
    return done


def group_modes(lab):
    """C1-C6, C11, C12, N1-N8: every byte is right in every mode, for 1, 16 and 64 tasks."""
    pages = 16
    for tasks in (1, 16, 64):
        made = {}

        def boot():
            made["folder"], made["run"] = lab.snapshot(f"modes-{tasks}", tasks, pages)
        lab.case(f"boots, fills memory, is snapshotted with {tasks} tasks", boot, again=False)
        if "folder" not in made:
            continue
        for mode in MODES:
            def one(mode=mode):
                r = lab.restore(made["folder"], mode)
                all_verified(r, tasks, pages)
                if mode == "user":
                    demand(r["np"] > 0, f"no NP was delivered: {r}")
                    demand(r["np"] == r["ready"], f"NP and ready differ: {r}")
                    demand(r["broadcasts"] == 0, f"a wake-all was sent: {r}")
                if mode == "sync":
                    demand(not r["np"], f"NP in mode sync: {r}")
                return (f"pages={r['pages']} np={r['np']} halts={r['halts']} waits={r['waits']} "
                        f"max={r['max_outstanding']} run_ms={r['run_ms']}")
            lab.case(f"C1 C2 {mode} verifies every byte with {tasks} tasks", one)
        lab.drop(made["folder"])


def group_apic(lab):
    """N6, N7: Linux's boot CPU enables APF before its APIC."""
    def enabled_before_apic():
        folder, run = lab.snapshot("apic", 1, 4)
        lab.drop(folder)
        demand(run["msi_blocked"] > 0, f"the wake-all met no disabled APIC: {run}")
        demand(run["broadcasts"] == 1, f"the wake-all of enabling went out once: {run}")
        return f"msi_blocked={run['msi_blocked']}"
    lab.case("N6 wake-all is delivered after the APIC was software-disabled", enabled_before_apic)


def shown(lab, folder):
    return json.loads(lab.apf("snapshot", "--show", folder, "--json").stdout)


def tokens_of(snapshot):
    return [t for v in snapshot["vcpus"] for t in v["tokens"]]


def trace_tokens(path, name):
    with open(path, encoding="utf-8") as f:
        events = json.load(f)["traceEvents"]
    return [int(e["args"]["token"], 16) for e in events if e["ph"] == "X" and e["name"] == name]


def group_outstanding(lab):
    """C12, C13, C16: a snapshot with outstanding faults, restored again and again."""
    tasks, pages = 16, 8
    base, again = lab.path("base"), lab.path("again")

    def take():
        lab.snapshot("base", tasks, pages)
        lab.drop(again)
        control = lab.path("again.sock")
        vm = lab.start("restore", base, "--delivery", "user", "--preload", lab.hot(base),
                       "--latency", "500ms", "--input", "go touch\\n", "--control", control,
                       "--timeout", 100)
        try:
            for _ in range(200):
                if os.path.exists(control):
                    break
                time.sleep(0.05)
            lab.apf("snapshot", "--control", control, "--min-outstanding", 8, "--to", again,
                    "--stop", "--timeout", 90)
            demand(lab.wait(vm) == 0, f"the source did not end well: {lab.log()}")
        finally:
            if vm.poll() is None:
                vm.kill()
                vm.wait()
        n = len(tokens_of(shown(lab, again)))
        demand(n >= 8, f"the file holds {n} tokens")
        return f"{n} tokens"
    lab.case("C12 a snapshot is taken with at least 8 faults outstanding", take, again=False)
    if not os.path.isdir(again):
        return
    wanted = {t["token"] for t in tokens_of(shown(lab, again))}
    queued = sum(v["queued"] for v in shown(lab, again)["vcpus"])
    trace = lab.path("trace.json")

    def restored(i):
        # Most with the guest kernel's working set fetched at once, which only saves time.
        preload = ("--preload", lab.hot(base)) if i > 3 else ()
        r = lab.restore(again, "user", "--trace", trace, *preload, line="")
        all_verified(r, tasks, pages)
        demand(r["broadcasts"] == 0, f"a wake-all was sent: {r}")
        missing = wanted - set(trace_tokens(trace, "ready"))
        demand(not missing, f"tokens without a ready: {sorted(missing)}")
        np = trace_tokens(trace, "np")
        demand(not wanted & set(np), "an outstanding token was given out again")
        demand(r["ready"] == r["np"] + len(wanted) + queued, f"not one ready per NP: {r}")
        return f"run {i}"
    for i in range(1, 21):
        lab.case(f"C12 C13 restored with its tokens, {i} of 20", lambda i=i: restored(i))
    for mode in ("sync", "kernel"):
        def other(mode=mode):
            r = lab.restore(again, mode, line="")
            all_verified(r, tasks, pages)
            demand(r["broadcasts"] == 1, f"one wake-all was expected: {r}")
        lab.case(f"C12 restored in mode {mode}: one wake-all, all finish", other)
    lab.drop(base)
    lab.drop(again)


def expected_word(page, index, seed=0xa0761d6478bd642f):
    """A word of the guest's data, as lab/guest/workload.c makes it (seed=1, not yet changed)."""
    mask = (1 << 64) - 1
    x = (seed + page * 0x9e3779b97f4a7c15 + index * 0xd1b54a32d192ed03) & mask
    x = ((x ^ (x >> 30)) * 0xbf58476d1ce4e5b9) & mask
    x = ((x ^ (x >> 27)) * 0x94d049bb133111eb) & mask
    return (x ^ (x >> 31)) | 0x0101010101010101


def find_page(folder, number):
    """Where in RAM the guest's data page of this number lies."""
    want = b"".join(expected_word(number, i).to_bytes(8, "little") for i in range(8))
    with open(os.path.join(folder, "ram"), "rb") as f:
        offset = 0
        while True:
            try:
                offset = os.lseek(f.fileno(), offset, os.SEEK_DATA)
            except OSError as e:
                raise Failed(f"the guest's page {number} is not in {folder}/ram") from e
            if os.pread(f.fileno(), len(want), offset) == want:
                return offset // 4096
            offset += 4096


def group_wrong(lab):
    """Stores that lie, stumble or die; N10."""
    tasks, pages = 4, 16
    made = {}

    def boot():
        made["folder"], _ = lab.snapshot("wrong", tasks, pages)
        made["page"] = find_page(made["folder"], 5)
    lab.case("a snapshot to spoil", boot, again=False)
    if "page" not in made:
        return
    folder, page = made["folder"], made["page"]
    ram = os.path.join(folder, "ram")

    def recovers():
        r = lab.restore(folder, "user", "--store", f"error:rate=0.3:seed=7:first=2,file:{ram}")
        all_verified(r, tasks, pages)
        demand(r["retries"] > 0, f"nothing was retried: {r}")
        demand(r["failed"] == 0, f"pages were lost: {r}")
        return f"retries={r['retries']}"
    lab.case("C5 a store that fails some reads and recovers loses nothing", recovers)

    for mode in MODES:
        def dies(mode=mode):
            r = lab.restore(folder, mode, "--store",
                            f"error:rate=1:pages={page}-{page},file:{ram}", check=False)
            demand(r["exit"] == 6, f"exit code {r['exit']}: {r['stderr']}")
            demand(r["end"] == "page-lost", f"{r}")
            demand(str(page) in r["stderr"] and "error" in r["stderr"].lower(),
                   f"the message does not name page and store: {r['stderr']}")
            return r["stderr"].splitlines()[-1][:120]
        lab.case(f"N10 {mode}: a page that is lost for good stops the VM with a message", dies)

    def shrinks():
        size = os.path.getsize(ram)
        shutil.copyfile(ram, ram + ".kept")
        os.truncate(ram, page * 4096)
        try:
            r = lab.restore(folder, "user", check=False)
        finally:
            os.replace(ram + ".kept", ram)
        demand(os.path.getsize(ram) == size, "test broke its own file")
        demand(r["exit"] in (1, 6), f"exit code {r['exit']}: {r['stderr']}")
        return r["stderr"].splitlines()[-1][:120]
    lab.case("a RAM file that is too short is refused or stops the VM with a message", shrinks)

    def corrupt():
        with open(ram, "r+b") as f:
            f.seek(page * 4096 + 1234)
            byte = f.read(1)
            f.seek(page * 4096 + 1234)
            f.write(bytes([byte[0] ^ 0x5a]))
        for mode in MODES:
            all_verified(lab.restore(folder, mode), tasks, pages, wrong=1)
    lab.case("a corrupted stored byte is reported as one wrong byte in every mode", corrupt)
    lab.drop(folder)


def group_ends(lab):
    """C10: the end of a VM with faults outstanding."""
    folder, _ = lab.snapshot("ends", 16, 8)
    hot = ("--preload", lab.hot(folder))

    def power_off():
        r = lab.restore(folder, "user", "--preload", lab.hot(folder, "off"),
                        line="fault-and-off", until="@apf never", latency="300ms", check=False)
        demand(r["exit"] == 0 and r["end"] == "poweroff", f"{r}")
        demand(r["np"] > r["ready"], f"no fault was outstanding: {r}")
    lab.case("C10 power-off with faults outstanding", power_off)

    def reset():
        r = lab.restore(folder, "user", "--preload", lab.hot(folder, "reset"),
                        line="fault-and-reset", until="@apf never",
                        latency="300ms", check=False)
        demand(r["exit"] == 3 and r["end"] == "reset", f"{r}")
        demand(r["np"] > r["ready"], f"no fault was outstanding: {r}")
    lab.case("C10 reset with faults outstanding", reset)

    def written():
        all_verified(lab.restore(folder, "user", *hot, line="go write"), 16, 8 * 2)
    lab.case("C11 pages that are written while they are fetched keep what was written", written)

    def random():
        all_verified(lab.restore(folder, "user", *hot, line="go random"), 16, 8)
    lab.case("C2 pages touched at random", random)
    lab.drop(folder)


GROUPS = {"modes": group_modes, "apic": group_apic, "outstanding": group_outstanding,
          "wrong": group_wrong, "ends": group_ends}


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--apf", required=True)
    ap.add_argument("--kernel", required=True)
    ap.add_argument("--initrd", required=True)
    ap.add_argument("--name", required=True, help="stands before each check")
    ap.add_argument("--done", metavar="FILE", help="leave out what FILE lists; add what is done")
    ap.add_argument("groups", nargs="*", help=", ".join(GROUPS))
    args = ap.parse_args()
    lab = Lab(args)
    try:
        for group in args.groups or GROUPS:
            try:
                GROUPS[group](lab)
            except (Failed, OSError, KeyError, subprocess.SubprocessError) as e:
                lab.case(f"group {group}", lambda e=e: demand(False, str(e)))
    finally:
        shutil.rmtree(lab.folder, ignore_errors=True)
    return 1 if lab.failed else 0


if __name__ == "__main__":
    sys.exit(main())
