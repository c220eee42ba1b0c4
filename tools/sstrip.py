#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Removes from a stripped 64-bit little-endian ELF program what is not loaded: the section headers.

OpenWrt does the same to all that it ships (sstrip), for the kernel and the dynamic linker read the
program headers only. usage: sstrip.py PROGRAM"""

import struct
import sys

PT_LOAD = 1
HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")


def main(path):
    with open(path, "rb") as file:
        image = bytearray(file.read())
    header = list(HEADER.unpack_from(image))
    if header[0][:6] != b"\x7fELF\x02\x01":
        sys.exit(f"{path}: not a 64-bit little-endian ELF file")
    offset, size, count = header[5], header[9], header[10]
    end = offset + size * count
    for number in range(count):
        kind, _, start, _, _, length, _, _ = PROGRAM_HEADER.unpack_from(image, offset + number * size)
        if kind == PT_LOAD:
            end = max(end, start + length)
    header[6] = header[12] = header[13] = 0  # e_shoff, e_shnum, e_shstrndx
    HEADER.pack_into(image, 0, *header)
    with open(path, "wb") as file:
        file.write(image[:end])


main(sys.argv[1])
