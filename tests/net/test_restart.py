# SPDX-License-Identifier: AGPL-3.0-or-later
"""Either end, or the network, goes away and comes back."""

import contextlib
import os
import signal
import time

import pytest

from fake_client import FakeClient
from netlab import holds, traffic, wait_until
from programs import assert_datapath, delete_tunnel
from relay import Relay

BOTH = ["192.0.2.1:8942", "192.0.2.2:8942"]


def two_brokers(world):
    one, two, here = world.switch("b1", "b2", "client")
    brokers = [world.broker(one), world.broker(two, broker={"address": "192.0.2.2"})]
    return brokers, here


def connected_to(brokers):
    return next((broker for broker in brokers if broker.running() and broker.tunnels()), None)


def test_broker_stopped_client_changes_to_the_other(world):
    brokers, here = two_brokers(world)
    world.client(here, brokers=BOTH).wait_up()
    first = connected_to(brokers)
    (second,) = [broker for broker in brokers if broker is not first]
    assert first.stop() == 0
    (name,) = second.wait_tunnels(1, 5)
    traffic(second.ns, name, here, "tunnel")


def test_broker_stopped_and_started_again(world):
    there, here = world.pair()
    broker = world.broker(there)
    client = world.client(here).wait_up()
    broker.wait_tunnels(1)
    assert broker.stop() == 0
    client.wait_down(5)
    assert there.tunnels() == []
    broker = world.broker(there)
    (name,) = broker.wait_tunnels(1, 40)
    traffic(there, name, here, "tunnel")


@pytest.mark.slow
def test_broker_killed_client_changes_to_the_other(world):
    """Nobody says goodbye: the client finds out by silence, after 60 s."""
    brokers, here = two_brokers(world)
    world.client(here, brokers=BOTH).wait_up()
    first = connected_to(brokers)
    (second,) = [broker for broker in brokers if broker is not first]
    first.kill()
    wait_until(lambda: not first.ns.tunnels() and not first.ns.pids(), 10, "nothing left")
    (name,) = second.wait_tunnels(1, 100)
    traffic(second.ns, name, here, "tunnel")


@pytest.mark.slow
def test_broker_killed_and_restarted(world):
    there, here = world.pair()
    broker = world.broker(there)
    world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    broker.kill()
    wait_until(lambda: not there.tunnels() and not there.pids(), 10, "nothing left")
    broker = world.broker(there)
    (name,) = broker.wait_tunnels(1, 100)
    traffic(there, name, here, "tunnel")


def test_worker_killed_tunnel_survives(world):
    there, here = world.pair()
    broker = world.broker(there)
    client = world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    index = there.links()[name]["ifindex"]
    (worker,) = broker.workers()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: broker.workers() not in ([], [worker]), 10, "a new worker")
    traffic(there, name, here, "tunnel")
    assert there.links()[name]["ifindex"] == index, "the same interface"
    assert_datapath(there, name)
    broker.wait_log("worker")
    # It is a tunnel like any other: it ends in order.
    assert client.stop() == 0
    broker.wait_tunnels(0)


def test_worker_killed_new_clients_are_served(world):
    there, here = world.pair()
    broker = world.broker(there)
    world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    os.kill(broker.workers()[0], signal.SIGKILL)
    world.client(here, "-t", "2", uuid="node-b", ifname="two").wait_up(20)
    broker.wait_tunnels(2)
    traffic(there, name, here, "tunnel")


def end_worker(broker, meanwhile=lambda: None):
    """Freezes the worker, does something, kills it, and waits for the next one."""
    (worker,) = broker.workers()
    os.kill(worker, signal.SIGSTOP)
    meanwhile()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: worker not in broker.workers(), 10, "the worker is gone")
    wait_until(broker.workers, 10, "a new worker")


def test_hook_that_ends_while_the_worker_dies(world):
    """The result dies with the worker, that it ended does not: later hooks do not wait for it."""
    there, here = world.pair()
    hooks = world.hooks()
    scripts = hooks.broker_scripts()
    scripts["session.up"] = hooks.script("session.up", "time.sleep(1)")
    broker = world.broker(there, hooks=scripts)
    client = FakeClient(here).connect()
    hooks.wait("session.up")
    end_worker(broker, lambda: hooks.wait_noticed("session.up"))
    client.stop()
    hooks.wait("session.down", timeout=5)
    names = [record["hook"] for record in hooks.records()]
    assert names == ["session.up", "session.pre-down", "session.down"]


def test_stopped_between_two_workers(world):
    """The tunnels, which live on meanwhile, still end in order."""
    there, here = world.pair()
    hooks = world.hooks()
    broker = world.broker(there, hooks=hooks.broker_scripts())
    client = world.closing(FakeClient(here)).connect()
    hooks.wait_noticed("session.up")
    end_worker(broker)
    end_worker(broker)  # after a pause of 1 s
    os.kill(broker.workers()[0], signal.SIGKILL)  # now there is a longer one
    wait_until(lambda: not broker.workers(), 5, "no worker")
    assert broker.stop() == 0
    wait_until(lambda: client.ended_by == b"\x02", 5, "ERROR, because of a shutdown")
    names = [record["hook"] for record in hooks.records()]
    assert names == ["session.up", "session.pre-down", "session.down"]


