"""`wrap` in an empty home folder, with real clients: guarded, healthy, asked about, and restored to the byte."""

import json
import os
import re
import shlex
from pathlib import Path

from interop.checks import Checks, Setting, content, wire
from interop.clients import program, run

SERVER = "filesystem"
# VS Code has no command for it: comments, tabs, a trailing comma, CR LF, and a variable that only VS Code expands.
VSCODE = """{
\t// Servers for all workspaces.
\t"servers": {
\t\t"files": {
\t\t\t"type": "stdio",
\t\t\t"command": COMMAND,
\t\t\t"args": ARGS,
\t\t\t"env": { "API_KEY": "${input:key}" },
\t\t},
\t},
\t"inputs": [{ "id": "key", "type": "promptString", "password": true }],
}
""".replace("\n", "\r\n")
GUARDED = {
    ("claude-code", "files"),
    ("claude-code", "local"),
    ("claude-code", "remote"),
    ("codex", "files"),
    ("codex", "remote"),
    ("opencode", "files"),
    ("vscode", "files"),
}


class Machine:
    """An empty home folder, in which each client gets a configuration of its own."""

    def __init__(self, setting: Setting, url: str) -> None:
        self.setting, self.url, home = setting, url, setting.place / "home"
        self.state = home / ".local" / "state" / "approval-proxy"
        self.files = {
            "claude-code": home / ".claude.json",
            "vscode": home / ".config" / "Code" / "User" / "mcp.json",
            "codex": home / ".codex" / "config.toml",
            "opencode": home / ".config" / "opencode" / "opencode.json",
        }

    def configure(self) -> None:
        """Adds the servers with the client's own command, if it has one."""
        server = self.setting.direct
        self.claude("mcp", "add", "files", "--scope", "user", "--", *server)
        self.claude("mcp", "add", "local", "--env", "API_KEY=k", "--", *server)
        header = ("--header", "Authorization: Bearer t0ken-of-claude")
        self.claude("mcp", "add", "remote", "--scope", "user", "--transport", "http", self.url, *header)
        self.codex("mcp", "add", "files", "--", *server)
        self.codex("mcp", "add", "remote", "--url", self.url, "--bearer-token-env-var", "REMOTE_TOKEN")
        for client in ("vscode", "opencode"):
            self.files[client].parent.mkdir(parents=True)
        vscode = VSCODE.replace("COMMAND", json.dumps(server[0])).replace("ARGS", json.dumps(server[1:]))
        self.files["vscode"].write_bytes(vscode.encode())
        entry = {"type": "local", "command": server, "enabled": True}
        self.files["opencode"].write_text(json.dumps({"mcp": {"files": entry}}, indent=2))
        # At their first start, clients add something to their files.
        self.opencode("mcp", "list")
        self.claude("mcp", "list")

    def bytes(self) -> dict[str, bytes]:
        return {client: path.read_bytes() for client, path in self.files.items()}

    def claude(self, *words: str) -> str:
        return run(self.setting, program(self.setting, "@anthropic-ai/claude-code-linux-*/claude"), *words)

    def codex(self, *words: str) -> str:
        return run(self.setting, program(self.setting, ".bin/codex"), *words)

    def opencode(self, *words: str) -> str:
        return run(self.setting, program(self.setting, "opencode-linux-*/bin/opencode"), *words)

    def proxy(self, *words: str) -> str:
        return run(self.setting, str(self.setting.proxy), *words)

    def inspector(self, *words: str) -> str:
        """Returns what the Inspector prints about a server of Claude Code's file."""
        entry = json.loads(self.files["claude-code"].read_text())["mcpServers"]["files"]
        # The Inspector takes `--` in a server's arguments for its own, so they are in a script.
        script = self.setting.place / "files.sh"
        script.write_text(f"#!/bin/sh\nexec {shlex.join([entry['command'], *entry['args']])}\n")
        script.chmod(0o755)
        return run(self.setting, program(self.setting, ".bin/mcp-inspector"), "--cli", str(script), *words)

    def healthy_in_claude_code(self) -> list[str]:
        lines = self.claude("mcp", "list").splitlines()
        return sorted(line.split(":")[0] for line in lines if line.endswith("Connected"))

    def commands_in_codex(self) -> dict[str, list[str]]:
        """Returns how Codex starts each enabled server that it reads from its file. It connects to none."""
        told = self.codex("mcp", "list", "--json")
        # A warning about its temporary home folder may come first.
        listed = json.loads(told[told.find("\n[") + 1 :])
        transports = {entry["name"]: entry["transport"] for entry in listed if entry["enabled"]}
        return {name: [found.get("command"), *found.get("args", [])] for name, found in transports.items()}

    def guarded(self) -> set[tuple[str, str]]:
        listed = json.loads(self.proxy("clients", "--json"))
        return {(file["client"], server["name"]) for file in listed for server in file["servers"] if server["guarded"]}

    async def writes(self, file: Path, choice: str, *words: str) -> tuple[str, str | None]:
        """Makes the Inspector write a file, and answers the question in a terminal.

        Returns what the Inspector printed, and the file's content while the call waited.
        """
        import anyio

        call = ("--method", "tools/call", "--tool-name", "write_file")
        call += ("--tool-arg", f"path={file}", "--tool-arg", "content=from the Inspector")
        told = []

        async def inspects() -> None:
            told.append(await anyio.to_thread.run_sync(self.inspector, *call))

        async with anyio.create_task_group() as group:
            group.start_soon(inspects)
            item = await self.waiting()
            before = content(file)
            self.proxy("approvals", choice, item["id"], *words)
        return told[0], before

    async def waiting(self) -> dict:
        """Returns the call that waits in the inbox."""
        import anyio

        for _ in range(400):
            listed = await anyio.to_thread.run_sync(self.proxy, "approvals", "list", "--json")
            if items := json.loads(listed):
                return items[0]
            await anyio.sleep(0.1)
        raise EOFError("no call waits in the inbox")


