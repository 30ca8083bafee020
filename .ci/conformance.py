#!/usr/bin/env python3
"""Runs MCP's official conformance suite against approval-proxy.

The suite tests servers over HTTP. It runs three times against the same server,
`examples/everything_server`: directly, through the proxy with the server over HTTP, and through the
proxy with the server over stdio. The proxy asks for no approvals here, so every check that passes
directly must pass through it.

    .ci/conformance.py PROXY SERVER [--cache DIR] [--only direct|http|stdio] [--scenario WORD]

Needs python3, node and npm. Installs the suite, and the newer node that it needs, once into the cache
directory (default: approval-proxy-conformance in the user's cache). Prints a row per scenario. Exits
1 if a check passes directly and fails through the proxy twice in a row, and 2 if nothing could be
checked.

Runs all server scenarios of 2025-06-18, 2025-11-25 and 2026-07-28, and those of the extensions (tasks,
skills). Directly, every check passes, except `tasks-status-notifications`, which the suite itself
skips and which is not counted. If a check cannot be judged through the proxy,
`conformance/report.py` says why.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True

from conformance import report  # noqa: E402
from conformance.suite import REVISIONS, SUITE, Suite  # noqa: E402
from conformance.targets import (  # noqa: E402
    DIRECT,
    OVER_HTTP,
    OVER_STDIO,
    NotListening,
    target,
)

ONLY = {"direct": [DIRECT], "http": [DIRECT, OVER_HTTP], "stdio": [DIRECT, OVER_STDIO]}


class Runs:
    """The suite, its targets, and its results."""

    def __init__(self, suite: Suite, proxy: Path, server: Path, word: str) -> None:
        self.suite, self.proxy, self.server = suite, proxy, server
        self.scenarios = {
            revision: [name for name in suite.scenarios(revision) if word in name]
            for revision in REVISIONS
        }

    def run(self, column: str) -> dict:
        """Runs all scenarios, with new processes for each revision."""
        checks = {}
        for revision, scenarios in self.scenarios.items():
            if scenarios:
                checks |= self.run_some(column, revision, scenarios)
        return checks

    def run_some(self, column: str, revision: str, scenarios: list) -> dict:
        with target(column, self.proxy, self.server) as url:
            return self.suite.run(url, revision, scenarios)

    def compare(self, column: str, direct: dict, proxied: dict) -> int:
        """Repeats the scenarios that differ. Prints what still differs, and returns how many checks do."""
        differing = report.differences(column, direct, proxied)
        found = 0
        for revision, scenario in dict.fromkeys((key.revision, key.scenario) for key in differing):
            keys = [key for key in differing if (key.revision, key.scenario) == (revision, scenario)]
            again = self.run_some(column, revision, [scenario])
            directly = self.run_some(DIRECT, revision, [scenario])
            for key in keys:
                if report.passed(again.get(key)):
                    print(f"passed at the second attempt through {column}: {report.describe(key)}")
                elif not report.passed(directly.get(key)):
                    print(f"failed at the second attempt directly: {report.describe(key)}")
                else:
                    report.print_difference(column, key, again.get(key))
                    found += 1
                    continue
                # Not the proxy's fault: both columns should show the same.
                proxied[key] = direct[key]
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("proxy", type=Path, help="the approval-proxy to check")
    parser.add_argument("server", type=Path, help="the everything_server to put behind it")
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--cache", type=Path, default=user_cache / "approval-proxy-conformance")
    parser.add_argument("--only", choices=ONLY, help="run directly and this way only")
    parser.add_argument("--scenario", default="", help="run only scenarios whose name contains this")
    arguments = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    try:
        suite = Suite(arguments.cache.resolve())
        runs = Runs(suite, arguments.proxy.resolve(), arguments.server.resolve(), arguments.scenario)
        return check(runs, ONLY.get(arguments.only, [DIRECT, OVER_HTTP, OVER_STDIO]))
    except (OSError, subprocess.SubprocessError, NotListening) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2


def check(runs: Runs, columns: list) -> int:
    print(f"# conformance suite {SUITE}")
    results = {column: runs.run(column) for column in columns}
    direct = results[DIRECT]
    if not report.judged(direct):
        print("conformance: the suite checked nothing", file=sys.stderr)
        return 2
    found = sum(runs.compare(column, direct, results[column]) for column in columns if column != DIRECT)
    report.print_table(results)
    report.print_failures(direct)
    report.print_not_judged(results)
    report.print_summary(results, found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
