# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the machine may lack: rights, /dev/net/tun, the kernel's L2TP."""

import os
import subprocess

import pytest

from fake_client import FakeClient
from netlab import traffic
from programs import BROKER, CLIENT, DATAPATH, Broker, assert_datapath
from test_config import OPTIONS, ends

pytestmark = pytest.mark.any_kernel

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
# /dev/net replaced by an empty directory, in a mount namespace of its own.
NO_TUN = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh"]


def kernel_has_l2tp():
    """Is it there, or would it be loaded? (It is not where modprobe's configuration forbids it.)"""
    if os.path.isdir("/sys/module/l2tp_core"):
        return True
    argv = ["modprobe", "--dry-run", "--verbose", "l2tp_netlink"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return "/l2tp_netlink.ko" in done.stdout


without_l2tp = pytest.mark.skipif(kernel_has_l2tp(), reason="this kernel has L2TP")


@pytest.fixture
def readable(world):
    """The programs must be readable for nobody; so must the way to the configuration."""
    for path in [world.directory, *world.directory.parents]:
        if str(path).startswith("/tmp/"):
            path.chmod(path.stat().st_mode | 0o755)


def test_client_not_root(world, readable):
    output = ends(world, world.host("client"), [*NOBODY, CLIENT, *OPTIONS], 1)
    assert "root" in output
    assert len(output.splitlines()) == 1


def test_broker_not_root(world, readable):
    config = world.config()
    output = ends(world, world.host("broker"), [*NOBODY, BROKER, config], 1)
    assert "root" in output
    assert len(output.splitlines()) == 1


@pytest.mark.any_datapath
def test_broker_checks_without_root(world, readable):
    ends(world, world.host("broker"), [*NOBODY, BROKER, "-n", world.config()], 0)


@pytest.mark.any_datapath
def test_client_without_tun_device(world):
    argv = [*NO_TUN, CLIENT, *OPTIONS, "--datapath", "tap"]
    output = ends(world, world.host("client"), argv, 1)
    assert "/dev/net/tun" in output
    assert len(output.splitlines()) == 1


@pytest.mark.any_datapath
def test_broker_without_tun_device(world):
    there, _ = world.pair()
    output = ends(world, there, [*NO_TUN, BROKER, world.config(broker={"datapath": "tap"})], 1)
    assert "/dev/net/tun" in output


@pytest.mark.any_datapath
@without_l2tp
def test_kernel_data_path_without_module(world):
    kernel_is_refused(world)


def kernel_is_refused(world):
    output = ends(world, world.host("client"), [CLIENT, *OPTIONS, "--datapath", "kernel"], 1)
    assert "modprobe l2tp_eth" in output
    assert len(output.splitlines()) == 1
    there, _ = world.pair()
    config = world.config(broker={"datapath": "kernel"})
    assert "modprobe l2tp_eth" in ends(world, there, [BROKER, config], 1)


@pytest.mark.any_datapath
@without_l2tp
def test_without_module_auto_takes_tap_and_says_so_once(world):
    auto_takes_tap(world)


def auto_takes_tap(world):
    there, here = world.pair()
    broker = world.broker(there, broker={"datapath": "auto"})
    client = world.client(here, datapath="auto").wait_up()
    (name,) = broker.wait_tunnels(1)
    assert_datapath(there, name, "tap")
    assert_datapath(here, "tunnel", "tap")
    traffic(there, name, here, "tunnel")
    for program in (broker, client):
        (line,) = [line for line in program.log_lines() if "L2TP" in line]
        assert "tap" in line and "modprobe l2tp_eth" in line


@pytest.mark.any_datapath
@pytest.mark.parametrize("choice", ["kernel", "tap", "auto"])
def test_without_the_capability(world, choice):
    """Root, but not for networks, as in many containers."""
    keep = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    output = ends(world, world.host("client"), [*keep, CLIENT, *OPTIONS, "--datapath", choice], 1)
    assert "CAP_NET_ADMIN" in output
    assert len(output.splitlines()) == 1
    there, _ = world.pair()
    config = world.config(broker={"datapath": choice})
    output = ends(world, there, [*keep, BROKER, config], 1)
    assert "CAP_NET_ADMIN" in output


def test_tun_device_alone_suffices(world):
    """Capabilities beyond CAP_NET_ADMIN (and raw sockets, for -I) are of no use to the client."""
    there, here = world.pair()
    broker = world.broker(there)
    keep = ["setpriv", "--bounding-set=-all,+net_admin,+net_raw", "--inh-caps=-all"]
    client = world.program(here, [*keep, CLIENT, *OPTIONS, "--datapath", DATAPATH])
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    assert client.stop() == 0


def test_system_limit_of_open_files_is_raised(world):
    """Most systems allow 1024, and a tunnel takes one in parent and worker."""
    there, here = world.pair()
    config = world.config(broker={"max_tunnels": "64"})
    argv = ["prlimit", "--nofile=40:4096", BROKER, config]
    broker = world.start(Broker, there, argv, "broker").wait_ready()
    for number in range(1, 51):
        client = world.closing(FakeClient(here, uuid=f"n{number}", tunnel=number))
        assert client.ask_cookie() and client.prepare(5)
    assert len(broker.tunnels()) == 50
