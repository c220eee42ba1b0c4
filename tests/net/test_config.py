# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bad input of the operator: one sentence that names place and remedy; exit status 1, usage 2."""

import pytest

from fake_client import FakeClient
from netlab import traffic
from programs import BROKER, CLIENT

pytestmark = pytest.mark.any_kernel

MINIMAL = "[broker]\naddress=192.0.2.1\nport=8942\nmax_tunnels=16\nconnection_rate_limit=0.2\n"
OPTIONS = ["-f", "-u", "node", "-i", "tunnel", "-b", "192.0.2.1:8942"]

# Text, number of the line at fault, and what the sentence must name.
BAD_CONFIGS = {
    "number": (MINIMAL.replace("16", "many"), 4, "max_tunnels"),
    "range": (MINIMAL.replace("16", "0"), 4, "max_tunnels"),
    "inline comment": (MINIMAL.replace("16", "16 ; a comment"), 4, "max_tunnels"),
    "duplicate": (MINIMAL + "port=53\n", 6, "port"),
    "no section": ("port=53\n" + MINIMAL, 1, "section"),
    "pmtu": (MINIMAL + "pmtu=70000\n", 6, "pmtu"),
    "data path": (MINIMAL + "datapath=warp\n", 6, "datapath"),
    "verbosity": (MINIMAL + "[log]\nverbosity=LOUD\n", 7, "verbosity"),
}


def ends(world, ns, argv, status, **options):
    """Runs a program that must end at once with that status; its output."""
    program = world.program(ns, argv, **options)
    program.expected = status
    assert program.wait_end() == status, program.log()
    return program.log()


@pytest.mark.any_datapath
@pytest.mark.parametrize("name", BAD_CONFIGS)
@pytest.mark.parametrize("check", [True, False])
def test_bad_configuration(world, tmp_path, name, check):
    text, line, word = BAD_CONFIGS[name]
    path = tmp_path / "bad.conf"
    path.write_text(text, encoding="utf-8")
    argv = [BROKER, "-n", path] if check else [BROKER, path]
    output = ends(world, world.host("broker"), argv, 1)
    assert f"bad.conf:{line}" in output
    assert word in output
    assert len(output.splitlines()) <= 2, output


@pytest.mark.any_datapath
def test_configuration_that_is_not_there(world, tmp_path):
    output = ends(world, world.host("broker"), [BROKER, tmp_path / "none.conf"], 1)
    assert "none.conf" in output and "No such file" in output


@pytest.mark.any_datapath
def test_unknown_key_is_a_warning(world, tmp_path):
    """Deployed configurations have keys of their own, which their broker ignores."""
    path = tmp_path / "odd.conf"
    path.write_text(MINIMAL + "max_tunels=3\n", encoding="utf-8")
    output = ends(world, world.host("broker"), [BROKER, "-n", path], 0)
    assert "odd.conf:6: max_tunels" in output


@pytest.mark.any_datapath
def test_check_prints_what_is_in_force(world, tmp_path):
    path = tmp_path / "good.conf"
    path.write_text(MINIMAL, encoding="utf-8")
    output = ends(world, world.host("broker"), [BROKER, "-n", path], 0)
    assert "max_tunnels" in output and "16" in output
    assert "[broker]" in output
    # What was printed is a configuration that means the same.
    again = tmp_path / "again.conf"
    again.write_text(output, encoding="utf-8")
    assert ends(world, world.host("again"), [BROKER, "-n", again], 0) == output


