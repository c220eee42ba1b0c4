# SPDX-License-Identifier: AGPL-3.0-or-later
"""Receive scaling: each tunnel of the kernel data path has a port of its own, which nobody sees but
the table of nf_tables that rewrites it (src/datapath/rewrite.h)."""

import json
import os
import re
import select
import signal
import subprocess

import pytest

from netlab import SLOW, holds, link_local, traffic, wait_until
from programs import BROKER, BUILD, delete_tunnel
from test_old_clients import exchange
from fake_client import FakeClient

pytestmark = pytest.mark.kernel

BROKERS = {"v4": "192.0.2.1:8942", "v6": "[2001:db8::1]:8942"}
EITHER = "192.0.2.1, 2001:db8::1"
TABLE = "tunneldigger_100"
NO_NF_TABLES = os.path.join(BUILD, "tests/net/no-nf-tables.so")

STATELESS = """
table inet operator {
	chain input {
		type filter hook input priority 0; policy drop
		udp dport 8942 accept
		meta l4proto ipv6-icmp accept
	}
	chain output {
		type filter hook output priority 0; policy drop
		udp sport 8942 accept
		meta l4proto ipv6-icmp accept
	}
}
"""
STATEFUL = STATELESS.replace("udp sport 8942", "ct state established,related")


def tables(ns):
    return re.findall(r"tunneldigger_\d+", ns.run("nft", "list", "tables").stdout)


def entries(ns, table=TABLE):
    """How many each of the table's maps has."""
    shown = json.loads(ns.run("nft", "-j", "list", "table", "inet", table).stdout)["nftables"]
    maps = [item["map"] for item in shown if "map" in item]
    assert sorted(found["name"] for found in maps) == ["in4", "in6", "out4", "out6"]
    return {found["name"]: len(found.get("elem", [])) for found in maps}


def count(number, family="v4"):
    """What entries() are with so many tunnels."""
    return {
        name: number if name.endswith(family[1]) else 0 for name in ("in4", "in6", "out4", "out6")
    }


def ports(ns):
    """The ports of all UDP sockets."""
    shown = ns.run("ss", "-Huan").stdout.splitlines()
    return sorted(int(line.split()[3].rsplit(":", 1)[1]) for line in shown)


def connected(world, there, here, family="v4", **client):
    """A broker that scales, and its only tunnel."""
    broker = world.broker(there, broker={"address": EITHER, "rx_scaling": "nft"})
    world.client(here, brokers=[BROKERS[family]], **client).wait_up()
    (name,) = broker.wait_tunnels(1)
    return broker, name


@pytest.mark.parametrize("family", BROKERS)
@pytest.mark.parametrize("datapath", ["kernel", "tap"])
def test_every_tunnel_has_a_port_of_its_own(world, datapath, family):
    there, here = world.pair()
    broker, name = connected(world, there, here, family, datapath=datapath)
    broker.wait_log("rx_scaling nft")
    traffic(there, name, here, "tunnel")
    assert tables(there) == [TABLE]
    assert entries(there) == count(1, family)
    first, *others = sorted(ports(there), key=lambda port: port != 8942)
    assert first == 8942 and len([port for port in others if port != 8942]) == 1
    world.programs[1].stop()
    broker.wait_tunnels(0)
    assert entries(there) == count(0)
    assert broker.stop() == 0
    assert tables(there) == []


@pytest.mark.parametrize("setting", ["off", "auto"])
def test_other_settings(world, setting):
    there, here = world.pair()
    broker = world.broker(there, broker={"rx_scaling": setting})
    world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    assert tables(there) == ([TABLE] if setting == "auto" else [])
    assert (ports(there) == [8942, 8942]) == (setting == "off")


def test_old_clients(world):
    there, here = world.pair()
    broker = world.broker(there, broker={"rx_scaling": "nft"})
    client = world.closing(FakeClient(here)).connect()
    (name,) = broker.wait_tunnels(1)
    wait_until(lambda: there.is_up(name), 5, "up at the broker")
    exchange(there, name, client)


# --- the operator's rules ---


