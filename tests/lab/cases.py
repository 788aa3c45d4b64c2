#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What a real guest on real KVM must show. Runs inside the lab, or on a machine with real KVM.

    cases.py --apf FILE --kernel FILE [--initrd FILE] --name 6.12 [GROUP...]

Without initrd the kernel is libapf's test kernel. Each check prints "ok - ..." or "not ok - ..."; the
exit code tells whether all were ok.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import time

from labtest import ARM64, MODES, Failed, Lab, all_verified, demand, numbers, until_met


def check_modes(lab, result, mode):
    """What each mode has told the guest."""
    if mode == "sync" or not lab.told:
        demand(not result["np"], f"NP in mode {mode}: {result}")
    elif mode == "user":
        demand(result["np"] > 0, f"no NP was delivered: {result}")
        demand(result["np"] == result["ready"], f"NP and ready differ: {result}")
        demand(result["broadcasts"] == 0, f"a wake-all was sent: {result}")
    if mode == "user" and not lab.told:
        demand(result["halts"] > 0, f"no fault was a halt: {result}")


def group_modes(lab):
    """C1-C6, C11, C12, N1-N8: every byte is right in every mode, for 1, 16 and 64 tasks on 1, 2 and 4 vCPUs.

    All pages are fetched on demand, so that every page which the guest touches is a trap.
    """
    pages = 16
    for tasks, cpus in ((1, 1), (16, 2), (64, 4)) if lab.told else ((16, 2),):
        made = {}

        def boot():
            made["folder"], made["run"] = lab.snapshot(f"modes-{tasks}", tasks, pages, cpus=cpus)
        lab.case(f"boots on {cpus} vCPUs, fills memory, is snapshotted with {tasks} tasks", boot, again=False)
        if "folder" not in made:
            continue
        for mode in MODES:
            def one(mode=mode):
                r = lab.restore(made["folder"], mode)
                all_verified(r, tasks, pages)
                check_modes(lab, r, mode)
                demand(r["pages"] >= tasks * pages, f"pages came by themselves: {r}")
                return (f"pages={r['pages']} np={r['np']} halts={r['halts']} waits={r['waits']} "
                        f"max={r['max_outstanding']} run_ms={r['run_ms']}")
            lab.case(f"C1 C2 {mode} verifies every byte with {tasks} tasks", one)
        lab.drop(made["folder"])


def group_short(lab):
    """A little of group modes, for daily work."""
    tasks, pages = 8, 8

    def one():
        folder, _ = lab.snapshot("short", tasks, pages)
        r = lab.restore(folder, "user")
        all_verified(r, tasks, pages)
        check_modes(lab, r, "user")
        return f"pages={r['pages']} np={r['np']} halts={r['halts']} run_ms={r['run_ms']}"
    lab.case("C1 C2 a guest on 2 vCPUs is snapshotted and restored in mode user", one)


def group_ticks(lab):
    """C4: a guest without APF is halted for its pages, and its interrupts are served meanwhile."""
    tasks, pages = 1, 8
    folder, _ = lab.snapshot("ticks", tasks, pages, cpus=1, extra="ticks=1")

    def served():
        counts = {}
        for mode in ("sync", "user"):
            r = lab.restore(folder, mode, "--preload", lab.hot(folder), latency="100ms")
            all_verified(r, tasks, pages)
            counts[mode] = numbers(r, "@apf ticks")["interrupts"]
        # A tick that had to wait comes once, however many the page took.
        demand(counts["user"] >= 4 * pages, f"interrupts: {counts}, {pages} pages of 100 ms")
        return f"interrupts while {pages} pages of 100 ms came: {counts}"
    lab.case("C4 timer ticks arrive during page fetches of 100 ms", lambda: until_met([served] * 4))
    lab.drop(folder)


