#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The test kernel on this machine's own KVM: boot by multiboot, snapshot, lazy restore. Speaks TAP.

    kernel.py APF KERNEL

Also runs where KVM emulates ring 0: its page walks do not trap there. Where numbers are compared the
kernel's own pages, those below the kernel_end that it prints, are fetched before the start; the tasks' are
never.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from tap import Failure, check, run, usable_modes

APF, KERNEL = sys.argv[1:3]
TASKS, PAGES, PAGE_SIZE = 8, 8, 4096
LATENCY = "5ms"
LIMIT = "100"
MODES = ("sync", "user", "kernel")


class Guest:
    """The kernel with some tasks, in a folder with its snapshot."""

    def __init__(self, folder, cpus):
        self.folder, self.cpus = folder, cpus

    def path(self, name):
        return os.path.join(self.folder, name)

    def run(self, *options, words=""):
        return [APF, "run", "--kernel", KERNEL, "--mem", "64M", "--cpus", str(self.cpus),
                "--cmdline", f"tasks={TASKS} pages={PAGES} worker=1 {words}",
                "--serial", self.path("serial"), "--json", self.path("json"),
                "--timeout", LIMIT, *options]

    def result(self):
        with open(self.path("json"), encoding="utf-8") as file:
            return json.load(file)

    def run_and_save(self, command, to, *when):
        vm = subprocess.Popen(command + ["--control", self.path("control")])
        try:
            while not os.path.exists(self.path("control")):
                check(vm.poll() is None, f"apf ended with code {vm.returncode}")
                time.sleep(0.01)
            subprocess.run([APF, "snapshot", "--control", self.path("control"), *when,
                            "--to", self.path(to), "--stop", "--timeout", LIMIT], check=True,
                           stdout=subprocess.DEVNULL)
            code = vm.wait(timeout=30)
        finally:
            if vm.poll() is None:
                vm.kill()
                vm.wait()
        check(code == 0, f"apf ended with code {code}")

    def boot_and_save(self):
        self.run_and_save(self.run(), "snapshot", "--wait-for", "@apf ready")
        self.write_preload(self.result()["marks"][0]["text"])

    def write_preload(self, hello):
        match = re.search(rf"^@apf kernel cpus={self.cpus} .*kernel_end=0x([0-9a-f]+)", hello)
        check(match, f'it said "{hello}"')
        pages = -(-int(match.group(1), 16) // PAGE_SIZE)
        with open(self.path("preload"), "w", encoding="ascii") as file:
            file.write(f"apf-pages 1\n0 {pages}\n")

    def restored(self, delivery, *options):
        return [APF, "restore", self.path("snapshot"), "--delivery", delivery, "--latency", LATENCY,
                "--serial", self.path("serial"), "--json", self.path("json"), "--timeout", LIMIT, *options]

    def restore(self, delivery, job):
        return self.finish(delivery, "--preload", self.path("preload"), "--input", f"go {job}\\n")

    def finish(self, delivery, *options):
        code = subprocess.run(self.restored(delivery, "--until", "@apf done", *options),
                              check=False).returncode
        check(code == 0, f"apf restore ended with code {code}")
        return self.result()


def numbers(result, line):
    """The name=number pairs of the guest's line."""
    for mark in result["marks"]:
        if mark["text"].startswith(line):
            return {name: int(n) for name, n in re.findall(r"(\w+)=(\d+)\b", mark["text"])}
    raise Failure(f'the guest did not say "{line}"')


def check_restore(guest, delivery, job):
    result = guest.restore(delivery, job)
    done, counts = numbers(result, "@apf done"), numbers(result, "@apf counts")
    data = TASKS * PAGES
    rounds = 2 if job == "write" else 1
    check(done["bytes"] == data * PAGE_SIZE * rounds, f"{done['bytes']} bytes verified")
    check(done["wrong"] == 0, f"{done['wrong']} wrong bytes")
    # Of a pair's pages, pipe uses only the producer's.
    touched = data // 2 if job == "pipe" else data
    check(result["pages"] >= result["preloaded"] + touched, f"{result['pages']} pages fetched")
    # What KVM's tracepoints do not tell here is null.
    for name in ("np", "ready"):
        check(result[name] in (None, counts[name]),
              f"{name}: {result[name]} by the host's count, {counts[name]} by the guest's")
    check((counts["np"] > 0) == (delivery != "sync"), f"{counts['np']} NPs")
    if delivery == "user":
        check(result["np"] is not None and counts["np"] <= data, f"{counts['np']} NPs")
        check(result["max_outstanding"] > 1, "never two faults outstanding")


def check_data(result):
    done = numbers(result, "@apf done")
    check(done["bytes"] == TASKS * PAGES * PAGE_SIZE and done["wrong"] == 0, json.dumps(done))


def check_nothing_preloaded(guest):
    """The kernel's own pages and its page tables are missing."""
    check_data(guest.finish("user", "--input", "go touch\\n"))


def check_saved_among_tasks(guest):
    """A task or the worker runs, in user mode; the stacks of the kernel are missing."""
    guest.run_and_save(guest.restored("user", "--preload", guest.path("preload"), "--input", "go touch\\n"),
                       "snapshot2", "--min-outstanding", "2")
    shutil.rmtree(guest.path("snapshot"))
    os.rename(guest.path("snapshot2"), guest.path("snapshot"))
    check_data(guest.finish("user"))


def check_lazy_boot(guest, delivery):
    """Nothing but the boot image is there. The tasks touch their pages of zeroes when they fill them."""
    code = subprocess.run(guest.run("--lazy", "--delivery", delivery, "--latency", LATENCY, "--until",
                                    "@apf done", "--record", guest.path("record"), words="auto=1"),
                          check=False).returncode
    check(code == 0, f"exit code {code}")
    result = guest.result()
    counts = numbers(result, "@apf counts")
    check_data(result)
    check(result["preloaded"] > 0, "the boot image was not there")
    check(result["pages"] == result["pages_zero"] >= result["preloaded"] + TASKS * PAGES,
          f"{result['pages']} pages, {result['pages_zero']} of them zero")
    check(result["pages"] < (64 << 20) / PAGE_SIZE, "all of memory was fetched")
    check((counts["np"] > 0) == (delivery != "sync"), f"{counts['np']} NPs")
    check(os.path.getsize(guest.path("record")) > 0, "no list of pages")
    missing = set(result) - {"marks", "stores", "end_text", "legend"} - set(result["legend"])
    check(not missing, f"no words for {missing}")


def check_report(guest):
    """Without --delivery and --json: what was chosen, then each number with what it is."""
    command = [APF, "run", "--lazy", "--kernel", KERNEL, "--mem", "64M", "--cmdline", "tasks=4 pages=4",
               "--until", "@apf ready", "--timeout", LIMIT]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          check=False)
    first, *_, last = done.stderr.splitlines()
    check(done.returncode == 0 and first.startswith("apf run: --delivery user: "), done.stderr)
    check(re.search(r"^ +np +\d+  faults of which the guest was told", done.stderr, re.M), done.stderr)
    check(last.startswith("apf run: until: "), done.stderr)


