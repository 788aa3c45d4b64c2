#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Takes the plain kernel out of a packed one: an emulated CPU unpacks it far more slowly.

vmlinux.py VMLINUZ OUT

x86: the ELF file in a bzImage (offsets: the kernel's Documentation/arch/x86/boot.rst). arm64: the
Image, which is packed by gzip, inside an EFI program that unpacks it (zboot), or not at all.
"""

import subprocess
import sys

SETUP_SECTS = 0x1F1
PAYLOAD_OFFSET = 0x248
PAYLOAD_LENGTH = 0x24C
SIZE_FIELD = 4      # the payload of a bzImage ends with its unpacked size
ZBOOT_OFFSET, ZBOOT_LENGTH = 8, 12
GZIP = b"\x1f\x8b"
TOOLS = {b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\0": "xz", b"\x02\x21\x4c\x18": "lz4",
         GZIP: "gzip"}


def unpack(payload):
    for magic, tool in TOOLS.items():
        if payload.startswith(magic):
            return subprocess.run([tool, "-dc"], input=payload, check=True,
                                  stdout=subprocess.PIPE).stdout
    raise SystemExit(f"vmlinux: payload packed in an unknown way ({payload[:4].hex()})")


def number(image, at):
    return int.from_bytes(image[at:at + 4], "little")


def plain(image):
    if image[0x38:0x3C] == b"ARMd":
        return image
    if image.startswith(GZIP):
        return unpack(image)
    if image[4:8] == b"zimg":
        start = number(image, ZBOOT_OFFSET)
        return unpack(image[start:start + number(image, ZBOOT_LENGTH)])
    start = (image[SETUP_SECTS] + 1) * 512 + number(image, PAYLOAD_OFFSET)
    return unpack(image[start:start + number(image, PAYLOAD_LENGTH) - SIZE_FIELD])


def main(source, out):
    with open(source, "rb") as file:
        kernel = plain(file.read())
    if not kernel.startswith(b"\x7fELF") and kernel[0x38:0x3C] != b"ARMd":
        raise SystemExit("vmlinux: what was unpacked is neither an ELF file nor an arm64 Image")
    with open(out, "wb") as file:
        file.write(kernel)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: vmlinux.py VMLINUZ OUT")
    main(*sys.argv[1:])