def group_halts(lab):
    """C4: vCPUs halted for a page of their kernel's, woken by interrupts, halted again."""
    tasks, pages = 3, 32
    folder, _ = lab.snapshot("halts", tasks, pages, cpus=3, extra="slice_us=3000")

    def woken():
        served = halts = 0
        rounds = 0
        while served < 1000:
            r = lab.restore(folder, "user", "--preload", lab.hot(folder), line="go kernel",
                            latency="50ms")
            all_verified(r, tasks, pages)
            counts = numbers(r, "@apf counts")
            demand(counts["np"] == counts["ready"] == r["np"] == r["ready"], f"lost: {counts} {r}")
            demand(counts["woken"] == counts["slept"], f"somebody sleeps: {counts}")
            served += counts["served"]
            halts += r["halts"]
            rounds += 1
            demand(rounds < 20, f"only {served} interrupts were served in {rounds} rounds")
        demand(halts >= served, f"{served} interrupts in {halts} halts")
        return f"{served} interrupts served in {halts} halts, {rounds} rounds"
    lab.case("C4 three vCPUs halt and are woken by interrupts 1000 times, nothing is lost", woken)
    lab.drop(folder)


def group_apic(lab):
    """N6, N7: Linux's boot CPU enables APF before its APIC."""
    def enabled_before_apic():
        folder, run = lab.snapshot("apic", 1, 4, cpus=1)
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
    return [int(e["args"]["token"], 16) for e in events if e["ph"] == "X" and e["cat"] == name]


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
            lab.wait_for_control(vm, control)
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
    for mode in MODES[:-1]:
        def other(mode=mode):
            r = lab.restore(again, mode, line="")
            all_verified(r, tasks, pages)
            demand(1 <= r["broadcasts"] <= 2, f"a wake-all for each vCPU that has tokens was expected: {r}")
        lab.case(f"C12 restored in mode {mode}: wake-alls, all finish", other)
    lab.drop(base)
    lab.drop(again)


MASK = (1 << 64) - 1


def linux_word(page, index, seed=0xa0761d6478bd642f):
    """A word of the guest's data, as lab/guest/workload.c makes it (seed=1, not yet changed)."""
    x = (seed + page * 0x9e3779b97f4a7c15 + index * 0xd1b54a32d192ed03) & MASK
    x = ((x ^ (x >> 30)) * 0xbf58476d1ce4e5b9) & MASK
    x = ((x ^ (x >> 27)) * 0x94d049bb133111eb) & MASK
    return (x ^ (x >> 31)) | 0x0101010101010101


def kernel_word(page, index):
    """The same of guest/kernel/user.c."""
    def mix(x):
        for _ in range(2):
            x = (x ^ x >> 32) * 0xd6e8feb86659fd93 & MASK
        return x ^ x >> 32
    return mix((mix(1) + page * 512 + index) & MASK) | 0x0101010101010101


def find_page(lab, folder, number):
    """Where in RAM the guest's data page of this number lies."""
    word = linux_word if lab.linux else kernel_word
    want = b"".join(word(number, i).to_bytes(8, "little") for i in range(8))
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
        made["page"] = find_page(lab, made["folder"], 5)
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
            r = lab.restore(folder, mode, check=False)
            demand(r["exit"] == 6 and r["end"] == "page-lost", f"{mode}: exit code {r['exit']}: {r}")
            demand(f"page {page} is not as it was saved" in r["stderr"], f"{mode}: {r['stderr']}")
    lab.case("N10 a page whose stored bytes were changed is lost, never given to the guest", corrupt)
    lab.drop(folder)


