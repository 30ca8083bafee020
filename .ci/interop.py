#!/usr/bin/env python3
"""Drives approval-proxy with software that we did not write.

Clients: the official Python SDK (`mcp`) and the official TypeScript ones (`@modelcontextprotocol/sdk`,
`@modelcontextprotocol/client`). Servers: `@modelcontextprotocol/server-filesystem`,
`@modelcontextprotocol/server-everything` and `mcp-server-git`, and two of our own that speak legacy and
stateless revisions through the Python SDK and `@modelcontextprotocol/server`, each in a temporary
directory. Claude Code, Codex, opencode, the Inspector and FastMCP's client start the proxy too. The proxy
runs between them, over stdio and over HTTP. No check believes what the proxy says: each looks at the
files, at what client and server received, or at what the same server answers without the proxy.

    .ci/interop.py PATH/TO/approval-proxy [--cache DIR] [--only WORD]

Needs python3 with venv, node, npm and git. Installs the packages once into the cache directory (default:
approval-proxy-interop in the user's cache); delete it to get newer ones. Prints a line per check; exits 1
if one failed, 2 if nothing could be checked.
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
# Large, and used by two parts only, so they have their own folder. The first two are built for this
# machine's processor.
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
    parser.add_argument("--only", default="", help="run only sections whose name contains this")
    arguments = parser.parse_args()
    proxy, cache = arguments.proxy.resolve(), arguments.cache.resolve()
    if not os.access(proxy, os.X_OK) or proxy.is_dir():
        print(f"interop: `{proxy}` is not a program", file=sys.stderr)
        return 2

    if Path(sys.prefix) == cache / "venv":
        import anyio

        return anyio.run(run, proxy, cache, arguments.only)
    # The checks need the SDK, so run this file again in the interpreter that has it.
    try:
        python = install(cache, arguments.only)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"interop: cannot install the clients or servers: {error}", file=sys.stderr)
        return 2
    # SDK 2.x warns about what the newest revision removed.
    command = [python, "-B", "-W", "ignore", __file__, proxy, "--cache", cache, "--only", arguments.only]
    return subprocess.run(command).returncode


def install(cache: Path, only: str) -> Path:
    """Installs missing clients and servers into `cache`, as far as `only` needs them. Returns its python."""
    python = cache / "venv" / "bin" / "python"
    imports = "from mcp import Client; import mcp_server_git, fastmcp"
    if not python.exists() or subprocess.run([python, "-c", imports], capture_output=True).returncode:
        subprocess.run([sys.executable, "-m", "venv", "--clear", cache / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PYTHON_PACKAGES], check=True)
    if not all((cache / "node_modules" / package / "package.json").exists() for package in NODE_PACKAGES):
        npm = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts"]
        subprocess.run([*npm, "--prefix", cache, *NODE_PACKAGES], check=True)
    clients = cache / "clients"
    has_clients = all((clients / "node_modules" / package / "package.json").exists() for package in CLIENT_PACKAGES)
    if needs_clients(only) and not has_clients:
        clients.mkdir(exist_ok=True)
        npm = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts"]
        subprocess.run([*npm, "--prefix", clients, *CLIENT_PACKAGES], check=True)
    return python


def needs_clients(only: str) -> bool:
    sys.dont_write_bytecode = True
    from interop import clients, wrap

    parts = [(part, section) for part in (clients, wrap) for section in part.SECTIONS]
    return any(only in f"{part.__name__}.{section.__name__}" for part, section in parts)


async def run(proxy: Path, cache: Path, only: str) -> int:
    from interop import agents, agents_compat, at_once, clients, eras, everything, filesystem, git, prefix, restarts, same, typescript, urls, wrap
    from interop import over_http, over_http_again, over_http_by_hand, over_http_restarts
    from interop import over_http_scenes, over_http_typescript
    from interop.checks import Checks, Setting

    sys.stdout.reconfigure(line_buffering=True)
    checks = Checks()
    print(f"# {versions(proxy, cache)}")
    parts = [filesystem, everything, git, same, prefix, eras, urls, at_once, typescript]
    parts += [over_http, over_http_scenes, over_http_restarts, over_http_by_hand]
    parts += [over_http_again, over_http_typescript, restarts, agents, agents_compat, clients, wrap]
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
        checks.check(f"{section.__name__} finishes", False, innermost(error))
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
    if (cache / "clients").exists():
        found += [f"{package} {of_node(package, cache / 'clients')}" for package in CLIENT_PACKAGES]
    return ", ".join(found)


if __name__ == "__main__":
    sys.exit(main())
