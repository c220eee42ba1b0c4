# SPDX-License-Identifier: AGPL-3.0-or-later
"""A system that refuses for a while, or a disk that is full: tunnels outlast it, and the log does
not count each refusal. What fails once and for all is in test_faults.py."""

import errno
import subprocess

import pytest

from fake_client import FakeClient
from faults import DESCRIPTOR, FOREVER, NETLINK_RECEIVE, NETLINK_SEND, TUN_OPEN, TUN_SET
from faults import UDP_RECEIVE, UDP_SEND, Faults, name_of
from netlab import holds, traffic, wait_until
from programs import BROKER, CLIENT, DATAPATH, Broker, Client
from test_config import OPTIONS

pytestmark = pytest.mark.any_kernel

FEW_LINES = 4
REFUSED_DATAGRAMS = [(UDP_SEND, errno.ENOBUFS), (UDP_SEND, errno.EPERM)]
REFUSED_DATAGRAMS += [(UDP_SEND, errno.EMSGSIZE), (UDP_RECEIVE, errno.ENOBUFS)]
REFUSED_DATAGRAMS += [(UDP_RECEIVE, errno.EPERM)]
REFUSED_TUNNELS = [(DESCRIPTOR, errno.EMFILE), (NETLINK_SEND, errno.ENOBUFS)]
REFUSED_TUNNELS += [(NETLINK_SEND, errno.EPERM), (NETLINK_RECEIVE, errno.ENOBUFS)]
if DATAPATH == "tap":
    REFUSED_TUNNELS += [(TUN_SET, errno.EBUSY), (TUN_OPEN, errno.EBUSY), (TUN_OPEN, errno.ENOENT)]


@pytest.mark.parametrize("side", ["broker", "client"])
@pytest.mark.parametrize("refusal", REFUSED_DATAGRAMS, ids=name_of)
def test_no_datagram_gets_through_for_a_while(world, side, refusal):
    there, here = world.pair()
    faults = world.closing(Faults(world.directory / "faults"))
    broker = world.broker(there, env=faults.env if side == "broker" else None)
    client = world.client(here, env=faults.env if side == "client" else None).wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    index = here.state("tunnel").index
    lines = len(broker.log_lines()) + len(client.log_lines())
    faults.refuse(*refusal, count=FOREVER)
    wait_until(lambda: faults.hits >= 3, 60, "it is refused")
    faults.allow()
    traffic(there, name, here, "tunnel", 20)
    assert here.state("tunnel").index == index, "the same tunnel"
    assert len(broker.log_lines()) + len(client.log_lines()) - lines <= FEW_LINES


@pytest.mark.parametrize("refusal", REFUSED_TUNNELS, ids=name_of)
def test_no_new_tunnel_for_a_while(world, refusal):
    """The broker can make none; the one that there is stays, and later there are others."""
    there, here = world.pair()
    faults = world.closing(Faults(world.directory / "faults"))
    broker = world.broker(there, env=faults.env)
    world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    lines = len(broker.log_lines())
    faults.refuse(*refusal, count=FOREVER)
    late = world.client(here, "-t", "2", uuid="late", ifname="late")
    wait_until(lambda: faults.hits >= 1, 60, "it is refused")
    holds(late.running, 1, "it tries again")
    attempts = len(late.log_lines())
    assert len(broker.log_lines()) - lines <= FEW_LINES + attempts
    traffic(there, name, here, "tunnel")
    faults.allow()
    late.wait_up(60)
    broker.wait_tunnels(2)
    traffic(there, name, here, "tunnel")


@pytest.mark.parametrize("refusal", REFUSED_TUNNELS, ids=name_of)
def test_client_can_make_no_interface_for_a_while(world, refusal):
    there, here = world.pair()
    faults = world.closing(Faults(world.directory / "faults"))
    broker = world.broker(there)
    client = world.client(here, env=faults.env).wait_up()
    broker.stop()
    client.wait_down()
    lines = len(client.log_lines())
    faults.refuse(*refusal, count=FOREVER)
    broker = world.broker(there)
    wait_until(lambda: faults.hits >= 1, 60, "it is refused")
    holds(client.running, 2, "it tries again")
    assert len(client.log_lines()) - lines <= 10
    faults.allow()
    client.wait_up(90)
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")


@pytest.fixture
def full(tmp_path):
    """A file on a file system that is full."""
    place = tmp_path / "full"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", place], check=True)
    try:
        with open(place / "ballast", "wb", buffering=0) as ballast:
            try:
                while ballast.write(bytes(4096)):
                    pass
            except OSError as refusal:
                assert refusal.errno == errno.ENOSPC
        yield place / "log"
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("to", ["/dev/full", "a full file system"])
def test_no_room_for_the_log(world, full, to):
    """They serve, and end in order: hooks with much to say included."""
    target = full if to == "a full file system" else to
    there, here = world.pair()
    hooks = world.hooks()
    body = "subprocess.run(['ip', 'link', 'set', sys.argv[3], 'up'])\nprint('word\\n' * 50)"
    config = world.config(hooks={"session.up": hooks.script("session.up", body)})
    unlogged = ["sh", "-c", f'exec "$@" 2>{target} >&2', "sh"]
    broker = world.start(Broker, there, [*unlogged, BROKER, config], "broker")
    probe = world.closing(FakeClient(here))
    wait_until(lambda: probe.ask_usage(1) is not None, 20, "the broker serves")
    argv = [*unlogged, CLIENT, *OPTIONS, "--datapath", DATAPATH]
    client = world.start(Client, here, argv, "client")
    broker.wait_tunnels(1)
    (name,) = broker.tunnels()
    traffic(there, name, here, "tunnel")
    hooks.wait("session.up", event="end")
    assert client.stop() == 0
    broker.wait_tunnels(0)
    assert broker.stop() == 0
    assert broker.log() == client.log() == ""


@pytest.mark.any_datapath
def test_no_room_for_the_configuration(world):
    """What -n prints is not cut off in silence."""
    argv = ["sh", "-c", 'exec "$@" >/dev/full', "sh", BROKER, "-n", world.config()]
    broker = world.program(world.host("broker"), argv)
    broker.expected = 1
    assert broker.wait_end() == 1
    assert "cannot be printed" in broker.log()
