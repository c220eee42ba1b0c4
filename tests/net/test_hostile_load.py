# SPDX-License-Identifier: AGPL-3.0-or-later
"""Floods by real processes: what they cost is the time that they take, and nothing that stays.

flood.c sends them, each datagram comes from its seed, and the broker gets all of them. TD_FLOOD:
how many are a lot (a million; in an emulated machine fewer).
"""

import json
import os
import signal
import struct

import pytest

import wire
from fake_broker import FakeBroker
from fake_client import FakeClient
from netlab import SLOW, traffic, wait_until
from programs import BUILD, preloaded, sanitizer_options

pytestmark = pytest.mark.any_kernel

LOAD = os.path.join(BUILD, "bench/td-load")
FLOOD = os.path.join(BUILD, "tests/net/flood")
MANY = int(os.environ.get("TD_FLOOD", "1000000" if SLOW == 1 else "30000"))
SOME = MANY // 10
SEED, OTHER_SEED = "1", "2"
PATIENT = ["nice", "-n", "5"]  # other tests run at the same time
# What is freed stays in AddressSanitizer's quarantine, which would look like growth.
FRUGAL = {"ASAN_OPTIONS": f"{sanitizer_options()['ASAN_OPTIONS']}:quarantine_size_mb=1"}
FEW_LINES = 5
CHURN_S = "3"
BOTH = ["192.0.2.1:8942", "192.0.2.2:8942"]
GROWTH_KB = 1000


def flood(world, ns, kind, count, ports, seed=SEED):
    argv = [*PATIENT, FLOOD, kind, count, ports, seed, "192.0.2.1", "8942"]
    return world.program(ns, argv, f"flood-{kind}")


def lost_datagrams(ns):
    """Those that came while the socket that they were for was full."""
    with ns.entered(), open("/proc/thread-self/net/udp", encoding="ascii") as table:
        return sum(int(line.split()[-1]) for line in table.readlines()[1:])


def spared(program, count):
    """The result of a flood that has ended: all was sent, no reply was larger than its request."""
    assert program.wait_end(120) == 0, program.log()
    result = json.loads(program.log_lines()[-1])
    assert result["sent"] == count and result["unsent"] == 0, result
    assert result["larger"] == 0, result
    return result


class Neighbours:
    """A broker with two tunnels: a client with traffic, and one that notes each keepalive."""

    def __init__(self, world, **settings):
        self.there, self.here, self.stranger = world.switch("broker", "client", "stranger")
        self.broker = world.broker(self.there, broker=settings, env=FRUGAL)
        for pid in self.broker.workers():
            os.setpriority(os.PRIO_PROCESS, pid, 5)
        self.client = world.client(self.here).wait_up()
        (self.name,) = self.broker.wait_tunnels(1)
        self.counting = world.closing(FakeClient(self.here, uuid="counting", tunnel=7)).connect()
        self.tunnels = self.broker.wait_tunnels(2)
        traffic(self.there, self.name, self.here, "tunnel")
        self.lines = [len(program.log_lines()) for program in (self.broker, self.client)]
        self.memory = None

    def remember(self):
        """The memory that the broker has had to touch; from now on it needs no more."""
        self.memory = self.broker.private_kb()

    def keepalives(self):
        payloads = self.counting.messages(wire.KEEPALIVE)
        return [struct.unpack("!H", payload[:2])[0] for payload in payloads]

    def check(self, log_lines=FEW_LINES):
        """Nothing has become of what strangers sent."""
        heard = len(self.keepalives())
        wait_until(lambda: len(self.keepalives()) >= heard + 2, 20, "two more keepalives")
        counters = self.keepalives()
        assert counters == list(range(counters[0], counters[0] + len(counters))), "none is lost"
        assert self.counting.ended_by is None
        assert set(self.tunnels) <= set(self.broker.tunnels())
        traffic(self.there, self.name, self.here, "tunnel")
        grown = self.broker.private_kb() - self.memory
        assert grown < GROWTH_KB, f"{grown} kB more"
        lines = [len(program.log_lines()) for program in (self.broker, self.client)]
        assert lines[0] - self.lines[0] <= log_lines, "lines in the broker's log"
        assert lines[1] == self.lines[1], "lines in the client's log"
        assert lost_datagrams(self.there) == 0, "the broker has got all of it"


