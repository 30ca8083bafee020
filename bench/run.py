#!/usr/bin/env python3
"""Measures approval-proxy end to end, against the server alone and a byte pump.

    bench/run.py PATH/TO/approval-proxy [--rounds N] [--check] [--write]

Builds the programs in this folder first. All processes of a measurement share one CPU, so that
migration between CPUs does not affect the figures. In each round of a scene, the three commands take
turns. Ratios are taken within a round, and medians over the rounds.

--check  exits 1 if a limit is missed, and lists the missed limits at the end.
--write  writes docs/performance.md, including the micro-benchmarks of `cargo bench`. Only on an
         idle machine.

Needs Linux, python3 and a Rust toolchain.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

sys.dont_write_bytecode = True

import page  # noqa: E402
from scenes import KINDS, MEMORY_LIMIT, SCENES, START_UP_LIMIT, Scene  # noqa: E402

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
CPU = min(os.sched_getaffinity(0))
WARM_UP = 200
BUSY = 0.5


def main() -> int:
    arguments = parse()
    load = os.getloadavg()[0]
    if load > BUSY:
        print(f"the machine is busy (load {load:.2f}): use these figures for testing only", file=sys.stderr)
    programs = build()
    if arguments.write:
        cargo("bench", "--no-run", "--locked")  # now, so that the machine has cooled down by then
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments.proxy.resolve(), programs, Path(folder))
        for scene in SCENES:
            bench.play(scene, arguments.rounds)
            print(bench.line(scene), flush=True)
    print(bench.footer())
    if arguments.write:
        parts = cargo("bench", "--locked", pinned=True)
        path = PROJECT / "docs" / "performance.md"
        path.parent.mkdir(exist_ok=True)
        # Keep the section of run_http.py.
        over_http = page.section_over_http(path.read_text(encoding="utf-8")) if path.exists() else ""
        written = page.text(bench, parts, arguments.rounds, load, CPU)
        path.write_text(page.with_section(written, over_http), encoding="utf-8")
        print(f"wrote {path.relative_to(PROJECT)}")
    if not arguments.check:
        return 0
    misses = bench.misses()
    print("\n".join(misses) or "no limit is missed")
    return 1 if misses else 0


class Bench:
    """The three commands and their measurements."""

    def __init__(self, proxy: Path, programs: Path, folder: Path) -> None:
        self.proxy, self.programs, self.folder = proxy, programs, folder
        self.config = folder / "upstream.json"
        upstream = {"mcpServers": {"echo": {"command": str(programs / "mcp-echo")}}}
        self.config.write_text(json.dumps(upstream), encoding="utf-8")
        # For each scene and command, mcpload's report of every round.
        self.reports = defaultdict(lambda: defaultdict(list))

    def play(self, scene: Scene, rounds: int) -> None:
        for turn in range(rounds):
            # Each command goes first equally often.
            for step in range(len(KINDS)):
                kind = KINDS[(turn + step) % len(KINDS)]
                self.reports[scene][kind].append(self.measure(scene, kind))

    def measure(self, scene: Scene, kind: str) -> dict:
        log = self.folder / "audit.jsonl"
        log.unlink(missing_ok=True)
        server = str(self.programs / "mcp-echo")
        command = {
            "direct": [server],
            "pump": [str(self.programs / "byte-pump"), server],
            "proxy": [str(self.proxy), "--upstream", str(self.config), "--audit-log", str(log)],
        }[kind]
        load = [str(self.programs / "mcpload"), "--json", "--calls", str(scene.calls), "--warmup", str(WARM_UP)]
        report = json.loads(output([*load, *scene.options, "--", *command], pinned=True))
        self.confirm(scene, kind, report, log)
        return report

    def confirm(self, scene: Scene, kind: str, report: dict, log: Path) -> None:
        """Checks that every call was answered, approved if needed, and logged."""
        wrong = {key: report[key] for key in ("errors", "tool_errors", "short_answers") if report[key]}
        asked = scene.calls if scene.is_asked and kind == "proxy" else 0
        if report["elicitations"] != asked:
            wrong["elicitations"] = report["elicitations"]
        if kind == "proxy":
            with open(log, encoding="utf-8") as lines:
                decisions = sum('"decision":"' in line for line in lines)
            if decisions != scene.calls + WARM_UP:
                wrong["logged decisions"] = decisions
        if wrong:
            sys.exit(f"{scene.name}, {kind}: {wrong}; {report['first_error']}")

    def figures(self, scene: Scene, kind: str) -> list[float]:
        return [report[scene.figure] for report in self.reports[scene][kind]]

    def ratios(self, scene: Scene) -> list[float]:
        pairs = zip(self.figures(scene, "proxy"), self.figures(scene, "pump"), strict=True)
        return [proxy / pump for proxy, pump in pairs]

    def start_ups(self, kind: str) -> list[float]:
        return [report["startup_ms"] for kinds in self.reports.values() for report in kinds[kind]]

    def memory(self, kind: str, is_large: bool = False) -> list[float]:
        scenes = [kinds[kind] for scene, kinds in self.reports.items() if scene.is_large == is_large]
        return [report["child_peak_rss_kib"] / 1024 for reports in scenes for report in reports]

    def line(self, scene: Scene) -> str:
        medians = "  ".join(f"{kind} {median(self.figures(scene, kind)):>9.1f}" for kind in KINDS)
        ratio = median(self.ratios(scene))
        verdict = "ok" if scene.limit.holds(ratio) else "MISSED"
        name = f"{scene.name}, {scene.unit}"
        return f"{name:38} {medians}  ratio {ratio:.2f}, limit {scene.limit}: {verdict}"

    def footer(self) -> str:
        start_up, memory = median(self.start_ups("proxy")), median(self.memory("proxy"))
        return (
            f"start-up {start_up:.1f} ms (limit ≤ {START_UP_LIMIT:.1f}), "
            f"peak memory {memory:.1f} MiB (limit ≤ {MEMORY_LIMIT:.1f})"
        )

    def misses(self) -> list[str]:
        missed = []
        for scene in SCENES:
            ratio = median(self.ratios(scene))
            if not scene.limit.holds(ratio):
                missed.append(f"missed: {scene.name}: ratio {ratio:.3f}, limit {scene.limit}")
        start_up, memory = median(self.start_ups("proxy")), median(self.memory("proxy"))
        if start_up > START_UP_LIMIT:
            missed.append(f"missed: start-up {start_up:.1f} ms, limit ≤ {START_UP_LIMIT:.1f}")
        if memory > MEMORY_LIMIT:
            missed.append(f"missed: memory {memory:.1f} MiB, limit ≤ {MEMORY_LIMIT:.1f}")
        return missed


def build() -> Path:
    """Builds this folder's programs and returns their folder."""
    # Next to the main crate's, if the user has chosen a target folder.
    chosen = os.environ.get("CARGO_TARGET_DIR")
    target = Path(chosen).resolve() / "bench" if chosen else HERE / "target"
    manifest = str(HERE / "Cargo.toml")
    cargo("build", "--release", "--locked", "--manifest-path", manifest, "--target-dir", str(target))
    return target / "release"


def cargo(*words: str, pinned: bool = False) -> str:
    return output(["cargo", *words], pinned, cwd=PROJECT)


def output(command: list[str], pinned: bool = False, **options) -> str:
    pin = (lambda: os.sched_setaffinity(0, {CPU})) if pinned else None
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, preexec_fn=pin, **options)
    if done.returncode:
        sys.exit(f"`{' '.join(command)}` exited with {done.returncode}")
    return done.stdout


def parse() -> argparse.Namespace:
    return checked(options(__doc__, "write docs/performance.md"))


def options(about: str, write: str) -> argparse.ArgumentParser:
    """The options of every measurement."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("proxy", type=Path, help="the proxy binary, built with --release")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="number of rounds (7)")
    parser.add_argument("--check", action="store_true", help="exit 1 if a limit is missed")
    parser.add_argument("--write", action="store_true", help=write)
    return parser


def checked(parser: argparse.ArgumentParser) -> argparse.Namespace:
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    if not os.access(arguments.proxy, os.X_OK):
        parser.error(f"`{arguments.proxy}` is not a program; build it with `cargo build --release`")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
