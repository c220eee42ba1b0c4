# SPDX-License-Identifier: AGPL-3.0-or-later
"""The kernel data path: next to other ends, with other users of L2TP, and when it is interfered
with. For a kernel that has L2TP (tests/vm)."""

import os
import re
import signal

import pytest

import wire
from fake_client import MODELS, FakeClient
from netlab import SLOW, holds, link_local, pings, traffic, wait_until
from programs import assert_datapath, delete_tunnel
from test_old_clients import exchange

pytestmark = pytest.mark.kernel

BROKERS = {"v4": "192.0.2.1:8942", "v6": "[2001:db8::1]:8942"}
INNER_MTU = {"v4": 1438, "v6": 1418}  # with cookies
EITHER = "192.0.2.1, 2001:db8::1"


def listed(ns, what):
    """What `ip l2tp` has of tunnels or sessions, as a list of texts."""
    text = ns.ip(f"l2tp show {what}")
    return [part for part in re.split(r"\n(?=\S)", text.strip()) if part]


def tunnel_of(text):
    return re.search(r"(?:^Tunnel|in tunnel) (\d+)", text)[1]


def l2tp(ns, what):
    """The same without the broker's guard, which is there while the broker is, on some kernels
    (src/datapath/kernel_guard.c)."""
    guards = {tunnel_of(text) for text in listed(ns, "session") if "name: tdguard" in text}
    return [text for text in listed(ns, what) if tunnel_of(text) not in guards]


def foreign(ns, number, ifname="foreign", port=5000):
    """A tunnel of somebody else's."""
    ns.ip(
        f"l2tp add tunnel tunnel_id {number} peer_tunnel_id {number} encap udp"
        f" local 192.0.2.1 remote 192.0.2.99 udp_sport {port} udp_dport {port}",
        f"l2tp add session name {ifname} tunnel_id {number} session_id {number}"
        f" peer_session_id {number}",
    )
    return ns.state(ifname).index


# --- both kinds of ends ---


@pytest.mark.parametrize("family", BROKERS)
@pytest.mark.parametrize("ends", ["kernel-tap", "tap-kernel"])
def test_other_end_on_the_other_data_path(world, ends, family):
    there, here = world.pair()
    theirs, ours = ends.split("-")
    broker = world.broker(there, broker={"address": EITHER, "datapath": theirs})
    world.client(here, brokers=[BROKERS[family]], datapath=ours).wait_up()
    (name,) = broker.wait_tunnels(1)
    assert_datapath(there, name, theirs)
    assert_datapath(here, "tunnel", ours)
    traffic(there, name, here, "tunnel")
    mtu = INNER_MTU[family]
    wait_until(lambda: (there.mtu(name), here.mtu("tunnel")) == (mtu, mtu), 10, f"MTU {mtu}")
    assert pings(here, "tunnel", link_local(there, name), mtu - 48)
    assert pings(there, name, link_local(here, "tunnel"), mtu - 48)


def test_old_clients_beside_new_ones(world):
    there, here, old = world.switch("broker", "client", "old")
    broker = world.broker(there)
    world.client(here).wait_up()
    (ours,) = broker.wait_tunnels(1)
    names = {ours}
    for number, model in enumerate(MODELS, 2):
        client = FakeClient(old, uuid=model, model=model, tunnel=number)
        world.closing(client).connect()
        (name,) = set(broker.wait_tunnels(number)) - names
        names.add(name)
        wait_until(lambda: there.is_up(name), 5, "up at the broker")
        exchange(there, name, client)
    traffic(there, ours, here, "tunnel")


def test_several_tunnels_of_several_hosts(world):
    there, *hosts = world.switch("broker", "one", "two")
    broker = world.broker(there, broker={"address": EITHER})
    tunnels = []
    for ns in hosts:
        for number, way in enumerate(BROKERS.values(), 1):
            uuid, ifname = f"{ns.name}-{number}", f"tun{number}"
            world.client(ns, "-t", number, brokers=[way], uuid=uuid, ifname=ifname).wait_up()
            known = {name for name, _, _ in tunnels}
            (name,) = set(broker.wait_tunnels(len(tunnels) + 1)) - known
            tunnels.append((name, ns, ifname))
    for name, ns, ifname in tunnels:
        traffic(there, name, ns, ifname)


