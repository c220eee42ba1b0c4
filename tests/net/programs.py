# SPDX-License-Identifier: AGPL-3.0-or-later
"""The programs under test as objects: started in a host, watched, ended by process id."""

import ctypes
import os
import re
import signal
import subprocess

from netlab import SLOW, wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("TD_BUILD", os.path.join(ROOT, "build-asan"))
CLIENT = os.path.join(BUILD, "src/client/tunneldigger")
BROKER = os.path.join(BUILD, "src/broker/tunneldigger-broker")
DATAPATH = os.environ.get("TD_DATAPATH", "tap")

PR_SET_THP_DISABLE = 41  # linux/prctl.h
# For all programs that are started from here: where huge pages are the default, the kernel makes one
# of what a program has touched a page of, whenever it comes to it, and that would look like growth.
ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)

SANITIZER_REPORT = re.compile(r"Sanitizer|runtime error:|td_assert|assertion failed", re.I)


def sanitizer_options():
    """What makes a sanitizer's finding fatal; added to the environment of the programs."""
    return {
        "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=1:disable_coredump=1",
        "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1",
    }


def preloaded(*modules):
    """Environment of a program that is started with those of meson.build in front of the C library,
    which a sanitizer would rather be itself."""
    options = {key: f"{value}:verify_asan_link_order=0" for key, value in sanitizer_options().items()
               if key.startswith("ASAN")}
    paths = [os.path.join(BUILD, f"tests/net/{module}.so") for module in modules]
    return {**options, "LD_PRELOAD": ":".join(paths)}


def assert_datapath(ns, ifname, wanted=DATAPATH):
    """Is this tunnel interface of the kind that the data path makes?"""
    if wanted == "tap":
        info = ns.links()[ifname].get("linkinfo", {})
        assert info.get("info_kind") == "tun" and info["info_data"]["type"] == "tap", info
    else:
        # l2tp_eth has no kind. The list of sessions has the names as they were at first.
        assert ns.state(ifname).kind == "", f"{ifname} is no interface of the kernel's L2TP"
        assert f"interface name: {ifname}\n" in ns.ip("l2tp show session")


def delete_tunnel(ns, ifname):
    """What an operator may do by hand: takes the interface from under a program."""
    if ns.state(ifname).kind:
        ns.ip(f"link del {ifname}")
        return
    for session in ns.ip("l2tp show session").split("Session ")[1:]:
        if f"interface name: {ifname}\n" in session:
            number, tunnel = re.match(r"(\d+) in tunnel (\d+)", session).groups()
            ns.ip(f"l2tp del session tunnel_id {tunnel} session_id {number}")


def alive(pid):
    """Is that process there, and no zombie?"""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second: it went while we were reading
        return False


class Program:
    """A process in a host, its output in a file. To be stopped with stop() or killed with kill();
    the fixture that made it checks the rest."""

    def __init__(self, ns, argv, log_path, env=None, cwd=None):
        self.ns = ns
        self.argv = [str(word) for word in argv]
        self.log_path = str(log_path)
        self.expected = 0  # exit status; None: any
        self.datapath = None  # that its interfaces must be of
        with open(self.log_path, "ab") as log:
            self.process = (ns.popen if ns else subprocess.Popen)(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd,
                env={**os.environ, **sanitizer_options(), **(env or {})},
                start_new_session=True,
            )

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process.poll() is None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def log_lines(self):
        return self.log().splitlines()

    def wait_log(self, pattern, timeout=10):
        """Waits for a line that matches."""

        def seen():
            return re.search(pattern, self.log(), re.I | re.M)

        return wait_until(seen, timeout, f"{pattern!r} in the log of {self.argv[0]}")

    def wait_end(self, timeout=10):
        """Waits until the program ended by itself; its exit status."""
        self.process.wait(timeout * SLOW)
        return self.process.returncode

    def stop(self, signo=signal.SIGTERM, timeout=10):
        if self.running():
            self.process.send_signal(signo)
        return self.wait_end(timeout)

    def kill(self):
        self.expected = -signal.SIGKILL
        self.process.kill()
        self.process.wait()

    def children(self):
        """Process ids of the direct children, helpers of the sanitizers left out."""
        with open(f"/proc/{self.pid}/task/{self.pid}/children", encoding="ascii") as children:
            return [int(pid) for pid in children.read().split()]

    def private_kb(self):
        """Memory that the process and its children have written to, and share with nobody. (Clean
        pages are the program's file: they become private when the tests beside this one end.)"""
        total = 0
        for pid in [self.pid, *self.children()]:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
                total += sum(int(n) for n in re.findall(r"Private_Dirty:\s+(\d+) kB", rollup.read()))
        return total


def default_config():
    return {
        "broker": {
            "address": "192.0.2.1",
            "port": "8942",
            "max_tunnels": "16",
            "tunnel_id_base": "100",
            "connection_rate_limit": "0",
            "pmtu": "0",
            "datapath": DATAPATH,
            "shutdown_timeout": f"{10 * SLOW:g}",
        },
        "log": {"verbosity": "INFO", "log_ip_addresses": "true"},
        "hooks": {},
    }


def write_config(path, broker=None, log=None, hooks=None, bridges=None):
    """A configuration file from the defaults and what differs; a key set to None is left out.
    bridges: by the names of their sections."""
    sections = default_config()
    for name, changes in (("broker", broker), ("log", log), ("hooks", hooks)):
        sections[name].update(changes or {})
    sections.update(bridges or {})
    lines = []
    for name, keys in sections.items():
        lines.append(f"[{name}]")
        lines += [f"{key}={value}" for key, value in keys.items() if value is not None]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


class Broker(Program):
    def wait_ready(self, timeout=10):
        """Waits until the worker serves clients; the log must not be below INFO."""
        wait_until(self.ready, timeout, "the broker is ready")
        return self

    def ready(self):
        assert self.running(), "the broker ended"
        return re.search(r"^\S+ ready for \d+ tunnels", self.log(), re.M)

    def workers(self):
        """Process ids of the children that are no hooks; none while a new worker is awaited."""
        return [pid for pid in self.children() if self.is_worker(pid)]

    @staticmethod
    def is_worker(pid):
        try:
            with open(f"/proc/{pid}/comm", encoding="ascii") as comm:
                return comm.read() == "td-worker\n"
        except OSError:
            return False

    def tunnels(self):
        return self.ns.tunnels()

    def wait_tunnels(self, count, timeout=10):
        """Waits for exactly that many tunnel interfaces; their names."""
        wait_until(lambda: len(self.tunnels()) == count, timeout, f"{count} tunnels at the broker")
        names = self.tunnels()
        if self.datapath:
            for name in names:
                assert_datapath(self.ns, name, self.datapath)
        return names


class Client(Program):
    ifname = "tunnel"

    def up(self):
        assert self.running(), "the client ended"
        return self.ns.is_up(self.ifname)

    def wait_up(self, timeout=10):
        wait_until(self.up, timeout, f"{self.ifname} is up at the client")
        if self.datapath:
            assert_datapath(self.ns, self.ifname, self.datapath)
        return self

    def wait_down(self, timeout=10):
        wait_until(lambda: not self.up(), timeout, f"{self.ifname} is gone at the client")
        return self
