#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The figures of a lazily restored guest: ratios between modes, medians of three.

Runs inside the lab (see bench/targets) or on a machine with real KVM. Each line says what was
measured, the peer of the same run, their ratio and the figure to reach. Not a timed test: the
exit code tells only whether everything ran and no byte was wrong.
"""
import argparse
import json
import os
import shutil
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "lab"))
import labtest  # noqa: E402

ROUNDS = 3


class Bench(labtest.Lab):
    """Measures rows and keeps them for the JSON."""

    def __init__(self, args):
        super().__init__(args)
        self.rows = []

    def row(self, what, value, peer, ratio, goal, reached):
        self.rows.append({"what": what, "value": value, "peer": peer, "ratio": round(ratio, 3),
                          "goal": goal, "reached": bool(reached)})
        print(f"{'reached ' if reached else 'missed  '} {what}: {value} against {peer}, "
              f"ratio {ratio:.2f} (goal {goal})", flush=True)

    def finish(self, result, tasks, pages):
        """Milliseconds from the process's start until every task had verified its data."""
        labtest.all_verified(result, tasks, pages)
        return next(m["ms"] for m in result["marks"] if m["text"].startswith("@apf done"))

    def medians(self, folder, modes, latency, tasks, pages, **extra):
        """Rounds of all modes in turn, so that noise meets all alike."""
        got = {m: [] for m in modes}
        last = {}
        for i in range(ROUNDS):
            for m in modes:
                r = self.restore(folder, m, "--preload", self.hot(folder), latency=latency,
                                 timeout=600, **extra)
                got[m].append(self.finish(r, tasks, pages))
                last[m] = r
                print(f"   round {i + 1} {m}: {got[m][-1]:.0f} ms", flush=True)
        return {m: round(statistics.median(v)) for m, v in got.items()}, last


def against_sync(b, latency, goal):
    tasks, pages = 64, 32
    folder, _ = b.snapshot("b64", tasks, pages, extra="worker=1 slice=100 slice_us=100000")
    ms, _ = b.medians(folder, ("sync", "user"), f"{latency}ms", tasks, pages)
    ratio = ms["sync"] / ms["user"]
    b.row(f"64 tasks, {latency} ms: user finishes sooner than sync", f"{ms['user']} ms",
          f"{ms['sync']} ms", ratio, f">= {goal}", ratio >= goal)
    b.drop(folder)


def against_kernel(b):
    tasks, pages = 64, 32
    folder, _ = b.snapshot("b64", tasks, pages, extra="worker=1 slice=100")
    ms, _ = b.medians(folder, ("kernel", "user"), "100ms", tasks, pages)
    ratio = ms["user"] / ms["kernel"]
    b.row("64 tasks, 100 ms: user no slower than kernel", f"{ms['user']} ms",
          f"{ms['kernel']} ms", ratio, "<= 1.05", ratio <= 1.05)
    b.drop(folder)


def many_tasks(b):
    tasks, pages = 256, 16
    folder, _ = b.snapshot("b256", tasks, pages, extra="slice=100")
    ms, last = b.medians(folder, ("kernel", "user"), "200ms", tasks, pages)
    ratio = ms["kernel"] / ms["user"]
    most = last["user"]["max_outstanding"]
    b.row("256 tasks, 200 ms: user finishes sooner than kernel", f"{ms['user']} ms",
          f"{ms['kernel']} ms", ratio, ">= 2", ratio >= 2)
    b.row("256 tasks, 200 ms: most outstanding at once", most,
          f"{last['kernel']['max_outstanding']} (kernel)", most / 200, "> 200", most > 200)
    b.drop(folder)
    return last["user"]["host_threads"]


def worker(b, threads_of_256):
    tasks, pages = 16, 16
    folder, _ = b.snapshot("b16", tasks, pages, extra="worker=1 slice=100")
    rate = {"touch": [], "sleep 200000": []}
    threads = 0
    for _ in range(ROUNDS):
        for how, rates in rate.items():
            r = b.restore(folder, "user", "--preload", b.hot(folder), latency="200ms",
                          line="go " + how)
            done = labtest.done_line(r)
            rates.append(done["worker"] * 1000000 // done["elapsed_us"])
            threads = max(threads, r["host_threads"])
    faulting, sleeping = (round(statistics.median(v)) for v in rate.values())
    ratio = faulting / sleeping
    b.row("16 tasks, 200 ms: progress of a worker that never faults, per second", faulting,
          f"{sleeping} while they sleep instead", ratio, ">= 0.9", ratio >= 0.9)
    if threads_of_256:
        b.row("host threads with 256 tasks against 16", threads_of_256, threads,
              threads_of_256 / threads, "<= 1", threads_of_256 <= threads)
    b.drop(folder)


def first_instruction(b):
    times = {}
    for mem in ("256M", "8G"):
        labtest.MEM = mem
        folder, _ = b.snapshot("first-" + mem, 1, 4)
        rounds = [b.restore(folder, "user", latency="10ms")["first_instruction_ms"]
                  for _ in range(ROUNDS)]
        times[mem] = round(statistics.median(rounds), 1)
        b.drop(folder)
    labtest.MEM = "256M"
    ratio = times["8G"] / times["256M"]
    b.row("first instruction of a sparse 8 GiB snapshot", f"{times['8G']} ms",
          f"{times['256M']} ms of 256 MiB", ratio, "<= 1.2", ratio <= 1.2)


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--apf", required=True)
    ap.add_argument("--kernel", required=True)
    ap.add_argument("--initrd", help="without it the kernel is libapf's test kernel")
    ap.add_argument("--json", metavar="FILE", help="also write the rows to FILE")
    ap.add_argument("only", nargs="*", help="sync, sync10, kernel, many, worker, first; default: "
                    "all but sync10, of the test kernel only that")
    args = ap.parse_args()
    args.name, args.done = "bench", None
    b = Bench(args)
    if not b.linux:
        labtest.MEM = "64M"     # the test kernel's own are two: less to get ready beside the measurement
    try:
        only = args.only or (["sync", "kernel", "many", "worker", "first"] if b.linux else ["sync10"])
        threads = 0
        if "sync" in only:
            against_sync(b, 20, 10)
        if "sync10" in only:
            against_sync(b, 10, 8)
        if "kernel" in only:
            against_kernel(b)
        if "many" in only:
            threads = many_tasks(b)
        if "worker" in only:
            worker(b, threads)
        if "first" in only:
            first_instruction(b)
    except labtest.Failed as e:
        print(f"failed: {e}", flush=True)
        return 1
    finally:
        shutil.rmtree(b.folder, ignore_errors=True)
        if args.json:
            with open(args.json, "w", encoding="utf-8") as f:
                json.dump(b.rows, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
