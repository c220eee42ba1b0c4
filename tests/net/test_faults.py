# SPDX-License-Identifier: AGPL-3.0-or-later
"""Each call to the system fails once, at the start and while tunnels are made: no program crashes.
It works nevertheless, or it ends with a sentence.

All of the calls with TD_SWEEP=full, otherwise a sample, by TD_SEED.
"""

import errno
import re
import subprocess

import pytest

from fake_client import FakeClient, Refused
from faults import DESCRIPTOR, EPOLL, FILTER, FOREVER, MEMORY, NETLINK_RECEIVE, NETLINK_SEND, OPTION
from faults import PROCESS, THREAD, TUN_OPEN, TUN_SET, UDP_RECEIVE, UDP_SEND, Faults, name_of, numbers
from netlab import SLOW, wait_until
from programs import DATAPATH

pytestmark = pytest.mark.any_kernel

SAMPLE = 12 if SLOW == 1 else 2
SAMPLES = {MEMORY: 60 if SLOW == 1 else 4}
LINES_MAX = 20
# What a call of these kinds may say.
REFUSALS = [
    (MEMORY, errno.ENOMEM),
    (DESCRIPTOR, errno.EMFILE),
    (EPOLL, errno.ENOSPC),
    (UDP_SEND, errno.ENOBUFS),
    (UDP_SEND, errno.EPERM),
    (UDP_SEND, errno.EMSGSIZE),
    (UDP_RECEIVE, errno.ENOBUFS),
    (UDP_RECEIVE, errno.EPERM),
    (NETLINK_SEND, errno.ENOBUFS),
    (NETLINK_SEND, errno.EPERM),
    (NETLINK_SEND, errno.EMSGSIZE),
    (NETLINK_RECEIVE, errno.ENOBUFS),
    (NETLINK_RECEIVE, errno.EPERM),
    (TUN_OPEN, errno.EBUSY),
    (TUN_OPEN, errno.ENOENT),
    (TUN_SET, errno.EBUSY),
    (OPTION, errno.EPERM),
    (PROCESS, errno.EAGAIN),
    (THREAD, errno.EAGAIN),
    (FILTER, errno.ENOMEM),
]
# Calls of these kinds that are never made.
NO_TAP = TUN_OPEN | TUN_SET if DATAPATH == "kernel" else 0


def assert_clear_end(program, what):
    """It ended by itself: how, and what it said about that."""
    status = program.process.returncode
    program.expected = status
    # 2, as for options that are wrong: of the client, which has no memory for its options.
    assert status in (1, 2), f"{what}: status {status}\n{program.log()}"
    lines = program.log_lines()
    assert any(re.match(r"ERROR .*\w+ \w+|tunneldigger\S*: .*\w+ \w+", line) for line in lines), (
        f"{what}: ended without a sentence\n{program.log()}"
    )


def settled(program, condition, what, timeout=45):
    """Waits for the condition, or the end of the program; did it hold?"""
    wait_until(lambda: not program.running() or condition(), timeout, f"{what}: {program.log()}")
    return program.running()


class BrokerSweep:
    without = NO_TAP

    def __init__(self, world):
        self.world = world
        self.there, self.here = world.pair()
        self.faults = world.closing(Faults(world.directory / "faults"))
        self.uuids = 0

    def once(self, refusal, first, what):
        self.faults.refuse(*refusal, first=first)
        hooks = {"session.up": "/bin/true", "session.down": "/bin/true"}
        broker = self.world.broker(self.there, ready=False, hooks=hooks, env=self.faults.env)
        if settled(broker, lambda: re.search("^NOTICE ready for", broker.log(), re.M), what):
            self.connect(broker, what)
            assert broker.stop(timeout=20) in (0, 1), f"{what}: {broker.log()}"
            broker.expected = None
        else:
            assert_clear_end(broker, what)
        assert len(broker.log_lines()) <= LINES_MAX, f"{what}: {broker.log()}"
        wait_until(lambda: not self.there.pids(), 10, f"{what}: no process is left")
        wait_until(lambda: not self.there.tunnels(), 10, f"{what}: no interface is left")
        return self.faults

    def connect(self, broker, what):
        """A client that does not give up gets its tunnel."""
        self.uuids += 1

        def connected():
            client = FakeClient(self.here, uuid=f"sweep{self.uuids}")
            try:
                return client.ask_cookie(3) and client.prepare(6) and broker.tunnels()
            except Refused:
                return False
            finally:
                client.stop()

        wait_until(connected, 60, f"{what}: a tunnel\n{broker.log()}")


class ClientSweep:
    # The broker's address is a number, and needs no lookup.
    without = NO_TAP | PROCESS | THREAD | FILTER

    def __init__(self, world):
        self.world = world
        there, self.here = world.pair()
        self.broker = world.broker(there, broker={"max_tunnels": "64"})
        self.faults = world.closing(Faults(world.directory / "faults"))

    def once(self, refusal, first, what):
        self.faults.refuse(*refusal, first=first)
        client = self.world.client(self.here, env=self.faults.env)
        if settled(client, lambda: self.here.is_up(client.ifname), what):
            assert client.stop() == 0, f"{what}: {client.log()}"
        else:
            assert_clear_end(client, what)
        assert len(client.log_lines()) <= LINES_MAX, f"{what}: {client.log()}"
        wait_until(lambda: "tunnel" not in self.here.states(), 10, f"{what}: no interface is left")
        return self.faults


@pytest.mark.parametrize("refusal", REFUSALS, ids=name_of)
@pytest.mark.parametrize("side", [BrokerSweep, ClientSweep])
def test_each_call_fails_once(world, side, refusal):
    sweep = side(world)
    what = f"{side.__name__} {name_of(refusal)}"
    total = sweep.once(refusal, FOREVER, what).calls
    assert (total == 0) == bool(refusal[0] & side.without), f"{what}: {total} calls"
    if total == 0:
        return
    failures = []
    for number in numbers(total, SAMPLES.get(refusal[0], SAMPLE), what):
        try:
            sweep.once(refusal, number, f"{what}, call {number}")
        except (AssertionError, subprocess.TimeoutExpired) as failure:
            failures.append(str(failure))
            world.programs[-1].kill()
    assert not failures, "\n".join(failures)
