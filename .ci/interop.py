#!/usr/bin/env python3
"""Drives approval-proxy with software that we did not write.

The client is the official Python SDK (`mcp`), the server is
`@modelcontextprotocol/server-filesystem` on a temporary directory, and the proxy stands between
them. What the proxy says is never believed: every check looks at the files, at what the client
got, or at what the same server answers without the proxy.

    .ci/interop.py PATH/TO/approval-proxy [--cache DIR]

Needs python3 with venv, node and npm. Both packages are installed once into the cache directory
(default: approval-proxy-interop in the user's cache) and found there by later runs; remove it for
newer ones. Prints a line per check; exits 1 if one failed, 2 if nothing could be checked.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SERVER_PACKAGE = "@modelcontextprotocol/server-filesystem"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("proxy", type=Path, help="the approval-proxy to check")
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--cache", type=Path, default=user_cache / "approval-proxy-interop")
    arguments = parser.parse_args()
    proxy, cache = arguments.proxy.resolve(), arguments.cache.resolve()
    if not os.access(proxy, os.X_OK) or proxy.is_dir():
        print(f"interop: `{proxy}` is not a program", file=sys.stderr)
        return 2

    if Path(sys.prefix) == cache / "venv":
        import anyio

        return anyio.run(run, proxy, cache)
    # The checks need the SDK, so they run as this same file in the interpreter that has it.
    try:
        python = install(cache)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"interop: the client or the server cannot be installed: {error}", file=sys.stderr)
        return 2
    return subprocess.run([python, __file__, proxy, "--cache", cache]).returncode


def install(cache: Path) -> Path:
    """Puts the client and the server into `cache`, if they are not there. Returns its python."""
    python = cache / "venv" / "bin" / "python"
    has_client = python.exists() and not subprocess.run([python, "-c", "import mcp"]).returncode
    if not has_client:
        subprocess.run([sys.executable, "-m", "venv", "--clear", cache / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "mcp"], check=True)
    if not server_program(cache).exists():
        npm = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts"]
        subprocess.run([*npm, "--prefix", cache, SERVER_PACKAGE], check=True)
    return python


def server_program(cache: Path) -> Path:
    return cache / "node_modules" / ".bin" / "mcp-server-filesystem"


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

    def equal(self, sentence: str, found: object, expected: object) -> None:
        self.check(sentence, found == expected, f"{found}\n    wanted: {expected}")


class Setting:
    """A directory with a few files, the server that works in it, and the proxy around that."""

    def __init__(self, proxy: Path, cache: Path, place: Path) -> None:
        self.proxy = proxy
        self.place = place
        self.files = place / "files"
        self.direct = [shutil.which("node"), str(server_program(cache)), str(self.files)]
        self.config = place / "upstream.json"
        entry = {"command": self.direct[0], "args": self.direct[1:]}
        self.config.write_text(json.dumps({"mcpServers": {"filesystem": entry}}))
        self.logs = 0
        self.refill()

    def refill(self) -> None:
        """Takes the directory back to how it began."""
        shutil.rmtree(self.files, ignore_errors=True)
        (self.files / "sub").mkdir(parents=True)
        (self.files / "poem.txt").write_text("one\ntwo\nthree\n")
        (self.files / "sub" / "deep.txt").write_text("Grüße aus der Tiefe\n")

    def tree(self) -> dict:
        paths = sorted(self.files.rglob("*"))
        return {str(p.relative_to(self.files)): p.read_text() if p.is_file() else None for p in paths}

    def proxied(self, *flags: str) -> tuple[list[str], Path]:
        """The command of the proxy, and the audit log of its own that it writes."""
        self.logs += 1
        log = self.place / f"audit-{self.logs}.jsonl"
        upstream = ["--upstream", str(self.config), "--audit-log", str(log)]
        return [str(self.proxy), *upstream, *flags], log

    @contextlib.asynccontextmanager
    async def session(self, command: list, human=None):
        """A session of the SDK's, initialised, with what the server said first as `.hello`."""
        from mcp import ClientSession

        async with self.transport(command) as (read, write):
            async with ClientSession(read, write, elicitation_callback=human) as session:
                session.hello = wire(await session.initialize())
                yield session

    @contextlib.asynccontextmanager
    async def transport(self, command: list):
        """The SDK's transport to a program; what that says on stderr is kept."""
        from mcp import StdioServerParameters, stdio_client

        parameters = StdioServerParameters(command=command[0], args=command[1:])
        with open(self.place / "stderr.txt", "a") as stderr:
            async with stdio_client(parameters, errlog=stderr) as streams:
                yield streams


