#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What apf writes and to whom, and what it says where it cannot. Speaks TAP.

    outputs.py APF KERNEL
"""
import json
import os
import resource
import subprocess
import sys

from tap import check, run_all

APF, KERNEL = sys.argv[1:3]
NOBODY = 65534


def apf(*args, **more):
    return subprocess.run([APF, *args], check=False, text=True, timeout=100,
                          **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more})


class Tests:
    def __init__(self, folder, modes):
        self.folder, self.modes = folder, modes

    def path(self, name):
        return os.path.join(self.folder, name)

    def run(self, *options, limit="2", **more):
        return apf("run", "--kernel", KERNEL, "--mem", "64M", "--timeout", limit, *options, **more)

    def test_json_on_stdout_leaves_what_is_in_the_file_that_stderr_is(self):
        with open(self.path("log"), "w", encoding="utf-8") as log:
            log.write("before\n")
            log.flush()
            done = self.run("--json", "-", "--until", "@apf ready", stderr=log)
        with open(self.path("log"), encoding="utf-8") as log:
            text = log.read()
        check(text.startswith("before\n") and "@apf kernel" in text, f"stderr: {text}")
        json.loads(done.stdout)

    def test_a_file_that_cannot_be_written_is_found_out_before_the_start(self):
        for option in ("--json", "--serial"):
            done = self.run(option, self.path("none/file"), limit="60")
            check(done.returncode == 1 and option in done.stderr, f"{option}: {done}")
        for option in ("--record", "--trace"):
            done = self.run("--lazy", option, self.path("none/file"), limit="60")
            check(done.returncode == 1 and option in done.stderr, f"{option}: {done}")

    def test_only_the_owner_may_read_what_is_written(self):
        before = os.umask(0)
        try:
            self.run("--json", self.path("json"), "--serial", self.path("serial"))
        finally:
            os.umask(before)
        for name in ("json", "serial"):
            mode = os.stat(self.path(name)).st_mode & 0o777
            check(mode == 0o600, f"{name}: {mode:o}")

    def test_more_memory_than_kvm_takes_is_refused_with_the_limit(self):
        done = self.run("--mem", "16T")
        check(done.returncode == 1 and "8 TiB" in done.stderr, f"{done}")

    def test_a_lack_of_descriptors_is_called_nothing_else(self):
        for limit in range(5, 16):
            done = self.run(preexec_fn=lambda limit=limit: resource.setrlimit(
                resource.RLIMIT_NOFILE, (limit, limit)))
            check(done.returncode in (1, 5, 127), f"{limit}: {done}")
            if done.returncode == 1:
                check("Too many open files" in done.stderr, f"{limit}: {done.stderr}")
                check("sysctl" not in done.stderr and "doctor" not in done.stderr, f"{limit}: {done.stderr}")

    def test_a_limit_of_file_sizes_is_an_error_with_a_text_not_a_death(self):
        done = self.run(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))
        check(done.returncode == 1 and "File too large" in done.stderr, f"{done}")

    def test_who_lacks_rights_is_not_told_to_use_another_kernel(self):
        done = apf("doctor", "--json", user=NOBODY, group=NOBODY, extra_groups=[])
        checks = {one["name"]: one for one in json.loads(done.stdout)["checks"]}
        if checks["userfaultfd"]["ok"]:
            return
        for name in ("minor-faults", "poison"):
            check("kernel 5" not in str(checks[name]) and "kernel 6" not in str(checks[name]),
                  f"{checks[name]}")


def skip(name):
    return "not root, who could lack rights" if "rights" in name and os.geteuid() else ""


if __name__ == "__main__":
    run_all(Tests, APF, skip=skip)
