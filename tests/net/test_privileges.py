# SPDX-License-Identifier: AGPL-3.0-or-later
"""What each process may do: the worker, which reads the network, next to nothing; the parent and
the hooks, which do not, what root may; the client what it needs. docs/ARCHITECTURE.md."""

import glob
import json
import os
import re
import signal

import pytest

from netlab import traffic, wait_until
from programs import BROKER, BUILD, CLIENT, DATAPATH, sanitizer_options

FORBIDDEN_CALL = os.path.join(BUILD, "tests/net/forbidden-call.so")
NET_BIND_SERVICE, NET_ADMIN, NET_RAW = 1 << 10, 1 << 12, 1 << 13
NOBODY = "65534"
# Whoever starts a program may leave it a descriptor, here of a directory.
LEAK = ["sh", "-c", 'exec "$@" 9</etc', "sh"]
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def sanitized():
    """Was the broker built with sanitizers? These need /proc."""
    with open(BROKER, "rb") as program:
        return b"__asan_init" in program.read()


def statuses(pid):
    """Of all threads of a process: what /proc tells of them."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as status:
            yield dict(line.rstrip("\n").split(":\t", 1) for line in status)


def capabilities(status):
    return {name: int(status[name], 16) for name in SETS}


def descriptors(pid):
    """What a process has open, by number; sockets as "socket"."""
    found = {}
    for number in os.listdir(f"/proc/{pid}/fd"):
        target = os.readlink(f"/proc/{pid}/fd/{number}")
        found[int(number)] = target.split(":")[0] if target.startswith("socket:") else target
    return found


def watched(pid):
    """Numbers of the descriptors that a process waits for by epoll."""
    found = set()
    for path in glob.glob(f"/proc/{pid}/fdinfo/*"):
        with open(path, encoding="ascii") as info:
            found |= {int(number) for number in re.findall(r"^tfd: +(\d+)", info.read(), re.M)}
    return found


def inodes_of_udp(ns):
    lines = ns.run("cat", "/proc/net/udp", "/proc/net/udp6").stdout.splitlines()
    return {line.split()[9] for line in lines if line.split()[0] != "sl"}


def confined(worker, keep):
    threads = list(statuses(worker))
    assert {"td-worker", "td-kernel", "td-stats"} == {thread["Name"] for thread in threads}
    for thread in threads:
        held = {"CapInh": 0, "CapPrm": keep, "CapEff": keep, "CapBnd": keep, "CapAmb": 0}
        assert capabilities(thread) == held, thread
        assert (thread["NoNewPrivs"], thread["Seccomp"]) == ("1", "2"), thread
        assert set(thread["Uid"].split() + thread["Gid"].split()) == {NOBODY}, thread
        assert thread["Groups"].split() == [], thread
    for thread in threads:
        # Signals are for the first thread, which ignores them.
        assert thread["Name"] == "td-worker" or int(thread["SigBlk"], 16) & 1 << 14


@pytest.mark.parametrize("scaling", ["auto", "off"])
def test_every_thread_of_the_worker_is_confined(world, scaling):
    there, here = world.pair()
    broker = world.broker(there, broker={"rx_scaling": scaling})
    # Where tunnels share the listener's port, which may be below 1024.
    bind = DATAPATH == "kernel" and "rx_scaling off" in broker.log()
    assert bind or DATAPATH == "tap" or scaling == "auto"
    keep = NET_ADMIN | (NET_BIND_SERVICE if bind else 0)
    confined(*broker.workers(), keep)
    world.client(here).wait_up()
    broker.wait_tunnels(1)
    # The next one is no less.
    (first,) = broker.workers()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: broker.workers() not in ([], [first]), 10, "a new worker")
    (second,) = broker.workers()
    wait_until(lambda: len(os.listdir(f"/proc/{second}/task")) == 3, 5, "its threads")
    wait_until(lambda: all(s["Seccomp"] == "2" for s in statuses(second)), 5, "confined")
    confined(second, keep)


def test_worker_has_no_files(world):
    """An empty directory for its root, which nobody can reach; what else it holds leads nowhere."""
    there, here = world.pair()
    broker = world.start_broker(there, [*LEAK, BROKER, world.config()])
    world.client(here).wait_up()
    broker.wait_tunnels(1)
    (worker,) = broker.workers()
    if not sanitized():
        assert re.fullmatch(r"/\w+/tunneldigger-\w{6} \(deleted\)|/ \(deleted\)", root_of(worker))
        assert root_of(worker) == os.readlink(f"/proc/{worker}/cwd")
    assert not glob.glob("/run/tunneldigger-*") and not glob.glob("/tmp/tunneldigger-*")
    others = {
        target
        for number, target in descriptors(worker).items()
        if number > 2 and target != "socket" and not target.startswith("anon_inode:")
    }
    assert others <= {"/dev/net/tun"}, "none but tunnels, sockets, and what the loop needs"


def root_of(pid):
    return os.readlink(f"/proc/{pid}/root")


def test_parent_reads_nothing_of_the_network(world):
    """It has the listeners' sockets and the tunnels' descriptors, and waits for none of them."""
    there, here = world.pair()
    broker = world.broker(there)
    world.client(here).wait_up()
    broker.wait_tunnels(1)
    (status,) = statuses(broker.pid)
    with open("/proc/self/status", encoding="ascii") as own:
        mine = dict(line.rstrip("\n").split(":\t", 1) for line in own)
    assert capabilities(status) == capabilities(mine), "hooks need root's"
    assert status["Uid"].split() == ["0"] * 4
    udp = inodes_of_udp(there)
    held = {}
    for number in os.listdir(f"/proc/{broker.pid}/fd"):
        held[int(number)] = os.readlink(f"/proc/{broker.pid}/fd/{number}")
    network = {
        number
        for number, target in held.items()
        if target == "/dev/net/tun" or target[len("socket:[") : -1] in udp
    }
    assert len(network) >= 2, "a listener and a tunnel"
    assert not network & watched(broker.pid)
    assert watched(broker.pid), "it waits for others"


def test_client_drops_what_it_can(world):
    """Before the first datagram: nothing from the network meets more than these two."""
    there, here = world.pair()
    with there.udp(local=("192.0.2.1", 8942)) as listener:
        client = world.client(here)
        listener.settimeout(60)
        listener.recv(2000)
        status = client_status(client)
    broker = world.broker(there)
    client.wait_up(30)
    broker.wait_tunnels(1)
    assert client_status(client) == status


def test_who_looks_names_up_can_do_nothing(world):
    """What a name server sends is parsed by a child without capabilities."""
    there, here = world.pair()
    world.hosts_file(here)
    with open(f"/etc/netns/{here.name}/resolv.conf", "w", encoding="ascii") as resolver:
        resolver.write("nameserver 192.0.2.1\n")
    with there.udp(local=("192.0.2.1", 53)) as server:
        client = world.client(here, brokers=["broker.test:8942"])
        server.settimeout(60)
        server.recv(2000)
        (child,) = client.children()
        (status,) = statuses(child)
        assert {capabilities(status)[name] for name in SETS if name != "CapBnd"} == {0}
        assert status["NoNewPrivs"] == "1", "nor get any back"
        assert set(descriptors(child)) <= {0, 1, 2, 3, 4}, "its answer, and the way to the server"


def client_status(client):
    (status,) = statuses(client.pid)
    held = capabilities(status)
    assert held["CapPrm"] == held["CapEff"] == NET_ADMIN | NET_RAW
    assert held["CapInh"] == held["CapAmb"] == 0
    return held


def test_forbidden_call_ends_the_worker_and_no_tunnel(world):
    there, here = world.pair()
    env = sanitizer_options()
    env["ASAN_OPTIONS"] += ":verify_asan_link_order=0"
    broker = world.broker(there, env={"LD_PRELOAD": FORBIDDEN_CALL, **env})
    client = world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    index = there.links()[name]["ifindex"]
    (worker,) = broker.workers()
    os.kill(worker, signal.SIGUSR1)
    broker.wait_log(f"the worker was ended by signal {signal.SIGSYS:d}$")
    wait_until(lambda: broker.workers() not in ([], [worker]), 10, "a new worker")
    traffic(there, name, here, "tunnel")
    assert there.links()[name]["ifindex"] == index, "the same interface"
    assert client.log().count("connected to") == 1, "the client has not noticed"


ROOTS_WORK = """
status = dict(line.rstrip("\\n").split(":\\t", 1) for line in open("/proc/self/status"))
note(event="status", **status)
for command in (
    "ip link add br-hook type bridge", "ip link set {ifname} master br-hook up",
    "bridge link set dev {ifname} isolated on", "ip link set br-hook up",
    "ip rule add iif br-hook table 42",
    "iptables -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
    "nft add table inet fieldscript", "sysctl -qw net.ipv4.conf.br-hook.rp_filter=0",
):
    done = subprocess.run(command.format(ifname=IFNAME).split(), capture_output=True, text=True)
    note(event="command", command=command, status=done.returncode, err=done.stderr)
