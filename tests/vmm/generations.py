#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each generation of the protocol with the test kernel on this machine's own KVM. Speaks TAP.

    generations.py APF KERNEL
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # the source tree stays clean

from kernel import APF, LIMIT, Guest, check_restore, numbers
from tap import check, run, usable_modes

EN, INT, ACK = "4b564d02", "4b564d06", "4b564d07"
# What the host offers: CPUID bits 4 and 14 (N5, I8), which registers exist (L1, I2, N1, N4).
OFFERS = {"2010": ("4", (EN,)), "rfc": ("4", (EN, INT)), "int": ("4 14", (EN, INT, ACK))}


class Generation(Guest):
    """A guest that is offered one generation."""

    def __init__(self, folder, abi):
        super().__init__(folder, 2)
        self.abi = abi
        os.mkdir(folder)

    def run(self, *options, words=""):
        return super().run("--abi", self.abi, *options, words=words)


def check_offer(guest):
    bits, registers = OFFERS[guest.abi]
    script = "cpuid 40000001\\n" + "".join(f"rdmsr {r}\\n" for r in (EN, INT, ACK)) + "exit 0\\n"
    code = subprocess.run(guest.run("--input", script), check=False,
                          stderr=subprocess.DEVNULL).returncode
    check(code == 8, f"exit code {code}")
    said = [mark["text"] for mark in guest.result()["marks"]]
    check(f" abi={guest.abi} " in said[0], said[0])
    eax = int(re.search(r"eax=(?:0x)?([0-9a-f]+)", "\n".join(said)).group(1), 16)
    have = " ".join(str(bit) for bit in (4, 10, 14) if eax & 1 << bit)
    check(have == bits, f"CPUID bits {have}")
    faults = [numbers({"marks": [{"text": line}]}, line)["gp"] for line in said
              if line.startswith("@apf msr")]
    check(faults == [int(r not in registers) for r in (EN, INT, ACK)], f"#GP: {faults}")


def save_outstanding(guest):
    """A snapshot of the restored VM, taken while faults are outstanding."""
    control = guest.path("control2")
    vm = subprocess.Popen([
        APF, "restore", guest.path("snapshot"), "--delivery", "user", "--latency", "60ms",
        "--preload", guest.path("preload"), "--input", "go touch\\n", "--control", control,
        "--serial", guest.path("serial"), "--json", guest.path("first"), "--timeout", LIMIT])
    try:
        while not os.path.exists(control):
            check(vm.poll() is None, f"apf restore ended with code {vm.returncode}")
            time.sleep(0.01)
        subprocess.run([APF, "snapshot", "--control", control, "--min-outstanding", "2", "--stop",
                        "--to", guest.path("second"), "--timeout", LIMIT], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        vm.wait(timeout=30)
    finally:
        if vm.poll() is None:
            vm.kill()
            vm.wait()


def check_outstanding(guest, delivery):
    """C12: in the same mode each token gets its ready, in another one wake-all answers all."""
    if not os.path.exists(guest.path("second")):
        save_outstanding(guest)
    code = subprocess.run([
        APF, "restore", guest.path("second"), "--delivery", delivery, "--latency", "5ms",
        "--preload", guest.path("preload"), "--until", "@apf done", "--serial",
        guest.path("serial"), "--json", guest.path("json"), "--timeout", LIMIT],
        check=False).returncode
    check(code == 0, f"apf restore ended with code {code}")
    result = guest.result()
    counts = numbers(result, "@apf counts")
    check(numbers(result, "@apf done")["wrong"] == 0, "wrong bytes")
    check(counts["woken"] == counts["slept"], f"{counts}")
    if delivery == "user":
        with open(guest.path("first"), encoding="utf-8") as file:
            ready = json.load(file)["ready"] + result["ready"]
        check(counts["ready"] == counts["np"] == ready, f"{counts}, {ready}")
        check(result["broadcasts"] == 0, f"{result['broadcasts']} wake-alls")
    else:
        check(0 < result["broadcasts"] <= guest.cpus, f"{result['broadcasts']} wake-alls")


def check_refused(guest, *options, texts):
    done = subprocess.run([APF, "restore", guest.path("snapshot"), *options], check=False,
                          stderr=subprocess.PIPE, text=True)
    check(done.returncode == 1, f"exit code {done.returncode}")
    check(all(text in done.stderr for text in texts), done.stderr.strip())


def cases(guests):
    """Name, function."""
    for abi, guest in guests.items():
        yield f"test_I8_N5_what_is_offered_{abi}", lambda g=guest: check_offer(g)
        yield f"test_boots_and_is_saved_{abi}", guest.boot_and_save
        yield (f"test_L4_L5_I5_N4_each_np_gets_its_ready_{abi}",
               lambda g=guest: check_restore(g, "user", "random"))
        for mode in ("user", "sync"):
            yield (f"test_C12_outstanding_faults_are_answered_after_restore_{mode}_{abi}",
                   lambda g=guest, m=mode: check_outstanding(g, m))
        other = "int" if abi != "int" else "rfc"
        yield (f"test_another_generation_is_refused_{abi}", lambda g=guest, o=other: check_refused(
            g, "--delivery", "user", "--abi", o,
            texts=(f"generation {g.abi}", f"offers {o}")))
        if abi != "int":
            yield f"test_the_kernels_own_APF_is_refused_{abi}", lambda g=guest: check_refused(
                g, "--delivery", "kernel", texts=("only", g.abi))


def main():
    modes, why = usable_modes(APF)
    if not why and not modes["user"]:
        why = "mode user does not work here"
    if why:
        print(f"1..0 # SKIP {why}")
        return
    folder = tempfile.mkdtemp(prefix="apf-generations-")
    try:
        guests = {abi: Generation(os.path.join(folder, abi), abi) for abi in OFFERS}
        all_cases = list(cases(guests))
        print(f"1..{len(all_cases)}", flush=True)
        for number, (name, function) in enumerate(all_cases, 1):
            run(number, name, "", function)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
