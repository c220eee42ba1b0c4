# SPDX-License-Identifier: AGPL-3.0-or-later
"""Hook scripts are called in order, with the arguments, directory and environment that deployed
scripts rely on, and whatever they do, the tunnel does not suffer."""

import os

import pytest

from fake_client import FakeClient
from netlab import SLOW, holds, traffic, wait_until
from programs import alive

pytestmark = pytest.mark.any_kernel

HANG = "time.sleep(600)"
FORK = "subprocess.Popen(['sleep', '600'])"


def test_broker_hooks_in_order(world, tmp_path):
    there, here = world.narrow_path(1400)
    hooks = world.hooks()
    home = tmp_path / "home"
    home.mkdir()
    env = {"TD_TEST_MARK": "seen by hooks"}
    broker = world.broker(
        there, broker={"port": "53"}, hooks=hooks.broker_scripts(), env=env, cwd=home
    )
    client = world.client(here, brokers=["192.0.2.1:53"]).wait_up()
    hooks.wait("session.mtu-changed")
    port = broker.wait_log(r"198\.51\.100\.1\D{1,2}(\d+)").group(1)
    assert client.stop() == 0
    hooks.wait("session.down")
    records = hooks.records()
    names = [record["hook"] for record in records]
    assert names == ["session.up", "session.mtu-changed", "session.pre-down", "session.down"]

    up, changed, pre_down, down = records
    same = ["100", "100", "l2tp100-100"]
    peer = ["198.51.100.1", port, "53", "node-a", "53"]
    assert up["args"] == [*same, "1438", *peer]
    assert changed["args"] == [*same, "1438", "1338", "node-a"]
    assert pre_down["args"] == [*same, "1338", *peer]
    assert down["args"] == [*same, "1338", *peer]

    assert "l2tp100-100" in up["links"]
    assert "l2tp100-100" in pre_down["links"], "pre-down runs before the interface goes"
    assert "l2tp100-100" not in down["links"], "down runs after it went"
    for record in records:
        assert record["cwd"] == str(home)
        assert record["env"]["TD_TEST_MARK"] == "seen by hooks"
        assert record["env"]["PATH"] == os.environ["PATH"]
        assert record["stdin"] == "/dev/null"
        # 3 is what the script itself opened to list them.
        assert set(record["fds"]) <= {0, 1, 2, 3}, "no descriptor is inherited"


def test_broker_hooks_of_one_tunnel_never_overlap(world):
    there, here = world.narrow_path(1400)
    hooks = world.hooks()
    scripts = hooks.broker_scripts()
    slow = "subprocess.run(['ip', 'link', 'set', sys.argv[3], 'up']); time.sleep(3)"
    scripts["session.up"] = hooks.script("session.up", slow)
    world.broker(there, hooks=scripts)
    client = world.client(here).wait_up()
    hooks.wait("session.up")
    assert client.stop() == 0
    hooks.wait("session.down", timeout=20)
    ends = {record["pid"]: record["time"] for record in hooks.records(event="end")}
    last = 0
    for record in hooks.records():
        assert record["time"] >= last, f"{record['hook']} began before the one before it ended"
        last = ends[record["pid"]] if record["hook"] != "session.down" else record["time"]


def test_id_is_not_reused_while_a_hook_runs(world):
    there, here = world.pair()
    hooks = world.hooks()
    down = hooks.script("session.down", "time.sleep(4)")
    broker = world.broker(there, hooks={"session.down": down})
    assert world.client(here).wait_up().stop() == 0
    hooks.wait("session.down")
    world.client(here).wait_up()
    assert broker.wait_tunnels(1) == ["l2tp101-101"]


def test_without_up_hook_the_interface_is_set_up(world):
    there, here = world.pair()
    broker = world.broker(there)
    world.client(here).wait_up()
    (name,) = broker.wait_tunnels(1)
    wait_until(lambda: there.is_up(name), 5, "up at the broker")


def test_with_an_up_hook_the_interface_is_the_hooks(world):
    there, here = world.pair()
    hooks = world.hooks()
    broker = world.broker(there, hooks={"session.up": hooks.script("session.up")})
    client = world.client(here, "-s", hooks.script("client"))
    hooks.wait("session.up")
    hooks.wait("client")
    (name,) = broker.wait_tunnels(1)
    holds(lambda: not there.is_up(name) and not client.up(), 2, "nobody else sets them up")


def test_broker_hook_that_fails(world):
    """Many scripts in the field end non-zero for no reason."""
    there, here = world.pair()
    hooks = world.hooks()
    body = "subprocess.run(['ip', 'link', 'set', sys.argv[3], 'up'])\nprint('no luck'); sys.exit(3)"
    broker = world.broker(there, hooks={"session.up": hooks.script("session.up", body)})
    world.client(here).wait_up()
    hooks.wait("session.up")
    broker.wait_log("no luck")
    broker.wait_log(r"(status|exit\w*)\D*3")
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")


def test_broker_hook_that_does_not_exist(world):
    there, here = world.pair()
    broker = world.broker(there, hooks={"session.up": "/nonexistent/hook"}, ready=False)
    broker.expected = None
    client = world.client(here)

    def seen():
        return "/nonexistent/hook" in broker.log()

    wait_until(seen, 10, "the log names it")
    if broker.running():
        broker.wait_tunnels(1)
        assert client.running()