class Human:
    """Answers prompts from a list, and remembers what was asked."""

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


async def run(proxy: Path, cache: Path) -> int:
    sys.stdout.reconfigure(line_buffering=True)
    checks = Checks()
    print(f"# {versions(proxy, cache)}")
    sections = [same_without_and_with, asks_before_it_writes, refuses_what_is_no_yes]
    sections += [gives_up_in_time, client_that_cannot_be_asked, mode_none_changes_nothing]
    sections += [high_level_client]
    for section in sections:
        with tempfile.TemporaryDirectory() as place:
            setting = Setting(proxy, cache, Path(place).resolve())
            failed_before = checks.failed
            try:
                import anyio

                with anyio.fail_after(60):
                    await section(checks, setting)
            except BaseException as error:  # the SDK wraps failures in exception groups
                if isinstance(error, (KeyboardInterrupt, SystemExit)):
                    raise
                checks.check(f"{section.__name__} runs to its end", False, innermost(error))
            stderr = setting.place / "stderr.txt"
            if checks.failed > failed_before and stderr.exists():
                print("    stderr:", *stderr.read_text().splitlines()[-10:], sep="\n      ")
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


async def same_without_and_with(checks: Checks, setting: Setting) -> None:
    """What the server says of itself reaches the client as it is."""
    seen = []
    command, log = setting.proxied()
    for way in (setting.direct, command):
        async with setting.session(way, Human()) as session:
            tools = wire(await session.list_tools())
            others = [await outcome(session.list_resources()), await outcome(session.list_prompts())]
            seen.append((session.hello, tools, others))
            closing = time.monotonic()
    # The SDK waits two seconds for a server whose stdin it has closed, then it kills.
    checks.check("the proxy ends soon after its client", time.monotonic() - closing < 1.5)
    (hello, tools, others), (proxied_hello, proxied_tools, proxied_others) = seen
    checks.equal("the server's information is the same", proxied_hello["serverInfo"], hello["serverInfo"])
    checks.equal("the capabilities are the same", proxied_hello["capabilities"], hello["capabilities"])
    checks.equal("the rest of the handshake is the same", proxied_hello, hello)
    checks.check("there are tools", len(tools["tools"]) > 5, tools)
    checks.equal("the tool list is the same", proxied_tools, tools)
    checks.equal("the answers to methods that it lacks are the same", proxied_others, others)
    audit(checks, "without a call, the audit log has no decision", log, [])


