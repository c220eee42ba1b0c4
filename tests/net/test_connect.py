# SPDX-License-Identifier: AGPL-3.0-or-later
"""A client reaches its broker, whatever the way there, and frames pass."""

import os

import pytest

from netlab import SLOW, holds, link_local, pings, traffic, wait_until
from programs import CLIENT, assert_datapath
from relay import Relay
import wire

BROKERS = {"v4": "192.0.2.1:8942", "v6": "[2001:db8::1]:8942"}
INNER_MTU = {"v4": 1438, "v6": 1418}


@pytest.mark.parametrize("family", BROKERS)
def test_connect(world, family):
    there, here = world.pair()
    broker = world.broker(there, broker={"address": "192.0.2.1, 2001:db8::1"})
    client = world.client(here, brokers=[BROKERS[family]]).wait_up()
    (name,) = broker.wait_tunnels(1)
    assert name == "l2tp100-100"
    traffic(there, name, here, "tunnel")
    assert_datapath(there, name)
    assert_datapath(here, "tunnel")
    mtu = INNER_MTU[family]
    wait_until(lambda: (there.mtu(name), here.mtu("tunnel")) == (mtu, mtu), 10, f"MTU {mtu}")
    # A frame of that size passes in both directions: 48 bytes of IPv6 and ICMPv6 header.
    assert pings(here, "tunnel", link_local(there, name), mtu - 48)
    assert pings(there, name, link_local(here, "tunnel"), mtu - 48)
    assert client.stop() == 0
    broker.wait_tunnels(0)
    assert "tunnel" not in here.links()


def test_without_option_the_data_path_is_chosen_and_named(world):
    there, here = world.pair()
    broker = world.broker(there, broker={"datapath": None})
    client = world.program(here, [CLIENT, "-f", "-u", "a", "-i", "tunnel", "-b", "192.0.2.1:8942"])
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    for program in (broker, client):
        program.wait_log("kernel|TAP")


def test_frames_of_any_kind_pass_unchanged(world):
    there, here = world.pair()
    broker = world.broker(there)
    world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    sender, receiver = here.packet_socket("tunnel"), there.packet_socket(name)
    world.closing(sender)
    world.closing(receiver)
    vlan = bytes.fromhex("ffffffffffff020000000042810000070800") + b"inside a VLAN".ljust(60)
    receiver.settimeout(5 * SLOW)
    for frame in (wire.frame(b"plain"), wire.frame(b"batman-adv", 0x4305), vlan):
        sender.send(frame)
        wait_until(lambda: wanted(receiver.recv(2000), frame), 5, f"frame {frame!r}")


def wanted(received, frame):
    # The kernel may take a VLAN tag out of the bytes on receive.
    return received == frame or received == frame[:12] + frame[16:]


def test_name_with_several_addresses_the_first_dead(world):
    there, here = world.pair()
    broker = world.broker(there)
    world.hosts_file(here, "192.0.2.99 broker.test", "192.0.2.1 broker.test")
    world.client(here, brokers=["broker.test:8942"]).wait_up(15)
    broker.wait_tunnels(1)


def test_name_with_addresses_of_both_families(world):
    there, here = world.pair()
    broker = world.broker(there, broker={"address": "2001:db8::1"})
    world.hosts_file(here, "192.0.2.1 broker.test", "2001:db8::1 broker.test")
    world.client(here, brokers=["broker.test:8942"]).wait_up(15)
    broker.wait_tunnels(1)


def test_name_that_can_be_resolved_only_later(world):
    there, here = world.pair()
    broker = world.broker(there)
    world.hosts_file(here)
    client = world.client(here, brokers=["broker.test:8942"])
    holds(client.running, 2, "the client waits")
    lines = len(client.log_lines())
    assert lines <= 12, "a name that is not there is no reason for many lines"
    world.hosts_file(here, "192.0.2.1 broker.test")
    client.wait_up(40)
    broker.wait_tunnels(1)


def test_service_name_as_port(world):
    there, here = world.pair()
    broker = world.broker(there, broker={"port": "53"})
    world.client(here, brokers=["192.0.2.1:domain"]).wait_up()
    broker.wait_tunnels(1)


