# SPDX-License-Identifier: AGPL-3.0-or-later
"""The interfaces of a host by system calls: what tests poll, without a process for each look."""

import fcntl
import socket
import struct
from collections import namedtuple

Link = namedtuple("Link", "index mtu up kind")
Port = namedtuple("Port", "up master isolated")  # of a bridge; master: an index or 0

RTM_NEWLINK, RTM_GETLINK = 16, 18
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
NLMSG_DONE = 3
RTMGRP_LINK = 1
SO_RCVBUFFORCE = 33
WATCH_BYTES = 1 << 24  # a few hundred interfaces that come and go
IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_INFO_KIND = 3, 4, 18, 1
IFLA_MASTER, IFLA_INFO_SLAVE_DATA, IFLA_BRPORT_ISOLATED = 10, 5, 33
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


def messages(data):
    """(type, body) of the netlink messages in a datagram."""
    while data:
        size, kind = HEADER.unpack_from(data)[:2]
        yield kind, data[HEADER.size : size]
        data = data[(size + 3) & ~3 :]


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
            for kind, body in messages(sock.recv(1 << 17)):
                if kind == NLMSG_DONE:
                    return found
                assert kind == RTM_NEWLINK, f"rtnetlink answers with a message of type {kind}"
                name, link = parse(body)
                found[name] = link


def parse_port(message):
    """(name, Port) from the body of RTM_NEWLINK."""
    _, _, _, flags, _ = IFINFO.unpack_from(message)
    found = attributes(message[IFINFO.size :])
    (master,) = struct.unpack("=I", found.get(IFLA_MASTER, bytes(4)))
    info = attributes(found.get(IFLA_LINKINFO, b""))
    isolated = attributes(info.get(IFLA_INFO_SLAVE_DATA, b"")).get(IFLA_BRPORT_ISOLATED, b"\0")
    name = found[IFLA_IFNAME].rstrip(b"\0").decode()
    return name, Port(bool(flags & IFF_UP), master, isolated != b"\0")


class Watch:
    """Of all interfaces that are made in this thread's network namespace from now on."""

    def __init__(self):
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, WATCH_BYTES)
        self.sock.bind((0, RTMGRP_LINK))
        self.sock.setblocking(False)

    def told(self, parse_body):
        """What each message about one says; a test that cannot be told all fails."""
        try:
            while True:
                for kind, body in messages(self.sock.recv(1 << 17)):
                    # Bridges tell of their ports in messages of their own.
                    if kind == RTM_NEWLINK and body[0] == socket.AF_UNSPEC:
                        yield parse_body(body)
        except BlockingIOError:
            return

    def made(self):
        """(name, Link), of those that were made or changed since the last call."""
        return self.told(parse)

    def close(self):
        self.sock.close()


class Monitor(Watch):
    """What becomes of those interfaces."""

    def __init__(self):
        super().__init__()
        self.seen = []  # (name, Port), as it was told

    def ports(self, ifname):
        """All states of an interface until now, one after the other."""
        self.seen += self.told(parse_port)
        return [port for name, port in self.seen if name == ifname]


def set_up(ifname):
    """In this thread's network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = fcntl.ioctl(sock, SIOCGIFFLAGS, IFREQ.pack(ifname.encode(), 0))
        flags = IFREQ.unpack(request)[1] | IFF_UP
        fcntl.ioctl(sock, SIOCSIFFLAGS, IFREQ.pack(ifname.encode(), flags))
