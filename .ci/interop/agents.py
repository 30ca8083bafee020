"""The official clients drive `approval-proxy mcp`: approval tools, over stdio and HTTP, legacy and stateless.

The person decides at the terminal, as a user does.
"""

import contextlib
import hmac
import json
import re
import shutil
import subprocess
from pathlib import Path

import anyio

from interop.checks import HERE, Checks, Setting, call, failed, text, wire
from interop.eras import LEGACY, MODERN, MODES
from interop.over_http import TOKEN, Listener, Stage, numbers
from interop.over_http import client as http_client

SERVER = "filesystem"
SCRIPT = Path(__file__).with_name("agents.mjs")
TOOLS = ["request_approval", "check_approval", "cancel_approval"]


class Desk:
    """A state folder, the servers that use it, and the person who decides there."""

    def __init__(self, setting: Setting, **section: str) -> None:
        self.setting, self.state = setting, setting.place / f"state-{next(numbers)}"
        self.state.mkdir(mode=0o700)
        self.config = setting.place / f"agents-{next(numbers)}.json"
        self.config.touch(mode=0o600)
        self.config.write_text(json.dumps({"approvalProxy": {"engines": ["inbox"]} | section}))

    def command(self, *flags: str) -> list[str]:
        own = ["--config", str(self.config), "--state-dir", str(self.state), "--inbox-port", "0", "--no-browser"]
        return [str(self.setting.proxy), "mcp", *own, *flags]

    def decide(self, mark: str, verdict: str) -> None:
        """Waits for the item that has this mark, and decides about it."""
        decide(str(self.setting.proxy), str(self.state), mark, verdict)

    @contextlib.contextmanager
    def listening(self):
        command = self.command("--transport", "streamable-http", "--port", "0")
        with Listener(self.setting, command, {"APPROVAL_AUTH_TOKEN": TOKEN}) as server:
            yield server.url


def decide(proxy: str, state: str, mark: str, verdict: str) -> None:
    import time

    approvals = [proxy, "approvals"]
    for _ in range(400):
        listed = subprocess.run([*approvals, "list", "--json", "--state-dir", state], capture_output=True, text=True)
        found = [item["id"] for item in json.loads(listed.stdout or "[]") if mark in json.dumps(item)]
        if found:
            reason = ["--reason", "see OPS-12"] if verdict == "deny" else []
            return subprocess.run([*approvals, verdict, found[0], *reason, "--state-dir", state], check=True, capture_output=True)
        time.sleep(0.02)
    raise TimeoutError(f"nobody was asked about {mark}")


async def python_over_stdio(checks: Checks, setting: Setting) -> None:
    """`mcp`, over stdio."""
    import mcp

    for mode, era in MODES.items():
        desk = Desk(setting)
        client = mcp.Client(setting.transport(desk.command()), mode=mode)
        await use(checks, desk, client, era, f"stdio, {mode}")


async def python_over_http(checks: Checks, setting: Setting) -> None:
    """`mcp`, over HTTP."""
    desk = Desk(setting)
    with desk.listening() as url:
        for mode, era in MODES.items():
            client = http_client(Stage(url, desk.state, None, TOKEN), mode)
            await use(checks, desk, client, era, f"http, {mode}")


async def use(checks: Checks, desk: Desk, client, era: str, how: str) -> None:
    async with client as session:
        checks.equal(f"{how}: the revision", str(session.protocol_version), era)
        names = [tool["name"] for tool in wire(await session.list_tools())["tools"]]
        checks.equal(f"{how}: the tools", names, TOOLS)
        for verdict, expected in [("approve", "approved"), ("deny", "denied")]:
            mark = f"{how}: {verdict}"
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.to_thread.run_sync, desk.decide, mark, verdict)
                found = await call(session, "request_approval", {"action": mark, "wait_seconds": 30})
            answer = found.get("structuredContent", {})
            checks.equal(f"{how}: {verdict}", answer.get("status"), expected)
            checks.equal(f"{how}: the text says the same", json.loads(text(found)), answer)
        checks.equal(f"{how}: the person's reason", answer.get("reason"), "see OPS-12")

        asked = await call(session, "request_approval", {"action": f"{how}: later", "wait_seconds": 0})
        asked = asked["structuredContent"]
        checks.equal(f"{how}: without waiting it is pending", asked["status"], "pending")
        name = {"approval_id": asked["approval_id"]}
        cancelled = await call(session, "cancel_approval", name)
        checks.equal(f"{how}: it can be withdrawn", cancelled["structuredContent"]["status"], "cancelled")
        after = await call(session, "check_approval", name)
        checks.equal(f"{how}: and stays so", after["structuredContent"]["status"], "cancelled")
        wrong = await call(session, "request_approval", {"action": "x", "recipients": ["me@evil.example"]})
        checks.check(f"{how}: an unknown recipient is an error", failed(wrong) and "recipients" in text(wrong), wrong)


