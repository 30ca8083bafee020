"""The TypeScript clients at a proxy over HTTP; see `over_http.mjs`."""

import contextlib
import json
import shutil

import anyio

from interop.checks import HERE, Checks, Setting
from interop.over_http import stage

SERVER = "dual-python"


async def first_to_stdio(checks: Checks, setting: Setting) -> None:
    """`@modelcontextprotocol/sdk`, a server over stdio."""
    await drive(checks, setting, 1, "stdio")


async def first_to_http(checks: Checks, setting: Setting) -> None:
    """`@modelcontextprotocol/sdk`, a server over HTTP."""
    await drive(checks, setting, 1, "http")


async def second_to_stdio(checks: Checks, setting: Setting) -> None:
    """`@modelcontextprotocol/client`, legacy and stateless, a server over stdio."""
    await drive(checks, setting, 2, "stdio")


async def second_to_http(checks: Checks, setting: Setting) -> None:
    """`@modelcontextprotocol/client`, legacy and stateless, a server over HTTP."""
    await drive(checks, setting, 2, "http")


async def drive(checks: Checks, setting: Setting, generation: int, upstream: str) -> None:
    with contextlib.ExitStack() as stack:
        stages = {
            "open": stack.enter_context(stage(setting, upstream, token=None)),
            "late": stack.enter_context(stage(setting, upstream, "--timeout", "1")),
            "token": stack.enter_context(stage(setting, upstream)),
        }
        proxies = {name: {"url": s.url, "log": str(s.log), "token": s.token} for name, s in stages.items()}
        proxies["wrong token"] = proxies["token"] | {"token": "s3cret-of-theirs"}
        plan = {"generation": generation, "cache": str(setting.cache), "files": str(setting.files)}
        await run_script(checks, setting, plan | {"stages": proxies, "upstream": upstream})


async def run_script(checks: Checks, setting: Setting, plan: dict) -> None:
    command = [shutil.which("node"), str(HERE / "over_http.mjs"), json.dumps(plan)]
    with open(setting.place / "stderr.txt", "ab") as stderr:
        result = await anyio.run_process(command, check=False, stderr=stderr)
    for line in result.stdout.decode().splitlines():
        # The clients also print hints of their own.
        if line.startswith(("ok - ", "not ok - ", "# ", "    found: ")):
            checks.take_over(line)
    checks.equal(f"the script for generation {plan['generation']} finishes", result.returncode, 0)


SECTIONS = [first_to_stdio, first_to_http, second_to_stdio, second_to_http]
