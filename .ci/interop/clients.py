"""Real clients with the proxy as their server: they list its tools, and show why it did not start."""

import json
import os
import re
import subprocess
from pathlib import Path

from interop.checks import Checks, Setting

NO_FILE = "no-such-file.json"
WHY = "cannot read this config file"
# Clients must not update themselves or report anything.
QUIET = {
    "CI": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "NO_COLOR": "1",
}


def ways(setting: Setting) -> tuple[list[str], list[str]]:
    """Returns the proxy's command, and the same with a missing config file."""
    good, _ = setting.proxied()
    bad = [str(setting.place / NO_FILE) if word.endswith(".json") else word for word in good]
    return good, bad


def program(setting: Setting, *names: str) -> str:
    """Returns the first installed program of these."""
    modules = setting.cache / "clients" / "node_modules"
    return next(str(path) for name in names for path in sorted(modules.glob(name)))


def run(setting: Setting, *command: str) -> str:
    """Returns what a client prints. It gets its own home folder."""
    home = setting.place / "home"
    home.mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment = kept | QUIET | {"HOME": str(home), "TMPDIR": str(setting.place)}
    done = subprocess.run(
        command,
        cwd=home,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=90,
        check=False,
    )
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stdout.decode(errors="replace"))


async def claude_code(checks: Checks, setting: Setting) -> None:
    """`claude mcp list` connects to each server."""
    claude = program(setting, "@anthropic-ai/claude-code-linux-*/claude")
    for name, way in zip(("good", "bad"), ways(setting)):
        run(setting, claude, "mcp", "add", name, "--scope", "user", "--", *way)
    lines = run(setting, claude, "mcp", "list").splitlines()
    told = {name: line for line in lines for name in ("good", "bad") if line.startswith(f"{name}:")}
    checks.check("Claude Code connects", "Connected" in told.get("good", ""), lines)
    # This list does not show the reason.
    checks.check("Claude Code says that it cannot connect", "Failed to connect" in told.get("bad", ""), lines)


async def codex(checks: Checks, setting: Setting) -> None:
    """`codex mcp list` reads its own configuration, and connects to nothing."""
    binary = program(setting, ".bin/codex")
    good, _ = ways(setting)
    run(setting, binary, "mcp", "add", "good", "--", *good)
    told = run(setting, binary, "mcp", "list", "--json")
    # A warning about its temporary home folder may come first.
    listed = json.loads(told[told.find("\n[") + 1 :])
    transports = [entry["transport"] for entry in listed if entry["name"] == "good" and entry["enabled"]]
    found = [[transport["command"], *transport["args"]] for transport in transports]
    checks.equal("Codex keeps the proxy's command as it is", found, [good])


async def opencode(checks: Checks, setting: Setting) -> None:
    """`opencode mcp list` connects to each server, and shows errors."""
    binary = program(setting, "opencode-linux-*/bin/opencode")
    servers = {
        name: {"type": "local", "command": way, "enabled": True}
        for name, way in zip(("good", "bad"), ways(setting))
    }
    config = setting.place / "home" / ".config" / "opencode" / "opencode.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"mcp": servers}))
    told = run(setting, binary, "mcp", "list")
    checks.check("opencode connects", bool(re.search(r"good +connected", told)), told)
    checks.check("opencode shows why a start failed", WHY in told, told)


async def inspector(checks: Checks, setting: Setting) -> None:
    """The Inspector's command line lists the tools, and shows errors."""
    binary = program(setting, ".bin/mcp-inspector")
    good, bad = ways(setting)
    config = setting.place / "inspector.json"
    servers = {
        name: {"type": "stdio", "command": way[0], "args": way[1:]}
        for name, way in (("good", good), ("bad", bad))
    }
    config.write_text(json.dumps({"mcpServers": servers}))
    asked = ("--cli", "--config", str(config), "--method", "tools/list", "--server")
    tools = run(setting, binary, *asked, "good")
    checks.check("the Inspector lists the tools", '"write_file"' in tools, tools)
    told = run(setting, binary, *asked, "bad")
    checks.check("the Inspector shows why a start failed", WHY in told, told)


async def fastmcp(checks: Checks, setting: Setting) -> None:
    """FastMCP's client lists the tools, and raises the error."""
    from fastmcp import Client
    from fastmcp.client.transports import StdioTransport

    def client(way: list[str]):
        log = setting.place / "stderr.txt"
        return Client(StdioTransport(way[0], way[1:], keep_alive=False, log_file=log))

    good, bad = ways(setting)
    async with client(good) as connected:
        names = [tool.name for tool in await connected.list_tools()]
    checks.check("FastMCP lists the tools", any(name.endswith("write_file") for name in names), names)
    told = ""
    try:
        async with client(bad) as connected:
            await connected.list_tools()
    except Exception as error:
        told = str(error)
    checks.check("FastMCP shows why a start failed", WHY in told, told)


SERVER = "filesystem"
SECTIONS = [claude_code, codex, opencode, inspector, fastmcp]
