# SPDX-License-Identifier: AGPL-3.0-or-later
"""Hosts and wires: network namespaces, veth pairs, what can be asked and done in them.

Names carry the process id, so that several runs do not meet. Everything made here is removed by
Lab.close(), whatever happened in between.
"""

import contextlib
import ctypes
import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import links

# How much longer everything may take than on a machine of its own: for emulated ones.
SLOW = float(os.environ.get("TD_SLOW", "1"))

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
MS_BIND = 4096
MNT_DETACH = 2
LINK_SCOPE = "20"  # in /proc/net/if_inet6
HANDLES = "/run/netns"  # where ip(8) looks for namespaces, too
HERE = "/proc/thread-self/ns/net"


def wait_until(condition, timeout=10, what="condition"):
    """Polls until condition() is true and returns its value; fails when the time is over.

    The longer it took already, the less often it looks: what many tests do at once costs the
    machine the time that they wait for."""
    begin = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited = time.monotonic() - begin
        if waited > timeout * SLOW:
            raise AssertionError(f"not within {timeout * SLOW:g} s: {what}")
        time.sleep(min(max(waited / 8, 0.05), 0.5))


def holds(condition, seconds, what="condition"):
    """Asserts that condition() stays true for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert condition(), f"no longer true: {what}"
        time.sleep(0.1)


def system_call(name, *args):
    if getattr(LIBC, name)(*args) != 0:
        raise OSError(ctypes.get_errno(), name)


class Namespace:
    """A host. Its interfaces are down until Lab.link() sets them up.

    In an emulated machine nothing costs as much as starting a program. So what every test does is
    done by system calls, where ip(8) would need an invocation for each."""

    def __init__(self, name):
        self.name = name
        self.handle = f"{HANDLES}/{name}"
        self.own_files = False  # in /etc/netns
        os.makedirs(HANDLES, exist_ok=True)
        with open(self.handle, "xb"), returning():
            system_call("unshare", CLONE_NEWNET)
            system_call("mount", HERE.encode(), self.handle.encode(), None, MS_BIND, None)
        self.inode = os.stat(self.handle).st_ino
        self.sysctl("net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
        with self.entered():
            links.set_up("lo")

    def __str__(self):
        return self.name

    def command(self, argv):
        """What to execute to have that run in this host."""
        return ["ip", "netns", "exec", self.name, *map(str, argv)]

    def popen(self, argv, **options):
        """Starts a program in this host."""
        if self.own_files:
            return subprocess.Popen(self.command(argv), **options)
        with self.entered():
            return subprocess.Popen([str(word) for word in argv], **options)

    def run(self, *argv, check=True, text=None, timeout=30):
        """Runs a command in this host and returns the finished process."""
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        with self.popen(argv, text=True, **pipes) as process:
            try:
                out, err = process.communicate(text, timeout * SLOW)
            except BaseException:
                process.kill()
                raise
        assert not check or process.returncode == 0, f"{argv}: {out}{err}"
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def ip(self, *commands):
        """ip(8) in this host, once for all the commands, their words separated by spaces."""
        done = subprocess.run(
            ["ip", "-n", self.name, *(commands[0].split() if len(commands) == 1 else ["-b", "-"])],
            input="\n".join(commands), capture_output=True, text=True,
        )
        assert done.returncode == 0, f"{self.name}: ip {commands}: {done.stderr}"
        return done.stdout

    def sysctl(self, *settings):
        with self.entered():
            for setting in settings:
                name, _, value = setting.partition("=")
                with open(f"/proc/sys/{name.replace('.', '/')}", "w", encoding="ascii") as file:
                    file.write(value)

    def nft(self, rules):
        """Loads an nft(8) ruleset; statements one per line."""
        self.run("nft", "-f", "-", text=rules)

    def addresses(self, ifname):
        """The addresses of an interface, without prefix lengths."""
        found = json.loads(self.ip(f"-j address show dev {ifname}"))
        return [info["local"] for info in found[0]["addr_info"]]

    def links(self):
        """All interfaces by name, as ip -d -j shows them."""
        return {link["ifname"]: link for link in json.loads(self.ip("-d -j link show") or "[]")}

    def states(self):
        """All interfaces by name, as Link(index, mtu, up, kind)."""
        with self.entered():
            return links.dump()

    def state(self, ifname):
        """Of one interface; None when there is no such."""
        return self.states().get(ifname)

    def tunnels(self):
        """Names of the interfaces that a broker made here."""
        return sorted(name for name in self.states() if re.fullmatch(r"l2tp\d+-\d+", name))

    def mtu(self, ifname):
        """The interface's MTU; None when there is no such interface."""
        state = self.state(ifname)
        return state and state.mtu

    def is_up(self, ifname):
        state = self.state(ifname)
        return state is not None and state.up

    @contextlib.contextmanager
    def entered(self):
        """What this thread opens or starts inside belongs to this host (sockets keep it)."""
        with returning(), open(self.handle, "rb") as there:
            set_namespace(there)
            yield

    def udp(self, peer=None, local=None):
        """A UDP socket in this host; peer, local: (address, port)."""
        family = socket.AF_INET6 if ":" in (peer or local)[0] else socket.AF_INET
        with self.entered():
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        if local:
            sock.bind(local)
        if peer:
            sock.connect(peer)
        return sock

    def packet_socket(self, ifname):
        """A socket for the Ethernet frames of an interface."""
        with self.entered():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            sock.bind((ifname, 0))
        return sock

    def pids(self):
        """Of the processes in this host."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{pid}/ns/net").st_ino == self.inode:
                    found.append(int(pid))
        return found

    def remove(self):
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        system_call("umount2", self.handle.encode(), MNT_DETACH)
        os.unlink(self.handle)
        shutil.rmtree(f"/etc/netns/{self.name}", ignore_errors=True)


def set_namespace(handle):
    system_call("setns", handle.fileno(), CLONE_NEWNET)


@contextlib.contextmanager
def returning():
    """Afterwards this thread is in the network namespace that it is in now."""
    with open(HERE, "rb") as home:
        try:
            yield
        finally:
            set_namespace(home)


def link_local(ns, ifname):
    """The interface's IPv6 link-local address; None when it has none."""
    with ns.entered(), open("/proc/thread-self/net/if_inet6", encoding="ascii") as table:
        rows = [line.split() for line in table]
    found = [row[0] for row in rows if row[5] == ifname and row[3] == LINK_SCOPE]
    return str(ipaddress.IPv6Address(bytes.fromhex(found[0]))) if found else None


