# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which of several brokers a client takes."""

import pytest

from fake_client import FakeClient

pytestmark = pytest.mark.any_kernel

ADDRESSES = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
BROKERS = [f"{address}:8942" for address in ADDRESSES]


def three(world, loads=(0, 0, 0)):
    """Three brokers with that many tunnels each, and a host for the client."""
    *theirs, crowd, here = world.switch("b1", "b2", "b3", "crowd", "client")
    brokers = []
    for ns, address, load in zip(theirs, ADDRESSES, loads):
        brokers.append(world.broker(ns, broker={"address": address, "max_tunnels": "4"}))
        for number in range(load):
            old = FakeClient(crowd, (address, 8942), uuid=f"{address}-{number}", tunnel=number + 1)
            world.closing(old).connect()
    return brokers, here


def chosen(brokers, before=(0, 0, 0)):
    """The numbers of the brokers that have a tunnel more than before."""
    now = [len(broker.tunnels()) for broker in brokers]
    return [number for number, (a, b) in enumerate(zip(before, now)) if b > a]


def connect(world, here, brokers, *options, before=(0, 0, 0)):
    client = world.client(here, *options, brokers=BROKERS).wait_up(20)
    numbers = chosen(brokers, before)
    assert len(numbers) == 1
    return client, numbers[0]


def test_least_usage(world):
    loads = (2, 3, 1)
    brokers, here = three(world, loads)
    _, number = connect(world, here, brokers, "-a", before=loads)
    assert number == 2


def test_least_usage_ties_go_to_the_first_on_the_command_line(world):
    loads = (2, 1, 1)
    brokers, here = three(world, loads)
    _, number = connect(world, here, brokers, "-a", before=loads)
    assert number == 1


def test_least_usage_passes_over_a_full_broker(world):
    loads = (4, 3, 4)
    brokers, here = three(world, loads)
    _, number = connect(world, here, brokers, "-a", before=loads)
    assert number == 1


def test_first_takes_the_one_that_answers(world):
    brokers, here = three(world)
    for broker in brokers[0], brokers[2]:
        broker.ns.nft("table inet f {\n chain i {\n type filter hook input priority 0\n"
                      " udp dport 8942 drop\n }\n}\n")
    _, number = connect(world, here, brokers, "-g")
    assert number == 1


def test_first_is_the_default(world):
    brokers, here = three(world, (1, 1, 0))
    brokers[2].ns.nft("table inet f {\n chain i {\n type filter hook input priority 0\n"
                      " udp dport 8942 drop\n }\n}\n")
    _, number = connect(world, here, brokers, before=(1, 1, 0))
    assert number in (0, 1)


def test_random_is_not_always_the_same(world):
    """Ten draws that all give the same of three brokers: once in 20,000 runs."""
    brokers, here = three(world)
    seen = set()
    for _ in range(10):
        client, number = connect(world, here, brokers, "-r")
        seen.add(number)
        assert client.stop() == 0
        for broker in brokers:
            broker.wait_tunnels(0)
        if len(seen) > 1:
            break
    assert len(seen) > 1


def test_more_brokers_than_the_old_limit(world):
    there, here = world.pair()
    broker = world.broker(there)
    dead = [f"192.0.2.{last}:8942" for last in range(50, 80)]
    world.client(here, brokers=[*dead, "192.0.2.1:8942"]).wait_up(20)
    broker.wait_tunnels(1)
