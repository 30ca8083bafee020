"""docs/performance.md, written from what was measured."""

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path
from statistics import median

from http_scenes import HTTP_SCENES, MCP_PROXY, TO_HTTP, TO_STDIO, HttpScene
from scenes import KINDS, MEMORY_LIMIT, SCENES, START_UP_LIMIT, Scene

PAGE = """\
# Performance

Written by `bench/run.py`; do not edit. To measure again, on an idle Linux machine:

```sh
cargo build --release
bench/run.py target/release/approval-proxy --write
```

## Method

`mcpload`, a client that does nothing else, makes tool calls over stdio to `mcp-echo`, a server that
does nothing but answer: directly; through `byte-pump`, which copies bytes between the two, a thread
for each direction, and looks at nothing; and through the proxy, with its default policy, its audit
log on, and a line in it for every call. The pump stands for what any proxy has to spend on system
calls, so the proxy is held against it.

The three take turns, {rounds} rounds long, and all processes of a measurement share one CPU. Times
are the median over a run's calls, seen from the client. A figure is the median over the rounds, with
the lowest and the highest round behind it; a ratio is that of two runs of one round. Limits are the
targets that the project sets itself: of the ratio, or of the proxy's own figure.

{machine}

## End to end

| scene | direct | byte pump | proxy | proxy ÷ pump | limit |
|---|---|---|---|---|---|
{scenes}

A passed call of 100 B takes {proxy_adds} µs longer with the proxy than directly, and
{pump_adds} µs longer with the pump. In the last scene only the proxy asks, and the client says yes
at once: what is added is the question's way to the client and the answer's way back.

## Processes

Start-up is the time from the start of the command to its answer to `initialize`, which includes the
start of the server behind it. Memory is the peak resident size of the process that the client
starts, without the server behind it.

| | direct | byte pump | proxy | limit of the proxy |
|---|---|---|---|---|
{processes}

## Parts

Medians of the micro-benchmarks, `cargo bench`. They are of the code alone, without system calls but
for `LedgerFile::append`.

| part | what | median |
|---|---|---|
{parts}
"""

HTTP_TITLE = "## Over HTTP"
HTTP_SECTION = """\
## Over HTTP

Written by `bench/run_http.py target/release/approval-proxy --write`. `httpload` makes calls of 100 B
over streamable HTTP, each call in flight on a connection of its own, which is kept, and holds each
answer against its call. As above, a measurement's processes share one CPU, its ways take turns,
{rounds} rounds long, and a figure is the median over the rounds.

{machine}

To `http-echo`, a server that does nothing but answer: directly; through `http-relay`, which hands
requests and responses on and looks at neither; and through the proxy, its audit log on.

{to_http}

To `mcp-echo`, over stdio: through npm's `mcp-proxy` {mcp_proxy} without its store of events, which
slows it down, and through the proxy.

{to_stdio}

Peak memory over these scenes, MiB: {memory}.
"""


def text(bench, parts: str, rounds: int, load: float, cpu: int) -> str:
    """The whole page; `parts` is what `cargo bench` printed."""
    direct, pump, proxy = (median(bench.figures(SCENES[0], kind)) for kind in KINDS)
    return PAGE.format(
        rounds=rounds,
        machine=machine(bench.proxy, load, cpu),
        scenes="\n".join(scene_row(bench, scene) for scene in SCENES),
        proxy_adds=number(proxy - direct, 1),
        pump_adds=number(pump - direct, 1),
        processes="\n".join(process_rows(bench)),
        parts="\n".join(f"| {part} | {what} | {time} |" for part, what, time in medians(parts)),
    )


def over_http(bench, rounds: int, load: float, cpu: int) -> str:
    """The section of what was measured over HTTP."""
    kinds = ("http-relay", "mcp-proxy", "proxy")
    return HTTP_SECTION.format(
        rounds=rounds,
        machine=machine(bench.proxy, load, cpu),
        to_http=http_table(bench, TO_HTTP),
        mcp_proxy=MCP_PROXY,
        to_stdio=http_table(bench, TO_STDIO),
        memory=", ".join(f"{kind} {spread(bench.memory(kind))}" for kind in kinds),
    )


