# SPDX-License-Identifier: AGPL-3.0-or-later
"""The kernel's modules for L2TP are forbidden in one way or the other, and then they are not.

For a virtual machine that has just started (tests/vm/net): what is loaded stays, and so the order of
these tests matters."""

import os

import pytest
from netlab import traffic
from programs import assert_datapath
from test_platform import auto_takes_tap, kernel_is_refused

pytestmark = pytest.mark.modules

CONFIGURATION = "/etc/modprobe.d/tunneldigger-test.conf"
FORBIDDEN = [
    "install l2tp_netlink /bin/false",
    "blacklist l2tp_netlink",
    "install l2tp_eth /bin/false",
    "blacklist l2tp_eth",
]


def is_loaded():
    return os.path.isdir("/sys/module/l2tp_eth")


@pytest.fixture
def forbidden(request):
    os.makedirs(os.path.dirname(CONFIGURATION), exist_ok=True)
    with open(CONFIGURATION, "w", encoding="ascii") as file:
        file.write(request.param + "\n")
    yield
    os.unlink(CONFIGURATION)


@pytest.mark.parametrize("forbidden", FORBIDDEN, indirect=True)
def test_forbidden(world, forbidden):
    kernel_is_refused(world)
    auto_takes_tap(world)
    assert not is_loaded()


def test_loaded_by_those_who_need_them(world):
    """Nobody has to do it by hand where it is allowed."""
    assert not is_loaded()
    there, here = world.pair()
    broker = world.broker(there, broker={"datapath": "auto"})
    world.client(here, datapath="auto").wait_up()
    (name,) = broker.wait_tunnels(1)
    for ns, ifname in ((there, name), (here, "tunnel")):
        assert_datapath(ns, ifname, "kernel")
    traffic(there, name, here, "tunnel")
    assert is_loaded()