async def clients_on_one_machine(checks: Checks, setting: Setting) -> None:
    """Claude Code, VS Code, Codex and opencode: `wrap --all --write`, used by each, and `unwrap --all --write`."""
    from interop.over_http import Listener, server_command

    with Listener(setting, server_command(setting, "--http", "0")) as server:
        machine = Machine(setting, server.url)
        machine.configure()
        every = ["files", "local", "remote"]
        checks.equal("Claude Code's own entries are healthy", machine.healthy_in_claude_code(), every)
        before = machine.bytes()
        plain = machine.commands_in_codex()

        shown = machine.proxy("wrap", "--all")
        checks.check("wrap shows no secret", "t0ken-of-claude" not in shown, shown)
        checks.check("wrap without --write writes nothing", machine.bytes() == before)
        said = machine.proxy("wrap", "--all", "--write")
        checks.check("wrap guards every server", "7 servers guarded" in said and machine.guarded() == GUARDED, said)
        await are_guarded_and_healthy(checks, machine)
        await vs_code_starts_its_entry(checks, machine)
        await a_call_is_asked_about(checks, machine)

        said = machine.proxy("unwrap", "--all", "--write")
        checks.check("unwrap restores every server", "7 servers restored" in said and machine.guarded() == set(), said)
        for client, text in machine.bytes().items():
            checks.check(f"the file of {client} is what it was, byte for byte", text == before[client], text.decode())
        left = sorted(str(path.relative_to(machine.state)) for path in (machine.state / "wrap").rglob("*"))
        checks.equal("no ledger and no backup is left", left, [])
        checks.equal("Claude Code's entries are healthy again", machine.healthy_in_claude_code(), every)
        checks.equal("Codex starts its servers as before", machine.commands_in_codex(), plain)


async def are_guarded_and_healthy(checks: Checks, machine: Machine) -> None:
    ours, server = str(machine.setting.proxy), machine.setting.direct
    healthy = machine.healthy_in_claude_code()
    checks.equal("Claude Code connects to every guarded server", healthy, ["files", "local", "remote"])
    wanted = {
        "files": [ours, "--name", "files", "--", *server],
        "remote": [ours, "--name", "remote", "--url", machine.url, "--bearer-env", "REMOTE_TOKEN"],
    }
    checks.equal("Codex reads the guarded entries", machine.commands_in_codex(), wanted)
    told = machine.opencode("mcp", "list")
    checks.check("opencode connects to its guarded server", "connected" in told and "failed" not in told, told)
    listed = json.loads(machine.proxy("clients", "--json"))
    connected = {file["client"] for file in listed for server in file["servers"] if server["connected"]}
    checks.check("`clients` says who has connected", {"claude-code", "opencode"} <= connected, listed)


async def vs_code_starts_its_entry(checks: Checks, machine: Machine) -> None:
    """VS Code cannot run here, so its entry is started with what it would start: command, args and env."""
    from mcp import ClientSession, StdioServerParameters, stdio_client

    text = re.sub(r"^\s*//.*$", "", machine.files["vscode"].read_text(), flags=re.M)
    entry = json.loads(re.sub(r",(\s*})", r"\1", text))["servers"]["files"]
    checks.equal("VS Code still fills in its own variable", entry["env"], {"API_KEY": "${input:key}"})
    environment = {"PATH": os.environ["PATH"], "HOME": str(machine.state.parents[2]), "API_KEY": "typed"}
    parameters = StdioServerParameters(command=entry["command"], args=entry["args"], env=environment)
    with open(machine.setting.place / "stderr.txt", "a") as stderr:
        async with stdio_client(parameters, errlog=stderr) as streams, ClientSession(*streams) as session:
            await session.initialize()
            names = [tool["name"] for tool in wire(await session.list_tools())["tools"]]
    checks.check("VS Code's guarded entry starts and lists its tools", "write_file" in names, names)


async def a_call_is_asked_about(checks: Checks, machine: Machine) -> None:
    """The Inspector shows no prompts, so its calls wait in the inbox."""
    tools = machine.inspector("--method", "tools/list")
    checks.check("the Inspector lists the tools of the guarded server", '"write_file"' in tools, tools)
    poem, new = machine.setting.files / "poem.txt", machine.setting.files / "new.txt"
    read = ("--tool-name", "read_text_file", "--tool-arg", f"path={poem}")
    told = machine.inspector("--method", "tools/call", *read)
    checks.check("a call that reads passes", "three" in told and '"isError"' not in told, told)
    told, before = await machine.writes(new, "deny", "--reason", "not yet")
    checks.check("a denied call does not run", (before, content(new)) == (None, None) and "not yet" in told, told)
    told, before = await machine.writes(new, "approve")
    checks.equal("an approved call runs, after the approval", (before, content(new)), (None, "from the Inspector"))
    history = json.loads(machine.proxy("approvals", "list", "--history", "--json"))
    decided = [(item["tool"], item["state"]) for item in history]
    checks.equal("the history has both", decided, [("write_file", "approved"), ("write_file", "denied")])


SECTIONS = [clients_on_one_machine]
