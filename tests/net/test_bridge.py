# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bridges that the broker has its interfaces join: sections [bridge] and [bridge MTU]."""

import json
import os
import re
import signal

import pytest

from links import Monitor
from netlab import holds, link_local, pings, traffic, wait_until

FULL = 1023  # ports


def make_bridges(ns, *names):
    for name in names:
        ns.ip(f"link add {name} type bridge", f"link set {name} up")


def monitor(world, ns):
    with ns.entered():
        return world.closing(Monitor())


def port(ns, ifname):
    """(bridge, isolated) of an interface; None when it is in no bridge."""
    found = json.loads(ns.run("bridge", "-d", "-j", "link", "show", "dev", ifname).stdout or "[]")
    return (found[0]["master"], found[0]["isolated"]) if found else None


def wait_port(ns, ifname, wanted, timeout=10):
    wait_until(lambda: port(ns, ifname) == wanted, timeout, f"{ifname} is in {wanted}")
    assert ns.is_up(ifname)


def never_open(ports):
    """At no time was the interface up in a bridge and not isolated."""
    assert any(one.up and one.master and one.isolated for one in ports), ports
    assert not any(one.up and one.master and not one.isolated for one in ports), ports


def connect(world, broker, host):
    """A real client in that host; the name of its interface at the broker."""
    before = broker.tunnels()
    number = len(before) + 1
    world.client(host, "-t", number, uuid=f"node-{number}").wait_up()
    (name,) = set(broker.wait_tunnels(number)) - set(before)
    return name


def reach(one, one_if, other, other_if):
    return pings(one, one_if, link_local(other, other_if))


@pytest.mark.parametrize("isolate", ["yes", "no"])
def test_isolation(world, isolate):
    there, one, two = world.switch("broker", "one", "two")
    uplink = world.host("uplink")
    make_bridges(there, "br0")
    world.link(there, "uplink", uplink, "lan")
    there.ip("link set uplink master br0")
    seen = monitor(world, there)
    bridges = {"bridge": {"interface": "br0", "isolate": isolate}}
    broker = world.broker(there, bridges=bridges)
    for host in (one, two):
        name = connect(world, broker, host)
        wait_port(there, name, ("br0", isolate == "yes"))
        if isolate == "yes":
            never_open(seen.ports(name))
    traffic(one, "tunnel", uplink, "lan")
    traffic(two, "tunnel", uplink, "lan")
    if isolate == "yes":
        assert not reach(one, "tunnel", two, "tunnel")
        assert not reach(two, "tunnel", one, "tunnel")
    else:
        traffic(one, "tunnel", two, "tunnel")
    assert "WARNING" not in broker.log()
    assert broker.stop() == 0
    assert "br0" in there.links()


@pytest.mark.parametrize(
    "mtu, bridge", [(1364, "br1364"), (1365, "br0"), (1400, None)], ids=["exact", "other", "none"]
)
def test_bridge_for_an_mtu(world, mtu, bridge):
    there, here = world.pair()
    make_bridges(there, "br0", "br1364")
    bridges = {
        "bridge": {"interface": "br0"},
        "bridge 1364": {"interface": "br1364"},
        "bridge 1400": {"interface": ""},
    }
    broker = world.broker(there, broker={"pmtu": mtu}, bridges=bridges)
    name = connect(world, broker, here)
    assert there.is_up(name)
    assert port(there, name) == (bridge and (bridge, True))
    assert there.mtu(name) == mtu


def test_moves_with_its_mtu(world):
    there, here = world.narrow_path(1400)
    make_bridges(there, "br0", "br1338")
    seen = monitor(world, there)
    bridges = {"bridge": {"interface": "br0"}, "bridge 1338": {"interface": "br1338"}}
    broker = world.broker(there, bridges=bridges)
    name = connect(world, broker, here)
    wait_port(there, name, ("br1338", True))
    assert there.mtu(name) == 1338
    states = there.states()
    ports = seen.ports(name)
    never_open(ports)
    masters = [one.master for one in ports if one.up and one.master]
    assert masters[0] == states["br0"].index and masters[-1] == states["br1338"].index
    there.ip("address add 10.1.1.1/24 dev br1338")
    here.ip("address add 10.1.1.2/24 dev tunnel")
    wait_until(lambda: pings(here, "tunnel", "10.1.1.1"), 10, "traffic with the bridge")


