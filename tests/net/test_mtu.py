# SPDX-License-Identifier: AGPL-3.0-or-later
"""The path's MTU is found and set at both ends: inner MTU = path − 54 (IPv4) or − 74 (IPv6), and 8
less for the cookies of new ends."""

import pytest

from netlab import holds, link_local, pings, traffic, wait_until

PATHS = [1334, 1400, 1437, 1492, 1500]
HEADERS = 48  # of IPv6 and ICMPv6, inside


def wait_mtu(there, name, here, mtu, timeout=15):
    def found():
        return (there.mtu(name), here.mtu("tunnel")) == (mtu, mtu)

    try:
        wait_until(found, timeout)
    except AssertionError:
        pytest.fail(f"MTU {there.mtu(name)} at the broker, {here.mtu('tunnel')} here, not {mtu}")


def wait_full_size(there, name, here):
    """A frame of the whole MTU passes in both directions."""
    traffic(there, name, here, "tunnel")
    size = here.mtu("tunnel") - HEADERS
    assert pings(here, "tunnel", link_local(there, name), size)
    assert pings(there, name, link_local(here, "tunnel"), size)


@pytest.mark.parametrize("path", PATHS)
def test_path_v4(world, path):
    there, here = world.narrow_path(path)
    broker = world.broker(there)
    world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    wait_mtu(there, name, here, max(1280, path - 62))
    wait_full_size(there, name, here)


@pytest.mark.parametrize("path", [1400, 1500])
def test_path_v6(world, path):
    there, here = world.narrow_path(path)
    broker = world.broker(there, broker={"address": "2001:db8:1::1"})
    world.client(here, brokers=["[2001:db8:1::1]:8942"]).wait_up()
    (name,) = broker.wait_tunnels(1)
    wait_mtu(there, name, here, path - 82)
    wait_full_size(there, name, here)


def test_floor(world):
    """A path too small for the floor: 1280 all the same, as deployed."""
    there, here = world.narrow_path(1300)
    broker = world.broker(there)
    world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    wait_mtu(there, name, here, 1280)
    holds(lambda: here.mtu("tunnel") == 1280, 2, "it stays")


def test_narrow_link_of_the_host_itself(world):
    """Here sending a probe fails with EMSGSIZE instead of vanishing on the way."""
    there, here = world.pair(mtu=1492)
    broker = world.broker(there)
    world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    wait_mtu(there, name, here, 1430)


def test_jumbo_path_by_option(world):
    there, here = world.narrow_path(4000)
    there.ip("link set wan mtu 4000")
    broker = world.broker(there, broker={"pmtu_max": "9000"})
    world.client(here, "--mtu-max", "9000").wait_up()
    (name,) = broker.wait_tunnels(1)
    wait_mtu(there, name, here, 3938)
    wait_full_size(there, name, here)


def test_one_end_does_not_look_beyond_the_usual(world):
    there, here = world.narrow_path(4000)
    broker = world.broker(there)
    client = world.client(here, "--mtu-max", "9000").wait_up()
    (name,) = broker.wait_tunnels(1)
    holds(client.running, 4, "both ends measure and tell each other")
    wait_mtu(there, name, here, 1438)
    holds(lambda: there.mtu(name) == here.mtu("tunnel") == 1438, 2, "1438 at both ends")


@pytest.mark.parametrize("mtu", [1280, 1364, 1500])
def test_fixed(world, mtu):
    there, here = world.pair()
    hooks = world.hooks()
    broker = world.broker(there, broker={"pmtu": mtu}, hooks=hooks.broker_scripts())
    world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    wait_until(lambda: there.is_up(name), 10, "the hook set it up")
    assert there.mtu(name) == mtu
    wait_until(lambda: here.mtu("tunnel") == mtu, 10, "MTU of the client")
    holds(lambda: (there.mtu(name), here.mtu("tunnel")) == (mtu, mtu), 3, "they stay")
    assert hooks.records("session.mtu-changed") == []


@pytest.mark.slow
def test_path_narrows_while_the_tunnel_is_up(world):
    """Found by the confirmation every 60 s, whose losses start a new search."""
    there, here = world.narrow_path(1500)
    broker = world.broker(there)
    world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    wait_mtu(there, name, here, 1438)
    for ns in world.hosts:
        if "mid" in ns.links():
            ns.ip("link set mid mtu 1400")
    wait_mtu(there, name, here, 1338, 110)