"""


def recorded(hooks, event):
    with open(hooks.path, encoding="utf-8") as lines:
        return [r for r in map(json.loads, lines) if r["event"] == event]


@pytest.mark.parametrize("end", ["broker", "client"])
def test_hook_of_old_is_root(world, end):
    """ip, bridge, iptables, nft and sysctl: what scripts in the field call."""
    there, here = world.pair()
    hooks = world.hooks()
    ifname = "sys.argv[3]" if end == "broker" else "sys.argv[2]"
    script = hooks.script("old", ROOTS_WORK.replace("IFNAME", ifname))
    settings = {"hooks": {"session.up": script, "timeout": "600"}} if end == "broker" else {}
    broker = world.start_broker(there, [*LEAK, BROKER, world.config(**settings)])
    options = ["-s", script] if end == "client" else []
    argv = [*LEAK, CLIENT, "-f", "-u", "node-a", "-i", "tunnel", "--datapath", DATAPATH]
    client = world.program(here, [*argv, "-b", "192.0.2.1:8942", *options])
    hooks.wait("old", event="end", timeout=60)
    commands = recorded(hooks, "command")
    assert len(commands) == 8
    assert [command for command in commands if command["status"] != 0] == []
    (status,) = recorded(hooks, "status")
    with open("/proc/self/status", encoding="ascii") as own:
        mine = dict(line.rstrip("\n").split(":\t", 1) for line in own)
    assert capabilities(status)["CapEff"] == capabilities(mine)["CapEff"]
    assert (status["NoNewPrivs"], status["Seccomp"]) == (mine["NoNewPrivs"], mine["Seccomp"])
    (record,) = hooks.records("old")
    # 3 is what the script itself opened to list them.
    assert set(record["fds"]) <= {0, 1, 2, 3}, "no descriptor is inherited"
    broker.wait_tunnels(1)
    assert client.stop() == 0


def test_where_root_may_not_change_the_user(world):
    """As in a container of few capabilities: it works, and says what it cannot."""
    there, here = world.pair()
    keep = ["setpriv", "--bounding-set=-setuid,-setgid,-sys_chroot", "--inh-caps=-all"]
    broker = world.start_broker(there, [*keep, BROKER, world.config()])
    world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    broker.wait_log("the worker keeps the user id 0")
    if not sanitized():
        broker.wait_log("the worker keeps its root directory")
    (worker,) = broker.workers()
    for thread in statuses(worker):
        assert capabilities(thread)["CapEff"] & ~NET_BIND_SERVICE == NET_ADMIN
        assert (thread["NoNewPrivs"], thread["Seccomp"]) == ("1", "2")
