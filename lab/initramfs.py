#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Initramfs images for the lab: the L1 host's and the guest's.

The archive is written here rather than by cpio(1), so that the same input always gives the same
bytes (fixed times, owners and inode numbers, sorted names) and no root is needed.
As a command: initramfs.py PROGRAM OUT, the guest's.
"""

import lzma
import os
import re
import stat
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

# What L1 cannot do without; what these need themselves is read from the modules. The first ones are
# built into most kernels.
OFTEN_BUILT_IN = ["virtio_pci", "virtio_console"]
WANTED_MODULES = {"x86": ["kvm-amd", "9pnet_virtio", "9p"], "arm64": ["9pnet_virtio", "9p"]}


def archive(entries):
    """A newc archive of {path: (mode, bytes)}; folders come before what is in them."""
    out = bytearray()
    items = sorted(entries.items()) + [("TRAILER!!!", (0, b""))]
    for inode, (name, (mode, data)) in enumerate(items, 1):
        fields = [inode, mode, 0, 0, 2 if stat.S_ISDIR(mode) else 1, 0, len(data),
                  0, 0, 0, 0, len(name) + 1, 0]
        out += b"070701" + b"".join(b"%08X" % field for field in fields)
        out += name.encode() + b"\0"
        out += bytes(-len(out) % 4)
        out += data
        out += bytes(-len(out) % 4)
    return bytes(out)


def folder(mode=0o755):
    return (stat.S_IFDIR | mode, b"")


def program(data):
    return (stat.S_IFREG | 0o755, data)


def text(data):
    return (stat.S_IFREG | 0o644, data.encode())


def link(target):
    return (stat.S_IFLNK | 0o777, target.encode())


def read(path):
    with open(path, "rb") as file:
        return file.read()


def module_path(kernel, name):
    for spelling in (name.replace("_", "-"), name):
        for suffix in (".ko", ".ko.xz"):
            path = os.path.join(kernel, "modules", spelling + suffix)
            if os.path.exists(path):
                return path
    return None


def module(kernel, name):
    """The unpacked module (busybox insmod cannot read .xz) and what it depends on."""
    path = module_path(kernel, name)
    if not path:
        raise SystemExit(f"initramfs: {kernel} has no module {name}")
    data = lzma.decompress(read(path)) if path.endswith(".xz") else read(path)
    depends = re.search(rb"\0depends=([^\0]*)\0", data)
    return data, [d for d in depends.group(1).decode().split(",") if d] if depends else []


def load_order(kernel, arch):
    """{name: bytes} of the wanted modules and their dependencies, in the order to load them."""
    order = {}

    def visit(name):
        name = name.replace("-", "_")
        if name in order:
            return
        data, depends = module(kernel, name)
        for other in depends:
            visit(other)
        order[name] = data

    for name in OFTEN_BUILT_IN:
        if module_path(kernel, name):
            visit(name)
    for name in WANTED_MODULES[arch]:
        visit(name)
    return order


def host_entries(kernel, arch, root):
    """L1: busybox, the modules, our init; libraries come from root's /usr, shared read-only."""
    entries = {name: folder() for name in
               ("bin", "dev", "etc", "lab", "modules", "proc", "root", "run", "sys", "usr")}
    entries["tmp"] = folder(0o1777)
    entries["lib"] = link("usr/lib")
    if arch == "x86":
        entries["lib64"] = link("usr/lib64")
    entries["etc/passwd"] = text("root:x:0:0:root:/root:/bin/sh\n")
    entries["etc/group"] = text("root:x:0:\n")
    entries["bin/busybox"] = program(read(os.path.join(root, "bin/busybox")))
    entries["bin/sh"] = link("busybox")
    order = load_order(kernel, arch)
    for name, data in order.items():
        entries[f"modules/{name}.ko"] = (stat.S_IFREG | 0o644, data)
    entries["modules/order"] = text("".join(name + "\n" for name in order))
    for name in ("init", "hold"):
        entries[name] = program(read(os.path.join(HERE, name)))
    return entries


def guest_entries(path):
    """The guest: the program is /init and needs nothing else."""
    return {"init": program(read(path)), "proc": folder(), "dev": folder()}


def write(path, data):
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(os.path.abspath(path)),
                                     delete=False) as file:
        file.write(data)
    os.chmod(file.name, 0o644)
    os.rename(file.name, path)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: initramfs.py PROGRAM OUT")
    write(sys.argv[2], archive(guest_entries(sys.argv[1])))
