#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Takes the plain ELF kernel out of a bzImage: an emulated CPU unpacks it far more slowly.

vmlinux.py VMLINUZ OUT     (offsets: the kernel's Documentation/arch/x86/boot.rst)
"""

import subprocess
import sys

SETUP_SECTS = 0x1F1
PAYLOAD_OFFSET = 0x248
PAYLOAD_LENGTH = 0x24C
TOOLS = {b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\0": "xz", b"\x02\x21\x4c\x18": "lz4"}
SIZE_FIELD = 4      # the payload ends with its unpacked size


def unpack(image):
    def number(at):
        return int.from_bytes(image[at:at + 4], "little")

    start = (image[SETUP_SECTS] + 1) * 512 + number(PAYLOAD_OFFSET)
    payload = image[start:start + number(PAYLOAD_LENGTH) - SIZE_FIELD]
    for magic, tool in TOOLS.items():
        if payload.startswith(magic):
            return subprocess.run([tool, "-dc"], input=payload, check=True,
                                  stdout=subprocess.PIPE).stdout
    raise SystemExit(f"vmlinux: payload packed in an unknown way ({payload[:4].hex()})")


def main(source, out):
    with open(source, "rb") as file:
        kernel = unpack(file.read())
    if not kernel.startswith(b"\x7fELF"):
        raise SystemExit("vmlinux: what was unpacked is no ELF file")
    with open(out, "wb") as file:
        file.write(kernel)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: vmlinux.py VMLINUZ OUT")
    main(*sys.argv[1:])
