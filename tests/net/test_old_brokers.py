# SPDX-License-Identifier: AGPL-3.0-or-later
"""The client and brokers that do what deployed ones do (docs/PROTOCOL.md section 5)."""

import struct
import time

import pytest
import wire
from fake_broker import FakeBroker
from netlab import SLOW, holds, wait_until

pytestmark = pytest.mark.any_kernel


def start(world, *options, **habits):
    """A fake broker with those habits, and a client of it."""
    there, here = world.pair()
    broker = world.closing(FakeBroker(there))
    for name, value in habits.items():
        assert hasattr(broker, name)
        setattr(broker, name, value)
    return broker, world.client(here, *options), here


def peer_of(broker, count=1):
    wait_until(lambda: len(broker.peers) == count, 10, f"{count} tunnels at the broker")
    return next(iter(broker.peers.values()))


def session_matches(broker, client, here):
    """Do frames pass both ways, under the ids that each end told?"""
    peer = peer_of(broker)
    sock = here.packet_socket(client.ifname)
    sock.settimeout(5 * SLOW)
    try:
        wait_until(lambda: seen(broker, peer, sock), 5, "a frame from the client")
        broker.send_frame(peer, wire.frame(b"to the client"))
        end = time.monotonic() + 5 * SLOW
        while b"to the client" not in sock.recv(2000):
            assert time.monotonic() < end
    finally:
        sock.close()


def seen(broker, peer, sock):
    sock.send(wire.frame(b"to the broker"))
    return any(
        session == peer.session_ids[0] and b"to the broker" in frame
        for _, session, frame in broker.frames
    )


@pytest.mark.parametrize("features", [1, 0])
def test_session_ids(world, features):
    broker, client, here = start(world, "-t", "7", features=features)
    client.wait_up()
    assert peer_of(broker).session_ids == ((100, 7) if features else (1, 1))
    session_matches(broker, client, here)


def test_broker_that_knows_no_usage(world):
    broker, client, _ = start(world, answers_usage=False)
    client.wait_up(15)
    peer_of(broker)


@pytest.mark.parametrize("reason", [b"", b"\x04"])
def test_refusal_is_no_storm(world, reason):
    broker, client, _ = start(world, refuses=reason)
    wait_until(lambda: broker.messages(wire.PREPARE), 10, "a PREPARE")
    holds(client.running, 6, "the client waits")
    assert len(broker.messages(wire.PREPARE)) <= 3
    broker.refuses = None
    client.wait_up(40)


@pytest.mark.parametrize("reason", [b"", b"\x02"])
def test_error_while_up(world, reason):
    broker, client, _ = start(world)
    client.wait_up()
    first = peer_of(broker).address
    broker.kick(reason)
    wait_until(lambda: any(a != first for a in broker.peers), 20, "a new tunnel")
    client.wait_up()
    assert client.private_kb() < 20000


def test_repeated_tunnel_without_features(world):
    """The ends may disagree on the session id: a fresh port, and the frames pass."""
    broker, client, here = start(world, "-t", "7", loses_tunnel=1, forgets_features=True)
    client.wait_up(30)
    wait_until(lambda: len(broker.peers) == 1, 10, "the doubtful tunnel is given up")
    session_matches(broker, client, here)


def test_limit_is_asked_for_until_acknowledged(world):
    broker, client, _ = start(world, "-L", "1000", acknowledges_limit=False)
    client.wait_up()
    wait_until(lambda: len(broker.messages(wire.LIMIT)) >= 2, 10, "LIMIT again")
    broker.acknowledges_limit = True
    wait_until(lambda: broker.limits == [1000], 10, "LIMIT is acknowledged")
    count = len(broker.messages(wire.LIMIT))
    time.sleep(3)
    assert len(broker.messages(wire.LIMIT)) <= count + 1


def test_path_mtu_and_notification(world):
    broker, client, here = start(world, largest_probe=1400 + 26)
    client.wait_up()
    wait_until(lambda: here.mtu(client.ifname) == 1400, 10, "the measured MTU")
    wait_until(
        lambda: struct.pack("!H", 1400) in [p for _, _, p in broker.messages(wire.PMTU_NTFY)],
        10,
        "the notification",
    )


def test_fixed_mtu_of_the_broker(world):
    _, client, here = start(world, acknowledges_probes=False, notifies_mtu=1312)
    client.wait_up()
    wait_until(lambda: here.mtu(client.ifname) == 1312, 10, "the broker's MTU")


def test_farewell(world):
    broker, client, here = start(world)
    client.wait_up()
    peer_of(broker)
    before = time.monotonic()
    assert client.stop() == 0
    assert time.monotonic() - before < 2 * SLOW
    assert [p for _, _, p in broker.messages(wire.ERROR)] == [bytes((wire.CLIENT_SHUTDOWN,))]
    assert client.ifname not in here.links()
