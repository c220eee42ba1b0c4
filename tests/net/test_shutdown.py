# SPDX-License-Identifier: AGPL-3.0-or-later
"""SIGTERM and SIGINT: clients are told, hooks run, within one deadline; exit status 0."""

import os
import signal
import time

import pytest

from fake_client import FakeClient
from netlab import SLOW, wait_until
import wire


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGINT])
def test_in_order(world, signo):
    there, here = world.pair()
    hooks = world.hooks()
    broker = world.broker(there, hooks=hooks.broker_scripts())
    clients = [
        world.closing(FakeClient(here, uuid=f"n{n}", tunnel=n)).connect() for n in range(1, 4)
    ]
    broker.wait_tunnels(3)
    hooks.wait("session.up", 3, event="end")
    assert broker.stop(signo) == 0
    assert there.tunnels() == [] and there.pids() == []
    wait_until(lambda: all(c.ended_by == b"\x02" for c in clients), 5, "ERROR: shutdown")
    for client in clients:
        uuid = client.uuid.decode()
        names = [record["hook"] for record in hooks.records() if uuid in record["args"]]
        names = [name for name in names if name != "session.mtu-changed"]
        assert names == ["session.up", "session.pre-down", "session.down"]


def test_without_tunnels_it_is_immediate(world):
    there, _ = world.pair()
    broker = world.broker(there)
    begin = time.monotonic()
    assert broker.stop() == 0
    assert time.monotonic() - begin < 3 * SLOW


def test_hanging_hook_is_cut_off_and_reported(world):
    there, here = world.pair()
    hooks = world.hooks()
    scripts = {"session.pre-down": hooks.script("session.pre-down", "time.sleep(120)")}
    broker = world.broker(there, broker={"shutdown_timeout": "3"}, hooks=scripts)
    client = world.closing(FakeClient(here)).connect()
    broker.wait_tunnels(1)
    lines = len(broker.log_lines())
    begin = time.monotonic()
    assert broker.stop(timeout=15) == 0
    took = time.monotonic() - begin
    assert 1.5 < took < 9 * SLOW, f"{took:.1f} s"
    assert client.ended_by is not None
    wait_until(lambda: not there.pids(), 5, "the hook is gone too")
    assert any("hook" in line or "pre-down" in line for line in broker.log_lines()[lines:])
    assert there.tunnels() == []


def test_nobody_new_is_admitted_meanwhile(world):
    there, here = world.pair()
    hooks = world.hooks()
    scripts = {"session.pre-down": hooks.script("session.pre-down", "time.sleep(3)")}
    broker = world.broker(there, hooks=scripts)
    client = world.closing(FakeClient(here)).connect()
    late = world.closing(FakeClient(here, uuid="late"))
    assert late.ask_cookie()
    broker.process.send_signal(signal.SIGTERM)
    wait_until(lambda: client.ended_by is not None, 5, "the client is told at once")
    late.send(wire.PREPARE, late.prepare_payload())
    answer = late.receive(1)
    assert answer is None or answer[0] == wire.ERROR
    assert broker.wait_end() == 0


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_all_processes(world, signo):
    """As from a terminal, or from systemd: the whole group gets it."""
    there, here = world.pair()
    hooks = world.hooks()
    broker = world.broker(there, hooks=hooks.broker_scripts())
    client = world.closing(FakeClient(here)).connect()
    hooks.wait("session.up", event="end")
    os.killpg(broker.pid, signo)
    assert broker.wait_end() == 0
    wait_until(lambda: client.ended_by == b"\x02", 5, "ERROR: shutdown")
    assert [r["hook"] for r in hooks.records()][-2:] == ["session.pre-down", "session.down"]


def test_second_signal_ends_at_once(world):
    there, here = world.pair()
    hooks = world.hooks()
    scripts = {"session.pre-down": hooks.script("session.pre-down", "time.sleep(120)")}
    broker = world.broker(there, hooks=scripts)
    world.closing(FakeClient(here)).connect()
    broker.process.send_signal(signal.SIGTERM)
    hooks.wait("session.pre-down")
    broker.process.send_signal(signal.SIGTERM)
    broker.expected = broker.wait_end(3)
    assert broker.expected in (0, 1)
    assert "ended by signal" not in broker.log(), "we did that ourselves"
    wait_until(lambda: not there.pids() and not there.tunnels(), 5, "nothing left")
