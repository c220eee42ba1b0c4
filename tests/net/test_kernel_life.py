# SPDX-License-Identifier: AGPL-3.0-or-later
"""How tunnels of the kernel data path come and go. For a kernel that has L2TP (tests/vm)."""

import os
import signal

import l2tpwatch
import pytest
import wire
from fake_client import FakeClient
from netlab import holds, traffic, wait_until
from programs import BUILD
from test_kernel import l2tp
from test_old_clients import exchange

pytestmark = pytest.mark.kernel

LOAD = os.path.join(BUILD, "bench/td-load")
SLOW_KERNEL = os.path.join(BUILD, "tests/net/slow-kernel.so")
CROWD = 300
MAKE_AND_DELETE = (l2tpwatch.TUNNEL_CREATE, l2tpwatch.TUNNEL_DELETE)


def sockets(broker):
    """How many the broker's processes have open."""
    count = 0
    for pid in [broker.pid, *broker.workers()]:
        for fd in os.scandir(f"/proc/{pid}/fd"):
            count += os.readlink(fd.path).startswith("socket:")
    return count


def test_removed_by_deleting_the_tunnel_never_the_session(world):
    """To delete a session may hold up all of generic netlink for long. And a tunnel of which any
    process keeps the socket is not gone."""
    there, here = world.pair()
    first = l2tpwatch.ids()
    watches = [world.closing(l2tpwatch.Watch(host, first)) for host in (there, here)]
    broker = world.broker(there, broker={"tunnel_id_base": first})
    idle = sockets(broker)
    clients = [
        world.closing(FakeClient(here, uuid=f"n{n}", tunnel=n)).connect() for n in range(1, 4)
    ]
    real = world.client(here, "-t", first + 50, uuid="real").wait_up()
    broker.wait_tunnels(4)
    clients[0].stop()
    assert real.stop() == 0
    broker.wait_tunnels(2)
    assert broker.running() and sockets(broker) > idle
    clients[1].stop()
    clients[2].stop()
    broker.wait_tunnels(0)
    wait_until(lambda: sockets(broker) == idle, 10, f"no sockets but the {idle} of before")
    last = world.closing(FakeClient(here, uuid="last")).connect()
    broker.wait_tunnels(1)
    assert broker.stop() == 0
    assert last.ended_by is not None
    for watch in watches:
        made = watch.tunnels(l2tpwatch.TUNNEL_CREATE)
        assert made == watch.tunnels(l2tpwatch.TUNNEL_DELETE)
        assert made == watch.tunnels(l2tpwatch.SESSION_CREATE)
        assert watch.tunnels(l2tpwatch.SESSION_DELETE) == []
    # Of both ends, for a kernel from 7 on tells only the own namespace.
    made = {note.tunnel for watch in watches for note in watch.notes()}
    assert first + 50 in made and len(made) >= 6


@pytest.mark.slow
def test_newcomer_does_not_wait_behind_departures(world):
    """Ports of a bridge leave, for then the kernel needs longest to remove an interface."""
    there, here, other = world.switch("broker", "crowd", "newcomer")
    for host in (there, here):
        host.sysctl("net.ipv6.conf.default.disable_ipv6=1")
    first = l2tpwatch.ids()
    watch = world.closing(l2tpwatch.Watch(there, first))
    limits = {"max_tunnels": CROWD + 10, "pmtu": "1446", "tunnel_id_base": first}
    broker = world.broker(there, broker=limits)
    argv = [LOAD, "-n", CROWD, "-t", "600", "-g", "120", "192.0.2.1", "8942"]
    load = world.program(here, argv, "load")
    load.wait_log('"phase": "setup"', 60)
    wait_until(lambda: len(there.tunnels()) == CROWD, 10, "the crowd is there")
    ports = [f"link set {name} master bridge" for name in there.tunnels()]
    there.ip("link add bridge up type bridge", *ports)
    newcomer = world.closing(FakeClient(other, uuid="newcomer"))
    assert newcomer.ask_cookie()
    load.process.send_signal(signal.SIGTERM)
    wait_until(lambda: watch.count(l2tpwatch.TUNNEL_DELETE), 20, "the first of them goes")
    assert newcomer.prepare()
    newcomer.live()
    wait_until(lambda: len(there.tunnels()) == 1, 60, "the crowd is gone")
    (name,) = broker.tunnels()
    wait_until(lambda: there.is_up(name), 5, "up at the broker")
    exchange(there, name, newcomer)
    commands = [note.command for note in watch.notes() if note.command in MAKE_AND_DELETE]
    served = CROWD + commands[CROWD:].index(l2tpwatch.TUNNEL_CREATE)
    before = commands[:served].count(l2tpwatch.TUNNEL_DELETE)
    assert before < CROWD / 2, f"{before} of {CROWD} had to go first"


