# SPDX-License-Identifier: AGPL-3.0-or-later
"""The interfaces of a host by system calls: what tests poll, without a process for each look."""

import fcntl
import socket
import struct
from collections import namedtuple

Link = namedtuple("Link", "index mtu up kind")

RTM_NEWLINK, RTM_GETLINK = 16, 18
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
NLMSG_DONE = 3
IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_INFO_KIND = 3, 4, 18, 1
IFF_UP = 1
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
IFREQ = struct.Struct("=16sH14x8x")
HEADER, IFINFO, ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BxHiII"), struct.Struct("=HH")


def attributes(data):
    found = {}
    while len(data) >= ATTRIBUTE.size:
        size, kind = ATTRIBUTE.unpack_from(data)
        found[kind & 0x3FFF] = data[ATTRIBUTE.size : size]
        data = data[(size + 3) & ~3 :]
    return found


def parse(message):
    """(name, Link) from the body of RTM_NEWLINK."""
    _, _, index, flags, _ = IFINFO.unpack_from(message)
    found = attributes(message[IFINFO.size :])
    kind = attributes(found.get(IFLA_LINKINFO, b"")).get(IFLA_INFO_KIND, b"")
    (mtu,) = struct.unpack("=I", found[IFLA_MTU])
    name, kind = (text.rstrip(b"\0").decode() for text in (found[IFLA_IFNAME], kind))
    return name, Link(index, mtu, bool(flags & IFF_UP), kind)


def dump():
    """All interfaces of this thread's network namespace: {name: Link}."""
    found = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        body = IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        flags = NLM_F_REQUEST | NLM_F_DUMP
        sock.send(HEADER.pack(HEADER.size + len(body), RTM_GETLINK, flags, 1, 0) + body)
        while True:
            data = sock.recv(1 << 17)
            while data:
                size, kind = HEADER.unpack_from(data)[:2]
                if kind == NLMSG_DONE:
                    return found
                assert kind == RTM_NEWLINK, f"rtnetlink answers with a message of type {kind}"
                name, link = parse(data[HEADER.size : size])
                found[name] = link
                data = data[(size + 3) & ~3 :]


def set_up(ifname):
    """In this thread's network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = fcntl.ioctl(sock, SIOCGIFFLAGS, IFREQ.pack(ifname.encode(), 0))
        flags = IFREQ.unpack(request)[1] | IFF_UP
        fcntl.ioctl(sock, SIOCSIFFLAGS, IFREQ.pack(ifname.encode(), flags))