async def asks_before_it_writes(checks: Checks, setting: Setting) -> None:
    """The main job: reads are free, a yes writes, a no does not."""
    from_poem = {"path": str(setting.files / "poem.txt")}
    yes, no = setting.files / "yes.txt", setting.files / "no.txt"
    human = Human(APPROVE, DECLINE, DECLINE, APPROVE)
    command, log = setting.proxied()
    async with setting.session(command, human) as session:
        poem = await call(session, "read_text_file", from_poem)
        checks.equal("a file is read", text(poem), "one\ntwo\nthree\n")
        listing = await call(session, "list_directory", {"path": str(setting.files)})
        checks.check("a directory is listed", "poem.txt" in text(listing), listing)
        checks.equal("nobody was asked about reading", human.asked, [])

        wrote = await call(session, "write_file", {"path": str(yes), "content": "kept\n"})
        checks.check("after a yes the result is the server's", succeeded(wrote), wrote)
        checks.equal("after a yes the file has the right content", content(yes), "kept\n")
        checks.equal("there was one prompt", len(human.asked), 1)
        prompt = human.asked[0] if human.asked else {"message": "", "requestedSchema": {}}
        for word in ("filesystem", "write_file", str(yes), "kept"):
            checks.check(f"the prompt shows `{Path(word).name}`", word in prompt["message"], prompt)
        schema = prompt["requestedSchema"]
        approved = schema.get("properties", {}).get("approved", {})
        form = (schema.get("type"), schema.get("required"), approved.get("type"))
        checks.equal("the form wants a boolean", form, ("object", ["approved"], "boolean"))
        checks.check("nothing is ticked beforehand", not approved.get("default"), schema)

        refused = await call(session, "write_file", {"path": str(no), "content": "gone\n"})
        is_refusal(checks, "a no", refused, "write_file")
        checks.check("after a no there is no file", not no.exists())

        edit = from_poem | {"edits": [{"oldText": "two", "newText": "2"}]}
        refused = await call(session, "edit_file", edit)
        is_refusal(checks, "a no to an edit", refused, "edit_file")
        checks.equal("a refused edit changes nothing", content(setting.files / "poem.txt"), "one\ntwo\nthree\n")
        edited = await call(session, "edit_file", edit)
        checks.check("an approved edit succeeds", succeeded(edited), edited)
        checks.equal("an approved edit is made", content(setting.files / "poem.txt"), "one\n2\nthree\n")
        checks.equal("each gated call had a prompt of its own", len(human.asked), 4)

        outside = await call(session, "read_text_file", {"path": "/etc/hostname"})
        checks.check("the server's own refusal arrives", failed(outside) and "denied" in text(outside), outside)
    lines = audit(
        checks,
        "the audit log tells it in order",
        log,
        [
            ("read_text_file", "passed", True),
            ("list_directory", "passed", True),
            ("write_file", "approved", True),
            ("write_file", "denied", False),
            ("edit_file", "denied", False),
            ("edit_file", "approved", True),
            ("read_text_file", "passed", True),
        ],
    )
    keys = "ts server tool args decision risk reason mode dry_run forwarded duration_ms".split()
    missing = [key for key in keys for line in lines if key not in line]
    checks.equal("every line has every key", missing, [])
    checks.equal("every line names the server", {line.get("server") for line in lines}, {"filesystem"})
    stamp = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
    stamps = [line.get("ts", "") for line in lines]
    checks.check("times are UTC, in milliseconds", all(stamp.fullmatch(ts) for ts in stamps), stamps)
    checks.equal("times do not run backwards", stamps, sorted(stamps))
    written = [line.get("args") for line in lines if line["decision"] == "denied"][:1]
    checks.equal("a line has the arguments", written, [{"path": str(no), "content": "gone\n"}])
    checks.equal("the log is the user's alone", stat.S_IMODE(log.stat().st_mode), 0o600)


async def refuses_what_is_no_yes(checks: Checks, setting: Setting) -> None:
    """Approved means: accept, and `approved` exactly true."""
    answers = {
        "accept without a form": {"action": "accept"},
        "accept with approved false": {
            "action": "accept",
            "content": {"approved": False, "reason": "not on a Friday"},
        },
        "accept with approved as a word": {"action": "accept", "content": {"approved": "true"}},
        "accept with approved as a number": {"action": "accept", "content": {"approved": 1}},
        "decline with approved true": {"action": "decline", "content": {"approved": True}},
        "cancel": {"action": "cancel"},
    }
    command, log = setting.proxied()
    human = Human(*answers.values(), FAIL, FAIL, FAIL, FAIL)
    file = setting.files / "never.txt"
    async with setting.session(command, human) as session:
        for name in (*answers, "an error"):
            file.unlink(missing_ok=True)
            result = await call(session, "write_file", {"path": str(file), "content": "x"})
            is_refusal(checks, name, result, "write_file")
            checks.check(f"{name} writes nothing", not file.exists())
            if name == "accept with approved false":
                checks.check("the reason reaches the client", "not on a Friday" in text(result), text(result))
    lines = decisions(log)
    checks.equal("each has its line", len(lines), len(answers) + 1)
    checks.check("none was forwarded", not any(line["forwarded"] for line in lines), lines)
    allowed = {"denied", "cancelled", "error"}
    checks.check("none is called approved", {line["decision"] for line in lines} <= allowed, lines)
    reasons = [line["reason"] for line in lines]
    checks.check("the human's reason is in the log", any("not on a Friday" in r for r in reasons), reasons)


