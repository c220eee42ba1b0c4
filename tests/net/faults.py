# SPDX-License-Identifier: AGPL-3.0-or-later
"""Programs in a system that refuses: what fault.c is told, and sweeps over all calls of a kind."""

import errno
import mmap
import os
import random
import struct

from programs import preloaded

# enum kind in fault.c
KINDS = ["memory", "descriptor", "epoll", "udp_send", "udp_receive", "netlink_send"]
KINDS += ["netlink_receive", "tun_open", "tun_set", "option", "process", "thread", "filter"]
MEMORY, DESCRIPTOR, EPOLL, UDP_SEND, UDP_RECEIVE, NETLINK_SEND, NETLINK_RECEIVE = (
    1 << bit for bit in range(7)
)
TUN_OPEN, TUN_SET, OPTION, PROCESS, THREAD, FILTER = (1 << bit for bit in range(7, 13))

FULL = os.environ.get("TD_SWEEP") == "full"
SEED = int(os.environ.get("TD_SEED", "1"))
FOREVER = 1 << 31


def name_of(refusal):
    """Of (kind, errno)."""
    kind, err = refusal
    return f"{KINDS[kind.bit_length() - 1]}-{errno.errorcode[err]}"


class Faults:
    """What one program is refused. Counts from 1; see struct state in fault.c."""

    form = struct.Struct("=6I")

    def __init__(self, path):
        path.write_bytes(bytes(self.form.size))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), self.form.size)
        self.env = {**preloaded("fault"), "FAULT_STATE": str(path)}

    def refuse(self, kinds, err, first=1, count=1):
        """From now on, of the calls of those kinds: so many, from the first on."""
        self.map[:] = self.form.pack(kinds, first, count, err, 0, 0)

    def allow(self):
        self.refuse(0, 0)

    @property
    def calls(self):
        return self.form.unpack(self.map[:])[4]

    @property
    def hits(self):
        return self.form.unpack(self.map[:])[5]

    def close(self):
        self.map.close()


def numbers(total, sample, what):
    """Which of so many calls are to fail: all of them, or a sample, which is printed."""
    chosen = list(range(1, total + 1))
    if not FULL and total > sample:
        chosen = sorted(random.Random(f"{SEED} {what}").sample(chosen, sample))
    print(f"{what}: {len(chosen)} of {total} calls, TD_SEED={SEED}: {chosen}")
    return chosen