def check_exit(guest, words, script, code, value):
    got = subprocess.run(guest.run("--input", script, words=words), check=False,
                         stderr=subprocess.DEVNULL).returncode
    check(got == code, f"exit code {got}")
    result = guest.result()
    check((result["end"], result["debug_exit"]) == ("debug-exit", value), json.dumps(result))


def cases(guests):
    """Name, delivery mode that it needs, function."""
    yield "test_debug_exit_code_reaches_the_shell", "", lambda: check_exit(
        guests[1], "", "exit 16\\n", 33, 16)
    yield "test_a_job_from_the_command_line_ends_with_debug_exit", "", lambda: check_exit(
        guests[2], "auto=1 mode=pipe", "", 8, 0)
    yield "test_a_lazy_boot_says_in_words_what_was_chosen_and_what_happened", "user", lambda: check_report(
        guests[1])
    for mode in MODES:
        yield (f"test_a_lazy_boot_fetches_what_is_touched_{mode}", mode,
               lambda mode=mode: check_lazy_boot(guests[2], mode))
    for cpus, guest in guests.items():
        yield f"test_multiboot_kernel_boots_and_is_saved_on_{cpus}_cpus", "", guest.boot_and_save
        for mode in MODES:
            yield (f"test_C2_each_np_gets_its_ready_{mode}_on_{cpus}_cpus", mode,
                   lambda guest=guest, mode=mode: check_restore(guest, mode, "touch"))
        yield (f"test_a_kernel_of_which_nothing_is_there_runs_on_{cpus}_cpus", "user",
               lambda guest=guest: check_nothing_preloaded(guest))
    for job in ("random", "write", "pipe"):
        yield (f"test_every_byte_is_right_after_{job}", "user",
               lambda job=job: check_restore(guests[2], "user", job))
    for cpus, guest in guests.items():
        yield (f"test_one_saved_among_its_tasks_of_which_nothing_is_there_runs_on_{cpus}_cpus", "user",
               lambda guest=guest: check_saved_among_tasks(guest))


def main():
    modes, why = usable_modes(APF)
    if why:
        print(f"1..0 # SKIP {why}")
        return
    folder = tempfile.mkdtemp(prefix="apf-kernel-")
    try:
        guests = {}
        for cpus in (1, 2):
            os.mkdir(os.path.join(folder, str(cpus)))
            guests[cpus] = Guest(os.path.join(folder, str(cpus)), cpus)
        all_cases = list(cases(guests))
        print(f"1..{len(all_cases)}", flush=True)
        for number, (name, mode, function) in enumerate(all_cases, 1):
            missing = mode and not modes[mode]
            run(number, name, f"mode {mode} does not work here" if missing else "", function)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