@pytest.mark.parametrize("rules", [STATELESS, STATEFUL], ids=["stateless", "stateful"])
@pytest.mark.parametrize("family", BROKERS)
def test_firewall_knows_the_public_port_only(world, family, rules):
    there, here = world.pair()
    there.nft(rules)
    broker, name = connected(world, there, here, family)
    traffic(there, name, here, "tunnel")
    mtu = 1438 if family == "v4" else 1418  # with cookies
    wait_until(lambda: (there.mtu(name), here.mtu("tunnel")) == (mtu, mtu), 10, f"MTU {mtu}")
    holds(lambda: broker.tunnels() == [name], 8, "keepalives pass")


def test_ruleset_is_flushed(world):
    there, here = world.pair()
    _, name = connected(world, there, here)
    there.nft("flush ruleset")
    assert tables(there) == [TABLE]
    traffic(there, name, here, "tunnel")


# --- begin and end ---


def test_left_over_table_is_replaced(world):
    there, here = world.pair()
    there.nft(f"table inet {TABLE} {{\nmap in4 {{ type mark : mark\n}}\nchain input {{\n"
              "type filter hook input priority 0; policy drop\n}\n}")
    _, name = connected(world, there, here)
    traffic(there, name, here, "tunnel")


@pytest.mark.parametrize("also", ["", "worker"])
def test_killed(world, also):
    """The worker ends with its parent, and the table with the worker."""
    there, here = world.pair()
    broker, _ = connected(world, there, here)
    (worker,) = broker.children()
    broker.kill()
    if also:
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not tables(there) and not there.tunnels(), 20, "nothing left")


def test_worker_killed(world):
    """The next one rewrites for the tunnels that it takes over."""
    there, one, other = world.switch("broker", "one", "other")
    broker = world.broker(there, broker={"address": EITHER, "rx_scaling": "nft"})
    clients = []
    names = []
    for ns, way in ((one, BROKERS["v4"]), (other, BROKERS["v6"])):
        clients.append(world.client(ns, brokers=[way], uuid=ns.name).wait_up())
        (name,) = set(broker.wait_tunnels(len(clients))) - set(names)
        names.append(name)
        traffic(there, name, ns, "tunnel")
    before = {name: there.state(name).index for name in names}
    (worker,) = broker.children()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: broker.children() not in ([], [worker]), 10, "a new worker")
    for name, ns in zip(names, (one, other)):
        traffic(there, name, ns, "tunnel")
    assert {name: there.state(name).index for name in names} == before
    assert entries(there) == {"in4": 1, "out4": 1, "in6": 1, "out6": 1}
    assert broker.log().count("rx_scaling nft") == 2
    for client in clients:
        assert client.stop() == 0
    broker.wait_tunnels(0)
    assert entries(there) == count(0)