async def gives_up_in_time(checks: Checks, setting: Setting) -> None:
    """A prompt that nobody answers ends, and delays nobody else while it waits."""
    import anyio
    import mcp

    # Version 1 of the SDK reads nothing more before it has answered a prompt.
    reads_on = hasattr(mcp, "Client")
    command, log = setting.proxied("--timeout", "1")
    human = Human(LATE, APPROVE)
    file = setting.files / "late.txt"
    results = {}

    async with setting.session(command, human) as session:

        async def write() -> None:
            began = time.monotonic()
            results["write"] = await call(session, "write_file", {"path": str(file), "content": "late"})
            results["waited"] = time.monotonic() - began

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            while not human.asked:
                await anyio.sleep(0.01)
            read = await call(session, "read_text_file", {"path": str(setting.files / "poem.txt")})
            passed = "write" not in results and succeeded(read)
            checks.check("a read passes while a prompt waits", passed or not reads_on, read)
        checks.check("an unanswered prompt ends on time", 0.9 < results["waited"] < 4, results["waited"])
        refused = results["write"]
        checks.check("an unanswered call is refused", failed(refused), refused)
        checks.check("the refusal speaks of time", re.search(r"tim(e|ed)", text(refused)), text(refused))
        await anyio.sleep(0.5)
        checks.check("the prompt is withdrawn", human.withdrawn == 1 or not reads_on, human.withdrawn)
        checks.check("an unanswered call writes nothing", not file.exists())

        again = await call(session, "write_file", {"path": str(file), "content": "in time"})
        checks.check("the next call is asked about again", succeeded(again), again)
        checks.equal("the next call runs after its yes", content(file), "in time")
    audit(
        checks,
        "the audit log has the timeout",
        log,
        [
            ("read_text_file", "passed", True),
            ("write_file", "timeout", False),
            ("write_file", "approved", True),
        ],
    )


async def client_that_cannot_be_asked(checks: Checks, setting: Setting) -> None:
    """For a client without elicitation, what would need a prompt is refused."""
    command, log = setting.proxied()
    file = setting.files / "unasked.txt"
    async with setting.session(command) as session:
        read = await call(session, "read_text_file", {"path": str(setting.files / "poem.txt")})
        checks.check("a client without elicitation may read", succeeded(read), read)
        refused = await call(session, "write_file", {"path": str(file), "content": "x"})
        checks.check("a client without elicitation may not write", failed(refused), refused)
        checks.check("nothing is written without a prompt", not file.exists())
    forwarded = [(line["tool"], line["forwarded"]) for line in decisions(log)]
    expected = [("read_text_file", True), ("write_file", False)]
    checks.equal("the audit log says so", forwarded, expected)