def test_deployed_configuration_works_unchanged(world):
    """As the incumbent's users have it, with keys that mean nothing any more."""
    there, here = world.pair()
    config = world.directory / "l2tp_broker.cfg"
    config.write_text(
        "[broker]\n"
        "; IP address the broker will listen and accept tunnels on\n"
        "address=192.0.2.1\n"
        "port=53,123,8942\n"
        "interface=wan\n"
        "max_cookies=1024\n"
        "max_tunnels=1024\n"
        "port_base=20000\n"
        "tunnel_id_base=100\n"
        "tunnel_timeout=60\n"
        "pmtu_discovery=true\n"
        "namespace=default\n"
        "check_modules=true\n"
        "connection_rate_limit=0.2\n"
        "pmtu=0\n\n"
        "[log]\nfilename=tunneldigger-broker.log\nverbosity=DEBUG\nlog_ip_addresses=false\n\n"
        "[hooks]\nsession.up=\nsession.pre-down=\nsession.down=\nsession.mtu-changed=\n",
        encoding="utf-8",
    )
    broker = world.broker(there, config=config)
    world.client(here, brokers=["192.0.2.1:123"]).wait_up()
    (name,) = broker.wait_tunnels(1)
    traffic(there, name, here, "tunnel")
    for key in ("max_cookies", "tunnel_timeout", "pmtu_discovery"):
        lines = [line for line in broker.log_lines() if key in line]
        assert len(lines) == 1, f"one warning that names {key}"
    assert "192.0.2.2" not in broker.log(), "log_ip_addresses=false"


def test_address_that_cannot_be_bound_is_skipped(world):
    there, here = world.pair()
    addresses = "192.0.2.1, 192.0.2.250, nonsense"
    broker = world.broker(there, broker={"address": addresses})
    broker.wait_log(r"192\.0\.2\.250")
    broker.wait_log("nonsense")
    world.closing(FakeClient(here)).connect()


@pytest.mark.any_datapath
def test_no_address_that_can_be_bound(world):
    there, _ = world.pair()
    config = world.config(broker={"address": "192.0.2.250"})
    assert "192.0.2.250" in ends(world, there, [BROKER, config], 1)


@pytest.mark.any_datapath
def test_interface_that_does_not_exist(world):
    there, _ = world.pair()
    config = world.config(broker={"interface": "nowhere"})
    assert "nowhere" in ends(world, there, [BROKER, config], 1)


@pytest.mark.any_datapath
@pytest.mark.parametrize("argv", [[], ["-x", "a.conf"], ["a.conf", "b.conf"]])
def test_broker_usage(world, argv):
    output = ends(world, world.host("broker"), [BROKER, *argv], 2)
    assert "usage" in output.lower()


# Arguments, and what the sentence must name.
BAD_OPTIONS = {
    "no broker": (OPTIONS[:-2], "-b"),
    "no uuid": ([o for o in OPTIONS if o not in ("-u", "node")], "-u"),
    "no interface": ([o for o in OPTIONS if o not in ("-i", "tunnel")], "-i"),
    "unknown option": ([*OPTIONS, "-x"], "x"),
    "-p": ([*OPTIONS, "-p", "1"], "p"),
    "no port": ([*OPTIONS, "-b", "192.0.2.1"], "-b"),
    "tunnel id": ([*OPTIONS, "-t", "zero"], "-t"),
    "limit": ([*OPTIONS, "-L", "fast"], "-L"),
    "long interface name": ([*OPTIONS, "-i", "a-name-of-16-char"], "-i"),
    "interface name": ([*OPTIONS, "-i", "a/b"], "-i"),
    "uuid": ([*OPTIONS, "-u", "a b"], "-u"),
    "data path": ([*OPTIONS, "--datapath", "warp"], "--datapath"),
    "mtu": ([*OPTIONS, "--mtu-max", "12"], "--mtu-max"),
}


@pytest.mark.any_datapath
@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_client_usage(world, name):
    argv, word = BAD_OPTIONS[name]
    output = ends(world, world.host("client"), [CLIENT, *argv], 2)
    assert word in output
    assert len(output.splitlines()) <= 2


@pytest.mark.any_datapath
@pytest.mark.parametrize("program", [CLIENT, BROKER])
@pytest.mark.parametrize("option", ["-h", "--help", "--version"])
def test_help_and_version(world, program, option):
    output = ends(world, None, [program, option], 0)
    assert ("usage" if "h" in option else "0.") in output.lower()
