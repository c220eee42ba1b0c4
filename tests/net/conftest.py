# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fixtures: a lab of hosts for each test, and the programs in it.

However a test ends, its processes are ended by process id and its namespaces removed; when it
failed, the output of all its programs is shown. Every program must end as expected (exit status 0
unless the test says otherwise) and without a sanitizer's report.
"""

import os
import signal
import time

import pytest

import hookscripts
import links
from netlab import SLOW, Lab
from programs import BROKER, CLIENT, DATAPATH, SANITIZER_REPORT, Broker, Client, Program
from programs import write_config

TEST_LIMIT_S = 3600 if os.environ.get("TD_SWEEP") == "full" else 150


def pytest_configure():
    if os.geteuid() != 0:
        pytest.exit("network namespaces need root", returncode=2)
    for path in (CLIENT, BROKER):
        if not os.access(path, os.X_OK):
            pytest.exit(f"no {path}: build first, or set TD_BUILD", returncode=2)


def pytest_collection_modifyitems(config, items):
    """On the kernel data path not what has nothing to do with it, elsewhere not what needs it; and
    tests that wait for a minute begin early and apart, so that several processes share them."""
    other = {"any_datapath" if DATAPATH == "kernel" else "kernel"}
    if "TD_MODULES" not in os.environ:
        other.add("modules")
    gone = [item for item in items if any(map(item.get_closest_marker, other))]
    if gone:
        config.hook.pytest_deselected(items=gone)
    wanted = [item for item in items if item not in gone]
    slow = [item for item in wanted if item.get_closest_marker("slow")]
    rest = [item for item in wanted if not item.get_closest_marker("slow")]
    for number, item in enumerate(slow):
        rest.insert(min(8 * number, len(rest)), item)
    items[:] = rest


def on_alarm(_signo, _frame):
    raise TimeoutError(f"the test took more than {TEST_LIMIT_S * SLOW:g} s")


@pytest.fixture(autouse=True)
def limit():
    """A test that hangs fails, and is cleaned up like any other."""
    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(int(TEST_LIMIT_S * SLOW))
    yield
    signal.alarm(0)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    report = outcome.get_result()
    world = item.funcargs.get("world")
    if world and report.failed:
        for program in world.programs:
            title = f"output of {' '.join(program.argv)}"
            report.sections.append((title, program.log()[-20000:]))


def expected_datapath(setting):
    """What interfaces must be made of. Only a machine with L2TP is asked for it: there, auto must
    take it. For TAP nothing is looked at: that is what is left."""
    if setting in (None, "auto"):
        setting = DATAPATH
    return "kernel" if setting == "kernel" else None


class World(Lab):
    """The lab of one test with its programs."""

    def __init__(self, directory):
        super().__init__()
        self.directory = directory
        self.programs = []
        self.closers = []
        self.watches = {}  # of hosts, for interfaces of the wrong kind

    def start(self, kind, ns, argv, name, **options):
        path = self.directory / f"{name}-{len(self.programs)}.log"
        program = kind(ns, argv, path, **options)
        self.programs.append(program)
        return program

    def config(self, **sections):
        return write_config(self.directory / f"broker{len(self.programs)}.conf", **sections)

    def broker(self, ns, config=None, ready=True, env=None, cwd=None, **sections):
        """Starts a broker; sections (broker=, log=, hooks=) differ from the default settings."""
        config = config or self.config(**sections)
        datapath = self.expect(ns, (sections.get("broker") or {}).get("datapath", DATAPATH))
        broker = self.start(Broker, ns, [BROKER, config], "broker", env=env, cwd=cwd)
        broker.config_path = config
        broker.datapath = datapath
        return broker.wait_ready() if ready else broker

    def start_broker(self, ns, argv):
        """A broker by a command that ends in executing it."""
        broker = self.start(Broker, ns, argv, "broker")
        broker.datapath = self.expect(ns, DATAPATH)
        return broker.wait_ready()

    def client(
        self,
        ns,
        *options,
        brokers=("192.0.2.1:8942",),
        uuid="node-a",
        ifname="tunnel",
        datapath=DATAPATH,
        env=None,
        cwd=None,
    ):
        argv = [CLIENT, "-f", "-u", uuid, "-i", ifname, "--datapath", datapath]
        for address in brokers:
            argv += ["-b", address]
        datapath = self.expect(ns, datapath)
        client = self.start(Client, ns, argv + list(options), "client", env=env, cwd=cwd)
        client.ifname = ifname
        client.datapath = datapath
        return client

    def expect(self, ns, setting):
        """A program with that setting is about to start: what its interfaces must be made of."""
        datapath = expected_datapath(setting)
        if datapath and ns not in self.watches:
            with ns.entered():
                self.watches[ns] = self.closing(links.Watch())
        return datapath

    def fallbacks(self):
        """Interfaces that are TAPs, in hosts whose programs are to use the kernel's L2TP."""
        return [
            f"{name} in {ns} is a TAP"
            for ns, watch in self.watches.items()
            for name in {name for name, link in watch.made() if link.kind == "tun"}
        ]

    def program(self, ns, argv, name="program", **options):
        return self.start(Program, ns, argv, name, **options)

    def hooks(self):
        return hookscripts.Recorder(self.directory / "hooks")

    def closing(self, thing):
        """thing.close() at the end of the test."""
        self.closers.append(thing)
        return thing

    def end_programs(self):
        """Ends what still runs, clients first; returns what was wrong with that."""
        faults = []
        for program in sorted(self.programs, key=lambda p: isinstance(p, Broker)):
            try:
                status = program.stop(timeout=15)
            except Exception:  # whatever it is: it must not outlive the test
                program.kill()
                faults.append(f"{program.argv[0]} does not end on SIGTERM")
                continue
            if program.expected is not None and status != program.expected:
                faults.append(f"{' '.join(program.argv)}: exit status {status}")
        for program in self.programs:
            report = SANITIZER_REPORT.search(program.log())
            if report:
                faults.append(f"{program.argv[0]}: {report.group(0)} in its output")
        return faults

    def leftovers(self):
        """Tunnel interfaces that outlive their program; the kernel may need a moment."""
        end = time.monotonic() + 5 * SLOW
        while True:
            found = [f"{ns}: {name}" for ns in self.hosts for name in ns.tunnels()]
            if not found or time.monotonic() > end:
                return found
            time.sleep(0.1)


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    try:
        yield made
        faults = made.end_programs()
        faults += [f"left behind: {name}" for name in made.leftovers()]
        faults += made.fallbacks()
    finally:
        for program in made.programs:
            if program.running():
                program.kill()
        for thing in made.closers:
            thing.close()
        made.close()
    assert not faults, "; ".join(faults)