def pings(source, ifname, address, size=56):
    """Does one ping out of that interface come back?"""
    done = source.run(
        "ping", "-n", "-c1", f"-W{SLOW:g}", "-M", "do", "-s", size, "-I", ifname, address, check=False
    )
    return done.returncode == 0


def traffic(one, one_if, other, other_if, timeout=10):
    """Waits until frames pass in both directions between two interfaces (by IPv6 link-local)."""

    def passes():
        if not (one.is_up(one_if) and other.is_up(other_if)):
            return False
        there, back = link_local(other, other_if), link_local(one, one_if)
        return there and back and pings(one, one_if, there) and pings(other, other_if, back)

    wait_until(passes, timeout, f"traffic between {one}:{one_if} and {other}:{other_if}")


class Lab:
    """The hosts of one test."""

    made = 0

    def __init__(self):
        self.hosts = []

    def host(self, role):
        Lab.made += 1
        ns = Namespace(f"tdt{os.getpid()}-{Lab.made}-{role}")
        self.hosts.append(ns)
        return ns

    def hosts_file(self, ns, *lines):
        """What names mean in that host, for programs that are started there from now on."""
        ns.own_files = True
        os.makedirs(f"/etc/netns/{ns.name}", exist_ok=True)
        with open(f"/etc/netns/{ns.name}/hosts", "w", encoding="ascii") as hosts:
            hosts.write("127.0.0.1 localhost\n" + "".join(line + "\n" for line in lines))

    def link(self, one, one_if, other, other_if, mtu=1500):
        one.ip(
            f"link add {one_if} mtu {mtu} type veth"
            f" peer name {other_if} mtu {mtu} netns {other}"
        )
        for ns, ifname in ((one, one_if), (other, other_if)):
            with ns.entered():
                links.set_up(ifname)

    def pair(self, mtu=1500):
        """Two hosts on one wire: broker 192.0.2.1 and 2001:db8::1, client …2; interface wan."""
        broker, client = self.host("broker"), self.host("client")
        self.link(broker, "wan", client, "wan", mtu)
        for ns, last in ((broker, 1), (client, 2)):
            self.number(ns, last)
        return broker, client

    @staticmethod
    def number(ns, last):
        ns.ip(f"address add 192.0.2.{last}/24 dev wan", f"address add 2001:db8::{last}/64 dev wan")

    def switch(self, *roles):
        """Hosts on one switch, with addresses 192.0.2.1, .2, … and 2001:db8::1, …"""
        switch = self.host("switch")
        hosts = [self.host(role) for role in roles]
        lines = ["link add bridge up type bridge"]
        for last, ns in enumerate(hosts, 1):
            lines.append(f"link add port{last} up master bridge type veth peer name wan netns {ns}")
        switch.ip(*lines)
        for last, ns in enumerate(hosts, 1):
            with ns.entered():
                links.set_up("wan")
            self.number(ns, last)
        return hosts

    def narrow_path(self, mtu):
        """Broker and client with two routers between them, whose common link has that MTU."""
        pairs = []
        routers = self.host("r1"), self.host("r2")
        for router, role, net in zip(routers, ("broker", "client"), ("192.0.2", "198.51.100")):
            router.sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
            ns = self.host(role)
            self.link(ns, "wan", router, "lan", max(mtu, 1500))
            v6 = "2001:db8:1:" if role == "broker" else "2001:db8:2:"
            router.ip(f"address add {net}.254/24 dev lan", f"address add {v6}:fe/64 dev lan")
            ns.ip(
                f"address add {net}.1/24 dev wan",
                f"address add {v6}:1/64 dev wan",
                f"route add default via {net}.254",
                f"route add default via {v6}:fe",
            )
            pairs.append(ns)
        self.link(routers[0], "mid", routers[1], "mid", mtu)
        for router, last, other in ((routers[0], 1, 2), (routers[1], 2, 1)):
            router.ip(
                f"address add 203.0.113.{last}/24 dev mid",
                f"address add fd00:3::{last}/64 dev mid",
                f"route add default via 203.0.113.{other}",
                f"route add default via fd00:3::{other}",
            )
        return pairs

    def close(self):
        for ns in self.hosts:
            ns.remove()
