"""Shared by all interoperability checks: counting, settings, a person, a few helpers."""

import contextlib
import json
import shutil
import sys
from pathlib import Path


HERE = Path(__file__).resolve().parent


class Checks:
    """Counts the checks and prints a line for each."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def check(self, sentence: str, holds: bool, found: object = None) -> None:
        if holds:
            self.passed += 1
            print(f"ok - {sentence}")
        else:
            self.failed += 1
            print(f"not ok - {sentence}")
            if found is not None:
                print(f"    found: {found}")

    def take_over(self, line: str) -> None:
        """Counts and prints a check that another program has reported in one line."""
        self.passed += line.startswith("ok - ")
        self.failed += line.startswith("not ok - ")
        print(line)

    def equal(self, sentence: str, found: object, expected: object) -> None:
        self.check(sentence, found == expected, f"{found}\n    wanted: {expected}")


class Setting:
    """A directory with a few files, the servers that use it, and the proxy in front of them."""

    def __init__(self, proxy: Path, cache: Path, place: Path, server: str = "filesystem") -> None:
        self.proxy, self.cache, self.place, self.server = proxy, cache, place, server
        self.files = place / "files"
        node, programs = shutil.which("node"), cache / "node_modules" / ".bin"
        self.servers = {
            "filesystem": [node, str(programs / "mcp-server-filesystem"), str(self.files)],
            "everything": [node, str(programs / "mcp-server-everything")],
            "git": [sys.executable, "-m", "mcp_server_git", "--repository", str(self.files)],
            "dual-python": [sys.executable, str(HERE / "dual_server.py"), str(self.files)],
            "dual-typescript": [node, str(HERE / "dual_server.mjs"), str(cache), str(self.files)],
        }
        self.servers["dual-both"] = [*self.servers["dual-python"], "--both"]
        self.direct = self.servers[server]
        self.logs = 0
        self.refill()

    def refill(self) -> None:
        """Resets the directory."""
        shutil.rmtree(self.files, ignore_errors=True)
        (self.files / "sub").mkdir(parents=True)
        (self.files / "poem.txt").write_text("one\ntwo\nthree\n")
        (self.files / "sub" / "deep.txt").write_text("Grüße aus der Tiefe\n")

    def tree(self) -> dict:
        paths = sorted(self.files.rglob("*"))
        return {str(p.relative_to(self.files)): p.read_text() if p.is_file() else None for p in paths}

    def proxied(self, *flags: str) -> tuple[list[str], Path]:
        """Returns the command of a proxy and the path of its own audit log."""
        self.logs += 1
        config = self.place / f"upstream-{self.server}.json"
        entry = {"command": self.direct[0], "args": self.direct[1:]}
        config.write_text(json.dumps({"mcpServers": {self.server: entry}, "approvalProxy": ANSWERS_AT_ONCE}))
        log = self.place / f"audit-{self.logs}.jsonl"
        upstream = ["--upstream", str(config), "--audit-log", str(log), "--engine", "elicitation"]
        return [str(self.proxy), *upstream, *flags], log

    def prefixed(self, server: list[str], *flags: str) -> tuple[list[str], Path]:
        """Returns the command of a proxy that guards this command without a config file, and its audit log."""
        command, log = self.alone(*flags)
        return [*command, "--", *server], log

    def alone(self, *flags: str) -> tuple[list[str], Path]:
        """Returns the command of a proxy without a config file, and the path of its own audit log."""
        self.logs += 1
        config = self.place / "config.json"
        config.write_text(json.dumps({"approvalProxy": ANSWERS_AT_ONCE | {"engines": ["elicitation"]}}))
        log = self.place / f"audit-{self.logs}.jsonl"
        return [str(self.proxy), "--config", str(config), "--audit-log", str(log), *flags], log

    @contextlib.asynccontextmanager
    async def session(self, command: list, human=None, **callbacks):
        """Yields an initialized session of the SDK. `.hello` is the server's first answer."""
        from mcp import ClientSession

        async with self.transport(command) as (read, write):
            async with ClientSession(read, write, elicitation_callback=human, **callbacks) as session:
                session.hello = wire(await session.initialize())
                yield session

    @contextlib.asynccontextmanager
    async def transport(self, command: list):
        """Yields the SDK's transport to a program, and keeps the program's stderr."""
        from mcp import StdioServerParameters, stdio_client

        parameters = StdioServerParameters(command=command[0], args=command[1:])
        with open(self.place / "stderr.txt", "a") as stderr:
            async with stdio_client(parameters, errlog=stderr) as streams:
                yield streams


# The SDKs' callbacks answer at once, but play a person who has read the question.
ANSWERS_AT_ONCE = {"approvalInstantDeclineMs": 0}


class Human:
    """Answers prompts from a list, and records them."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked = []
        self.withdrawn = 0

    async def __call__(self, _context, params):
        import anyio
        from mcp import types

        self.asked.append(wire(params))
        answer = self.answers.pop(0) if self.answers else DECLINE
        if answer == LATE:
            try:
                await anyio.sleep(3)
            except anyio.get_cancelled_exc_class():
                self.withdrawn += 1
                raise
        if answer == FAIL:
            return types.ErrorData(code=types.INTERNAL_ERROR, message="the dialogue broke")
        return types.ElicitResult(**answer)


APPROVE = {"action": "accept", "content": {"approved": True}}
DECLINE = {"action": "decline"}
LATE = {"action": "accept", "content": {"approved": True, "reason": "much too late"}}
FAIL = "an error instead of an answer"


def is_refusal(checks: Checks, what: str, result: dict, tool: str) -> None:
    said = text(result)
    holds = failed(result) and tool in said and "denied" in said
    checks.check(f"{what} gives a result that says denied", holds, result)


def audit(checks: Checks, sentence: str, log: Path, expected: list) -> list[dict]:
    lines = decisions(log)
    found = [(line["tool"], line["decision"], line["forwarded"]) for line in lines]
    checks.equal(sentence, found, expected)
    return lines


def decisions(log: Path) -> list[dict]:
    """Returns the decisions in an audit log. Other records have no `tool`."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if "tool" in line]


async def call(session, tool: str, arguments: dict) -> dict:
    return wire(await session.call_tool(tool, arguments))


async def outcome(request) -> dict:
    """Returns the result or the error of a request."""
    try:
        return wire(await request)
    except Exception as error:
        return {"error": str(error)}


def wire(model) -> dict:
    """Returns an SDK model under the protocol's own names, which SDK 1.x and 2.x share."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def text(result: dict) -> str:
    return "\n".join(block.get("text", "") for block in result.get("content", []))


def failed(result: dict) -> bool:
    return result.get("isError") is True


def succeeded(result: dict) -> bool:
    return "content" in result and not failed(result)


def content(file: Path) -> str | None:
    return file.read_text() if file.exists() else None


def innermost(error: BaseException) -> str:
    while getattr(error, "exceptions", None):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