def test_broker_hook_that_hangs_is_ended(world):
    """The limit ends the hook and what it started; its tunnel stays."""
    there, here = world.pair()
    hooks = world.hooks()
    body = f"subprocess.run(['ip', 'link', 'set', sys.argv[3], 'up'])\n{FORK}; note(event='forked')"
    script = hooks.script("session.up", f"{body}; {HANG}")
    broker = world.broker(there, hooks={"session.up": script, "timeout": f"{3 * SLOW:g}"})
    world.client(here).wait_up()
    (record,) = hooks.wait("session.up", event="forked")
    wait_until(lambda: not alive(record["pid"]), 10, "the hook is ended")
    broker.wait_log("session.up")
    wait_until(lambda: not sleepers(there), 10, "what it started is ended too")
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")


def test_broker_hook_that_hangs_delays_nobody(world):
    """Its tunnel works meanwhile, others too."""
    there, here = world.pair()
    hooks = world.hooks()
    body = f"subprocess.run(['ip', 'link', 'set', sys.argv[3], 'up'])\n{HANG}"
    scripts = {"session.up": hooks.script("session.up", body), "timeout": f"{20 * SLOW:g}"}
    broker = world.broker(there, hooks=scripts)
    world.client(here).wait_up()
    (record,) = hooks.wait("session.up")
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    world.client(here, "-t", "2", uuid="node-b", ifname="two").wait_up()
    broker.wait_tunnels(2)
    assert alive(record["pid"])
    broker.expected = None
    broker.kill()


def sleepers(ns):
    return [pid for pid in ns.pids() if command(pid).startswith("sleep")]


def command(pid):
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as cmdline:
            return cmdline.read().replace("\0", " ")
    except FileNotFoundError:
        return ""


def test_down_hook_that_hangs_delays_only_its_own_tunnel(world):
    there, here = world.pair()
    hooks = world.hooks()
    limits = {"timeout": f"{20 * SLOW:g}"}
    scripts = {"session.pre-down": hooks.script("session.pre-down", HANG), **limits}
    broker = world.broker(there, hooks=scripts)
    client = world.client(here).wait_up()
    broker.wait_tunnels(1)
    assert client.stop() == 0
    (record,) = hooks.wait("session.pre-down")
    world.client(here).wait_up()
    wait_until(lambda: "l2tp101-101" in broker.tunnels(), 10, "the new tunnel")
    assert alive(record["pid"])
    broker.expected = None
    broker.kill()


def test_number_of_hooks_at_once_is_bounded(world):
    there, here = world.pair()
    hooks = world.hooks()
    body = "time.sleep(1)"
    world.broker(there, hooks={"session.up": hooks.script("session.up", body), "parallel": "2"})
    for number in range(1, 7):
        world.closing(FakeClient(here, uuid=f"n{number}", tunnel=number)).connect()
    begins = hooks.wait("session.up", 6, 20)
    ends = hooks.wait("session.up", 6, 20, event="end")
    times = sorted([(r["time"], 1) for r in begins] + [(r["time"], -1) for r in ends])
    running = most = 0
    for _, step in times:
        running += step
        most = max(most, running)
    assert most <= 2


def test_hostile_output_of_a_hook_stays_lines_of_the_log(world):
    there, here = world.pair()
    hooks = world.hooks()
    body = "sys.stdout.write('x' * 200000 + '\\n\\x1b[2Jescape\\n'); sys.stdout.flush()"
    broker = world.broker(there, hooks={"session.up": hooks.script("session.up", body)})
    world.closing(FakeClient(here)).connect()
    hooks.wait("session.up", event="end")
    broker.wait_log("escape")
    assert "\x1b" not in broker.log()
    assert max(map(len, broker.log_lines())) < 2000


def test_client_hooks(world, tmp_path):
    there, here = world.pair()
    hooks = world.hooks()
    broker = world.broker(there)
    home = tmp_path / "home"
    home.mkdir()
    body = "if sys.argv[1] == 'session.up': subprocess.run(['ip', 'link', 'set', sys.argv[2], 'up'])"
    client = world.client(
        here, "-s", hooks.script("client", body), env={"TD_TEST_MARK": "seen"}, cwd=home
    ).wait_up()
    broker.wait_tunnels(1)
    assert client.stop() == 0
    up, down = hooks.wait("client", 2)
    assert up["args"] == ["session.up", "tunnel"]
    assert down["args"] == ["session.down", "tunnel"]
    assert "tunnel" in up["links"]
    for record in up, down:
        assert record["cwd"] == str(home)
        assert record["env"]["TD_TEST_MARK"] == "seen"


def test_client_hook_is_not_awaited(world):
    there, here = world.pair()
    hooks = world.hooks()
    broker = world.broker(there)
    body = "subprocess.run(['ip', 'link', 'set', sys.argv[2], 'up'])\n" + HANG
    client = world.client(here, "-s", hooks.script("client", body)).wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    assert client.stop(timeout=8) == 0
    broker.wait_tunnels(0)


def test_client_hook_runs_at_each_reconnect(world):
    there, here = world.pair()
    hooks = world.hooks()
    broker = world.broker(there)
    world.client(here, "-s", hooks.set_up("client", 2)).wait_up()
    hooks.wait("client", 1)
    assert broker.stop() == 0
    hooks.wait("client", 2)
    broker = world.broker(there)
    broker.wait_tunnels(1, 40)
    calls = [record["args"][0] for record in hooks.wait("client", 3)]
    assert calls == ["session.up", "session.down", "session.up"]
