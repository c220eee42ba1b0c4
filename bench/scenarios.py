# SPDX-License-Identifier: AGPL-3.0-or-later
"""The scenarios of bench/run: each measures one thing and adds its rows to the table.

What the rows say: docs/PERFORMANCE.md.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import time

import rig as r
from rig import ADDRESS, CLIENT_ADDRESS, INNER_MTU, PORT, check_load, memory_kb, read_phase


def set_up_once(rig, clients, bridges=(), **settings):
    """The load's result, and the broker's CPU seconds for it."""
    with rig.broker(bridges=bridges, **settings) as broker:
        before = broker.cpu_seconds()
        load = rig.start_load("-n", str(clients), "-p", "64", "-t", "60")
        result = read_phase(load)
        used = broker.cpu_seconds() - before
        load.kill()
        load.communicate()
        check_load(result)
        if bridges:
            masters = [link.get("master") for link in rig.broker_host.links().values()]
            joined = sum(masters.count(name) for name in bridges)
            assert joined == clients, f"{joined} of {clients} joined a bridge"
    return result, used


def raw_once(rig, clients):
    """What the kernel does for one program that does nothing but netlink."""
    process = rig.start(rig.broker_host, "td-raw-l2tp", str(clients), ADDRESS, PORT, CLIENT_ADDRESS)
    with process:
        result = read_phase(process)
    r.netlab.wait_until(lambda: "l2tp100-100" not in rig.broker_host.states(), 300,
                        "its tunnels are gone")
    time.sleep(1)
    return result


def add_raw(rig, clients, raw, alike):
    """The bare program's rows, and those of a broker that measures no MTUs, as multiples of them."""
    add = rig.table.add
    add(f"td-raw-l2tp, {clients:,} tunnels: per second", [one["per_second"] for one in raw], 0)
    add("td-raw-l2tp: CPU seconds per 1,000",
        [one["cpu_seconds"] * 1000 / clients for one in raw], 3)
    title = f"fixed MTU, {clients:,} clients, 64 at a time: "
    add(title + "tunnels per second", [result["per_second"] for result, _ in alike], 0)
    add(title + "as multiple of td-raw-l2tp in the same run",
        [result["per_second"] / one["per_second"] for (result, _), one in zip(alike, raw)], 2)
    add(title + "CPU of td-raw-l2tp as multiple of the broker's",
        [one["cpu_seconds"] / used for (_, used), one in zip(alike, raw)], 2)


def add_set_up(rig, title, results, cpu, raw):
    add = rig.table.add
    rates = [result["per_second"] for result in results]
    add(title + "tunnels per second", rates, 0)
    if raw:
        add(title + "as multiple of td-raw-l2tp in the same run",
            [rate / one["per_second"] for rate, one in zip(rates, raw)], 2)
    for quantile in ("p50", "p99", "max"):
        add(f"{title}PREPARE to TUNNEL, {quantile}, ms",
            [result[f"reply_{quantile}_ms"] for result in results])
    add(title + "repeated requests", [result["retries"] for result in results], 0)
    add(title + "CPU seconds of the broker per 1,000 set-ups", cpu, 3)


def measure_setup(rig, quick):
    """How fast a thousand clients get their tunnels, and what that costs."""
    clients, runs = (200, 1) if quick else (1000, 5 if rig.kernel() else 9)
    results, cpu, raw, alike = [], [], [], []
    for _ in range(runs):
        if rig.kernel():
            raw.append(raw_once(rig, clients))
            # As the bare program, it does not measure MTUs meanwhile.
            alike.append(set_up_once(rig, clients, pmtu=str(INNER_MTU)))
        result, used = set_up_once(rig, clients)
        results.append(result)
        cpu.append(used * 1000 / clients)
    if raw:
        add_raw(rig, clients, raw, alike)
    add_set_up(rig, f"{clients:,} clients, 64 at a time: ", results, cpu, raw)


