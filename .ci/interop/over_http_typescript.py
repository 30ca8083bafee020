"""The TypeScript clients at a proxy over HTTP; see `over_http.mjs`."""

import contextlib
import json
import shutil

import anyio

from interop.checks import HERE, Checks, Setting
from interop.over_http import stage

SERVER = "dual-python"
TOKEN = "s3cret-of-ours"


async def first_generation_over_http(checks: Checks, setting: Setting) -> None:
    """`@modelcontextprotocol/sdk`."""
    await drive(checks, setting, 1)


async def second_generation_over_http(checks: Checks, setting: Setting) -> None:
    """`@modelcontextprotocol/client`, in both eras."""
    await drive(checks, setting, 2)


async def drive(checks: Checks, setting: Setting, generation: int) -> None:
    with contextlib.ExitStack() as stack:
        stages = {}
        for upstream in ("stdio", "http"):
            stages[upstream] = stack.enter_context(stage(setting, upstream))
            stages[f"{upstream}, late"] = stack.enter_context(stage(setting, upstream, "--timeout", "1"))
        stages["token"] = stack.enter_context(stage(setting, "stdio", token=TOKEN))
        proxies = {name: {"url": s.url, "log": str(s.log), "token": s.token} for name, s in stages.items()}
        proxies["wrong token"] = proxies["token"] | {"token": "s3cret-of-theirs"}
        plan = {"generation": generation, "cache": str(setting.cache), "files": str(setting.files)}
        await run_script(checks, setting, plan | {"stages": proxies})


async def run_script(checks: Checks, setting: Setting, plan: dict) -> None:
    command = [shutil.which("node"), str(HERE / "over_http.mjs"), json.dumps(plan)]
    with open(setting.place / "stderr.txt", "ab") as stderr:
        result = await anyio.run_process(command, check=False, stderr=stderr)
    for line in result.stdout.decode().splitlines():
        # The clients print hints of their own.
        if line.startswith(("ok - ", "not ok - ", "# ", "    found: ")):
            checks.take_over(line)
    checks.equal(f"the script for generation {plan['generation']} runs to its end", result.returncode, 0)


SECTIONS = [first_generation_over_http, second_generation_over_http]
