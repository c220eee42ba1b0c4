# SPDX-License-Identifier: AGPL-3.0-or-later
"""The scripts in hooks/, called as broker and client call them, with veth pairs for tunnels."""

import json
import os
import pathlib
import subprocess
from shutil import which

import pytest

from netlab import link_local, pings, wait_until

pytestmark = pytest.mark.any_datapath

HOOKS = pathlib.Path(__file__).resolve().parents[2] / "hooks"


def hook(ns, name, *args, **env):
    """Runs a hook, which must succeed and say nothing."""
    settings = [f"{key}={value}" for key, value in env.items()]
    done = ns.run("env", *settings, HOOKS / name, *args)
    assert done.stdout + done.stderr == ""


def up_args(ifname, mtu=1446):
    return (100, 100, ifname, mtu, "192.0.2.9", 40000, 8942, "02:00:00:00:00:01", 8942)


def tunnel(world, broker, number, mtu=1446):
    """A client on a tunnel, whose broker's end is down, as brokers make them."""
    client = world.host(f"client{number}")
    ifname = f"port{number}"
    world.link(broker, ifname, client, "tunnel", mtu)
    broker.ip(f"link set {ifname} down")
    return client, ifname


def port(ns, ifname):
    """How the interface is a port of a bridge."""
    found = json.loads(ns.run("bridge", "-d", "-j", "link", "show", "dev", ifname).stdout)
    return found[0]


def bridged(ns, ifname, bridge):
    assert ns.links()[ifname]["master"] == bridge
    assert port(ns, ifname)["isolated"] is True
    assert ns.is_up(ifname) and ns.is_up(bridge)


def test_bridge_by_mtu_isolates_clients(world):
    broker = world.host("broker")
    one, one_if = tunnel(world, broker, 100)
    two, two_if = tunnel(world, broker, 101)
    for ifname in (one_if, two_if):
        hook(broker, "bridge-by-mtu.sh", *up_args(ifname))
        bridged(broker, ifname, "br-td1446")
    assert broker.mtu("br-td1446") == 1446
    there = wait_until(lambda: link_local(broker, "br-td1446"))
    wait_until(lambda: pings(one, "tunnel", there) and pings(two, "tunnel", there))
    assert not pings(one, "tunnel", link_local(two, "tunnel"))


def test_bridge_by_mtu_for_many_at_once(world):
    broker = world.host("broker")
    names = [tunnel(world, broker, number, 1400)[1] for number in range(100, 106)]
    argv = [broker.command([HOOKS / "bridge-by-mtu.sh", *up_args(name, 1400)]) for name in names]
    hooks = [subprocess.Popen(one) for one in argv]
    assert [one.wait(timeout=30) for one in hooks] == [0] * len(names)
    for name in names:
        bridged(broker, name, "br-td1400")


def test_bridge_by_mtu_settings(world, tmp_path):
    """Not every kernel has batman-adv: what would need it is only noted."""
    broker = world.host("broker")
    _, name = tunnel(world, broker, 100)
    ip = tmp_path / "ip"
    ip.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *bat0) echo "$*" >{tmp_path}/noted ;; *) exec {which("ip")} "$@" ;; esac\n',
        encoding="utf-8",
    )
    ip.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    settings = {"TD_BRIDGE": "mesh", "TD_BATMAN": "bat0", "PATH": path}
    hook(broker, "bridge-by-mtu.sh", *up_args(name), **settings)
    bridged(broker, name, "mesh1446")
    assert (tmp_path / "noted").read_text() == "link set dev mesh1446 master bat0\n"


def test_mtu_changed_moves_the_tunnel(world):
    broker = world.host("broker")
    _, name = tunnel(world, broker, 100)
    hook(broker, "bridge-by-mtu.sh", *up_args(name))
    broker.ip(f"link set {name} mtu 1364")
    hook(broker, "mtu-changed.sh", 100, 100, name, 1446, 1364, "uuid")
    bridged(broker, name, "br-td1364")
    assert broker.mtu("br-td1364") == 1364


