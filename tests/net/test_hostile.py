# SPDX-License-Identifier: AGPL-3.0-or-later
"""What strangers send leaves no state and no line in the log."""

import random
import time

import pytest

from fake_client import FakeClient, Refused, in_vain
from netlab import holds, traffic, wait_until
import wire

pytestmark = pytest.mark.any_kernel


def nonsense(count):
    """Datagrams that are no messages, or messages that mean nothing here."""
    rng = random.Random(1)
    for _ in range(count):
        kind = rng.choice([*range(0, 16), 0x80, 0x81, 0xFF])
        body = rng.randbytes(rng.randrange(0, 300))
        yield rng.choice(
            [
                body,
                wire.MAGIC + body,
                wire.MAGIC[: rng.randrange(4)],
                wire.message(kind, body[:250], 0),
                wire.message(kind, body[:250], 0)[: rng.randrange(6, 40)],
                wire.MAGIC + bytes((kind, 255)) + body[:20],
                wire.data(rng.getrandbits(32), body),
                wire.message(wire.PREPARE, body[:8] + b"\x04node" + bytes(8), 0),
            ]
        )


def test_flood_leaves_nothing(world):
    there, here, stranger = world.switch("broker", "client", "stranger")
    broker = world.broker(there)
    world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    hostile = world.closing(FakeClient(stranger))
    for datagram in nonsense(500):
        hostile.send_bytes(datagram)
    time.sleep(0.5)
    lines, memory = len(broker.log_lines()), broker.private_kb()
    for number, datagram in enumerate(nonsense(5000)):
        hostile.send_bytes(datagram)
        if number % 200 == 0:
            time.sleep(0.01)
    assert hostile.ask_usage() is not None, "the broker still answers"
    assert len(broker.log_lines()) == lines, "no line in the log"
    assert broker.private_kb() - memory < 2000
    assert broker.tunnels() == [name]
    traffic(there, name, here, "tunnel")


def test_flood_of_the_client_leaves_nothing(world):
    """From the broker's own address: nobody else reaches the client's socket."""
    there, here = world.pair()
    broker = world.broker(there)
    client = world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    port = int(broker.wait_log(r"192\.0\.2\.2\D{1,2}(\d+)").group(1))
    lines = len(client.log_lines())
    stranger = world.closing(there.udp(peer=("192.0.2.2", port), local=("192.0.2.1", 0)))
    for datagram in nonsense(500):
        try:
            stranger.send(datagram)
        except ConnectionRefusedError:
            pass
    assert len(client.log_lines()) == lines
    traffic(there, name, here, "tunnel")


def test_prepare_without_valid_cookie_is_ignored(world):
    there, here = world.pair()
    broker = world.broker(there)
    broker.wait_log("ready for")
    lines = len(broker.log_lines())
    client = world.closing(FakeClient(here))
    client.cookie = b"12345678"
    assert not client.prepare(in_vain(2))
    # A cookie is for one address and port.
    other = world.closing(FakeClient(here))
    assert other.ask_cookie()
    client.cookie = other.cookie
    assert not client.prepare(in_vain(2))
    assert broker.tunnels() == []
    assert len(broker.log_lines()) == lines


def test_replies_never_exceed_requests(world):
    there, here = world.pair()
    world.broker(there)
    sock = world.closing(here.udp(peer=("192.0.2.1", 8942)))
    sock.settimeout(0.3)
    for kind in (wire.USAGE, wire.COOKIE, wire.PREPARE, wire.PMTUD, wire.KEEPALIVE, 0x90):
        for length in (0, 1, 7, 8, 12, 40):
            request = wire.message(kind, bytes(length), 0)
            sock.send(request)
            try:
                assert len(sock.recv(65536)) <= max(len(request), 12)
            except TimeoutError:
                pass


BAD_UUIDS = [b"", b"-rf", b"a b", b"a;reboot", b"a\nb", b"\xff\xfe", b"a\0b", "ä".encode()]


@pytest.mark.parametrize("uuid", BAD_UUIDS)
def test_bad_uuid_gets_a_late_refusal_and_no_hook(world, uuid):
    there, here = world.pair()
    hooks = world.hooks()
    broker = world.broker(there, hooks=hooks.broker_scripts())
    client = world.closing(FakeClient(here, uuid=uuid))
    assert client.ask_cookie()
    begin = time.monotonic()
    with pytest.raises(Refused):
        client.prepare(20)
    assert time.monotonic() - begin > 2
    assert broker.tunnels() == []
    assert hooks.records() == []


def test_uuid_of_all_allowed_bytes(world):
    there, here = world.pair()
    hooks = world.hooks()
    world.broker(there, hooks=hooks.broker_scripts())
    uuid = "azAZ09._:@+=~-/"
    world.closing(FakeClient(here, uuid=uuid)).connect()
    (record,) = hooks.wait("session.up")
    assert record["args"][7] == uuid


def test_uuid_of_the_greatest_length(world):
    there, here = world.pair()
    hooks = world.hooks()
    world.broker(there, hooks=hooks.broker_scripts())
    uuid = "u" * 238
    world.closing(FakeClient(here, uuid=uuid)).connect()
    (record,) = hooks.wait("session.up")
    assert record["args"][7] == uuid


def test_frames_of_strangers_do_not_enter(world):
    there, here, stranger = world.switch("broker", "client", "stranger")
    broker = world.broker(there)
    world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    listener = there.packet_socket(name)
    world.closing(listener)
    listener.setblocking(False)
    hostile = world.closing(FakeClient(stranger))
    bad = wire.frame(b"injected")
    for session in (1, 100, 101):
        hostile.send_bytes(wire.data(session, bad))

    def nothing_came():
        try:
            return listener.recv(2000) != bad
        except BlockingIOError:
            return True

    holds(nothing_came, 1, "nothing enters")


def test_flood_of_handshakes_does_not_keep_clients_out(world):
    """Cookies are asked for without end; who comes back with one is served."""
    there, here, stranger = world.switch("broker", "client", "stranger")
    broker = world.broker(there)
    hostile = world.closing(FakeClient(stranger))
    for number in range(3000):
        hostile.send(wire.COOKIE, b"X" * 8)
        if number % 100 == 0:
            time.sleep(0.01)
    world.client(here).wait_up()
    wait_until(lambda: len(broker.tunnels()) == 1, 10, "a tunnel")