async def first_generation(checks: Checks, setting: Setting) -> None:
    """`@modelcontextprotocol/sdk`."""
    await drive(checks, setting, 1)


async def second_generation(checks: Checks, setting: Setting) -> None:
    """`@modelcontextprotocol/client`, legacy and stateless."""
    await drive(checks, setting, 2)


async def drive(checks: Checks, setting: Setting, generation: int) -> None:
    desk = Desk(setting)
    with desk.listening() as url:
        command, *args = desk.command()
        plan = {"generation": generation, "cache": str(setting.cache), "url": url, "token": TOKEN}
        plan |= {"proxy": command, "args": args, "state": str(desk.state), "modern": MODERN, "legacy": LEGACY}
        with open(setting.place / "stderr.txt", "ab") as stderr:
            script = [shutil.which("node"), str(SCRIPT), json.dumps(plan)]
            result = await anyio.run_process(script, check=False, stderr=stderr)
    for line in result.stdout.decode().splitlines():
        if line.startswith(("ok - ", "not ok - ", "    found: ")):
            checks.take_over(line)
    checks.equal(f"the script for generation {generation} finishes", result.returncode, 0)


async def verifiers(checks: Checks, setting: Setting) -> None:
    """The verifiers of docs/agents.md accept signed decisions, and no altered ones."""
    import mcp

    page = (HERE.parent.parent / "docs" / "agents.md").read_text()
    code = {language: re.findall(rf"```{language}\n(.*?)```", page, re.S) for language in ("js", "python")}
    python = next(block for block in code["python"] if "def verify" in block)
    own: dict = {}
    exec(python, own)
    desk = Desk(setting, decisionSecret="s3cret-of-decisions")
    async with mcp.Client(setting.transport(desk.command())) as session:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, desk.decide, "Zahle 40 €", "deny")
            asked = {"action": "Zahle 40 €", "details": {"ü": 1e21}, "wait_seconds": 30}
            real = (await call(session, "request_approval", asked))["structuredContent"]
    checks.check("Python accepts a decision", own["verify"](real, "s3cret-of-decisions"), real)
    for member, value in {"status": "approved", "nonce": "0", "reason": ""}.items():
        altered = own["verify"](real | {member: value}, "s3cret-of-decisions")
        checks.check(f"Python accepts no altered {member}", not altered)
    # Numbers, letters and nested fields that are written differently elsewhere.
    numbers = [0, -0.0, 1, -7, 4.5, 1e21, 1e20, 123456789012345680000, 1e-6, 1e-7, 5e-324, 1.7976931348623157e308, 0.1, 2**53]
    fields = {"ü": numbers, "\U0001f600": "✋", "\uffff": None, "z": {"b": True, "a": [{}]}, "t": "\x7f\x1f\"\\\n/"}
    odd = {"approval_id": "ap_1", "fields": fields}
    odd["signature"] = "sha256=" + hmac.new(b"k", own["canonical"](odd).encode(), "sha256").hexdigest()
    cases = [[real, "s3cret-of-decisions"], [real | {"status": "approved"}, "s3cret-of-decisions"], [odd, "k"], [odd, "l"]]
    script = setting.place / "verify.mjs"
    script.write_text(code["js"][0] + 'console.log(JSON.stringify(JSON.parse(process.argv[2]).map((c) => verify(...c))));')
    found = await anyio.run_process([shutil.which("node"), str(script), json.dumps(cases)])
    checks.equal("Node agrees, also about odd numbers and letters", json.loads(found.stdout), [True, False, True, False])


SECTIONS = [verifiers, python_over_stdio, python_over_http, first_generation, second_generation]