def rules(ns, name):
    return [ns.ip(f"{family} rule show").count(f"iif {name} lookup 7") for family in ("-4", "-6")]


def test_policy_routing_comes_and_goes(world):
    broker = world.host("broker")
    _, name = tunnel(world, broker, 100)
    for _ in range(2):  # the second time as after a broker that was killed
        hook(broker, "policy-routing.sh", *up_args(name), TD_TABLE=7)
        assert rules(broker, name) == [1, 1]
        assert broker.is_up(name)
    broker.ip(f"link del {name}")
    hook(broker, "policy-routing.sh", *up_args(name), TD_TABLE=7)
    assert rules(broker, name) == [0, 0]


def message(kind):
    return bytes([0x80, 0x73, 0xA7, 0x01, kind, 8]) + bytes(8)


COOKIE, PREPARE, KEEPALIVE, USAGE = (message(kind) for kind in (1, 2, 5, 10))
DATA = bytes([0, 3]) + bytes(60)


def arrived(listener, sender, *datagrams):
    """Which of the datagrams get through; the last one must."""
    for datagram in datagrams:
        sender.send(datagram)
    listener.settimeout(5)
    found = []
    while not found or found[-1] != datagrams[-1]:
        found.append(listener.recv(2000))
    return found


@pytest.mark.parametrize("net", ["192.0.2.", "2001:db8::"])
def test_block_rate_limited(world, net):
    broker, client = world.pair()
    listener = broker.udp(local=(net + "1", 8942))
    sender = client.udp(peer=(net + "1", 8942))
    everything = [COOKIE, USAGE, PREPARE, DATA, KEEPALIVE]
    wait_until(lambda: pings(client, "wan", net + "1"))
    assert arrived(listener, sender, *everything) == everything
    hook(broker, "block-rate-limited.sh", net + "77", 40000, "uuid", TD_SECONDS=1000)
    assert arrived(listener, sender, *everything) == everything
    hook(broker, "block-rate-limited.sh", net + "2", 40000, "uuid", TD_SECONDS=1000)
    hook(broker, "block-rate-limited.sh", net + "2", 40000, "uuid", TD_SECONDS=1000)
    assert arrived(listener, sender, *everything) == [PREPARE, DATA, KEEPALIVE]
    # Another one is blocked for a short time only.
    client.ip(f"address add {net}3/{'64' if ':' in net else '24'} dev wan")
    hook(broker, "block-rate-limited.sh", net + "3", 40000, "uuid", TD_SECONDS=2)
    other = client.udp(peer=(net + "1", 8942), local=(net + "3", 0))
    wait_until(lambda: COOKIE in arrived(listener, other, COOKIE, KEEPALIVE))
    assert arrived(listener, sender, *everything) == [PREPARE, DATA, KEEPALIVE]


def test_block_rate_limited_ports(world):
    broker, client = world.pair()
    hook(broker, "block-rate-limited.sh", "192.0.2.2", 40000, "uuid", TD_PORTS="53,123")
    for number, found in ((123, [DATA]), (8942, [COOKIE, DATA])):
        listener = broker.udp(local=("192.0.2.1", number))
        sender = client.udp(peer=("192.0.2.1", number))
        assert arrived(listener, sender, COOKIE, DATA) == found


def test_client_hook(world):
    client, _ = world.pair()
    client.ip("link set wan down")
    client.ip("link add mesh type bridge")
    settings = {"TD_ADDRESSES": "10.42.0.2/24 fd42::2/64", "TD_BATMAN": "mesh"}
    hook(client, "client.sh", "session.up", "wan", **settings)
    assert client.links()["wan"]["master"] == "mesh"
    assert client.is_up("wan")
    assert {"10.42.0.2", "fd42::2"} <= set(client.addresses("wan"))
    hook(client, "client.sh", "session.down", "wan")
    assert client.run(HOOKS / "client.sh", "nonsense", "wan", check=False).returncode == 1