@contextlib.contextmanager
def bridges_for(rig, clients):
    """As many as have a port for each, and one more."""
    names = [f"br{i}" for i in range(-(-clients // r.BRIDGE_PORTS) + 1)]
    for name in names:
        rig.broker_host.ip(f"link add {name} type bridge", f"link set {name} up")
    try:
        yield names
    finally:
        for name in names:
            rig.broker_host.ip(f"link del {name}")


def measure_bridge(rig, quick):
    """The same into bridges, isolated; the kernel takes longer the more ports a bridge has."""
    clients, runs = (200, 1) if quick else (1000, 3)
    results, cpu = [], []
    with bridges_for(rig, clients) as bridges:
        for _ in range(runs):
            result, used = set_up_once(rig, clients, bridges)
            results.append(result)
            cpu.append(used * 1000 / clients)
    add_set_up(rig, f"bridge and isolation, {clients:,} clients, 64 at a time: ", results, cpu, [])


REST_MS = "200"  # of the broker between looks at its tunnels


@contextlib.contextmanager
def clients_elsewhere(rig):
    """Real clients are on other machines, but who sends on a veth pair does the receiving as well. So
    a processor of their own receives for them, if there is one. Yields the broker's and theirs."""
    cpus = sorted(os.sched_getaffinity(0))
    mask = "/sys/class/net/wan/queues/rx-0/rps_cpus"

    def receive_on(cpus):
        argv = ["sh", "-c", f"echo {sum(1 << cpu for cpu in cpus):x} >{mask}"]
        subprocess.run(rig.client_host.command(argv), check=True)

    receive_on(cpus[1:2])
    try:
        yield cpus[0], cpus[1 % len(cpus)]
    finally:
        receive_on([])


def floor_once(rig, clients, seconds, own_cpu, their_cpu):
    """CPU seconds of a process that only sends and receives what so many keepalives are."""
    ends = [(rig.client_host, their_cpu, seconds + 2, CLIENT_ADDRESS, "20000", ADDRESS, PORT),
            (rig.broker_host, own_cpu, seconds, ADDRESS, PORT, CLIENT_ADDRESS, "20000")]
    processes = []
    for host, cpu, time_s, *addresses in ends:
        process = rig.start(host, "td-raw-udp", str(clients), str(time_s), REST_MS, *addresses)
        os.sched_setaffinity(process.pid, {cpu})
        processes.append(process)
    peer, own = processes
    with peer, own:
        return read_phase(own)["cpu_seconds"]


def measure_idle(rig, quick):
    """CPU, memory and punctuality while nothing happens but keepalives."""
    with clients_elsewhere(rig) as cpus:
        measure_idle_on(rig, quick, cpus)


def measure_idle_on(rig, quick, cpus):
    # Each window has one confirmation of each tunnel's MTU, a minute after the last one.
    settle_s, window_s, windows = (4, 2, 1) if quick else (70, 60, 2)
    floor_s, floors = (2, 1) if quick else (10, 4)
    add = rig.table.add
    many = 100 if quick else 3000
    for clients, ours in ((0, False), (many // 3, False), (many, False), (many, True)):
        whose = " of ours" if ours else ""
        with rig.broker(prefix=("taskset", "-c", str(cpus[0]))) as broker:
            hold_s = settle_s + windows * window_s + 30
            load = clients and rig.start_load("-n", str(clients), "-q", "-g", "300",
                                              "-t", str(hold_s), *(["-N"] if ours else []))
            if load:
                os.sched_setaffinity(load.pid, {cpus[1]})
                check_load(read_phase(load))
                time.sleep(settle_s)
                used = [spent(broker, window_s) * 60000 / clients / window_s
                        for _ in range(windows)]
                add(f"{clients:,} idle tunnels{whose}: CPU seconds per 1,000 and minute", used, 3)
            for name, pid in zip(("parent", "worker"), broker.pids()):
                add(f"{clients:,} tunnels{whose}: resident memory of the {name}, kB",
                    [memory_kb(pid)[0]], 0)
            if load:
                load.terminate()
                result = read_phase(load)
                load.communicate()
                check_load(result)
                add(f"{clients:,} idle tunnels{whose}: longest gap between keepalives, s",
                    [result["keepalive_gap_max_ms"] / 1000], 2)
        if clients and not ours:
            used = [floor_once(rig, clients, floor_s, *cpus) * 60000 / clients / floor_s
                    for _ in range(floors)]
            add(f"td-raw-udp, {clients:,} sockets: CPU seconds per 1,000 and minute", used, 3)


def spent(broker, seconds):
    before = broker.cpu_seconds()
    time.sleep(seconds)
    return broker.cpu_seconds() - before


def measure_place(rig, quick):
    """What a place for a tunnel (max_tunnels) costs a process that has filled them all."""
    sizes = (16, 200) if quick else (16, 3000)
    private = []
    for size in sizes:
        with rig.broker(max_tunnels=str(size), pmtu=str(INNER_MTU)) as broker:
            load = rig.start_load("-n", str(size), "-t", "30")
            check_load(read_phase(load))
            time.sleep(1)
            private.append([memory_kb(pid)[1] for pid in broker.pids()])
            load.kill()
            load.communicate()
    for name, few, many in zip(("parent", "worker"), *private):
        rig.table.add(f"memory of the {name} alone, bytes per tunnel of max_tunnels",
                      [(many - few) * 1024 / (sizes[1] - sizes[0])], 0)


def measure_leave(rig, quick):
    """Many leave at once: when are they gone, and must those who come meanwhile wait?"""
    clients, comers, runs = (50, 10, 1) if quick else (300, 50, 3)
    gone, waits = [], []
    # Who comes from address and port of one that leaves has to wait until its interface is gone.
    rig.client_host.ip(f"address add {r.OTHER_ADDRESS}/24 dev wan")
    for _ in range(runs):
        with rig.broker() as broker:
            leavers = rig.start_load("-n", str(clients), "-t", "60", "-u", "leaver-")
            check_load(read_phase(leavers))
            time.sleep(1)
            start = time.monotonic()
            leavers.terminate()
            comer = rig.start_load("-n", str(comers), "-p", "1", "-t", "60",
                                   "-s", r.OTHER_ADDRESS)
            result = read_phase(comer)
            r.netlab.wait_until(lambda: len(rig.broker_host.tunnels()) == comers, 60, "all gone")
            gone.append(time.monotonic() - start)
            check_load(result)
            waits.append(result)
            for load in (leavers, comer):
                load.kill()
                load.communicate()
    title = f"{clients:,} leave at once: "
    rig.table.add(title + "until the last interface is gone, s", gone, 2)
    for quantile in ("p50", "max"):
        rig.table.add(f"{title}PREPARE to TUNNEL of those who come then, {quantile}, ms",
                      [wait[f"reply_{quantile}_ms"] for wait in waits])


def measure_mass(rig, quick):
    """So many come at once, and later go at once: how long was the loop ever busy in one turn?
    Without a bridge, and with an isolated port for each."""
    clients, runs = (200, 1) if quick else (3000, 3)
    mass_of(rig, clients, runs, "", [])
    with bridges_for(rig, clients) as bridges:
        mass_of(rig, clients, runs, "bridge and isolation, ", bridges)


def mass_of(rig, clients, runs, how, bridges):
    came, gone, turns = [], [], []
    for _ in range(runs):
        with rig.broker(bridges=bridges) as broker:
            load = rig.start_load("-n", str(clients), "-p", str(clients), "-g", "300", "-t", "300")
            result = read_phase(load)
            check_load(result)
            came.append(result["seconds"])
            time.sleep(6)  # a keepalive of each
            start = time.monotonic()
            load.terminate()
            r.netlab.wait_until(lambda: not rig.broker_host.tunnels(), 600, "all gone")
            gone.append(time.monotonic() - start)
            load.communicate()
            turns.append(broker.longest_turn_ms())
    add = rig.table.add
    add(f"{how}{clients:,} come at once: until all have their tunnel, s", came, 2)
    add(f"{how}{clients:,} leave at once: until the last interface is gone, s", gone, 2)
    add(f"{how}{clients:,} come and leave at once: longest turn of the loop, by its own CPU clock, ms",
        turns, 1)


def measure_receive(rig, quick):
    """Does a data packet that arrives cost more when there are more tunnels?"""
    counts, rate = ((1, 100), 5000) if quick else ((1, 1000, 3000), 20000)
    window_s, runs = (1, 1) if quick else (3, 3)
    used = {count: [] for count in counts}
    for _ in range(runs):
        for count in counts:
            # A fixed MTU: no probes among the packets.
            with rig.broker(pmtu=str(INNER_MTU)) as broker:
                load = rig.start_load("-n", str(count), "-d", str(rate), "-t", str(window_s))
                check_load(read_phase(load))
                before = broker.cpu_seconds()
                result = read_phase(load)
                used[count].append((broker.cpu_seconds() - before) * 1e6 / result["data_out"])
                load.communicate()
    for count in counts:
        tunnels = f"{count:,} tunnel{'s' if count > 1 else ''}"
        rig.table.add(f"data packet of 60 bytes received, {tunnels}: CPU µs", used[count], 2)


def iperf(rig, address, seconds, *options):
    """Gbit/s that arrived."""
    rig.table.command("iperf3", "-c", address, "-t", seconds, *options)
    command = rig.broker_host.command(["iperf3", "-s", "-1", "-B", address])
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        listening = ("ss", "-Hlnt", f"src {address}")
        r.netlab.wait_until(lambda: rig.broker_host.run(*listening).stdout, 5, "iperf3 listens")
        try:
            done = rig.client_host.run("iperf3", "-J", "-c", address, "-t", seconds, *options,
                                       timeout=seconds + 20)
            server.wait(5)
        finally:
            server.kill()
    return json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"] / 1e9


def make_vxlan(rig):
    for host, own, other in ((rig.broker_host, 1, 2), (rig.client_host, 2, 1)):
        host.ip(f"link add vxlan type vxlan id 7 dstport 4789 local 192.0.2.{own}"
                f" remote 192.0.2.{other} dev wan")
        host.ip(f"link set vxlan mtu {INNER_MTU} up")
        host.ip(f"address add 10.20.31.{own}/24 dev vxlan")


def measure_throughput(rig, quick):
    """One TCP stream through a tunnel and, in turn, through a VXLAN device on the same wire."""
    seconds, runs = (1, 1) if quick else (3, 5)
    make_vxlan(rig)
    paths = {"tunnel": "10.20.30.1", "VXLAN": "10.20.31.1"}
    ways = {"client to broker": [], "broker to client": ["-R"]}
    rates = {(path, way): [] for way in ways for path in paths}
    with rig.broker(pmtu=str(INNER_MTU)) as broker:
        client = r.programs.Program(
            rig.client_host,
            [r.programs.CLIENT, "-f", "-u", "bench", "-i", "tunnel", "-b", f"{ADDRESS}:{PORT}"],
            rig.directory / "client.log")
        r.netlab.wait_until(lambda: rig.client_host.is_up("tunnel"), 20, "the tunnel is up")
        (name,) = broker.program.wait_tunnels(1)
        rig.broker_host.ip(f"address add 10.20.30.1/24 dev {name}")
        rig.client_host.ip("address add 10.20.30.2/24 dev tunnel")
        for _ in range(runs):
            for way, options in ways.items():
                for path, address in paths.items():
                    rates[path, way].append(iperf(rig, address, seconds, *options))
        client.stop()
    for way in ways:
        for path in paths:
            rig.table.add(f"one TCP stream, {way}, {path}: Gbit/s", rates[path, way], 2)
        ratios = [a / b for a, b in zip(rates["tunnel", way], rates["VXLAN", way])]
        rig.table.add(f"one TCP stream, {way}: tunnel as multiple of VXLAN", ratios, 2)


def instructions(rig, *options):
    """Instructions of the worker for a load that ends in order, and the load's result."""
    for old in rig.directory.glob("callgrind.*"):
        old.unlink()
    valgrind = ["env", f"LD_PRELOAD={r.TOOLS['td-no-sandbox.so']}",
                "valgrind", "-q", "--tool=callgrind",
                f"--callgrind-out-file={rig.directory}/callgrind.%p"]
    rig.table.command(*valgrind[2:-1], "tunneldigger-broker", "broker.conf")
    with rig.broker(valgrind, pmtu=str(INNER_MTU), max_tunnels="64") as broker:
        profile = rig.directory / f"callgrind.{broker.pids()[1]}"
        result = rig.load(*options)
        check_load(result)
        # valgrind knows no pidfd, so the parent does not hear of the worker's end.
        os.kill(broker.program.pid, signal.SIGTERM)
        found = r.netlab.wait_until(lambda: total_of(profile), 30, "the worker's profile")
    return found, result


def total_of(profile):
    if not profile.exists():
        return None
    found = re.search(r"^totals: (\d+)", profile.read_text(encoding="ascii"), re.M)
    return int(found[1]) if found else None


def measure_instructions(rig, quick):
    """What cannot be disturbed: the instructions of the worker itself, the kernel's left out."""
    if subprocess.run(["which", "valgrind"], stdout=subprocess.DEVNULL).returncode != 0:
        rig.table.note("Not measured, because valgrind is missing: instructions.")
        return
    seconds = "1" if quick else "4"
    base = ["-n", "32", "-t", seconds, "-k"]
    try:
        idle, _ = instructions(rig, *base, "0")
    except AssertionError:
        rig.table.note("Not measured: instructions. The broker does not start under valgrind,"
                       " which has to know pidfd_open.")
        return
    for what, key, options in (
            ("data packet received", "data_out", [*base, "0", "-d", "5000"]),
            ("keepalive received", "keepalives_out", [*base, "1"])):
        count, result = instructions(rig, *options)
        rig.table.add(f"instructions of the worker per {what}", [(count - idle) / result[key]], 0)


SCENARIOS = {
    "setup": measure_setup,
    "bridge": measure_bridge,
    "idle": measure_idle,
    "place": measure_place,
    "leave": measure_leave,
    "mass": measure_mass,
    "receive": measure_receive,
    "throughput": measure_throughput,
    "instructions": measure_instructions,
}
# In the kernel, data packets are not the broker's to pay for, and its own work is the same.
ONLY_TAP = {"receive", "instructions"}