def test_id_and_name_are_free_before_they_are_given_again(world):
    """There is one place only, and somebody waits for it all the time."""
    there, here = world.pair()
    there.sysctl("net.ipv6.conf.default.disable_ipv6=1")
    first = l2tpwatch.ids()
    watch = world.closing(l2tpwatch.Watch(there, first))
    limits = {"max_tunnels": "1", "tunnel_id_base": first, "pmtu": "1446"}
    broker = world.broker(there, broker=limits)
    argv = [LOAD, "-c", "-n", "3", "-t", "8", "-R", "1", "-g", "100", "192.0.2.1", "8942"]
    load = world.program(here, argv, "load")
    load.expected = None
    load.wait_end(60)
    broker.wait_tunnels(0)
    assert watch.count(l2tpwatch.TUNNEL_CREATE) > 5, load.log()
    assert "failed" not in broker.log() and "exist" not in broker.log()


@pytest.mark.slow
def test_what_is_made_too_late_is_removed(world):
    """The kernel answers when the broker has given up, and says yes."""
    there, here = world.pair()
    first = l2tpwatch.ids()
    watch = world.closing(l2tpwatch.Watch(there, first))
    env = {"LD_PRELOAD": SLOW_KERNEL}
    broker = world.broker(there, broker={"tunnel_id_base": first}, env=env)
    client = world.closing(FakeClient(here))
    assert client.ask_cookie()
    client.send(wire.PREPARE, client.prepare_payload())
    broker.wait_log("failed", 20)
    wait_until(lambda: watch.count(l2tpwatch.TUNNEL_DELETE), 10, "its removal")
    commands = [note.command for note in watch.notes()]
    assert commands == [
        l2tpwatch.TUNNEL_CREATE,
        l2tpwatch.SESSION_CREATE,
        l2tpwatch.TUNNEL_DELETE,
    ]
    broker.wait_tunnels(0)
    other = world.closing(FakeClient(here, uuid="other", tunnel=2)).connect()
    (name,) = broker.wait_tunnels(1)
    wait_until(lambda: there.is_up(name), 5, "up at the broker")
    exchange(there, name, other)


@pytest.mark.parametrize("bridging", [False, True])
@pytest.mark.parametrize("change", ["moved", "renamed"])
def test_interface_that_a_hook_has_changed_survives_a_crash_of_the_worker(world, change, bridging):
    """Also where an MTU decides about the bridge, if not about that of this interface."""
    there, here = world.pair()
    there.ip("link add br1300 type bridge")
    bridges = {"bridge 1300": {"interface": "br1300"}} if bridging else {}
    mesh = world.host("mesh")
    hooks = world.hooks()
    ns, name, words = {
        "moved": (mesh, "l2tp100-100", ["netns", str(mesh)]),
        "renamed": (there, "mesh0", ["name", "mesh0"]),
    }[change]
    body = f"""
for words in ["down"], {words}:
    subprocess.run(["ip", "link", "set", sys.argv[3], *words], check=True)
"""
    up = hooks.script("session.up", body)
    broker = world.broker(there, hooks={"session.up": up}, bridges=bridges)
    client = world.client(here).wait_up()
    wait_until(lambda: ns.state(name), 10, "the interface is where the hook put it")
    index = ns.state(name).index
    ns.ip(f"link set {name} up")
    traffic(ns, name, here, "tunnel")
    hooks.wait_noticed("session.up")
    (worker,) = broker.workers()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: broker.workers() not in ([], [worker]), 10, "a new worker")
    wait_until(lambda: broker.log().count("data path") == 2, 10, "it is at work")
    holds(lambda: ns.state(name) and ns.state(name).index == index, 3, "the interface")
    traffic(ns, name, here, "tunnel")
    assert ns.state(name).index == index
    assert client.stop() == 0
    wait_until(lambda: not ns.state(name) and not l2tp(there, "tunnel"), 20, "removed from there")