def http_table(bench, kinds: tuple[str, ...]) -> str:
    scenes = [scene for scene in HTTP_SCENES if scene.kinds == kinds]
    head = f"| scene | {' | '.join(kinds)} | proxy ÷ {scenes[0].beside} | limit |"
    return "\n".join([head, "|---" * (len(kinds) + 3) + "|", *(http_row(bench, scene) for scene in scenes)])


def http_row(bench, scene: HttpScene) -> str:
    kinds = " | ".join(spread(bench.figures(scene, kind)) for kind in scene.kinds)
    ratios = bench.ratios(scene)
    limit = "none"
    if scene.limit:
        limit = verdict(str(scene.limit), scene.limit.holds(median(ratios)))
    return f"| {scene.name}, {scene.unit} | {kinds} | {spread(ratios, 2)} | {limit} |"


def section_over_http(page: str) -> str:
    """That section of a page; nothing where it has none."""
    found = re.search(rf"^{HTTP_TITLE}\n(?:(?!## ).*\n?)*", page, re.M)
    return found[0] if found else ""


def with_section(page: str, section: str) -> str:
    """The page with that section, in place of the one before or at its end."""
    if not section:
        return page
    before, _, after = page.partition(section_over_http(page) or "\0")
    return "\n\n".join(part.strip("\n") for part in (before, section, after) if part) + "\n"


def machine(proxy: Path, load: float, cpu: int) -> str:
    commit = said("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty")
    facts = {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "proxy": f"{said(str(proxy), '--version')}, work tree at {commit or 'no commit'}",
        "processor": f"{processor()}, {os.cpu_count()} CPUs, of which CPU {cpu} was used",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "compiler": said("rustc", "--version"),
        "load before": f"{load:.2f}",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in facts.items())])


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def said(*command: str) -> str:
    """What a command prints; nothing where there is none."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def scene_row(bench, scene: Scene) -> str:
    kinds = " | ".join(spread(bench.figures(scene, kind)) for kind in KINDS)
    ratios = bench.ratios(scene)
    limit = verdict(str(scene.limit), scene.limit.holds(median(ratios)))
    return f"| {scene.name}, {scene.unit} | {kinds} | {spread(ratios, 2)} | {limit} |"


def process_rows(bench) -> list[str]:
    def row(what: str, of, limit: float | None) -> str:
        shown = "none" if limit is None else verdict(f"≤ {limit:.1f}", median(of("proxy")) <= limit)
        return f"| {what} | {' | '.join(spread(of(kind)) for kind in KINDS)} | {shown} |"

    return [
        row("start-up, ms", bench.start_ups, START_UP_LIMIT),
        row("memory with 100 B messages, MiB", bench.memory, MEMORY_LIMIT),
        row("memory with 1 MiB messages, MiB", lambda kind: bench.memory(kind, is_large=True), None),
    ]


def verdict(limit: str, is_kept: bool) -> str:
    return limit if is_kept else f"{limit}, missed"


def spread(values: list[float], digits: int = 1) -> str:
    """The median, and from where to where the rounds went."""
    low, middle, high = (number(value, digits) for value in (min(values), median(values), max(values)))
    return f"**{middle}** ({low}–{high})"


def number(value: float, digits: int) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.{digits}f}"


def medians(printed: str) -> list[tuple[str, str, str]]:
    """The leaves of the tree that divan prints: module, benchmark, median."""
    found, path = [], []
    for line in printed.splitlines():
        branch = re.match(r"((?:│  |   )*)[├╰]─ (.+?)(?:  +(.*)| *│.*)?$", line)
        if not branch:
            continue
        indent, name, columns = branch.groups()
        path[len(indent) // 3 :] = [name]
        columns = [column.strip() for column in (columns or "").split("│")]
        # fastest, slowest, median, mean, samples, iterations
        if len(columns) == 6 and columns[2]:
            found.append((path[0], ": ".join(path[1:]), columns[2]))
    return found