@pytest.mark.parametrize("kind", ["random", "almost"])
def test_flood(world, kind):
    beside = Neighbours(world)
    spared(flood(world, beside.stranger, kind, MANY // 2, 500), MANY // 2)
    beside.remember()
    spared(flood(world, beside.stranger, kind, MANY // 2, 500, seed=OTHER_SEED), MANY // 2)
    beside.check()


# What of it is answered, by something of the same size or smaller.
ANSWERED = {"cookie", "usage"}
PORTS = {"cookie": 2000, "usage": 2000, "forged": 200, "foreign": 200, "stranger": 500, "mtu": 100}


def test_floods_of_messages(world):
    """Questions from many ports, PREPAREs with cookies that are no good, messages of tunnels that
    the sender does not have."""
    beside = Neighbours(world)
    half = SOME // 2
    for seed in (SEED, OTHER_SEED):
        if seed == OTHER_SEED:
            beside.remember()
        for kind, ports in PORTS.items():
            result = spared(flood(world, beside.stranger, kind, half, ports, seed), half)
            assert (result["replies"] > half // 2) == (kind in ANSWERED), f"{kind}: {result}"
            assert kind in ANSWERED or result["replies"] == 0, f"{kind}: {result}"
            assert beside.broker.tunnels() == beside.tunnels, kind
    beside.check()


def test_expired_cookies(world, tmp_path):
    """The clock goes forward by more than a cookie is good for, before there are tunnels."""
    there, here, stranger = world.switch("broker", "client", "stranger")
    clock = tmp_path / "clock"
    clock.write_bytes(struct.pack("=i", 0))
    env = {**preloaded("late-clock"), "LATE_CLOCK": str(clock)}
    broker = world.broker(there, env=env)
    hostile = flood(world, stranger, "expired", SOME, 100)
    hostile.wait_log("cookies", 60)
    good = world.closing(FakeClient(stranger, uuid="in-time"))
    assert good.ask_cookie() and good.prepare()
    with open(clock, "r+b") as file:
        file.write(struct.pack("=i", 200))
    broker.wait_tunnels(0)  # the clock it is
    lines = len(broker.log_lines())
    hostile.process.send_signal(signal.SIGUSR1)
    assert spared(hostile, SOME)["replies"] == 0
    assert len(broker.log_lines()) == lines
    assert broker.tunnels() == []
    world.client(here).wait_up()
    broker.wait_tunnels(1)


def test_half_done_handshakes(world):
    """A thousand ask for a tunnel and are not heard of again. They get as many as the limit of the
    rate lets them have, which the others do not notice. Those that come later cost no memory."""
    burst = 30
    beside = Neighbours(
        world, max_tunnels=1024, connection_rate_limit="0.2", connection_rate_limit_burst=burst
    )
    spared(flood(world, beside.stranger, "half", 16000, 500), 16000)
    wait_until(lambda: len(beside.broker.tunnels()) > burst, 30, "as many tunnels as are allowed")
    beside.remember()
    spared(flood(world, beside.stranger, "half", 16000, 500, seed=OTHER_SEED), 16000)
    beside.check(2 * len(beside.broker.tunnels()) + FEW_LINES)


def test_tunnels_come_and_go(world):
    """As fast as somebody can open and drop them, without any limit of the rate."""
    beside = Neighbours(world)
    argv = [LOAD, "-c", "-n", "4", "-t", CHURN_S, "-k", "0", "192.0.2.1", "8942"]
    warm_up = world.program(beside.stranger, argv, "load")
    assert warm_up.wait_end(60) == 0
    beside.broker.wait_tunnels(2, 30)
    beside.remember()
    lines = len(beside.broker.log_lines())
    load = world.program(beside.stranger, argv, "load")
    assert load.wait_end(60) == 0
    done = json.loads(load.log_lines()[0])["established"]
    assert done > 10
    beside.broker.wait_tunnels(2, 30)
    beside.lines[0] = lines
    beside.check(3 * done + FEW_LINES)


def test_absurd_mtus_from_the_peer(world):
    """A client tells, and acknowledges, what cannot be. Its own interface stays possible, and is
    changed, and logged, only so often."""
    beside = Neighbours(world)
    beside.remember()
    hostile = world.closing(FakeClient(beside.stranger, uuid="absurd", tunnel=9))
    assert hostile.ask_cookie() and hostile.prepare()
    beside.tunnels = beside.broker.wait_tunnels(3)
    (name,) = [tunnel for tunnel in beside.tunnels if tunnel.startswith("l2tp102-")]
    for number in range(SOME // 10):
        value = (0, 1, 25, 26, 1279, 1280, 1281, 9000, 32768, 65482, 65535)[number % 11]
        kind = (wire.PMTU_NTFY, wire.PMTUD_ACK, wire.PMTU_NTFY)[number % 3]
        hostile.send(kind, struct.pack("!H", value))
        if number % 100 == 0:
            assert hostile.ask_usage(10) is not None
            assert 1280 <= beside.there.mtu(name) <= 1446
    beside.check(60)


def bounded(client, lines, limit, what):
    more = client.log_lines()[lines:]
    assert len(more) <= limit, f"{what}: {more}"


def hostile_broker(world, ns, address, kind, count):
    argv = [*PATIENT, FLOOD, "-l", kind, count, "1", SEED, address, "8942"]
    hostile = world.program(ns, argv, "flood")
    hostile.wait_log("ready")
    return hostile


@pytest.mark.parametrize("kind", ["random", "almost", "handshake", "mtu"])
def test_one_broker_of_two_is_hostile(world, kind):
    """Whatever it says, and however often: the client finds the other one."""
    good, bad, here = world.switch("good", "bad", "client")
    broker = world.broker(good)
    hostile = hostile_broker(world, bad, "192.0.2.2", kind, SOME // 2)
    client = world.client(here, brokers=BOTH)
    assert hostile.wait_end(120) == 0, hostile.log()
    (name,) = broker.wait_tunnels(1, 60)
    traffic(good, name, here, "tunnel", 30)
    bounded(client, 0, 30, "beginning and changes")


def test_hostile_broker_alone(world):
    """What it says looks like that of a broker. The client comes again, with pauses."""
    bad, here = world.pair()
    hostile = hostile_broker(world, bad, "192.0.2.1", "handshake", SOME)
    client = world.client(here)
    assert hostile.wait_end(120) == 0, hostile.log()
    assert client.running()
    bounded(client, 0, 30, "beginning and changes")
    broker = world.broker(bad)
    broker.wait_tunnels(1, 90)


def test_strangers_do_not_reach_the_client(world):
    """Whoever is not the broker that was chosen, whatever he sends to the tunnel's port."""
    there, bad, here = world.switch("broker", "bad", "client")
    broker = world.broker(there)
    client = world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    port = broker.wait_log(r"192\.0\.2\.3\D{1,2}(\d+)").group(1)
    lines = [len(program.log_lines()) for program in (client, broker)]
    index = here.state("tunnel").index
    for kind in ("handshake", "almost", "mtu"):
        for ns in (bad, there):  # another address; another port of the broker's
            argv = [*PATIENT, FLOOD, "-c", kind, SOME // 2, "50", SEED, "192.0.2.3", port]
            assert world.program(ns, argv, "flood").wait_end(60) == 0
    traffic(there, name, here, "tunnel")
    assert here.state("tunnel").index == index, "the same tunnel"
    assert [len(program.log_lines()) for program in (client, broker)] == lines


@pytest.mark.parametrize("kind", ["mtu", "almost"])
def test_hostile_broker_of_the_tunnel(world, kind):
    """Of the client's own tunnel: it may end that. The interface stays possible."""
    bad, here = world.pair()
    fake = FakeBroker(bad)
    client = world.client(here).wait_up()
    (address,) = fake.peers
    fake.close()
    hostile = hostile_broker(world, bad, "192.0.2.1", kind, SOME)

    def ended():
        mtu = here.mtu("tunnel")
        assert mtu is None or 1280 <= mtu <= 1500, mtu
        return not hostile.running()

    wait_until(ended, 120, "the end of the flood")
    assert client.running() and address
    bounded(client, 0, 30, "beginning and changes")