def group_ends(lab):
    """C10: the end of a VM with faults outstanding."""
    folder, _ = lab.snapshot("ends", 16, 8, cpus=4)
    hot = ("--preload", lab.hot(folder))

    def ends(then, code, end):
        """A guest that is slow to end gets its pages later."""
        def attempt(latency):
            r = lab.restore(folder, "user", "--preload", lab.hot(folder, then), line=f"fault-and-{then}",
                            until="@apf never", latency=latency, check=False)
            demand(r["exit"] == code and r["end"] == end, f"{r}")
            demand(r["np"] > r["ready"], f"no fault was outstanding: {r}")
        return until_met([lambda t=t: attempt(t) for t in ("300ms", "1s", "3s")])
    lab.case("C10 power-off with faults outstanding", lambda: ends("off", 0, "poweroff"))
    lab.case("C10 reset with faults outstanding", lambda: ends("reset", 3, "reset"))

    def written():
        all_verified(lab.restore(folder, "user", *hot, line="go write"), 16, 8 * 2)
    lab.case("C11 pages that are written while they are fetched keep what was written", written)

    def random():
        all_verified(lab.restore(folder, "user", *hot, line="go random"), 16, 8)
    lab.case("C2 pages touched at random", random)
    lab.drop(folder)


def group_untrapped(lab):
    """A host whose Linux has no UFFDIO_POISON, before 6.6: all but mode user."""
    tasks, pages = 16, 16
    made = {}

    def told():
        report = json.loads(lab.apf("doctor", "--json", check=False).stdout)
        demand(report["modes"] == {"sync": True, "kernel": True, "user": False}, f"{report}")
        return "; ".join(c["fix"] for c in report["checks"] if c["name"] == "poison")
    lab.case("the doctor says that only mode user is missing, and what to do", told)

    def boot():
        made["folder"], _ = lab.snapshot("untrapped", tasks, pages, delivery="sync")
    lab.case("boots, fills memory, is snapshotted", boot, again=False)
    if "folder" not in made:
        return
    for mode in ("sync", "kernel"):
        def one(mode=mode):
            r = lab.restore(made["folder"], mode)
            all_verified(r, tasks, pages)
            demand(r["pages"] >= tasks * pages, f"pages came by themselves: {r}")
            return f"pages={r['pages']} np={r['np']} run_ms={r['run_ms']}"
        lab.case(f"C1 {mode} verifies every byte with {tasks} tasks", one)

    def refused():
        r = lab.restore(made["folder"], "user", check=False)
        demand(r["exit"] not in (0, 124), f"exit code {r['exit']}: {r['stderr']}")
        demand("6.6" in r["stderr"], f"the reason is not named: {r['stderr']}")
        return r["stderr"].splitlines()[-1][:120]
    lab.case("mode user is refused with the reason", refused)
    lab.drop(made["folder"])


GROUPS = {"modes": group_modes, "short": group_short, "apic": group_apic, "outstanding": group_outstanding, "wrong": group_wrong,
          "ends": group_ends, "ticks": group_ticks, "halts": group_halts, "untrapped": group_untrapped}


def usual_groups(linux):
    """What a guest of this kind has to show if nothing else is asked for."""
    if linux:
        return ("modes", "ticks") if ARM64 else ("modes", "apic", "outstanding", "wrong", "ends")
    return ("modes", "outstanding", "wrong", "ends", "halts")


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--apf", required=True)
    ap.add_argument("--kernel", required=True)
    ap.add_argument("--initrd", help="without it the kernel is libapf's test kernel")
    ap.add_argument("--name", required=True, help="stands before each check")
    ap.add_argument("--done", metavar="FILE", help="leave out what FILE lists; add what is done")
    ap.add_argument("groups", nargs="*", help=", ".join(GROUPS))
    args = ap.parse_args()
    lab = Lab(args)
    try:
        for group in args.groups or usual_groups(lab.linux):
            try:
                GROUPS[group](lab)
            except (Failed, OSError, KeyError, subprocess.SubprocessError) as e:
                lab.case(f"group {group}", lambda e=e: demand(False, str(e)))
    finally:
        shutil.rmtree(lab.folder, ignore_errors=True)
    return 1 if lab.failed else 0


if __name__ == "__main__":
    sys.exit(main())
