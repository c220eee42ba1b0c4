# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the scenarios of bench/run measure with: a table, two hosts on one wire, the programs."""

import importlib
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/net"))

ADDRESS, PORT = "192.0.2.1", "8942"
CLIENT_ADDRESS = "192.0.2.2"
OTHER_ADDRESS = "192.0.2.3"  # of the same host
INNER_MTU = 1446
TEARDOWN_GROUP = "7"
BRIDGE_PORTS = 1023

netlab = programs = None  # of tests/net, from import_programs() on
TOOLS = {}  # td-load and others, by name

PROGRAMS = ("src/broker/tunneldigger-broker", "src/client/tunneldigger", "bench/td-load",
            "bench/td-raw-l2tp", "bench/td-raw-udp", "bench/td-no-sandbox.so")


def build(directory):
    if not (directory / "build.ninja").exists():
        subprocess.run(["meson", "setup", directory, "--buildtype=release", "-Db_lto=true"],
                       cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "--quiet", "-C", directory, *PROGRAMS], check=True, stdout=sys.stderr)


def import_programs(directory):
    """From tests/net, whose modules want to know at once where the programs are."""
    global netlab, programs
    os.environ["TD_BUILD"] = str(directory.resolve())
    netlab = importlib.import_module("netlab")
    programs = importlib.import_module("programs")
    for name in ("td-load", "td-raw-l2tp", "td-raw-udp", "td-no-sandbox.so"):
        TOOLS[name] = directory.resolve() / "bench" / name


def say(text):
    print(text, file=sys.stderr, flush=True)


# --- the table ---


class Table:
    def __init__(self):
        self.rows = []
        self.notes = []
        self.commands = []

    def command(self, *words):
        text = " ".join(str(word) for word in words)
        if text not in self.commands:
            self.commands.append(text)

    def add(self, what, values, digits=1):
        """A row from the values of the single runs; what names their unit."""
        low, mid, high = min(values), statistics.median(values), max(values)
        texts = [f"{value:,.{digits}f}" for value in (mid, low, high)]
        self.rows.append([what, *texts, str(len(values))])

    def note(self, text):
        self.notes.append(text)

    def print(self):
        head = ["what", "median", "smallest", "largest", "runs"]
        widths = [max(len(row[i]) for row in [head, *self.rows]) for i in range(len(head))]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        for row in [head, rule, *self.rows]:
            cells = [row[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
            print("| " + " | ".join(cells) + " |")
        for note in self.notes:
            print(f"\n{note}")
        if self.commands:
            print("\nBroker in one namespace, everything else in the other:\n")
        for command in self.commands:
            print(f"    {command}")


# --- the broker ---


def host_pair(lab):
    """Those of broker and clients."""
    hosts = lab.pair()
    # Tunnels that nobody gave an address: no router solicitations in all the measurements.
    for host in hosts:
        host.sysctl("net.ipv6.conf.default.disable_ipv6=1")
    hosts[1].sysctl("net.ipv4.ip_local_port_range=1024 65535")
    return hosts


class Rig:
    """Two hosts on one wire and the programs in them."""

    def __init__(self, lab, table, directory, datapath):
        self.table = table
        self.directory = directory
        self.datapath = datapath
        self.chosen = None  # what the broker said about its data path
        self.broker_host, self.client_host = host_pair(lab)

    def broker(self, prefix=(), bridges=(), **settings):
        return BenchBroker(self, prefix, bridges, settings)

    def kernel(self):
        """Is the kernel's data path measured? Asked before there was a broker, it tries one."""
        if self.chosen is None:
            with self.broker():
                pass
        return self.chosen.startswith("kernel")

    def start(self, host, name, *arguments):
        self.table.command(name, *arguments)
        return subprocess.Popen(host.command([TOOLS[name], *arguments]), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, text=True)

    def start_load(self, *options):
        return self.start(self.client_host, "td-load", *options, ADDRESS, PORT)

    def load(self, *options):
        """A load from begin to end: the results of both its phases."""
        with self.start_load(*options) as process:
            return read_phase(process) | read_phase(process)


def read_phase(process):
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("td-load ended without a result")
    return json.loads(line)


def check_load(result):
    for key in ("refused", "failed", "lost"):
        if result.get(key):
            raise RuntimeError(f"td-load: {result[key]} clients {key}")


class BenchBroker:
    """A broker without rate limits, and the end of it, interfaces included."""

    def __init__(self, rig, prefix, bridges, settings):
        self.rig = rig
        section = bridges and {"bridge": {"interface": ", ".join(bridges), "isolate": "yes"}}
        settings = {"max_tunnels": "3100", "datapath": rig.datapath, "shutdown_timeout": "300",
                    **settings}
        config = programs.write_config(rig.directory / "broker.conf", broker=settings,
                                       log={"verbosity": "INFO"}, bridges=section)
        self.log_path = rig.directory / "broker.log"
        self.log_path.unlink(missing_ok=True)
        self.program = programs.Broker(rig.broker_host, [*prefix, programs.BROKER, config],
                                       self.log_path)

    def __enter__(self):
        try:
            netlab.wait_until(self.ready, 60, "the broker is ready")
        except AssertionError:
            say(self.program.log())
            self.program.kill()
            raise
        self.rig.chosen = re.search(r"data path (.*)", self.program.log())[1]
        return self

    def __exit__(self, *_exception):
        """Interfaces first and all at once, which takes the kernel one grace period instead of one
        each; that is not what is measured here. Those of l2tp_eth cannot be removed so."""
        if not self.program.running():  # it was stopped in order
            return
        pids = self.pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        host = self.rig.broker_host
        names = host.tunnels()
        batch = "".join(f"link set dev {name} group {TEARDOWN_GROUP}\n" for name in names)
        host.run("ip", "-batch", "-", text=batch + f"link delete group {TEARDOWN_GROUP}\n",
                 check=False, timeout=300)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.program.wait_end()
        netlab.wait_until(lambda: not any(map(programs.alive, pids)), 300, "the broker is gone")
        netlab.wait_until(lambda: not host.tunnels(), 300, "the tunnels are gone")
        bound = ("ss", "-Hnau", f"sport = {PORT}")
        netlab.wait_until(lambda: not host.run(*bound).stdout, 300, "their sockets are gone")

    def ready(self):
        assert self.program.running(), "the broker ended"
        return "ready for" in self.program.log()

    def longest_turn_ms(self):
        """Ends the broker in order, and says how long the longest turn of its loop was busy."""
        self.program.stop(timeout=300)
        found = re.search(r"most processor time of one (\d+) us", self.program.log())
        return int(found[1]) / 1000

    def pids(self):
        """Parent and worker."""
        return [self.program.pid, *self.program.children()]

    def cpu_seconds(self):
        return sum(cpu_seconds(pid) for pid in self.pids())


def cpu_seconds(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as times:
            total += int(times.read().split()[0])
    return total / 1e9


def memory_kb(pid):
    """(resident, what is shared left out)"""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        text = rollup.read()
    resident = int(re.search(r"Rss:\s+(\d+)", text)[1])
    return resident, sum(int(n) for n in re.findall(r"Private_\w+:\s+(\d+) kB", text))
