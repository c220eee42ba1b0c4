# SPDX-License-Identifier: AGPL-3.0-or-later
"""Hook scripts that note how they were called."""

import json
import os

from netlab import wait_until

SCRIPT = """#!/usr/bin/python3 -I
import json, os, socket, sys, time
{imports}record = {{
    "hook": {hook!r}, "args": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ),
    "pid": os.getpid(), "time": time.monotonic(),
    "stdin": os.readlink("/proc/self/fd/0"), "fds": sorted(map(int, os.listdir("/proc/self/fd"))),
}}
record["links"] = [name for _, name in socket.if_nameindex()]
def note(**more):
    line = json.dumps({{**record, **more}}) + "\\n"
    with open({path!r}, "a") as log:
        log.write(line)
note(event="begin")
{body}
note(event="end", time=time.monotonic())
"""


class Recorder:
    """Makes scripts and reads what they wrote. A record has hook, args, cwd, env, pid, time, links
    (interfaces that existed), fds, and event: "begin", or "end" after the script's body."""

    def __init__(self, directory):
        self.directory = directory
        self.path = directory / "records"
        directory.mkdir()

    def script(self, hook, body=""):
        """An executable for that hook; body: Python to run after the call was noted."""
        path = self.directory / hook
        imports = "import subprocess\n" if "subprocess" in body else ""  # it takes a while
        text = SCRIPT.format(hook=hook, path=str(self.path), body=body, imports=imports)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    def set_up(self, hook, position):
        """A script that sets the interface up which is its argument number position."""
        body = f"subprocess.run(['ip', 'link', 'set', sys.argv[{position}], 'up'], check=True)"
        return self.script(hook, body)

    def broker_scripts(self):
        """All five broker hooks, as the section [hooks]."""
        names = ["session.pre-down", "session.down", "session.mtu-changed"]
        names.append("broker.connection-rate-limit")
        scripts = {name: self.script(name) for name in names}
        scripts["session.up"] = self.set_up("session.up", 3)
        return scripts

    def records(self, hook=None, event="begin"):
        if not os.path.exists(self.path):
            return []
        with open(self.path, encoding="utf-8") as lines:
            found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [r for r in found if r["event"] == event and hook in (None, r["hook"])]

    def wait(self, hook, count=1, timeout=10, event="begin"):
        """Waits until a hook was called count times; the records of those calls."""
        wait_until(
            lambda: len(self.records(hook, event)) >= count, timeout, f"{count} calls of {hook}"
        )
        return self.records(hook, event)

    def wait_noticed(self, hook):
        """Waits until a call of that hook has ended, and who made it knows that."""
        (record,) = self.wait(hook, event="end")
        wait_until(lambda: not os.path.exists(f"/proc/{record['pid']}"), 10, f"{hook} is noticed")
