#!/usr/bin/env python3
"""Puts approval-proxy under load over loopback, from HTTP to stdio.

    .ci/load.py PATH/TO/approval-proxy [--sessions N] [--in-flight N] [--seconds N]

First, sessions of 2025-06-18, each with its own `initialize` and so its own upstream. Halfway through,
one upstream is killed: its session's calls must get an error and its next request a 404, and no
other session may notice. Then a quarter as many clients of 2026-07-28, which share one upstream.
Then the same briefly, while that upstream is killed: the next request must get another one.

`bench/httpload` makes the load and compares every answer with its call; `bench/echo` is the upstream.
Both are built first. Needs Linux, python3 and a Rust toolchain. Prints a line per check; exits 1 if
one failed.
"""

import argparse
import collections
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

sys.dont_write_bytecode = True

from soak.checks import Checks  # noqa: E402

PROJECT = Path(__file__).resolve().parents[1]
# More time than a healthy proxy needs for anything.
PATIENCE = 30.0
# Descriptors of a session with its upstream (without its connections), and of the proxy itself.
OF_A_SESSION, OF_THE_PROXY = 10, 100


class Proxy:
    """A listening proxy, and what the system reports about it."""

    def __init__(self, program: Path, echo: Path, place: Path) -> None:
        config, self.log, said = place / "upstream.json", place / "audit.jsonl", place / "stderr"
        config.write_text(json.dumps({"mcpServers": {"echo": {"command": str(echo)}}}), encoding="utf-8")
        command = [program, "--upstream", config, "--audit-log", self.log]
        command += ["--transport", "streamable-http", "--port", "0"]
        with open(said, "wb") as stderr:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr)
        self.status = Path(f"/proc/{self.process.pid}/status")
        self.memory = []
        listening = r"listening on (http://\S+)"
        self.url = until(lambda: re.search(listening, said.read_text(encoding="utf-8")), "the proxy listens")[1]

    def children(self) -> list[int]:
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]

    def upstreams(self) -> list[int]:
        """Returns the process ids of its running servers."""
        return [child for child in self.children() if is_upstream(child)]

    def descriptors(self) -> int:
        """Returns how many are open, except the watcher's: it starts with the first server and stays."""
        watchers = len(self.children()) - len(self.upstreams())
        return len(os.listdir(f"/proc/{self.process.pid}/fd")) - watchers

    def watch_memory(self, seconds: float) -> None:
        """Records its resident size, in MiB."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = re.search(r"VmRSS:\s+(\d+) kB", self.status.read_text())
            if found:
                self.memory.append(int(found[1]) / 1024)
            time.sleep(0.1)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return 0


class Load:
    """One run of httpload against a proxy of its own."""

    def __init__(self, checks: Checks, programs: Path, proxy: Proxy, sessions: int, in_flight: int) -> None:
        self.checks, self.programs, self.proxy = checks, programs, proxy
        self.sessions, self.in_flight = sessions, in_flight

    def run(self, seconds: float, *options: str, middle=lambda: None) -> dict:
        """Makes the load, and calls `middle` halfway through."""
        command = [self.programs / "httpload", "--url", self.proxy.url, "--seconds", str(seconds)]
        command += ["--sessions", str(self.sessions), "--in-flight", str(self.in_flight), *options]
        idle = self.proxy.descriptors()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as load:
            if load.stdout.readline() != "ready\n":
                sys.exit(f"httpload ended with {load.wait()}")
            timer = threading.Timer(seconds / 2, middle)
            timer.start()
            self.proxy.watch_memory(seconds)
            report = json.loads(load.stdout.readline())
            timer.join()
        print(
            f"# {report['calls']} calls, {report['calls_per_s']:.0f} a second; milliseconds: "
            f"p50 {report['p50_us'] / 1000:.1f}, p99 {report['p99_us'] / 1000:.1f}, "
            f"most {report['max_us'] / 1000:.1f}"
        )
        self.check(report, idle)
        return report

    def check(self, report: dict, idle: int) -> None:
        sessions = report["sessions"]
        wrong = [text for session in sessions if not is_down(session) for text in session["wrong"]]
        good = sum(session["good"] for session in sessions)
        self.checks.none(f"no answer was lost, doubled or swapped ({good} results)", wrong)
        self.check_log(sessions)
        self.check_memory()

        def is_over() -> bool:
            return self.proxy.descriptors() <= idle + self.shared_descriptors()

        try:
            until(is_over, "")
            left = []
        except TimeoutError:
            left = [f"{self.proxy.descriptors()} descriptors, {idle} before"]
        self.checks.none("ended sessions left no descriptor open", left)

    def check_dead(self, down: list[dict], next_status: int) -> None:
        """Checks what the sessions got whose upstream was killed."""
        errors = [tuple(error) for session in down for error in session["errors"]]
        wrong = [text for session in down for text in session["wrong"]]
        sentence = f"each call in flight gets an error when its upstream dies ({len(errors)} errors)"
        self.checks.none(sentence, wrong)
        kinds = collections.Counter((status, re.sub(r'"id":\d+', '"id":N', text)) for status, text in errors)
        for (status, text), count in kinds.most_common(3):
            print(f"#   {count} x {status} {text}")
        odd = [(session["session"], session["next_status"]) for session in down if session["next_status"] != next_status]
        self.checks.none(f"the next request after that gets {next_status}", odd)

    def shared_descriptors(self) -> int:
        return OF_A_SESSION * len(self.proxy.upstreams())

    def check_log(self, sessions: list[dict]) -> None:
        lines, odd = collections.Counter(), []
        seq = 0
        with open(self.proxy.log, "rb") as log:
            for seq, line in enumerate(log, 1):
                if b'"seq":%d,' % seq not in line[:40]:
                    odd.append(f"line {seq}: {line[:200]}")
                tag = re.search(rb'"tag":"(\d+)-(\d+)"', line)
                if tag and b'"decision":"passed"' in line:
                    lines[int(tag[1]), int(tag[2])] += 1
        self.checks.none(f"the audit log's numbers have no gap ({seq} lines)", odd)
        doubled = [(tag, count) for tag, count in lines.items() if count > 1]
        self.checks.none("no call has two lines", doubled)
        missing, unknown = [], len(lines)
        for session in sessions:
            number = session["session"]
            found = sum((number, n) in lines for n in range(1, session["sent"] + 1))
            unknown -= found
            # A call in flight when its session died may have none.
            least = session["good"] if is_down(session) else session["sent"]
            if found < least:
                missing.append(f"session {number}: {found} lines, at least {least} calls")
        self.checks.none(f"every call has its line ({len(lines)} calls)", missing)
        self.checks.that("every line belongs to a call", unknown == 0, f"{unknown} lines")

    def check_memory(self) -> None:
        memory = self.proxy.memory
        quarter = len(memory) // 4
        quarters = [median(memory[at * quarter : (at + 1) * quarter]) for at in range(4)]
        shown = ", ".join(f"{value:.1f}" for value in quarters)
        # The first quarter warms up.
        flat = quarters[3] <= quarters[1] * 1.1 + 4
        self.checks.that(f"memory stays flat; MiB by quarter: {shown}", flat, quarters)


def in_sessions(load: Load, seconds: float) -> None:
    checks, proxy = load.checks, load.proxy
    counts = []

    def kill_one() -> None:
        upstreams = proxy.upstreams()
        counts.append(len(upstreams))
        # Only the proxy reaps its children, so this id still belongs to the upstream.
        os.kill(upstreams[len(upstreams) // 2], signal.SIGKILL)

    report = load.run(seconds, middle=kill_one)
    checks.that("each session has its own upstream", counts == [load.sessions], counts)
    down = [session for session in report["sessions"] if is_down(session)]
    names = [(session["session"], session["errors"][:2], session["wrong"][:2]) for session in down]
    checks.that("a killed upstream ends only its own session", len(down) == 1, names)
    load.check_dead(down, 404)
    odd = [(s["session"], s["end_status"]) for s in report["sessions"] if s not in down and s["end_status"] != 204]
    checks.none("the other sessions end with their DELETE", odd)
    left = proxy.upstreams()
    checks.that("no upstream outlives its session", not left, left)


def stateless(load: Load, seconds: float) -> None:
    counts = []
    report = load.run(seconds, "--stateless", middle=lambda: counts.append(len(load.proxy.upstreams())))
    load.checks.that("all clients share one upstream", counts == [1], counts)
    down = [session for session in report["sessions"] if is_down(session)]
    load.checks.none("no call failed", [(session["session"], session["errors"], session["wrong"]) for session in down])


def shared_upstream_dies(load: Load, seconds: float) -> None:
    before = []

    def kill_it() -> None:
        before.extend(load.proxy.upstreams())
        os.kill(before[0], signal.SIGKILL)

    report = load.run(min(seconds, 2.0), "--stateless", middle=kill_it)
    load.check_dead([session for session in report["sessions"] if is_down(session)], 200)
    after = load.proxy.upstreams()
    has_changed = len(before) == len(after) == 1 and before != after
    load.checks.that("another upstream takes its place", has_changed, (before, after))


def is_upstream(process: int) -> bool:
    """Returns whether a process is a running upstream."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    return "Name:\tmcp-echo\n" in status and "State:\tZ" not in status