def test_loss_and_delay(world):
    there, here = world.pair()
    for ns in (there, here):
        ns.run(*"tc qdisc add dev wan root netem delay 40ms 15ms loss 10%".split())
    broker = world.broker(there)
    world.client(here).wait_up(30)
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel", 30)
    wait_until(lambda: (there.mtu(name), here.mtu("tunnel")) == (1438, 1438), 60, "MTU 1438")
    sender, receiver = here.packet_socket("tunnel"), there.packet_socket(name)
    receiver.setblocking(False)
    frames = [wire.frame(b"number %03d" % number) for number in range(200)]
    for frame in frames:
        sender.send(frame)
    arrived = []
    wait_until(lambda: drain(receiver, frames, arrived) > 140, 5, "most of the frames")
    holds(lambda: drain(receiver, frames, arrived) < 200, 1, "not those that the path lost")
    sender.close()
    receiver.close()


def drain(sock, frames, arrived):
    """Adds those of the frames that the socket has; how many have come."""
    try:
        while True:
            frame = sock.recv(2000)
            if frame in frames:
                arrived.append(frame)
    except BlockingIOError:
        return len(arrived)


def test_limit_is_tbf_with_fq_codel(world):
    there, here = world.pair()
    broker = world.broker(there)
    world.client(here, "-L", "2048").wait_up()
    (name,) = broker.wait_tunnels(1)

    def shaped():
        shown = there.run("tc", "qdisc", "show", "dev", name).stdout
        return re.search(r"tbf 1: root .*rate 2048Kbit", shown) and re.search(
            r"fq_codel 2: parent 1:1 ", shown
        )

    wait_until(shaped, 10, "bucket and leaf")


# --- others that use L2TP, or the names ---


def test_tunnels_of_others_are_left_alone(world):
    there, here = world.pair()
    index = foreign(there, 7000)
    before = l2tp(there, "tunnel"), l2tp(there, "session")
    broker = world.broker(there)
    client = world.client(here).wait_up()
    broker.wait_tunnels(1)
    assert client.stop() == 0
    broker.wait_tunnels(0)
    assert broker.stop() == 0
    assert (l2tp(there, "tunnel"), l2tp(there, "session")) == before
    assert there.state("foreign").index == index


def test_tunnels_of_others_survive_kills(world):
    there, here = world.pair()
    index = foreign(there, 7000)
    broker = world.broker(there)
    world.client(here).wait_up()
    broker.wait_tunnels(1)
    (worker,) = broker.workers()
    broker.kill()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: len(l2tp(there, "tunnel")) == 1, 10, "ours are gone")
    assert there.state("foreign").index == index


def test_id_taken_at_the_broker(world):
    there, here = world.pair()
    index = foreign(there, 100)
    broker = world.broker(there)
    world.client(here).wait_up(60)
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    assert there.state("foreign").index == index
    (line,) = [line for line in broker.log_lines() if "failed" in line]
    assert "change tunnel_id_base" in line


def test_name_taken_at_the_broker(world):
    there, here = world.pair()
    there.ip("link add l2tp100-100 type dummy")
    index = there.state("l2tp100-100").index
    broker = world.broker(there)
    broker.datapath = None
    world.client(here).wait_up(60)
    (name,) = set(broker.wait_tunnels(2)) - {"l2tp100-100"}
    traffic(there, name, here, "tunnel")
    wait_until(lambda: len(l2tp(there, "tunnel")) == 1, 10, "no half of a tunnel is left")
    assert "change tunnel_id_base" in broker.log()
    assert there.state("l2tp100-100").index == index
    there.ip("link del l2tp100-100")


