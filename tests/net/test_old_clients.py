# SPDX-License-Identifier: AGPL-3.0-or-later
"""Clients of releases 0.2 to 0.4 get their tunnels as from a broker of their time."""

import struct

import pytest

from fake_client import MODELS, FakeClient
from netlab import SLOW, holds, wait_until
import wire


def exchange(there, name, client):
    """A frame in each direction, with the session ids that this client uses."""
    socket = there.packet_socket(name)
    socket.settimeout(5 * SLOW)
    try:
        sent = wire.frame(b"from the client")
        client.send_frame(sent)
        wait_until(lambda: socket.recv(2000) == sent, 5, "the client's frame at the broker")
        sent = wire.frame(b"from the broker")
        socket.send(sent)
        wait_until(lambda: (client.session_ids[0], sent) in client.frames, 5, "the broker's frame")
    finally:
        socket.close()


@pytest.mark.parametrize("model", MODELS)
def test_tunnel(world, model):
    there, here = world.pair()
    broker = world.broker(there)
    client = world.closing(FakeClient(here, model=model, tunnel=7)).connect()
    (name,) = broker.wait_tunnels(1)
    wait_until(lambda: there.is_up(name), 5, "up at the broker")
    assert client.shared == client.features
    if client.features:
        assert client.session_ids == (7, client.peer_tunnel)
    else:
        assert client.session_ids == (1, 1)
    exchange(there, name, client)
    client.stop()
    broker.wait_tunnels(0)


@pytest.mark.parametrize("model", MODELS)
def test_prepare_repeated(world, model):
    """Its answer was lost: the same TUNNEL again, with the features."""
    there, here = world.pair()
    broker = world.broker(there)
    client = world.closing(FakeClient(here, model=model))
    assert client.ask_cookie()
    assert client.prepare()
    first = (client.peer_tunnel, client.shared)
    client.sock.settimeout(5 * SLOW)
    assert client.prepare()
    assert (client.peer_tunnel, client.shared) == first
    broker.wait_tunnels(1)


def test_many_old_clients_without_ids(world):
    """All of them use session id 1 on both ends; the flow tells them apart."""
    there, here = world.pair()
    broker = world.broker(there)
    clients = [
        world.closing(FakeClient(here, uuid=f"n{n}", model="0.3.0")).connect() for n in range(4)
    ]
    names = broker.wait_tunnels(4)
    for name, client in zip(names, clients):
        wait_until(lambda name=name: there.is_up(name), 5, "up")
        exchange(there, name, client)


@pytest.mark.parametrize("family", ["v4", "v6"])
@pytest.mark.parametrize("model", MODELS)
def test_stays_up_by_keepalives(world, model, family):
    there, here = world.pair()
    address = "2001:db8::1" if family == "v6" else "192.0.2.1"
    broker = world.broker(there, broker={"address": address})
    client = world.closing(FakeClient(here, (address, 8942), model=model)).connect()
    wait_until(lambda: len(client.messages(wire.KEEPALIVE)) >= 2, 20, "keepalives of the broker")
    counters = client.messages(wire.KEEPALIVE)
    assert len(set(counters)) == len(counters) and all(len(c) == 2 for c in counters)
    broker.wait_tunnels(1)


@pytest.mark.parametrize("model", MODELS)
def test_fixed_mtu(world, model):
    there, here = world.pair()
    world.broker(there, broker={"pmtu": "1364"})
    client = world.closing(FakeClient(here, model=model)).connect()
    wait_until(lambda: client.messages(wire.PMTU_NTFY), 5, "the MTU is told")
    client.send_bytes(wire.message(wire.PMTUD, b"", 1472))
    wait_until(lambda: len(client.messages(wire.PMTU_NTFY)) >= 2, 5, "a probe is answered by it")
    assert set(client.messages(wire.PMTU_NTFY)) == {struct.pack("!H", 1364)}
    assert client.messages(wire.PMTUD_ACK) == [] and client.messages(wire.PMTUD) == []


@pytest.mark.parametrize("model", MODELS)
def test_automatic_mtu(world, model):
    there, here = world.pair(mtu=1492)
    broker = world.broker(there)
    client = world.closing(FakeClient(here, model=model)).connect()
    (name,) = broker.wait_tunnels(1)
    for size in (1306, 1372, 1422, 1448, 1464):
        client.send_bytes(wire.message(wire.PMTUD, b"", size))
    sizes = [struct.pack("!H", size) for size in (1306, 1372, 1422, 1448, 1464)]
    wait_until(lambda: client.messages(wire.PMTUD_ACK) == sizes, 5, "each probe is acknowledged")
    wait_until(lambda: client.messages(wire.PMTU_NTFY), 10, "the broker tells what it measured")
    assert client.messages(wire.PMTU_NTFY)[-1] == struct.pack("!H", 1438)
    wait_until(lambda: there.mtu(name) == 1438, 5, "MTU of the path")
    # 0.3.0 and 2017 tell this when they measured nothing: no limit.
    client.send(wire.PMTU_NTFY, b"\xff\xca")
    holds(lambda: there.mtu(name) == 1438, 1, "the MTU stays")
    client.send(wire.PMTU_NTFY, struct.pack("!H", 1400))
    wait_until(lambda: there.mtu(name) == 1400, 5, "the client's measurement counts")


def test_limit_is_acknowledged_each_time(world):
    there, here = world.pair()
    broker = world.broker(there)
    client = world.closing(FakeClient(here)).connect()
    (name,) = broker.wait_tunnels(1)
    for _ in range(2):
        client.send(wire.LIMIT, struct.pack("!HBBI", 0, 1, 4, 1024))
    wait_until(lambda: client.messages(wire.REL_ACK) == [b"\0\0"] * 2, 5, "two acknowledgements")
    wait_until(lambda: "tbf" in there.run("tc", "qdisc", "show", "dev", name).stdout, 5, "TBF")
    client.send(0xF0, struct.pack("!H", 77))
    wait_until(lambda: struct.pack("!H", 77) in client.messages(wire.REL_ACK), 5, "unknown type")


def test_error_is_answered_and_ends_the_tunnel(world):
    there, here = world.pair()
    broker = world.broker(there)
    client = world.closing(FakeClient(here)).connect()
    broker.wait_tunnels(1)
    client.freeze()
    client.send(wire.ERROR, bytes((wire.CLIENT_SHUTDOWN,)))
    broker.wait_tunnels(0, 5)
    wait_until(lambda: client.receive(0.5) == (wire.ERROR, b"\x01"), 5, "ERROR in answer")
