# SPDX-License-Identifier: AGPL-3.0-or-later
"""Limits of bandwidth, of what goes to the client, with TCP through a real tunnel.

A limit counts Ethernet frames of the tunnel's interface. It is measured at the other end, by what
arrives there on the interface, and by what TCP delivers, to which the headers of each frame are added.
Below the limit a busy machine can be, and for a moment above when it has caught up, so that one
window of several has to be right.
"""

import contextlib
import os
import re
import socket
import struct
import threading
import time

import pytest

import wire
from netlab import SLOW, pings, wait_until
from programs import DATAPATH

MTU = 1400
HEADERS = 20 + 32  # of IPv4 and TCP with timestamps
FRAME = MTU + 14
TOLERANCE = 0.05
WINDOW_S, WINDOWS = 4, int(15 * SLOW)
# In kbit/s: what a machine that is busy with other tests, or emulated, can still carry.
RATES = [250, 1000] if DATAPATH == "kernel" else [250, 1000, 4000]
FAST = 1300  # without a limit it is more


class Stream:
    """One TCP connection that is always full; counts what it delivers."""

    def __init__(self, sender, receiver, address):
        self.delivered = 0
        with receiver.entered():
            listener = socket.create_server((address, 0))
        with sender.entered():
            self.out = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.out.settimeout(10 * SLOW)
        self.out.connect(listener.getsockname())
        self.into, _ = listener.accept()
        listener.close()
        self.threads = [threading.Thread(target=run) for run in (self.send, self.receive)]
        for thread in self.threads:
            thread.start()

    def send(self):
        self.out.settimeout(None)
        with contextlib.suppress(OSError):
            while True:
                self.out.send(bytes(1 << 16))

    def receive(self):
        with contextlib.suppress(OSError):
            while data := self.into.recv(1 << 16):
                self.delivered += len(data)

    def close(self):
        for sock in (self.out, self.into):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        self.out.close()
        self.into.close()


def received(ns, ifname):
    with ns.entered(), open("/proc/thread-self/net/dev", encoding="ascii") as table:
        return int(re.search(rf"^\s*{ifname}:\s*(\d+)", table.read(), re.M)[1])


def rates(flow, ns, ifname, seconds=WINDOW_S):
    """kbit/s of frames at the interface, and of TCP's payload with its headers."""

    def sample():
        return time.monotonic(), received(ns, ifname), flow.delivered

    begin = sample()
    time.sleep(seconds)
    span, frames, payload = (end - start for start, end in zip(begin, sample()))
    return [count * 8 / 1000 / span for count in (frames, payload * FRAME / (MTU - HEADERS))]


def assert_rate(asked, flow, ns, ifname):
    seen = []
    for _ in range(WINDOWS):
        seen.append(rates(flow, ns, ifname))
        if all(abs(rate - asked) < TOLERANCE * asked for rate in seen[-1]):
            return
    raise AssertionError(f"not {asked} kbit/s but (frames, TCP) {seen}")


def queues(ns, ifname):
    return ns.run("tc", "qdisc", "show", "dev", ifname).stdout


def wait_limit(ns, ifname, kbps):
    """0: none."""

    def is_set():
        shown = queues(ns, ifname)
        return re.search(rf"rate {kbps}Kbit|rate {kbps // 1000}Mbit", shown) if kbps else (
            "tbf" not in shown
        )

    wait_until(is_set, 10, f"limit of {kbps} kbit/s")


def ask_limit(here, broker, kbps, number):
    """As if the client asked for another limit: deployed ones do so at the start only."""
    port = int(re.search(r"tunnel \d+ up: .* from \S+:(\d+),", broker.log())[1])
    message = wire.message(wire.LIMIT, struct.pack("!HBBI", number, 1, 4, kbps), 0)
    with here.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    with sock:
        head = struct.pack("!HHHH", port, 8942, 8 + len(message), 0)
        sock.sendto(head + message, ("192.0.2.1", 0))


@pytest.fixture
def kernel_log():
    """Lines of the kernel's log about queues, from now on. Not every container may read it, the
    virtual machine always can."""
    if DATAPATH != "kernel" and not os.access("/dev/kmsg", os.R_OK):
        yield list
        return
    fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    os.lseek(fd, 0, os.SEEK_END)

    def lines():
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                with contextlib.suppress(BrokenPipeError):  # some were overwritten; read on
                    found.append(os.read(fd, 8192).decode(errors="replace"))
        return [line for line in found if re.search("quantum|sch_|HTB|TBF", line)]

    yield lines
    os.close(fd)


def connect(world, there, here, asked, **sections):
    broker = world.broker(there, broker={"pmtu": MTU}, **sections)
    world.client(here, "-L", asked).wait_up()
    (name,) = broker.wait_tunnels(1)
    here.ip("address add 10.1.1.2/24 dev tunnel")
    wait_until(lambda: here.mtu("tunnel") == MTU, 10, "MTU of the client")
    return broker, name


def stream(world, sender, receiver, sender_if, address):
    wait_until(lambda: pings(sender, sender_if, address), 10, f"{address} is there")
    return world.closing(Stream(sender, receiver, address))


@pytest.mark.parametrize("asked", RATES)
def test_limit(world, kernel_log, asked):
    """Towards the client; the other direction is the client's own affair."""
    there, here = world.pair()
    _, name = connect(world, there, here, asked)
    there.ip(f"address add 10.1.1.1/24 dev {name}")
    wait_limit(there, name, asked)
    down = stream(world, there, here, name, "10.1.1.2")
    assert_rate(asked, down, here, "tunnel")
    down.close()
    up = stream(world, here, there, "tunnel", "10.1.1.1")
    wait_until(lambda: rates(up, there, name, 1)[1] > FAST, 30, "no limit the other way")
    assert kernel_log() == []


def test_limit_of_what_is_forwarded(world, kernel_log):
    """Through a bridge, where packets of many times the MTU arrive."""
    there, here = world.pair()
    uplink = world.host("uplink")
    there.ip("link add br0 type bridge", "link set br0 up")
    world.link(there, "uplink", uplink, "lan", mtu=MTU)
    there.ip("link set uplink master br0")
    uplink.ip("address add 10.1.1.3/24 dev lan")
    _, name = connect(world, there, here, 1000, bridges={"bridge": {"interface": "br0"}})
    wait_limit(there, name, 1000)
    assert_rate(1000, stream(world, uplink, here, "lan", "10.1.1.2"), here, "tunnel")
    assert kernel_log() == []


def test_changed_and_removed_under_load(world, kernel_log):
    there, here = world.pair()
    broker, name = connect(world, there, here, 1000)
    there.ip(f"address add 10.1.1.1/24 dev {name}")
    wait_limit(there, name, 1000)
    down = stream(world, there, here, name, "10.1.1.2")
    wait_until(lambda: down.delivered > 50000, 10, "the stream flows")
    for number, asked in enumerate((400, 800), 100):
        ask_limit(here, broker, asked, number)
        wait_limit(there, name, asked)
        assert_rate(asked, down, here, "tunnel")
    ask_limit(here, broker, 0, 102)
    wait_limit(there, name, 0)
    wait_until(lambda: rates(down, here, "tunnel", 1)[1] > FAST, 30, "more without a limit")
    assert kernel_log() == []


def test_no_limit(world):
    there, here = world.pair()
    _, name = connect(world, there, here, 0)
    assert queues(there, name).count("qdisc") <= 1
    assert "tbf" not in queues(there, name)