@pytest.mark.parametrize("taken", ["id", "name"])
def test_taken_at_the_client(world, taken):
    """It says so, leaves the other's alone, and has its tunnel when the place is free."""
    there, here = world.pair()
    broker = world.broker(there)
    if taken == "id":
        here.ip("address add 192.0.2.1/32 dev lo")
        foreign(here, 5)
        here.ip("address del 192.0.2.1/32 dev lo")
        free = "l2tp del tunnel tunnel_id 5"
    else:
        here.ip("link add tunnel type dummy")
        free = "link del tunnel"
    index = here.state("foreign" if taken == "id" else "tunnel").index
    client = world.client(here, "-t", "5")
    client.wait_log("tunnel: File exists; remove what has that name or tunnel id", 20)
    others = ["5"] if taken == "id" else []
    wait_until(lambda: [tunnel_of(text) for text in l2tp(here, "tunnel")] == others, 5, "no half")
    assert taken == "name" or not here.state("tunnel")
    assert here.state("foreign" if taken == "id" else "tunnel").index == index
    here.ip(free)
    client.wait_up(90)
    (name,) = broker.wait_tunnels(1, 20)
    traffic(there, name, here, "tunnel")


# --- by another hand ---


def test_interface_in_another_namespace_is_not_gone(world):
    there, here = world.pair()
    mesh = world.host("mesh")
    hooks = world.hooks()
    body = f"subprocess.run(['ip', 'link', 'set', sys.argv[3], 'netns', '{mesh}'], check=True)"
    broker = world.broker(there, hooks={"session.up": hooks.script("session.up", body)})
    client = world.client(here).wait_up()
    wait_until(mesh.tunnels, 10, "the interface moved")
    (name,) = mesh.tunnels()
    mesh.ip(f"link set {name} up")
    traffic(mesh, name, here, "tunnel")
    holds(lambda: mesh.tunnels() == [name], 8, "the tunnel stays")
    traffic(mesh, name, here, "tunnel")
    assert "gone" not in broker.log()
    assert client.stop() == 0
    wait_until(lambda: not mesh.tunnels() and not l2tp(there, "tunnel"), 20, "removed from there")


@pytest.mark.parametrize("what", ["session", "tunnel"])
@pytest.mark.parametrize("end", ["broker", "client"])
def test_deleted_by_another_hand(world, end, what):
    there, here = world.pair()
    broker = world.broker(there)
    client = world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    index = here.state("tunnel").index
    ns = there if end == "broker" else here
    (tunnel,) = map(tunnel_of, l2tp(ns, "tunnel"))
    if what == "session":
        delete_tunnel(ns, name if end == "broker" else "tunnel")
    else:
        ns.ip(f"l2tp del tunnel tunnel_id {tunnel}")

    def rebuilt():
        state = here.state("tunnel")
        return state and state.up and state.index != index

    wait_until(rebuilt, 40, "a new interface")
    assert client.running()
    (name,) = broker.wait_tunnels(1, 20)
    traffic(there, name, here, "tunnel", 20)


def test_nothing_is_left_when_both_processes_are_killed(world):
    there, here = world.pair()
    broker = world.broker(there)
    client = world.client(here).wait_up()
    broker.wait_tunnels(1)
    (worker,) = broker.workers()
    broker.kill()
    os.kill(worker, signal.SIGKILL)
    client.kill()
    for ns in (there, here):
        wait_until(lambda: not l2tp(ns, "tunnel") and not l2tp(ns, "session"), 10, "nothing left")
        assert ns.tunnels() == [] and ns.state("tunnel") is None


# --- data that nobody takes ---


