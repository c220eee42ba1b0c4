# SPDX-License-Identifier: AGPL-3.0-or-later
"""Hooks that do what they should not: print without end, leave children behind, stay when they are
told to end. Their tunnels do not suffer, and the programs end in order."""

import os
import signal
import time

import pytest

from fake_client import FakeClient
from netlab import SLOW, holds, traffic, wait_until
from programs import alive, sanitizer_options

pytestmark = pytest.mark.any_kernel

UP = "subprocess.run(['ip', 'link', 'set', sys.argv[3], 'up'])\n"
MEGABYTES = 100 if SLOW == 1 else 5
# Both outputs, lines and none, and what no terminal should get.
CHATTER = f"""
for number in range({MEGABYTES}):
    os.write(1 + number % 2, (b'x' * 99 + b'\\n') * 5000 + b'\\0\\x1b[2J' * 125000)
"""
LINES_OF_A_HOOK = 101
LIMIT_S = 3 * SLOW
NO_LIMIT = "3600"
FRUGAL = {"ASAN_OPTIONS": f"{sanitizer_options()['ASAN_OPTIONS']}:quarantine_size_mb=1"}


def test_output_without_end(world):
    """A hundred megabytes: a hundred lines of them reach the log."""
    there, here = world.pair()
    hooks = world.hooks()
    script = hooks.script("session.up", UP + CHATTER)
    broker = world.broker(there, hooks={"session.up": script, "timeout": NO_LIMIT}, env=FRUGAL)
    memory = broker.private_kb()
    world.client(here).wait_up()
    hooks.wait("session.up")
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    hooks.wait("session.up", timeout=60, event="end")
    hooks.wait_noticed("session.up")
    wait_until(lambda: "dropped" in broker.log(), 10, "the log says so")
    traffic(there, name, here, "tunnel")
    assert len(broker.log_lines()) < LINES_OF_A_HOOK + 10
    assert "\x1b" not in broker.log()
    assert broker.private_kb() - memory < 1000


DAEMON = """
if os.fork() == 0:
    os.setsid()
    note(event="daemon", pid=os.getpid())
    {then}
    os._exit(0)
"""


def left_behind(world, then):
    """A tunnel whose hook has ended and left a child with the hook's output; the child's pid."""
    there, here = world.pair()
    hooks = world.hooks()
    script = hooks.script("session.up", UP + DAEMON.format(then=then))
    broker = world.broker(there, hooks={"session.up": script, "timeout": NO_LIMIT})
    world.client(here).wait_up()
    (record,) = hooks.wait("session.up", event="daemon")
    hooks.wait("session.up", event="end")
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    return there, here, broker, name, record["pid"]


def test_child_that_outlives_its_hook(world):
    """As a daemon that a hook starts. It is not ended, and nobody waits for it."""
    _, _, broker, _, child = left_behind(world, "time.sleep(600)")
    holds(lambda: alive(child), 3, "it lives on")
    assert broker.stop() == 0
    assert alive(child)
    os.kill(child, signal.SIGKILL)


def test_child_that_prints_without_end(world):
    then = "while True: os.write(1, b'y\\n' * 30000)"
    there, here, broker, name, child = left_behind(world, then)
    wait_until(lambda: "dropped" in broker.log(), 20, "no more of it")
    lines = len(broker.log_lines())
    time.sleep(2)
    traffic(there, name, here, "tunnel")
    assert len(broker.log_lines()) == lines
    second = world.closing(FakeClient(here, uuid="second", tunnel=2)).connect()
    broker.wait_tunnels(2)
    assert second.ended_by is None
    assert broker.stop() == 0
    wait_until(lambda: not alive(child), 10, "its output is closed")


# In no language that takes as long to start as the limit of the hook may be.
STUBBORN = """#!/bin/sh
trap '' TERM
sleep 600 &
echo "$$ $!" >{path}.new && mv {path}.new {path}
while :; do sleep 1; done
"""


def stubborn(world, name):
    """A hook that ignores SIGTERM, as its children do; and the file where it notes them."""
    script, path = world.directory / name, world.directory / f"{name}.pids"
    script.write_text(STUBBORN.format(path=path), encoding="ascii")
    script.chmod(0o755)
    return script, path


def noted(path):
    """Their process ids, as soon as it has begun."""
    wait_until(path.exists, 30, f"{path} is there")
    return [int(word) for word in path.read_text(encoding="ascii").split()]


def test_hooks_that_ignore_sigterm(world):
    """They and their children are ended two seconds later, at each of the tunnel's events."""
    there, here = world.pair()
    names = ("session.up", "session.pre-down", "session.down")
    made = {name: stubborn(world, name) for name in names}
    scripts = {name: script for name, (script, _) in made.items()}
    broker = world.broker(there, hooks={**scripts, "timeout": f"{LIMIT_S:g}"})
    client = world.client(here).wait_up()
    pids = noted(made["session.up"][1])
    (name,) = broker.wait_tunnels(1)
    wait_until(lambda: not any(map(alive, pids)), 20, "both end")
    assert client.running() and broker.tunnels() == [name]
    assert client.stop() == 0
    for name in names[1:]:
        pids = noted(made[name][1])
        wait_until(lambda: not any(map(alive, pids)), 20, f"those of {name} end")
    broker.wait_tunnels(0, 20)
    assert broker.stop() == 0
    wait_until(lambda: not there.pids(), 10, "no process is left")


def test_client_with_hooks_that_ignore_sigterm(world):
    """The client does not wait for its hooks, and does not end them either."""
    there, here = world.pair()
    hooks = world.hooks()
    broker = world.broker(there)
    body = """
import signal
subprocess.run(['ip', 'link', 'set', sys.argv[2], 'up'])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b'x' * 10000000)
note(event="printed")
time.sleep(600)
"""
    client = world.client(here, "-s", hooks.script("client", body)).wait_up()
    (record,) = hooks.wait("client", event="printed", timeout=30)
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    assert client.stop() == 0
    broker.wait_tunnels(0)
    assert alive(record["pid"])
    os.kill(record["pid"], signal.SIGKILL)