def is_down(session: dict) -> bool:
    """Returns whether one of its calls failed. httpload then starts no more calls in it."""
    return session["next_status"] is not None


def until(holds, what: str):
    """Returns the first true result of `holds`."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.05)
    raise TimeoutError(f"gave up waiting until {what}")


def build() -> Path:
    """Builds the programs of `bench/` where `bench/run.py` does, and returns their folder."""
    chosen = os.environ.get("CARGO_TARGET_DIR")
    target = Path(chosen).resolve() / "bench" if chosen else PROJECT / "bench" / "target"
    command = ["cargo", "build", "--release", "--locked", "--manifest-path", PROJECT / "bench" / "Cargo.toml"]
    subprocess.run([*command, "--target-dir", target, "-p", "httpload", "-p", "mcp-echo"], check=True)
    return target / "release"


def fit(sessions: int, in_flight: int) -> int:
    """Returns how many calls in flight the descriptors allow in each session."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = (hard - OF_THE_PROXY) // sessions - OF_A_SESSION
    if room >= in_flight:
        return in_flight
    if room < 1:
        sys.exit(f"{hard} descriptors per process (ulimit -Hn) are too few for {sessions} sessions")
    print(f"# {hard} descriptors per process (ulimit -Hn): {room} calls in flight instead of {in_flight}")
    return room


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("proxy", type=Path, help="the approval-proxy to check")
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--in-flight", type=int, default=64, help="calls in flight at once in each session")
    parser.add_argument("--seconds", type=float, default=30, help="how long each of the two long parts takes")
    arguments = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    programs = build()
    in_flight = fit(arguments.sessions, arguments.in_flight)
    checks = Checks()
    clients = max(1, arguments.sessions // 4)
    for part, sessions in ((in_sessions, arguments.sessions), (stateless, clients), (shared_upstream_dies, clients)):
        print(f"# {part.__name__}: {sessions} x {in_flight} calls in flight")
        place = Path(tempfile.mkdtemp(prefix="approval-proxy-load-"))
        proxy = Proxy(arguments.proxy.resolve(), programs / "mcp-echo", place)
        failed = checks.failed
        try:
            part(Load(checks, programs, proxy, sessions, in_flight), arguments.seconds)
        finally:
            code = proxy.end()
        checks.that("the proxy ends on SIGTERM", code == 128 + signal.SIGTERM, code)
        if checks.failed > failed:
            print(f"# its log and stderr are in {place}")
        else:
            shutil.rmtree(place)
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
