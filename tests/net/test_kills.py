# SPDX-License-Identifier: AGPL-3.0-or-later
"""kill -9 of either side at random instants while clients connect: nothing that was made by half is
left, and whoever comes next works.

TD_SEED: other instants. TD_SWEEP=full: five times as many.
"""

import os
import random
import signal
import time

import pytest

from faults import FULL, SEED
from netlab import SLOW, traffic, wait_until

pytestmark = pytest.mark.any_kernel

CLIENTS = 5
ROUNDS = (50 if FULL else 10) if SLOW == 1 else 2
REACH_S = 0.8 * SLOW  # by then all of them are usually connected
VICTIMS = ("a client", "all clients", "the broker", "the worker", "everybody")


def udp_sockets(ns):
    """Local ends of the UDP sockets in a host."""
    found = []
    for name in ("udp", "udp6"):
        with ns.entered(), open(f"/proc/thread-self/net/{name}", encoding="ascii") as table:
            found += [line.split()[1] for line in table.readlines()[1:]]
    return found


class Place:
    """Two hosts, and who lives there just now."""

    def __init__(self, world, rng):
        self.world, self.rng = world, rng
        self.there, self.here = world.pair()
        self.broker, self.clients, self.names = None, [], 0

    def populate(self):
        if self.broker is None:
            settings = {"max_tunnels": "256"}
            self.broker = self.world.broker(self.there, broker=settings, ready=False)
        for number in range(1, CLIENTS + 1):
            self.names += 1
            self.clients.append(
                self.world.client(
                    self.here, "-t", str(number), uuid=f"n{self.names}", ifname=f"tun{number}"
                )
            )

    def strike(self, victim):
        if victim == "the worker":
            for pid in self.broker.workers():
                os.kill(pid, signal.SIGKILL)
            self.broker.expected = None  # without one that was ever ready, it ends
            self.broker.process.poll()
        if victim in ("the broker", "everybody"):
            ended = self.broker.expected is None  # it may have, for want of a worker
            self.broker.kill()
            self.broker.expected = None if ended else self.broker.expected
        if victim in ("all clients", "everybody"):
            self.kill(self.clients)
        elif victim == "a client":
            self.kill([self.rng.choice(self.clients)])

    @staticmethod
    def kill(programs):
        for program in programs:
            program.process.send_signal(signal.SIGKILL)
            program.expected = -signal.SIGKILL
        for program in programs:
            program.wait_end()

    def part(self):
        """Who is left goes in order; nothing stays of those who did not."""
        for client in self.clients:
            client.process.send_signal(signal.SIGTERM)
        for client in self.clients:
            assert client.wait_end() in (0, -signal.SIGKILL, -signal.SIGTERM), client.log()
            client.expected = None  # before it has its handlers
        self.clients = []
        wait_until(lambda: set(self.here.states()) == {"lo", "wan"}, 10, "their interfaces go")
        assert not self.here.pids() and not udp_sockets(self.here)
        if not self.broker.running():
            wait_until(lambda: not self.there.pids(), 10, "the broker's processes go")
            wait_until(lambda: set(self.there.states()) == {"lo", "wan"}, 10, "its interfaces go")
            wait_until(lambda: not udp_sockets(self.there), 10, "its sockets go")
            self.broker = None


def strike_at_random(place, number):
    victim = place.rng.choice(VICTIMS)
    delay = place.rng.uniform(0, REACH_S)
    print(f"round {number}: {victim} after {delay:.3f} s")
    place.populate()
    time.sleep(delay)
    place.strike(victim)
    place.part()


@pytest.mark.parametrize("part", range(4))
def test_kills_at_random_instants(world, part):
    place = Place(world, random.Random(f"{SEED} {part}"))
    print(f"TD_SEED={SEED}")
    for number in range(ROUNDS):
        strike_at_random(place, number)
    if place.broker:
        place.strike("the broker")
        place.part()
    assert not place.there.run("nft", "list", "ruleset").stdout
    broker = world.broker(place.there)
    world.client(place.here, ifname="tun1").wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(place.there, name, place.here, "tun1")
