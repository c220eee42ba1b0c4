# SPDX-License-Identifier: AGPL-3.0-or-later
"""A UUID comes again from another flow: from its owner after a crash, or from a stranger."""

import time

import pytest

from fake_client import MODELS, FakeClient, Refused
from netlab import holds, traffic, wait_until


@pytest.mark.parametrize("model", MODELS)
def test_old_flow_dead_is_replaced(world, model):
    there, here = world.pair()
    broker = world.broker(there)
    dead = world.closing(FakeClient(here, uuid="node", model=model)).connect()
    broker.wait_tunnels(1)
    dead.freeze()
    begin = time.monotonic()
    world.closing(FakeClient(here, uuid="node", model=model)).connect()
    assert time.monotonic() - begin > 1.5, "the old flow is asked first"
    wait_until(lambda: len(broker.tunnels()) == 1, 10, "only the new tunnel")


@pytest.mark.parametrize("model", MODELS)
def test_old_flow_alive_stays(world, model):
    there, here, stranger = world.switch("broker", "client", "stranger")
    broker = world.broker(there)
    owner = world.closing(FakeClient(here, uuid="node", model=model)).connect()
    (name,) = broker.wait_tunnels(1)
    hostile = world.closing(FakeClient(stranger, uuid="node", model=model))
    assert hostile.ask_cookie()
    begin = time.monotonic()
    with pytest.raises(Refused):
        hostile.prepare(20)
    assert time.monotonic() - begin > 2, "a refusal for good comes late"
    assert broker.tunnels() == [name]
    assert owner.ended_by is None


def test_real_client_alive_stays(world):
    there, here, stranger = world.switch("broker", "client", "stranger")
    broker = world.broker(there)
    world.client(here, uuid="node").wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    index = here.links()["tunnel"]["ifindex"]
    for _ in range(2):
        hostile = world.closing(FakeClient(stranger, uuid="node"))
        assert hostile.ask_cookie()
        with pytest.raises(Refused):
            hostile.prepare(20)
    assert broker.tunnels() == [name]
    assert here.links()["tunnel"]["ifindex"] == index
    traffic(there, name, here, "tunnel")


def test_strangers_error_from_another_flow_ends_nothing(world):
    there, here, stranger = world.switch("broker", "client", "stranger")
    broker = world.broker(there)
    world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    hostile = world.closing(FakeClient(stranger))
    for _ in range(20):
        hostile.send(3, b"\x11")
    holds(lambda: broker.tunnels() == [name], 1, "the tunnel stays")
    traffic(there, name, here, "tunnel")
