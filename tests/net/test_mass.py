# SPDX-License-Identifier: AGPL-3.0-or-later
"""Many clients come at once, many go at once, and the others do not notice.

TD_MASS: how many. The figures are printed, for those who want to see them (pytest -s).
"""

import json
import os
import re
import signal
import time

import pytest

from netlab import SLOW, wait_until
from programs import BUILD, DATAPATH

LOAD = os.path.join(BUILD, "bench/td-load")
COUNT = int(os.environ.get("TD_MASS", "100"))
EMULATED = DATAPATH == "kernel"  # in a virtual machine, where everything takes long
TURN_LIMIT_US = 50000
# A client sends one every 5 s, and so does the broker; what the loop delays comes on top.
GAP_LIMIT_MS = 5000 + 2500 * SLOW


class Load:
    """A td-load in a host; its result lines as they come."""

    def __init__(self, world, ns, *options):
        argv = [LOAD, "-t", "600", "-g", "120", *options, "192.0.2.1", "8942"]
        self.program = world.program(ns, argv, "load")

    def results(self, count):
        def lines():
            assert self.program.running() or count == 2, self.program.log()
            found = [line for line in self.program.log_lines() if line.startswith("{")]
            return found[count - 1 :]

        return json.loads(wait_until(lines, 120, f"result {count} of td-load")[0])

    def established(self):
        result = self.results(1)
        assert (result["refused"], result["failed"]) == (0, 0), result
        return result

    def leave(self):
        self.program.process.send_signal(signal.SIGTERM)

    def ended(self):
        result = self.results(2)
        assert result["lost"] == 0, result
        return result


@pytest.mark.alone
@pytest.mark.slow
def test_come_and_go(world):
    there, here = world.pair()
    for host in (there, here):
        host.sysctl("net.ipv6.conf.default.disable_ipv6=1")
    here.ip("address add 192.0.2.3/24 dev wan")
    comers = max(COUNT // 5, 10)
    settings = {"max_tunnels": str(2 * COUNT + comers), "pmtu": "1446"}
    broker = world.broker(there, broker=settings, log={"log_ip_addresses": "false"})
    stayers = Load(world, here, "-n", str(COUNT), "-p", str(COUNT), "-u", "stays-")
    figures = {"come": stayers.established()}
    leavers = Load(world, here, "-n", str(COUNT), "-u", "goes-")
    leavers.established()
    leavers.leave()
    # From another address: who gets the port of one that left waits until that tunnel is gone.
    newcomers = Load(world, here, "-n", str(comers), "-p", "4", "-s", "192.0.2.3", "-u", "comes-")
    figures["meanwhile"] = newcomers.established()
    figures["interfaces then"] = len(there.tunnels())
    assert figures["meanwhile"]["reply_max_ms"] < 1500 * SLOW
    leavers.ended()
    wait_until(lambda: len(there.tunnels()) == COUNT + comers, 120, "those who left are gone")
    time.sleep(8)  # so that everybody has had to wait for a keepalive
    for load in (stayers, newcomers):
        load.leave()
        figures[load.program.argv[-3]] = load.ended()
        assert figures[load.program.argv[-3]]["keepalive_gap_max_ms"] < GAP_LIMIT_MS
    broker.wait_tunnels(0, 120)
    broker.stop(timeout=60)
    line = re.search(r"longest turn of the loop (\d+) us, .* of one (\d+) us.*", broker.log())
    print(json.dumps(figures, indent=1), line[0], sep="\n")
    if "asan" not in BUILD and not EMULATED:
        assert int(line[2]) < TURN_LIMIT_US, line[0]
