#!/usr/bin/env python3
"""Drives approval-proxy with software that we did not write.

Clients: the official Python SDK (`mcp`) and the official TypeScript ones (`@modelcontextprotocol/sdk`,
`@modelcontextprotocol/client`). Servers: `@modelcontextprotocol/server-filesystem`,
`@modelcontextprotocol/server-everything` and `mcp-server-git`, and two of our own that speak both eras
of the protocol by means of the Python SDK and of `@modelcontextprotocol/server`, each on a temporary
directory. Programs that people use start the proxy too: Claude Code, Codex, opencode, the Inspector and
FastMCP's client. The proxy stands between them, over stdio and over HTTP. What the proxy says is never
believed: every check looks at the files, at what client and server got, or at what the same server
answers without the proxy.

    .ci/interop.py PATH/TO/approval-proxy [--cache DIR] [--only WORD]

Needs python3 with venv, node, npm and git. The packages are installed once into the cache directory
(default: approval-proxy-interop in the user's cache) and found there by later runs; remove it for
newer ones. Prints a line per check; exits 1 if one failed, 2 if nothing could be checked.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

PYTHON_PACKAGES = ["mcp", "mcp-server-git", "fastmcp"]
NODE_PACKAGES = [
    "@modelcontextprotocol/sdk",
    "@modelcontextprotocol/client",
    "@modelcontextprotocol/server",
    "@modelcontextprotocol/server-filesystem",
    "@modelcontextprotocol/server-everything",
]
# Large, and only started by one section: in a folder of their own. The programs of the first two are for
# this machine's processor.
PROCESSOR = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), "x64")
CLIENT_PACKAGES = [
    f"@anthropic-ai/claude-code-linux-{PROCESSOR}",
    f"opencode-linux-{PROCESSOR}",
    "@openai/codex",
    "@modelcontextprotocol/inspector",
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("proxy", type=Path, help="the approval-proxy to check")
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--cache", type=Path, default=user_cache / "approval-proxy-interop")
    parser.add_argument("--only", default="", help="only the sections whose name has this in it")
    arguments = parser.parse_args()
    proxy, cache = arguments.proxy.resolve(), arguments.cache.resolve()
    if not os.access(proxy, os.X_OK) or proxy.is_dir():
        print(f"interop: `{proxy}` is not a program", file=sys.stderr)
        return 2

    if Path(sys.prefix) == cache / "venv":
        import anyio

        return anyio.run(run, proxy, cache, arguments.only)
    # The checks need the SDK, so they run as this same file in the interpreter that has it.
    try:
        python = install(cache)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"interop: the clients or the servers cannot be installed: {error}", file=sys.stderr)
        return 2
    # 2.x of the SDK warns of what the newest revision no longer has.
    command = [python, "-B", "-W", "ignore", __file__, proxy, "--cache", cache, "--only", arguments.only]
    return subprocess.run(command).returncode


def install(cache: Path) -> Path:
    """Puts clients and servers into `cache`, if they are not there. Returns its python."""
    python = cache / "venv" / "bin" / "python"
    imports = "from mcp import Client; import mcp_server_git, fastmcp"
    if not python.exists() or subprocess.run([python, "-c", imports], capture_output=True).returncode:
        subprocess.run([sys.executable, "-m", "venv", "--clear", cache / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PYTHON_PACKAGES], check=True)
    if not all((cache / "node_modules" / package / "package.json").exists() for package in NODE_PACKAGES):
        npm = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts"]
        subprocess.run([*npm, "--prefix", cache, *NODE_PACKAGES], check=True)
    clients = cache / "clients"
    if not all((clients / "node_modules" / package / "package.json").exists() for package in CLIENT_PACKAGES):
        clients.mkdir(exist_ok=True)
        npm = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts"]
        subprocess.run([*npm, "--prefix", clients, *CLIENT_PACKAGES], check=True)
    return python


async def run(proxy: Path, cache: Path, only: str) -> int:
    from interop import at_once, clients, eras, everything, filesystem, git, restarts, same, typescript, urls
    from interop import over_http, over_http_again, over_http_by_hand, over_http_restarts
    from interop import over_http_scenes, over_http_typescript
    from interop.checks import Checks, Setting

    sys.stdout.reconfigure(line_buffering=True)
    checks = Checks()
    print(f"# {versions(proxy, cache)}")
    parts = [filesystem, everything, git, same, eras, urls, at_once, typescript]
    parts += [over_http, over_http_scenes, over_http_restarts, over_http_by_hand]
    parts += [over_http_again, over_http_typescript, restarts, clients]
    for part in parts:
        for section in part.SECTIONS:
            name = f"{part.__name__}.{section.__name__}"
            if only not in name:
                continue
            print(f"# {name}: {(section.__doc__ or part.__doc__).splitlines()[0]}")
            with tempfile.TemporaryDirectory() as place:
                setting = Setting(proxy, cache, Path(place).resolve(), part.SERVER)
                await run_section(checks, section, setting)
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


async def run_section(checks, section, setting) -> None:
    import anyio

    failed_before = checks.failed
    try:
        with anyio.fail_after(240):
            await section(checks, setting)
    except BaseException as error:  # the SDK wraps failures in exception groups
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        checks.check(f"{section.__name__} runs to its end", False, innermost(error))
    stderr = setting.place / "stderr.txt"
    if checks.failed > failed_before and stderr.exists():
        print("    stderr:", *stderr.read_text().splitlines()[-10:], sep="\n      ")


def innermost(error: BaseException) -> str:
    while getattr(error, "exceptions", None):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def versions(proxy: Path, cache: Path) -> str:
    from importlib.metadata import version

    def of_node(package: str, place: Path = cache) -> str:
        return json.loads((place / "node_modules" / package / "package.json").read_text())["version"]

    said = subprocess.run([proxy, "--version"], capture_output=True, text=True, timeout=10).stdout
    found = [said.strip() or proxy.name]
    found += [f"{package} {version(package)}" for package in PYTHON_PACKAGES]
    found += [f"{package} {of_node(package)}" for package in NODE_PACKAGES]
    found += [f"{package} {of_node(package, cache / 'clients')}" for package in CLIENT_PACKAGES]
    return ", ".join(found)


if __name__ == "__main__":
    sys.exit(main())