def test_worker_that_dies_at_once_is_not_restarted_without_pause(world):
    there, _ = world.pair()
    broker = world.broker(there)
    broker.expected = None
    seen = set()
    end = time.monotonic() + 10
    while time.monotonic() < end and broker.running():
        for pid in broker.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            seen.add(pid)
        time.sleep(0.02)
    assert 2 <= len(seen) <= 12, f"{len(seen)} workers in 10 s"
    assert len(broker.log_lines()) < 60


def test_client_killed_and_restarted_behind_another_port(world):
    there, here = world.pair()
    broker = world.broker(there)
    world.client(here).wait_up().kill()
    wait_until(lambda: "tunnel" not in here.links(), 5, "a killed client leaves no interface")
    world.client(here).wait_up(20)
    (name,) = broker.wait_tunnels(1, 20)
    traffic(there, name, here, "tunnel")


def test_client_killed_and_restarted_behind_the_same_port(world):
    there, here = world.pair()
    broker = world.broker(there)
    world.closing(Relay(here, ("192.0.2.2", 7000), ("192.0.2.1", 8942), 7001))
    world.client(here, brokers=["192.0.2.2:7000"]).wait_up().kill()
    broker.wait_tunnels(1)
    world.client(here, brokers=["192.0.2.2:7000"]).wait_up(20)
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")


def test_another_client_behind_the_same_port(world):
    there, here = world.pair()
    broker = world.broker(there)
    world.closing(Relay(here, ("192.0.2.2", 7000), ("192.0.2.1", 8942), 7001))
    world.client(here, brokers=["192.0.2.2:7000"], uuid="node-a").wait_up().kill()
    world.client(here, brokers=["192.0.2.2:7000"], uuid="node-b").wait_up(20)
    (name,) = broker.wait_tunnels(1, 20)
    traffic(there, name, here, "tunnel")
    broker.wait_log("node-b")


def test_wan_address_changes(world):
    there, here = world.pair()
    broker = world.broker(there)
    world.client(here).wait_up()
    broker.wait_tunnels(1)
    here.ip("address del 192.0.2.2/24 dev wan")
    here.ip("address add 192.0.2.22/24 dev wan")

    def moved():
        return "192.0.2.22" in broker.log()

    wait_until(moved, 15, "a tunnel from the new address")
    (name,) = broker.wait_tunnels(1, 15)
    traffic(there, name, here, "tunnel")


@pytest.mark.slow
def test_nat_port_changes(world):
    """The NAT in front of the client forgets; the broker sees a new flow of the same UUID."""
    there, here = world.pair()
    broker = world.broker(there)
    relay = Relay(here, ("192.0.2.2", 7000), ("192.0.2.1", 8942), 7001)
    client = world.client(here, brokers=["192.0.2.2:7000"]).wait_up()
    broker.wait_tunnels(1)
    relay.close()
    world.closing(Relay(here, ("192.0.2.2", 7000), ("192.0.2.1", 8942), 7002))
    # The client finds out by silence, after 60 s.
    client.wait_down(100)
    client.wait_up(30)
    (name,) = broker.wait_tunnels(1, 30)
    traffic(there, name, here, "tunnel")


def test_short_loss_of_the_wan_is_ridden_out(world):
    there, here = world.pair()
    broker = world.broker(there)
    client = world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    lines = len(client.log_lines())
    here.ip("link set wan down")
    holds(client.running, 3, "the client waits")
    here.ip("link set wan up")
    (name,) = broker.wait_tunnels(1, 20)
    traffic(there, name, here, "tunnel", 20)
    assert len(client.log_lines()) - lines <= 4, "at most one line per change of state"


@pytest.mark.slow
def test_long_loss_of_the_wan_is_waited_for_quietly(world):
    """After 60 s of silence the tunnel ends; then nothing happens until the network is back."""
    there, here = world.pair()
    broker = world.broker(there)
    client = world.client(here).wait_up()
    broker.wait_tunnels(1)
    lines, ticks = len(client.log_lines()), cpu_ticks(client.pid)
    here.ip("link set wan down")
    client.wait_down(90)
    holds(client.running, 15, "the client waits")
    assert cpu_ticks(client.pid) - ticks < 100, "waiting costs nothing"
    assert len(client.log_lines()) - lines <= 4, "at most one line per change of state"
    here.ip("link set wan up")
    client.wait_up(20)
    (name,) = broker.wait_tunnels(1, 20)
    traffic(there, name, here, "tunnel")


def cpu_ticks(pid):
    """Hundredths of a second that the process has computed."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_started_before_there_is_a_network(world):
    there, here = world.pair()
    here.ip("link set wan down")
    broker = world.broker(there)
    client = world.client(here)
    holds(client.running, 3, "the client waits")
    assert len(client.log_lines()) <= 10
    here.ip("link set wan up")
    client.wait_up(15)
    broker.wait_tunnels(1)


def test_interface_deleted_by_another_hand(world):
    there, here = world.pair()
    broker = world.broker(there)
    client = world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    index = here.links()["tunnel"]["ifindex"]
    delete_tunnel(here, "tunnel")

    def rebuilt():
        return client.up() and here.links()["tunnel"]["ifindex"] != index

    wait_until(rebuilt, 20, "a new interface")
    (name,) = broker.wait_tunnels(1, 20)
    traffic(there, name, here, "tunnel")


def test_client_stopped_by_either_signal(world):
    there, here = world.pair()
    broker = world.broker(there)
    for signo in (signal.SIGTERM, signal.SIGINT):
        client = world.client(here).wait_up()
        broker.wait_tunnels(1)
        assert client.stop(signo) == 0
        broker.wait_tunnels(0, 5)
        assert "tunnel" not in here.links()
