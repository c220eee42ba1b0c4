# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the kernel tells of L2TP: one notification for each command that makes or deletes something.

Kernels before 7 tell it to all namespaces, so whoever watches must use ids that no other test does:
ids()."""

import os
import socket
import struct
from collections import namedtuple

from links import SO_RCVBUFFORCE, WATCH_BYTES, attributes, messages

TUNNEL_CREATE, TUNNEL_DELETE, SESSION_CREATE, SESSION_DELETE = 1, 2, 5, 6

NETLINK_GENERIC = 16  # Python 3.11 has no name for it
GENL_ID_CTRL, CTRL_CMD_GETFAMILY = 16, 3
FAMILY_ID, FAMILY_NAME, MCAST_GROUPS, GROUP_ID = 1, 2, 7, 2
CONN_ID = 9
SOL_NETLINK, ADD_MEMBERSHIP = 270, 1
REQUEST = struct.Struct("=IHHIIBBHHH8s")  # headers, and one attribute: a name of up to 8 bytes

Note = namedtuple("Note", "command tunnel")


def ids():
    """The first of 1000 tunnel ids that no other test of this machine uses meanwhile."""
    return 3000 + 1000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])


def resolve(sock):
    """(family id, multicast group) of L2TP; loads the module, if that is allowed."""
    name = b"l2tp\0"
    sock.send(
        REQUEST.pack(REQUEST.size, GENL_ID_CTRL, 1, 1, 0, CTRL_CMD_GETFAMILY, 1, 0,
                     4 + len(name), FAMILY_NAME, name)
    )
    ((_, body),) = messages(sock.recv(1 << 16))
    found = attributes(body[4:])
    (group,) = attributes(found[MCAST_GROUPS]).values()
    (number,) = struct.unpack("=I", attributes(group)[GROUP_ID])
    return struct.unpack("=H", found[FAMILY_ID])[0], number


class Watch:
    """Of a host's L2TP from now on, as far as it concerns the ids that begin with first."""

    def __init__(self, ns, first):
        self.range = range(first, first + 1000)
        self.seen = []
        with ns.entered():
            self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, WATCH_BYTES)
        self.family, group = resolve(self.sock)
        self.sock.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
        self.sock.setblocking(False)

    def notes(self):
        """All that was told until now."""
        try:
            while True:
                for kind, body in messages(self.sock.recv(1 << 16)):
                    if kind == self.family:
                        (tunnel,) = struct.unpack("=I", attributes(body[4:])[CONN_ID])
                        self.seen.append(Note(body[0], tunnel))
        except BlockingIOError:
            return [note for note in self.seen if note.tunnel in self.range]

    def tunnels(self, command):
        """Those that it was about, in order."""
        return sorted(note.tunnel for note in self.notes() if note.command == command)

    def count(self, command):
        return sum(note.command == command for note in self.notes())

    def close(self):
        self.sock.close()
