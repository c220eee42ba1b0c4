#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Counts what check.sh ran: results.py OUTCOMES ALLOWED_SKIPS

OUTCOMES has lines "name TAB kind TAB exit status". Kind "check" counts as one; otherwise it is a
JUnit file, or a directory of such files, whose test cases count. Prints each failure and each skip,
then the one line that programs read. A skip that the list of allowed ones does not name is a failure.
"""

import os
import pathlib
import sys
import xml.etree.ElementTree as ElementTree


def documents(path):
    paths = sorted(pathlib.Path(path).glob("*.xml")) if os.path.isdir(path) else [path]
    return map(ElementTree.parse, paths)


def cases(name, path):
    """Yields (test id, outcome, text) of each case in a JUnit file or a directory of them."""
    for case in (case for document in documents(path) for case in document.iter("testcase")):
        # Of several suites, Meson puts "project:suite / " before the name.
        short = case.get("name", "").rpartition(" / ")[2]
        parts = [name, case.get("classname", "").replace("tests.net.", ""), short]
        test = "/".join(part for part in parts if part)
        outcome, text = "passed", ""
        for child in case:
            if child.tag in ("failure", "error"):
                outcome, text = "failed", child.get("message") or ""
            elif child.tag == "skipped" and outcome == "passed":
                outcome, text = "skipped", child.get("message") or ""
        yield test, outcome, text


def suite(name, path, status):
    try:
        found = list(cases(name, path))
    except (OSError, ElementTree.ParseError) as error:
        return [(name, "failed", f"no results: {error}")]
    failed = any(outcome == "failed" for _, outcome, _ in found)
    if status != 0 and not failed:
        found.append((name, "failed", f"ended with status {status}"))
    if not found:
        found.append((name, "failed", "ran no test"))
    return found


def read_outcomes(path):
    results = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            name, kind, status = line.rstrip("\n").split("\t")
            if kind == "check":
                outcome = "passed" if status == "0" else "failed"
                results.append((name, outcome, f"exit status {status}"))
            else:
                results.extend(suite(name, kind, int(status)))
    return results


def read_allowed(path):
    allowed = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                test, _, reason = line.strip().partition(" ")
                allowed[test] = reason.strip()
    return allowed


def main():
    results = read_outcomes(sys.argv[1])
    allowed = read_allowed(sys.argv[2])
    count = {"passed": 0, "failed": 0, "skipped": 0}
    for test, outcome, text in results:
        if outcome == "skipped" and not allowed.get(test):
            outcome, text = "failed", f"skip that is not allowed: {text}"
        count[outcome] += 1
        if outcome == "failed":
            print(f"FAILED  {test}: {text.splitlines()[0] if text else ''}")
        elif outcome == "skipped":
            print(f"SKIPPED {test}: {allowed[test]}")
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**count))
    return 1 if count["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