async def mode_none_changes_nothing(checks: Checks, setting: Setting) -> None:
    """With `--mode none` every call has the result that it has without the proxy."""

    def at(name: str) -> dict:
        return {"path": str(setting.files / name)}

    edit = {"edits": [{"oldText": "two", "newText": "zwei"}]}
    calls = [
        ("list_allowed_directories", {}),
        ("list_directory", at("")),
        ("directory_tree", at("")),
        ("read_text_file", at("sub/deep.txt")),
        ("read_text_file", at("poem.txt") | {"head": 1}),
        ("read_multiple_files", {"paths": [at("poem.txt")["path"], at("missing")["path"]]}),
        ("search_files", at("") | {"pattern": "**/*.txt"}),
        ("edit_file", at("poem.txt") | edit | {"dryRun": True}),
        ("edit_file", at("poem.txt") | edit),
        ("write_file", at("new.txt") | {"content": 'a "quoted" \\ line\n\u2028 ünïcödé 🎈\n' * 2000}),
        ("read_text_file", at("new.txt")),
        ("create_directory", at("more/deep")),
        ("move_file", {"source": at("new.txt")["path"], "destination": at("more/moved.txt")["path"]}),
        ("read_text_file", at("missing")),
        ("read_text_file", {"path": "/etc/hostname"}),
        ("read_text_file", {}),
        ("write_file", {"path": 5, "content": None}),
        ("no_such_tool", {"a": [1, 2.5, None, {"b": "c"}]}),
    ]
    seen = []
    command, log = setting.proxied("--mode", "none")
    human = Human()
    for way in (setting.direct, command):
        setting.refill()
        async with setting.session(way, human) as session:
            results = [await outcome(session.call_tool(tool, arguments)) for tool, arguments in calls]
        seen.append((results, setting.tree()))
    (results, tree), (proxied_results, proxied_tree) = seen
    for (tool, arguments), proxied, direct in zip(calls, proxied_results, results):
        name = f"{tool} {', '.join(sorted(arguments))}".strip()
        checks.equal(f"the same with and without the proxy: {name}", proxied, direct)
    checks.equal("the files are the same", proxied_tree, tree)
    checks.check("the files did change", "more/moved.txt" in tree, tree)
    checks.equal("nobody was asked", human.asked, [])
    expected = [(tool, "passed", True) for tool, _ in calls]
    audit(checks, "every call has its line", log, expected)


async def high_level_client(checks: Checks, setting: Setting) -> None:
    """The SDK's `Client`, from 2.0, which tries the newest revision before it says `initialize`."""
    import mcp

    if not hasattr(mcp, "Client"):
        print("# this SDK has no `Client`; skipped")
        return
    command, log = setting.proxied()
    human = Human(APPROVE, DECLINE)
    yes, no = setting.files / "yes.txt", setting.files / "no.txt"
    async with mcp.Client(setting.transport(command), elicitation_callback=human) as client:
        tools = wire(await client.list_tools())["tools"]
        checks.check("`Client` finds the common revision", len(tools) > 5, tools)
        wrote = await call(client, "write_file", {"path": str(yes), "content": "kept"})
        checks.check("`Client` writes after a yes", succeeded(wrote) and content(yes) == "kept", wrote)
        refused = await call(client, "write_file", {"path": str(no), "content": "gone"})
        is_refusal(checks, "a no through `Client`", refused, "write_file")
        checks.check("`Client` does not write after a no", not no.exists())
    expected = [("write_file", "approved", True), ("write_file", "denied", False)]
    audit(checks, "the audit log has the calls of `Client`", log, expected)


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
    """The decision lines of an audit log; other lines have no `tool`."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if "tool" in line]


async def call(session, tool: str, arguments: dict) -> dict:
    return wire(await session.call_tool(tool, arguments))


async def outcome(request) -> dict:
    """What came of a request, be it a result or an error."""
    try:
        return wire(await request)
    except Exception as error:
        return {"error": str(error)}


def wire(model) -> dict:
    """A model of the SDK's in the protocol's own names, which 1.x and 2.x share."""
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


def versions(proxy: Path, cache: Path) -> str:
    from importlib.metadata import version

    package = cache / "node_modules" / SERVER_PACKAGE / "package.json"
    server = json.loads(package.read_text())["version"]
    said = subprocess.run([proxy, "--version"], capture_output=True, text=True, timeout=10).stdout
    return f"{said.strip() or proxy.name}, mcp {version('mcp')}, server-filesystem {server}"


if __name__ == "__main__":
    sys.exit(main())