def dropped(ns):
    """Datagrams that this host's UDP sockets dropped, by the port of the peer."""
    with ns.entered(), open("/proc/thread-self/net/udp", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return {int(row[2].split(":")[1], 16): int(row[12]) for row in rows}


def test_stray_data_does_not_reach_the_program(world):
    """Of sessions that are no more: the socket's filter drops it, not the program."""
    there, here = world.pair()
    broker = world.broker(there)
    client = world.closing(FakeClient(here)).connect()
    (name,) = broker.wait_tunnels(1)
    before = dropped(there)[client.port]
    for _ in range(300):
        client.send_bytes(wire.data(4711, wire.frame(b"stray")))
    wait_until(lambda: dropped(there)[client.port] - before >= 300, 5, "300 dropped by the kernel")
    wait_until(lambda: there.is_up(name), 5)
    exchange(there, name, client)


# --- one client's frames in another's tunnel ---


def ids_are_looked_up_without_the_tunnel():
    """Since Linux 6.11 a session is found by its id alone when that is unique."""
    numbers = re.match(r"(\d+)\.(\d+)", os.uname().release).groups()
    return tuple(map(int, numbers)) >= (6, 11)


def enters(ns, ifname, send, expected=False):
    """Does the frame that send() sends come out of that interface?"""
    frame = wire.frame(b"injected")
    sock = ns.packet_socket(ifname)
    sock.settimeout(5 * SLOW if expected else 2)
    try:
        for _ in range(3):
            send(frame)
        while True:
            if sock.recv(2000) == frame:
                return True
    except TimeoutError:
        return False
    finally:
        sock.close()


def attack_by_hand(there, other):
    """The attack itself, on two tunnels made by hand with ids of their own: it works on the kernels
    that it works on, or the test proves nothing."""
    for number in (21, 22):
        there.ip(
            f"l2tp add tunnel tunnel_id {number} peer_tunnel_id {number} encap udp local 192.0.2.1"
            f" remote 192.0.2.3 udp_sport {6000 + number} udp_dport {7000 + number}",
            f"l2tp add session name hand{number} tunnel_id {number} session_id {number}"
            f" peer_session_id {number}",
            f"link set hand{number} up",
        )
    attacker = other.udp(peer=("192.0.2.1", 6021), local=("192.0.2.3", 7021))
    expected = ids_are_looked_up_without_the_tunnel()
    try:
        assert enters(there, "hand21", lambda frame: attacker.send(wire.data(21, frame)), True)
        send = lambda frame: attacker.send(wire.data(22, frame))
        assert enters(there, "hand22", send, expected) == expected
    finally:
        attacker.close()


def session_ids(ns):
    """Of sessions and tunnels, at both ends; a cookie may look like a number, too."""
    pattern = r"(?:session|tunnel) (\d+)"
    found = (re.findall(pattern, text, re.I) for text in listed(ns, "session"))
    return {int(number) for numbers in found for number in numbers}


@pytest.mark.parametrize("victim", ["deployed", "new"])
def test_no_client_injects_into_the_tunnel_of_another(world, victim):
    there, one, other = world.switch("broker", "one", "other")
    attack_by_hand(there, other)
    broker = world.broker(there)
    if victim == "new":
        world.client(one, uuid="victim").wait_up()
    else:
        client = world.closing(FakeClient(one, uuid="victim", tunnel=7)).connect()
    (name,) = broker.wait_tunnels(1)
    wait_until(lambda: there.is_up(name), 5, "up at the broker")
    attacker = world.closing(FakeClient(other, uuid="attacker", tunnel=8)).connect()
    (own,) = set(broker.wait_tunnels(2)) - {name}
    wait_until(lambda: there.is_up(own), 5, "up at the broker")
    exchange(there, own, attacker)
    for number in session_ids(there):
        for cookie in (b"", bytes(8), b"\xff" * 8):
            send = lambda frame: attacker.send_bytes(wire.data(number, frame, cookie))
            assert not enters(there, name, send), f"by session id {number}, cookie {cookie}"
    if victim == "new":
        traffic(there, name, one, "tunnel")
    else:
        exchange(there, name, client)
    exchange(there, own, attacker)


@pytest.mark.parametrize("ends", ["kernel-kernel", "kernel-tap", "tap-kernel"])
def test_cookies_are_what_both_ends_expect(world, ends):
    """Between our own ends each data packet carries one, and without it nothing enters."""
    there, here = world.pair()
    theirs, ours = ends.split("-")
    broker = world.broker(there, broker={"datapath": theirs})
    world.client(here, datapath=ours).wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    for ns, end in ((there, theirs), (here, ours)):
        if end == "kernel":
            assert all("cookie" in text for text in l2tp(ns, "session"))
    wait_until(lambda: (there.mtu(name), here.mtu("tunnel")) == (1438, 1438), 10, "MTU 1438")
