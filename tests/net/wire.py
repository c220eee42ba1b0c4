# SPDX-License-Identifier: AGPL-3.0-or-later
"""Control messages and data packets, as far as the doubles need them (docs/PROTOCOL.md)."""

import struct

MAGIC = b"\x80\x73\xa7\x01"

COOKIE = 0x01
PREPARE = 0x02
ERROR = 0x03
TUNNEL = 0x04
KEEPALIVE = 0x05
PMTUD = 0x06
PMTUD_ACK = 0x07
REL_ACK = 0x08
PMTU_NTFY = 0x09
USAGE = 0x0A
LIMIT = 0x80

UNIQUE_SESSION_ID = 1

CLIENT_ASKED = 0x10
CLIENT_SHUTDOWN = 0x11


def message(kind, payload=b"", size=12):
    """A control message, padded to size bytes."""
    return (MAGIC + bytes((kind, len(payload))) + payload).ljust(size, b"\0")


def parse(datagram):
    """(type, payload), or None when it is no control message."""
    if len(datagram) < 6 or datagram[:4] != MAGIC or 6 + datagram[5] > len(datagram):
        return None
    return datagram[4], datagram[6 : 6 + datagram[5]]


def data(session_id, frame, cookie=b""):
    return struct.pack("!HHI", 3, 0, session_id) + cookie + bytes(4) + frame


def parse_data(datagram):
    """(session id, frame), or None when it is no data packet."""
    if len(datagram) < 12 or datagram[0] & 0x80 or datagram[1] & 0x0F != 3:
        return None
    return struct.unpack("!I", datagram[4:8])[0], datagram[12:]


def frame(text, ethertype=0x88B5):
    """An Ethernet broadcast of an experimental type, told apart by its text."""
    head = b"\xff" * 6 + b"\x02\0\0\0\0\x42" + struct.pack("!H", ethertype)
    return (head + text).ljust(60, b"\0")
