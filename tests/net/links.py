# SPDX-License-Identifier: AGPL-3.0-or-later
"""The interfaces of a host by rtnetlink: what tests poll, without a process for each look."""

import socket
import struct
from collections import namedtuple

Link = namedtuple("Link", "index mtu up kind")
Port = namedtuple("Port", "up master isolated")  # of a bridge; master: an index or 0

RTM_NEWLINK, RTM_GETLINK = 16, 18
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
NLMSG_DONE = 3
IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_INFO_KIND = 3, 4, 18, 1
IFLA_MASTER, IFLA_INFO_SLAVE_DATA, IFLA_BRPORT_ISOLATED = 10, 5, 33
RTMGRP_LINK = 1
SO_RCVBUFFORCE = 33
IFF_UP = 1
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


def parse_port(message):
    """(name, Port) from the body of RTM_NEWLINK."""
    _, _, _, flags, _ = IFINFO.unpack_from(message)
    found = attributes(message[IFINFO.size :])
    (master,) = struct.unpack("=I", found.get(IFLA_MASTER, bytes(4)))
    info = attributes(found.get(IFLA_LINKINFO, b""))
    isolated = attributes(info.get(IFLA_INFO_SLAVE_DATA, b"")).get(IFLA_BRPORT_ISOLATED, b"\0")
    name = found[IFLA_IFNAME].rstrip(b"\0").decode()
    return name, Port(bool(flags & IFF_UP), master, isolated != b"\0")


class Monitor:
    """What becomes of the interfaces of this thread's network namespace from now on."""

    def __init__(self):
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 23)
        self.sock.bind((0, RTMGRP_LINK))
        self.sock.setblocking(False)
        self.seen = []  # (name, Port), as it was told

    def ports(self, ifname):
        """All states of an interface until now, one after the other."""
        while True:
            try:
                data = self.sock.recv(1 << 17)
            except BlockingIOError:
                return [port for name, port in self.seen if name == ifname]
            while data:
                size, kind = HEADER.unpack_from(data)[:2]
                if kind == RTM_NEWLINK and data[HEADER.size] == socket.AF_UNSPEC:
                    self.seen.append(parse_port(data[HEADER.size : size]))
                data = data[(size + 3) & ~3 :]

    def close(self):
        self.sock.close()