def end_worker(broker):
    """Kills the worker, and keeps the parent from starting the next one until it gets SIGCONT."""
    (worker,) = broker.children()
    pidfd = os.pidfd_open(worker)
    os.kill(broker.pid, signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    ended = select.poll()  # with all its threads, which is when the parent hears of it
    ended.register(pidfd, select.POLLIN)
    assert ended.poll(10000 * SLOW), "the worker has not ended"
    os.close(pidfd)
    return worker


def stream(ns, ifname, address, packets, every="0.1"):
    """Numbers of the packets that came back, of so many."""
    argv = ["ping", "-n", "-c", packets, "-i", every, f"-W{SLOW:g}", "-I", ifname, address]
    return {int(n) for n in re.findall(r"icmp_seq=(\d+)", ns.run(*argv, check=False).stdout)}


@pytest.mark.parametrize("family", BROKERS)
def test_data_passes_while_there_is_no_worker(world, family):
    """And when the next one takes over: packets meet its table or the one before."""
    there, here = world.pair()
    broker, name = connected(world, there, here, family)
    (client,) = [program for program in world.programs if program is not broker]
    traffic(there, name, here, "tunnel")
    address = link_local(there, name)
    worker = end_worker(broker)
    try:
        assert stream(here, "tunnel", address, 20) == set(range(1, 21))
        assert entries(there) == count(1, family)
        handle = handle_of(there)
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    argv = ["ping", "-n", "-i", "0.1", "-w", f"{5 * SLOW:g}", "-I", "tunnel", address]
    with here.popen(argv, stdout=subprocess.PIPE, text=True) as pings:
        try:
            wait_until(lambda: broker.children() not in ([], [worker]), 10, "a new worker")
            wait_until(lambda: handle_of(there) != handle, 10, "its table")
            broker.wait_log("rx_scaling nft(.|\n)*rx_scaling nft")
        finally:
            pings.send_signal(signal.SIGINT)
        came = [int(n) for n in re.findall(r"icmp_seq=(\d+)", pings.stdout.read())]
    assert came and len(came) >= came[-1] - 1, "at most one met neither"
    assert stream(here, "tunnel", address, 5) == set(range(1, 6))
    assert entries(there) == count(1, family)
    assert client.log().count("connected to") == 1, "the client has not noticed"


def handle_of(ns):
    """The table's number: that of the one in its place is another."""
    shown = json.loads(ns.run("nft", "-j", "list", "tables").stdout)["nftables"]
    return [item["table"]["handle"] for item in shown if "table" in item]


def test_killed_between_two_workers(world):
    there, here = world.pair()
    broker, _ = connected(world, there, here)
    end_worker(broker)
    assert tables(there) == [TABLE]
    broker.kill()
    wait_until(lambda: not tables(there) and not there.tunnels(), 20, "nothing left")


def test_stopped_between_two_workers(world):
    there, here = world.pair()
    broker, _ = connected(world, there, here)
    end_worker(broker)
    os.kill(broker.pid, signal.SIGTERM)
    os.kill(broker.pid, signal.SIGCONT)
    broker.expected = None  # 1, if it hears of the signal before it hears of the worker
    assert broker.wait_end(30) in (0, 1)
    assert tables(there) == [] and there.tunnels() == []


def test_deleted_by_another_hand(world):
    there, here = world.pair()
    broker, name = connected(world, there, here)
    index = here.state("tunnel").index
    delete_tunnel(there, name)

    def rebuilt():
        state = here.state("tunnel")
        return state and state.up and state.index != index

    wait_until(rebuilt, 40, "a new interface")
    (name,) = broker.wait_tunnels(1, 20)
    traffic(there, name, here, "tunnel", 20)
    assert entries(there) == count(1)


def test_two_brokers(world):
    """They have a table each; with the same ids, the second one is told why not."""
    there, here = world.pair()
    _, name = connected(world, there, here)
    other = world.broker(
        there, broker={"port": "8943", "rx_scaling": "nft", "tunnel_id_base": "500"}
    )
    world.client(here, "-t", "2", brokers=["192.0.2.1:8943"], uuid="b", ifname="other").wait_up()
    (second,) = set(other.wait_tunnels(2)) - {name}
    traffic(there, name, here, "tunnel")
    traffic(there, second, here, "other")
    assert sorted(tables(there)) == [TABLE, "tunneldigger_500"]
    third = world.program(there, [BROKER, world.config(broker={"port": "8944", "rx_scaling": "nft"})])
    third.expected = 1
    assert third.wait_end(20) == 1
    assert "tunnel_id_base" in third.log()
    traffic(there, name, here, "tunnel")


def test_without_nf_tables(world):
    there, here = world.pair()
    env = {"LD_PRELOAD": NO_NF_TABLES}
    argv = [BROKER, world.config(broker={"rx_scaling": "nft"})]
    broker = world.program(there, argv, env=env)
    broker.expected = 1
    assert broker.wait_end(20) == 1
    assert "modprobe nf_tables" in broker.log()
    broker = world.broker(there, broker={"rx_scaling": "auto"}, env=env)
    (line,) = [line for line in broker.log_lines() if "rx_scaling" in line]
    assert "WARNING" in line and "modprobe nf_tables" in line
    world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    assert ports(there) == [8942, 8942]


def test_worker_holds_no_more_than_it_needs(world):
    """It binds no tunnel to a port below 1024."""
    there, here = world.pair()
    broker = world.broker(there, broker={"port": "53", "rx_scaling": "nft"})
    (worker,) = broker.children()
    with open(f"/proc/{worker}/status", encoding="ascii") as status:
        (held,) = re.findall(r"CapEff:\s+(\w+)", status.read())
    assert int(held, 16) == 1 << 12
    world.client(here, brokers=["192.0.2.1:53"]).wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