def test_hook_beside(world):
    """It finds the interface in the bridge, isolated and up."""
    there, here = world.pair()
    make_bridges(there, "br0")
    hooks = world.hooks()
    body = (
        "shown = subprocess.run(['ip', '-d', '-j', 'link', 'show', sys.argv[3]],"
        " capture_output=True, check=True).stdout\n"
        "note(event='shown', link=json.loads(shown)[0])"
    )
    up = hooks.script("session.up", body)
    broker = world.broker(
        there, broker={"pmtu": "1400"}, hooks={"session.up": up},
        bridges={"bridge": {"interface": "br0"}},
    )
    connect(world, broker, here)
    (record,) = hooks.wait("session.up", event="shown")
    link = record["link"]
    assert (link["master"], link["mtu"]) == ("br0", 1400)
    assert "UP" in link["flags"]
    assert link["linkinfo"]["info_slave_data"]["isolated"] is True


@pytest.mark.any_datapath
def test_full_bridge(world):
    """The next one is taken, then none, and the log is told once."""
    there, one, two, three = world.switch("broker", "one", "two", "three")
    there.sysctl("net.ipv6.conf.default.disable_ipv6=1")
    make_bridges(there, "br0", "br1")
    lines = [
        f"link add br{bridge}-{number} master br{bridge} type vxlan"
        f" id {1024 * bridge + number} dstport 4789 remote 192.0.2.9"
        for bridge, count in ((0, FULL - 1), (1, FULL))
        for number in range(count)
    ]
    there.ip(*lines)
    broker = world.broker(there, bridges={"bridge": {"interface": "br0, br1"}})
    assert port(there, connect(world, broker, one)) == ("br0", True)
    assert "is full" not in broker.log()
    there.ip("link del br1-0")
    assert port(there, connect(world, broker, two)) == ("br1", True)
    name = connect(world, broker, three)
    assert port(there, name) is None and there.is_up(name)
    assert re.findall(r"bridge (\w+) is full", broker.log()) == ["br0", "br1"]


def lines_about(broker, bridge):
    return [line for line in broker.log_lines() if re.search(rf"\b{bridge}\b", line)]


@pytest.mark.parametrize("fault", ["missing", "no bridge"])
def test_bridge_that_cannot_be_joined(world, fault):
    there, one, two, three = world.switch("broker", "one", "two", "three")
    if fault == "no bridge":
        world.link(there, "br0", world.host("other"), "wan")
    broker = world.broker(there, bridges={"bridge": {"interface": "br0"}})
    (line,) = lines_about(broker, "br0")
    remedy = "is not there.*ip link add name br0" if fault == "missing" else "is no bridge"
    assert re.match(rf"WARNING .*br0 {remedy}", line)
    names = [connect(world, broker, host) for host in (one, two)]
    for name, host in zip(names, (one, two)):
        assert port(there, name) is None
        traffic(there, name, host, "tunnel")
    if fault == "no bridge":
        there.ip("link del br0")
    make_bridges(there, "br0")
    assert port(there, connect(world, broker, three)) == ("br0", True)
    assert [port(there, name) for name in names] == [None, None]
    assert [line.split()[0] for line in lines_about(broker, "br0")] == ["WARNING", "NOTICE"]


def test_bridge_deleted_meanwhile(world):
    there, one, two, three = world.switch("broker", "one", "two", "three")
    make_bridges(there, "br0")
    broker = world.broker(there, bridges={"bridge": {"interface": "br0"}})
    name = connect(world, broker, one)
    there.ip("link del br0")
    for host in (two, three):
        assert port(there, connect(world, broker, host)) is None
    assert len(lines_about(broker, "br0")) == 1
    traffic(there, name, one, "tunnel")


def test_worker_killed(world):
    """Interfaces stay in their bridges; later ones join as before."""
    there, one, two = world.switch("broker", "one", "two")
    make_bridges(there, "br0")
    seen = monitor(world, there)
    broker = world.broker(there, bridges={"bridge": {"interface": "br0"}})
    name = connect(world, broker, one)
    wait_until(lambda: there.mtu(name) == 1438, 10, "its MTU is known")
    before = len(seen.ports(name))
    (worker,) = broker.children()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: broker.children() not in ([], [worker]), 10, "a new worker")
    assert port(there, connect(world, broker, two)) == ("br0", True)
    assert port(there, name) == ("br0", True)
    holds(lambda: all(one.up and one.master for one in seen.ports(name)[before:]), 1, "it stays")
    broker.wait_log("worker")
