# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rates of new tunnels, and a broker that is full."""

import threading
import time

import pytest

from fake_client import FakeClient, Refused, in_vain
from netlab import SLOW, holds, traffic, wait_until


def connect_all(clients, timeout=15):
    """All clients at once, each as patient as a deployed one: when each got its tunnel (seconds
    from the start), or what it got instead."""
    outcome = {}
    begin = time.monotonic()

    def one(client):
        try:
            assert client.ask_cookie(), "no cookie"
            got = client.prepare(timeout)
            outcome[client.uuid] = time.monotonic() - begin if got else None
            if got:
                client.live()
        except (Refused, AssertionError) as error:
            outcome[client.uuid] = error

    threads = [threading.Thread(target=one, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcome


def crowd(world, ns, count):
    return [
        world.closing(FakeClient(ns, uuid=f"n{number}", tunnel=number))
        for number in range(1, count + 1)
    ]


def test_global_rate(world):
    """Beyond it, PREPAREs are parked and answered in turn: nobody is refused."""
    there, here = world.pair()
    limits = {"connection_rate_limit": "1.5", "connection_rate_limit_burst": "2"}
    broker = world.broker(there, broker=limits)
    outcome = connect_all(crowd(world, here, 5))
    times = sorted(outcome.values())
    assert times[1] < 1 * SLOW, "the burst at once"
    assert 1 < times[2] and 3.9 < times[4] < 12 * SLOW, f"then one in 1.5 s: {times}"
    broker.wait_tunnels(5)


def test_default_burst_lets_many_return_in_seconds(world):
    there, here = world.pair()
    limits = {"connection_rate_limit": "10", "max_tunnels": "64"}
    world.broker(there, broker=limits)
    outcome = connect_all(crowd(world, here, 40))
    assert max(outcome.values()) < 10 * SLOW


def test_rate_per_ip(world):
    """A whole NAT is not served faster than that; others do not notice."""
    there, one, other = world.switch("broker", "one", "other")
    limits = {
        "connection_rate_limit_per_ip_count": "2",
        "connection_rate_limit_per_ip_time": "8",
    }
    hooks = world.hooks()
    script = {"broker.connection-rate-limit": hooks.script("rate-limit")}
    world.broker(there, broker=limits, hooks=script)
    crowded = crowd(world, one, 3)
    lone = world.closing(FakeClient(other, uuid="lone"))
    outcome = connect_all([*crowded, lone])
    assert outcome[b"lone"] < 1.5 * SLOW
    times = sorted(outcome[client.uuid] for client in crowded)
    assert times[1] < 1.5 * SLOW
    assert 2.5 < times[2] < 14 * SLOW, f"the third waits its turn: {times}"
    (record,) = hooks.wait("rate-limit")
    (last,) = [client for client in crowded if outcome[client.uuid] == times[2]]
    assert record["args"] == ["192.0.2.2", str(last.port), last.uuid.decode()]


def test_rate_per_uuid(world):
    there, here = world.pair()
    limits = {
        "connection_rate_limit_per_uuid_count": "1",
        "connection_rate_limit_per_uuid_time": "5",
    }
    broker = world.broker(there, broker=limits)
    begin = time.monotonic()
    FakeClient(here, uuid="again").connect().stop()
    world.closing(FakeClient(here, uuid="other")).connect()
    assert time.monotonic() - begin < 2.5 * SLOW
    broker.wait_tunnels(1)
    world.closing(FakeClient(here, uuid="again")).connect()
    assert 3 < time.monotonic() - begin < 14 * SLOW
    broker.wait_tunnels(2)


def test_parked_client_that_left_gets_no_tunnel(world):
    """A place in the queue is for whom was heard from lately."""
    there, here = world.pair()
    limits = {"connection_rate_limit": "8", "connection_rate_limit_burst": "1"}
    broker = world.broker(there, broker=limits)
    world.closing(FakeClient(here, uuid="first")).connect()
    gone = world.closing(FakeClient(here, uuid="gone"))
    assert gone.ask_cookie()
    assert not gone.prepare(in_vain(0.5))
    holds(lambda: len(broker.tunnels()) == 1, 11, "one tunnel")


def test_real_client_waits_its_turn(world):
    there, here = world.pair()
    limits = {"connection_rate_limit": "5", "connection_rate_limit_burst": "1"}
    broker = world.broker(there, broker=limits)
    world.closing(FakeClient(here, uuid="first")).connect()
    world.client(here, "-t", "2").wait_up(14)
    assert len(broker.tunnels()) == 2


def test_full_broker_is_silent_to_newcomers(world):
    there, here = world.pair()
    broker = world.broker(there, broker={"max_tunnels": "1"})
    early = world.closing(FakeClient(here, uuid="early"))
    assert early.ask_cookie()
    client = world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    late = world.closing(FakeClient(here, uuid="late"))
    assert late.ask_usage(in_vain(2)) is None
    assert not late.ask_cookie(in_vain(2))
    begin = time.monotonic()
    with pytest.raises(Refused):
        early.prepare(20)  # it has a cookie from before
    assert time.monotonic() - begin > 2, "a refusal for good comes late"
    traffic(there, name, here, "tunnel")
    assert client.stop() == 0
    broker.wait_tunnels(0)
    assert late.ask_usage(5) == 0
    late.connect()
    broker.wait_tunnels(1)


def test_client_finds_the_broker_that_is_not_full(world):
    one, two, here = world.switch("b1", "b2", "client")
    full = world.broker(one, broker={"max_tunnels": "1"})
    other = world.broker(two, broker={"address": "192.0.2.2"})
    world.closing(FakeClient(here, uuid="first")).connect()
    full.wait_tunnels(1)
    world.client(here, "-t", "2", brokers=["192.0.2.1:8942", "192.0.2.2:8942"]).wait_up(15)
    other.wait_tunnels(1)


def test_load_is_told(world):
    there, here = world.pair()
    world.broker(there, broker={"max_tunnels": "4"})
    for number, load in enumerate((0, 16383, 32767, 49151)):
        client = world.closing(FakeClient(here, uuid=f"n{number}", tunnel=number + 1))
        assert abs(client.ask_usage() - load) <= 1
        client.connect()
