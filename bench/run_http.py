#!/usr/bin/env python3
"""Measures approval-proxy over HTTP, against a plain relay and npm's mcp-proxy.

    bench/run_http.py PATH/TO/approval-proxy [--rounds N] [--cache DIR] [--check] [--write]

Builds the programs in this folder first, and installs mcp-proxy into the cache once. All processes
of a measurement share one CPU. In each round of a scene, its paths take turns. Ratios are taken
within a round, and medians over the rounds.

--check  exits 1 if a limit is missed, and lists the missed limits at the end.
--write  writes the section "Over HTTP" of docs/performance.md. Only on an idle machine.

Needs Linux, python3, a Rust toolchain, node and npm.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from statistics import median

sys.dont_write_bytecode = True

import page  # noqa: E402
from http_scenes import HTTP_SCENES, MCP_PROXY, HttpScene  # noqa: E402
from run import BUSY, CPU, PROJECT, build, checked, options, output  # noqa: E402

# Enough for node's JIT compiler too.
WARM_UP = 2000
PATIENCE = 20.0


def main() -> int:
    arguments = parse()
    load = os.getloadavg()[0]
    if load > BUSY:
        print(f"the machine is busy (load {load:.2f}): use these figures for testing only", file=sys.stderr)
    programs, mcp_proxy = build(), install(arguments.cache)
    with tempfile.TemporaryDirectory() as folder:
        bench = HttpBench(arguments.proxy.resolve(), programs, mcp_proxy, Path(folder))
        for scene in HTTP_SCENES:
            bench.play(scene, arguments.rounds)
            print(bench.line(scene), flush=True)
    if arguments.write:
        path = PROJECT / "docs" / "performance.md"
        section = page.over_http(bench, arguments.rounds, load, CPU)
        path.write_text(page.with_section(path.read_text(encoding="utf-8"), section), encoding="utf-8")
        print(f"wrote the section in {path.relative_to(PROJECT)}")
    if not arguments.check:
        return 0
    misses = bench.misses()
    print("\n".join(misses) or "no limit is missed")
    return 1 if misses else 0


class HttpBench:
    """The paths to a server and their measurements."""

    def __init__(self, proxy: Path, programs: Path, mcp_proxy: Path, folder: Path) -> None:
        self.proxy, self.programs, self.mcp_proxy, self.folder = proxy, programs, mcp_proxy, folder
        # For each scene and path, httpload's report of every round.
        self.reports = defaultdict(lambda: defaultdict(list))

    def play(self, scene: HttpScene, rounds: int) -> None:
        for turn in range(rounds):
            # Each path goes first equally often.
            for step in range(len(scene.kinds)):
                kind = scene.kinds[(turn + step) % len(scene.kinds)]
                self.reports[scene][kind].append(self.measure(scene, kind))

    def measure(self, scene: HttpScene, kind: str) -> dict:
        log = self.folder / "audit.jsonl"
        log.unlink(missing_ok=True)
        is_http = "http-echo" in scene.kinds
        with self.path(kind, is_http, log) as (url, process):
            load = [self.programs / "httpload", "--url", url, "--calls", scene.calls, "--warmup", WARM_UP]
            printed = output([str(word) for word in (*load, *scene.options)], pinned=True)
            report = json.loads(printed.splitlines()[-1])
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
            report["peak_rss_kib"] = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
        self.confirm(scene, kind, report, log)
        return report

    @contextmanager
    def path(self, kind: str, is_http: bool, log: Path):
        """Starts one path to the server. Yields its URL and the process that listens there."""
        if kind == "mcp-proxy":
            # It cannot choose a free port itself.
            with socket.create_server(("127.0.0.1", 0)) as chosen:
                port = str(chosen.getsockname()[1])
            options = ["--host", "127.0.0.1", "--port", port, "--server", "stream", "--no-eventStore"]
            with self.server("node", self.mcp_proxy, *options, "--", self.programs / "mcp-echo") as (_, process):
                wait_for(lambda: connects(int(port)))
                yield f"http://127.0.0.1:{port}/mcp", process
            return
        if not is_http:
            with self.proxy_to({"command": str(self.programs / "mcp-echo")}, log) as path:
                yield path
            return
        with self.server(self.programs / "http-echo") as (log_file, echo):
            url = listening(log_file)
            if kind == "http-echo":
                yield url, echo
            elif kind == "http-relay":
                with self.server(self.programs / "http-relay", url) as (log_file, relay):
                    yield listening(log_file), relay
            else:
                with self.proxy_to({"type": "http", "url": url}, log) as path:
                    yield path

    @contextmanager
    def proxy_to(self, upstream: dict, log: Path):
        """Starts the proxy in front of an upstream."""
        config = self.folder / "upstream.json"
        config.write_text(json.dumps({"mcpServers": {"echo": upstream}}), encoding="utf-8")
        options = ["--upstream", config, "--audit-log", log, "--transport", "streamable-http", "--port", "0"]
        with self.server(self.proxy, *options) as (log_file, process):
            yield listening(log_file), process

    @contextmanager
    def server(self, *command):
        """Starts a server. Yields the file with its output, and its process."""
        with tempfile.NamedTemporaryFile(dir=self.folder) as log_file:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                preexec_fn=lambda: os.sched_setaffinity(0, {CPU}),
            )
            try:
                yield Path(log_file.name), process
            finally:
                process.terminate()
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def confirm(self, scene: HttpScene, kind: str, report: dict, log: Path) -> None:
        """Checks that every call was answered with its own result, and logged."""
        wrong = {key: report[key] for key in ("errors", "wrong") if report[key]}
        if kind == "proxy":
            with open(log, encoding="utf-8") as lines:
                decisions = sum('"decision":"' in line for line in lines)
            if decisions != scene.calls + WARM_UP:
                wrong["logged decisions"] = decisions
        if wrong:
            errors = [session[key][:1] for session in report["sessions"] for key in ("errors", "wrong")]
            sys.exit(f"{scene.name}, {kind}: {wrong}; {errors}")

    def figures(self, scene: HttpScene, kind: str) -> list[float]:
        return [report[scene.figure] for report in self.reports[scene][kind]]

    def ratios(self, scene: HttpScene) -> list[float]:
        pairs = zip(self.figures(scene, "proxy"), self.figures(scene, scene.beside), strict=True)
        return [proxy / beside for proxy, beside in pairs]

    def memory(self, kind: str) -> list[float]:
        return [report["peak_rss_kib"] / 1024 for kinds in self.reports.values() for report in kinds[kind]]

    def line(self, scene: HttpScene) -> str:
        medians = "  ".join(f"{kind} {median(self.figures(scene, kind)):.1f}" for kind in scene.kinds)
        ratio = median(self.ratios(scene))
        verdict = "no limit"
        if scene.limit:
            verdict = f"limit {scene.limit}: {'ok' if scene.limit.holds(ratio) else 'MISSED'}"
        name = f"{scene.name}, {scene.unit}"
        return f"{name:38} {medians}  ratio to {scene.beside} {ratio:.2f}, {verdict}"

    def misses(self) -> list[str]:
        found = [(scene, median(self.ratios(scene))) for scene in HTTP_SCENES if scene.limit]
        return [
            f"missed: {scene.name}: ratio {ratio:.3f}, limit {scene.limit}"
            for scene, ratio in found
            if not scene.limit.holds(ratio)
        ]


def listening(log_file: Path) -> str:
    """The URL in a server's output that it listens on."""
    return wait_for(lambda: re.search(r"listening on (http://\S+)", log_file.read_text(encoding="utf-8")))[1]


def connects(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(holds):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.02)
    sys.exit("a server did not start listening in time")


def install(cache: Path) -> Path:
    """Installs mcp-proxy once and returns its program."""
    place = cache / f"mcp-proxy-{MCP_PROXY}"
    program = place / "node_modules" / "mcp-proxy" / "dist" / "bin" / "mcp-proxy.mjs"
    if not program.exists():
        npm = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts"]
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run([*npm, "--prefix", place, f"mcp-proxy@{MCP_PROXY}"], check=True)
    return program


def parse() -> argparse.Namespace:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser = options(__doc__, 'write the section "Over HTTP" of docs/performance.md')
    parser.add_argument("--cache", type=Path, default=home / "approval-proxy-bench", metavar="DIR", help="where to install mcp-proxy")
    return checked(parser)


if __name__ == "__main__":
    sys.exit(main())