def test_two_clients_on_one_host(world):
    there, here = world.pair()
    broker = world.broker(there)
    world.client(here, "-t", "1", uuid="node-a", ifname="one").wait_up()
    (first,) = broker.wait_tunnels(1)
    other = world.client(here, "-t", "2", uuid="node-b", ifname="two").wait_up()
    broker.wait_tunnels(2)
    (second,) = set(broker.tunnels()) - {first}
    traffic(there, first, here, "one")
    traffic(there, second, here, "two")
    assert other.stop() == 0
    assert broker.wait_tunnels(1) == [first]
    traffic(there, first, here, "one")


@pytest.mark.parametrize("same", ["interface", "tunnel id"])
def test_second_instance_is_refused(world, same):
    there, here = world.pair()
    broker = world.broker(there)
    world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    options, ifname = (("-t", "2"), "tunnel") if same == "interface" else (("-t", "1"), "other")
    second = world.client(here, *options, uuid="node-b", ifname=ifname)
    second.expected = None
    assert second.wait_end() == 1
    (line,) = second.log_lines()
    assert "tunnel" in line or "1" in line
    traffic(there, name, here, "tunnel")


def test_lock_goes_with_its_owner(world):
    there, here = world.pair()
    broker = world.broker(there)
    world.client(here).wait_up().kill()
    wait_until(lambda: not here.state("tunnel"), 5, "a killed client leaves no interface")
    world.client(here).wait_up()
    broker.wait_tunnels(1, 20)


def test_tunnel_id_is_read_with_any_base(world):
    there, here = world.pair()
    broker = world.broker(there)
    world.client(here, "-t", "0x1f").wait_up()
    broker.wait_tunnels(1)


def test_lost_tunnel_message_does_not_part_the_ends(world):
    """The first TUNNEL is lost; whatever the ends agree on then, frames pass."""
    there, here = world.pair()
    broker = world.broker(there)
    relay = world.closing(Relay(here, ("192.0.2.2", 7000), ("192.0.2.1", 8942), 7001))
    lost = []

    def drop(datagram, to_broker):
        message = wire.parse(datagram)
        if to_broker or lost or not message or message[0] != wire.TUNNEL:
            return False
        lost.append(message)
        return True

    relay.drop = drop
    world.client(here, brokers=["192.0.2.2:7000"]).wait_up(20)
    assert lost
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")


def test_several_addresses_and_ports(world):
    there, here = world.pair()
    there.ip("address add 192.0.2.100/24 dev wan")
    addresses = "192.0.2.1,192.0.2.100, 2001:db8::1"
    broker = world.broker(there, broker={"address": addresses, "port": "53, 8942,123"})
    ways = ["192.0.2.1:53", "192.0.2.100:123", "[2001:db8::1]:8942", "[2001:db8::1]:53"]
    for number, way in enumerate(ways, 1):
        ifname = f"tun{number}"
        world.client(
            here, "-t", str(number), brokers=[way], uuid=f"n{number}", ifname=ifname
        ).wait_up()
    broker.wait_tunnels(len(ways))


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_replies_leave_from_the_address_that_was_asked(world, address):
    """With a wildcard address; the client's socket is connected and hears nobody else."""
    there, here = world.pair()
    there.ip("address add 192.0.2.100/24 dev wan")
    there.ip("address add 2001:db8::100/64 dev wan")
    broker = world.broker(there, broker={"address": address})
    way = "[2001:db8::100]:8942" if address == "::" else "192.0.2.100:8942"
    world.client(here, brokers=[way]).wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")


def test_interface_is_optional_and_respected(world):
    there, here = world.pair()
    broker = world.broker(there, broker={"interface": "wan"})
    world.client(here, "-I", "wan").wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")


def test_bound_to_another_interface_the_client_waits(world):
    there, here = world.pair()
    here.ip("link add other type veth peer name other-end")
    here.ip("link set other up")
    broker = world.broker(there)
    client = world.client(here, "-I", "other")
    holds(lambda: not client.up(), 3, "no tunnel")
    assert broker.tunnels() == []


def test_local_address(world):
    there, here = world.pair()
    here.ip("address add 192.0.2.77/24 dev wan")
    broker = world.broker(there)
    world.client(here, "-l", "192.0.2.77").wait_up()
    broker.wait_tunnels(1)
    broker.wait_log(r"192\.0\.2\.77")


def test_processes_keep_their_group_and_stay_few(world):
    """Firmwares match DNS traffic by group; a connected client is one process."""
    there, here = world.pair()
    broker = world.broker(there)
    client = world.client(here).wait_up()
    broker.wait_tunnels(1)
    wait_until(lambda: not client.children(), 5, "one process")
    assert os.getpgid(client.pid) == os.getsid(client.pid)
