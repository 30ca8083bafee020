#!/usr/bin/env python3
"""Runs approval-proxy under mixed traffic and accounts for every message.

    .ci/soak.py PATH/TO/approval-proxy [--seconds N] [--seed N]

Two clients run at once, with slow readers on both sides, and their proxies share one audit log. The
steady client keeps one session, and the script watches its proxy's memory. The other client's
upstream is killed repeatedly: its proxy must then answer all pending requests and exit with code 6,
and is restarted. The upstream, `soak/upstream.py`, records every line that it reads before it does
anything else, and every line that it writes before it writes it. At the end, the script compares
what was sent, what ran, what was answered and what was logged.

Needs only python3. Prints a line per check; exits 1 if one failed.
"""

import argparse
import itertools
import random
import re
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True

from soak.checks import check  # noqa: E402
from soak.client import Session  # noqa: E402
from soak.words import PATIENCE  # noqa: E402


class Soak:
    """Both clients, their proxies' log, and the counts."""

    def __init__(self, proxy: Path, place: Path, seconds: float, seed: int) -> None:
        self.proxy, self.place, self.seconds = proxy, place, seconds
        self.random = random.Random(seed)
        self.log = place / "audit.jsonl"
        self.numbers = itertools.count(1)
        self.sessions = []
        self.memory = []

    def run(self) -> None:
        end = time.monotonic() + self.seconds
        lanes = [threading.Thread(target=lane, args=(end,)) for lane in (self.steady, self.killed_often)]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()

    def steady(self, end: float) -> None:
        session = Session(self, "steady")
        self.sessions.append(session)
        session.hello()
        threading.Thread(target=self.watch_memory, args=(session.process.pid, end), daemon=True).start()
        session.traffic(end, 0.006, 48)
        session.drain(PATIENCE)
        session.close()

    def killed_often(self, end: float) -> None:
        longest = min(12.0, self.seconds / 5)
        for number in itertools.count():
            session = Session(self, f"killed-{number}")
            self.sessions.append(session)
            session.hello()
            stop = min(end, time.monotonic() + self.random.uniform(0.05, longest))
            if stop >= end - 0.5:
                # The last one ends by itself.
                session.traffic(end, 0.006, 48)
                session.drain(PATIENCE)
                return session.close()
            killer = threading.Timer(stop - time.monotonic(), session.kill_upstream)
            killer.start()
            session.traffic(stop + 2 * PATIENCE, self.random.choice([0.001, 0.006, 0.02]), 48)
            killer.join()
            session.wait()

    def watch_memory(self, pid: int, end: float) -> None:
        """Records the resident size of the steady proxy, in KiB."""
        status = Path(f"/proc/{pid}/status")
        while time.monotonic() < end:
            try:
                found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text())
            except OSError:
                return
            if found:
                self.memory.append(int(found[1]))
            time.sleep(0.1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("proxy", type=Path, help="the approval-proxy to check")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--keep", action="store_true", help="keep what was recorded, and say where")
    arguments = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    print(f"# {arguments.seconds:g} seconds, seed {arguments.seed}")
    place = Path(tempfile.mkdtemp(prefix="approval-proxy-soak-"))
    soak = Soak(arguments.proxy.resolve(), place, arguments.seconds, arguments.seed)
    soak.run()
    requests = sum(len(session.calls) for session in soak.sessions)
    asked = sum(session.upstream_requests for session in soak.sessions)
    print(f"# {requests} requests, {asked} requests of the upstreams, {len(soak.sessions)} runs")
    checks = check(soak)
    print(f"{checks.passed} passed, {checks.failed} failed")
    if checks.failed or arguments.keep:
        (place / "memory.txt").write_text("\n".join(map(str, soak.memory)))
        print(f"# the records are in {place}")
    else:
        shutil.rmtree(place)
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
