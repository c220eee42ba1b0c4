# SPDX-License-Identifier: AGPL-3.0-or-later
"""Control passes, data does not: the client notices and builds the tunnel anew."""

import threading

import pytest

import wire
from fake_broker import FakeBroker
from netlab import holds, traffic, wait_until

# What begins with a zero byte behind the UDP header is data.
SWALLOW = """table inet swallow {{
	chain some {{
		type filter hook input priority 0;
		udp {port} 8942 @th,64,8 0 drop
	}}
}}"""
LIMIT = 120  # seconds until the client has noticed: 50 and what 10 packets take


class Talk:
    """A frame a second through the interfaces of a tunnel, in both directions, whatever they are."""

    def __init__(self, *ends):
        self.ends = ends  # (host, function that tells its interface)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.ended.wait(1):
            for ns, name in self.ends:
                try:
                    with ns.packet_socket(name()) as sock:
                        sock.send(wire.frame(b"hello"))
                except (OSError, IndexError):
                    pass  # it is being made anew

    def close(self):
        self.ended.set()
        self.thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("receiver", ["broker", "client"])
def test_dead_direction(world, receiver):
    there, here = world.pair()
    host, port, why = {
        "broker": (there, "dport", "our data does not reach the broker"),
        "client": (here, "sport", "the broker's data does not reach us"),
    }[receiver]
    broker = world.broker(there)
    client = world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    ends = (there, lambda: there.tunnels()[0]), (here, lambda: "tunnel")
    talk = world.closing(Talk(*ends))
    holds(lambda: broker.log().count(" up: ") == 1, 5, "it stays")
    host.run("nft", "-f", "-", text=SWALLOW.format(port=port))
    client.wait_log(why, LIMIT)
    host.run(*"nft delete table inet swallow".split())
    broker.wait_log("data did not get through: sent ", 10)
    wait_until(lambda: broker.log().count(" up: ") == 2, 30, "another tunnel")
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    talk.close()
    assert client.running()


def test_nothing_changes_for_a_deployed_broker(world):
    """Neither cookies nor counts, and so nothing to conclude."""
    there, here = world.pair()
    broker = world.closing(FakeBroker(there))
    world.client(here).wait_up()

    def keepalives():
        return [payload for _, _, kind, payload in broker.received if kind == wire.KEEPALIVE]

    wait_until(lambda: len(keepalives()) >= 2, 15, "keepalives")
    assert {len(payload) for payload in keepalives()} == {4}
    assert here.mtu("tunnel") == 1446
