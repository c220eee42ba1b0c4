# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tunnels are opened while others shake hands on the same port: nobody has to ask twice because of
the broker. Each tunnel of the kernel data path takes the listener's port for a moment
(src/sys/udp.h), unless it has one of its own, and with it what others sent; wide_window.c makes that
moment long."""

import json
import os
import select
import threading

import pytest

import wire
from netlab import SLOW, wait_until
from programs import BUILD

pytestmark = pytest.mark.kernel

LOAD = os.path.join(BUILD, "bench/td-load")
WIDE_WINDOW = os.path.join(BUILD, "tests/net/wide-window.so")
TUNNELS = 200


class Flood:
    """Clients that ask for cookies, each for the next when it got one, so that there is never more
    under way than sockets hold. Who gets no answer stops."""

    clients = 48

    def __init__(self, ns):
        self.socks = [ns.udp(peer=("192.0.2.1", 8942)) for _ in range(self.clients)]
        self.waiting = set()
        self.answers = 0
        self.stopping = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        poll = select.poll()
        by_fd = {sock.fileno(): sock for sock in self.socks}
        for fd, sock in by_fd.items():
            poll.register(fd, select.POLLIN)
            self.ask(sock)
        while self.waiting:
            for fd, _ in poll.poll(100):
                assert wire.parse(by_fd[fd].recv(2000))[0] == wire.COOKIE
                self.waiting.discard(by_fd[fd])
                self.answers += 1
                if not self.stopping:
                    self.ask(by_fd[fd])
            if self.stopping == "now":
                return

    def ask(self, sock):
        self.waiting.add(sock)
        sock.send(wire.message(wire.COOKIE, b"X" * 8))

    def lost(self, patience):
        """Ends it; how many were never answered."""
        self.stopping = True
        self.thread.join(patience)
        return len(self.waiting)

    def close(self):
        self.stopping = "now"
        self.thread.join()
        for sock in self.socks:
            sock.close()


def open_tunnels(world, rx_scaling, patience, **env):
    """What td-load says of its handshakes, and how many of the flood's were lost."""
    there, here, others = world.switch("broker", "clients", "others")
    # A full broker gives no cookies.
    settings = {"max_tunnels": 2 * TUNNELS, "rx_scaling": rx_scaling}
    broker = world.broker(there, broker=settings, env={"LD_PRELOAD": WIDE_WINDOW, **env})
    flood = world.closing(Flood(others))
    wait_until(lambda: flood.answers > 100, 10, "the flood runs")
    limit = f"{patience:g}"  # nobody repeats what is only slow, or at all
    argv = [LOAD, "-n", TUNNELS, "-p", "32", "-R", limit, "-g", limit, "192.0.2.1", "8942"]
    load = world.program(here, argv)
    load.expected = None
    load.wait_log('"phase": "setup"', 120)
    lost = flood.lost(patience)
    load.wait_end(60)
    broker.wait_tunnels(0, 60)
    return json.loads(load.log_lines()[0]), lost


@pytest.mark.parametrize("rx_scaling", ["off", "nft"])
def test_no_handshake_is_lost(world, rx_scaling):
    setup, lost = open_tunnels(world, rx_scaling, 5 * SLOW)
    assert (setup["established"], setup["retries"], lost) == (TUNNELS, 0, 0), setup


@pytest.mark.slow
def test_they_would_be_lost(world, record_property):
    """The same with a broker that does not look at what tunnel sockets got from others."""
    setup, lost = open_tunnels(world, "off", 2 * SLOW, NO_DRAIN="1")
    lost += TUNNELS - setup["established"] + setup["retries"]
    record_property("lost", lost)
    assert lost > 0


def test_nothing_can_be_lost_on_ports_of_their_own(world):
    setup, lost = open_tunnels(world, "nft", 5 * SLOW, NO_DRAIN="1")
    assert (setup["established"], setup["retries"], lost) == (TUNNELS, 0, 0), setup
