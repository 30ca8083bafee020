"""Installs the conformance suite, runs it against a URL, and reads its results."""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

# Pinned: a newer suite may ask for tools that the server does not have yet.
SUITE = "0.2.0-alpha.12"
# The node that the suite needs. The package `node` would fetch this one with an install script.
MACHINE = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
NODE_PACKAGE = f"node-{sys.platform}-{MACHINE}"
NODE = "22"
# Scenarios of extensions belong to no revision.
EXTENSIONS = "extensions"
REVISIONS = ["2025-06-18", "2025-11-25", "2026-07-28", EXTENSIONS]
# How long all scenarios of a revision may take, in seconds.
PATIENCE = 900


class Key(NamedTuple):
    """Identifies a check. A scenario may use an id more than once."""

    revision: str
    scenario: str
    id: str
    name: str
    occurrence: int


class Check(NamedTuple):
    """The result of a check."""

    status: str
    message: str


class Suite:
    """The installed suite."""

    def __init__(self, cache: Path) -> None:
        self.modules = cache / "node_modules"
        self.node = self.modules / NODE_PACKAGE / "bin" / "node"
        self.install(cache)

    def install(self, cache: Path) -> None:
        package = self.modules / "@modelcontextprotocol" / "conformance" / "package.json"
        installed = package.exists() and json.loads(package.read_text())["version"]
        if installed == SUITE and self.node.exists():
            return
        cache.mkdir(parents=True, exist_ok=True)
        npm = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts"]
        packages = [f"@modelcontextprotocol/conformance@{SUITE}", f"{NODE_PACKAGE}@{NODE}"]
        subprocess.run([*npm, "--prefix", cache, *packages], check=True)

    def call(self, *arguments) -> str:
        """Returns its output. Its exit code only says whether a check failed."""
        command = [self.node, self.modules / ".bin" / "conformance", *arguments]
        environment = {**os.environ, "NO_COLOR": "1"}
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=PATIENCE
        )
        return done.stdout + done.stderr

    def scenarios(self, revision: str) -> list:
        """Returns the server scenarios of a revision, in the suite's order."""
        listed = re.findall(r"^ *- (\S+) \[(.*)\]$", self.call("list", "--server"), re.MULTILINE)
        tag = "extension" if revision == EXTENSIONS else revision
        return [name for name, tags in listed if tag in tags.split(",")]

    def run(self, url: str, revision: str, scenarios: list) -> dict:
        """Runs the scenarios, and returns their checks by key."""
        with tempfile.TemporaryDirectory(prefix="conformance-") as place:
            common = ["server", "--url", url, "--output-dir", place]
            if revision != EXTENSIONS:
                common += ["--spec-version", revision]
            if revision != EXTENSIONS and scenarios == self.scenarios(revision):
                self.call(*common, "--suite", "all")
            else:
                for scenario in scenarios:
                    self.call(*common, "--scenario", scenario)
            return read(Path(place), revision)


def read(place: Path, revision: str) -> dict:
    """Reads the results of a run: a folder per scenario, named after it and the time."""
    checks = {}
    for path in sorted(place.glob("*/checks.json")):
        scenario = re.sub(r"-\d{4}-\d\d-\d\dT[\d-]+Z$", "", path.parent.name).removeprefix("server-")
        for check in json.loads(path.read_text()):
            key = Key(revision, scenario, check["id"], check["name"], 1)
            while key in checks:
                key = key._replace(occurrence=key.occurrence + 1)
            message = check.get("errorMessage") or check.get("description", "")
            checks[key] = Check(check["status"], message)
    return checks
