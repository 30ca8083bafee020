"""The TypeScript clients through the proxy to all servers; see `typescript.mjs`."""

import json
import shutil
from pathlib import Path

import anyio

from interop.checks import Checks, Setting
from interop.git import make_repository

SERVER = "filesystem"
SCRIPT = Path(__file__).with_name("typescript.mjs")


async def first_generation(checks: Checks, setting: Setting) -> None:
    """`@modelcontextprotocol/sdk`."""
    await drive(checks, setting, 1)


async def second_generation(checks: Checks, setting: Setting) -> None:
    """`@modelcontextprotocol/client`."""
    await drive(checks, setting, 2)


async def both_eras(checks: Checks, setting: Setting) -> None:
    """`@modelcontextprotocol/client`, legacy and stateless, with servers that speak both."""
    await drive(checks, setting, 2, "eras")


async def by_url(checks: Checks, setting: Setting) -> None:
    """`@modelcontextprotocol/client`, legacy and stateless, sent to the inbox's page."""
    await drive(checks, setting, 2, "urls")


async def drive(checks: Checks, setting: Setting, generation: int, scenes: str = "servers") -> None:
    make_repository(setting)
    plan = {"generation": generation, "scenes": scenes, "cache": str(setting.cache), "proxy": str(setting.proxy)}
    plan |= {"place": str(setting.place), "files": str(setting.files), "servers": setting.servers}
    with open(setting.place / "stderr.txt", "ab") as stderr:
        command = [shutil.which("node"), str(SCRIPT), json.dumps(plan)]
        result = await anyio.run_process(command, check=False, stderr=stderr)
    for line in result.stdout.decode().splitlines():
        # The clients also print hints of their own.
        if line.startswith(("ok - ", "not ok - ", "# ", "    found: ")):
            checks.take_over(line)
    checks.equal(f"the script for generation {generation}, {scenes}, finishes", result.returncode, 0)


SECTIONS = [first_generation, second_generation, both_eras, by_url]
