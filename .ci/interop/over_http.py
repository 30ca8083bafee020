"""HTTP on both sides of the proxy: the Python SDK's clients, its server over stdio and HTTP.

This is not called `http.py`, because that would hide Python's own `http` from the servers' scripts.
"""

import contextlib
import itertools
import json
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from interop.checks import ANSWERS_AT_ONCE, APPROVE, DECLINE, HERE, Checks, Human, Setting
from interop.checks import call, content, decisions, is_refusal, text, wire
from interop.eras import ABLE, LEGACY, MODERN, accept, titles

SERVER = "dual-python"
UPSTREAMS = ["stdio", "http", "sse"]
# How a client connects, and the revision that it then speaks.
CLIENTS = {"legacy": LEGACY, "auto": MODERN, MODERN: MODERN, "sse": LEGACY}
# The proxy's bearer token. Without one, no HTTP client is asked for approvals.
TOKEN = "s3cret-of-ours"
numbers = itertools.count()


class Listener:
    """Runs a program that prints on stderr when it listens, and ends it afterwards."""

    def __init__(self, setting: Setting, command: list, environment: dict | None = None, url: str = "") -> None:
        self.setting, self.output = setting, setting.place / f"stderr-{next(numbers)}.txt"
        with open(self.output, "wb") as stderr:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": stderr}
            self.process = subprocess.Popen(command, env=os.environ | (environment or {}), **pipes)
        found = self.find(r"(?:listening|running) on (?:port )?(\S+)")
        self.url = url or found

    def find(self, pattern: str) -> str:
        for _ in range(1000):
            said = self.output.read_text()
            if found := re.search(f"{pattern}\n", said):
                return found[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        self.stop()
        raise EOFError(f"it does not listen; stderr: {said!r}")

    def stop(self, by_force: bool = False) -> int:
        self.process.kill() if by_force else self.process.terminate()
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_) -> None:
        self.ended = self.stop()
        with open(self.setting.place / "stderr.txt", "a") as stderr:
            stderr.write(self.output.read_text())


class Stage:
    """A listening proxy, its server, and its audit log."""

    def __init__(self, url: str, log: Path, server: Listener | None, token: str | None = None) -> None:
        self.url, self.log, self.server, self.token, self.read = url, log, server, token, 0

    def news(self) -> list:
        """Returns the decisions since the last call."""
        lines = decisions(self.log)[self.read :]
        self.read += len(lines)
        return [(line["tool"], line["decision"], line["forwarded"]) for line in lines]


def server_command(setting: Setting, *flags: str) -> list:
    return [sys.executable, "-W", "ignore", str(HERE / "http_server.py"), str(setting.files), *flags]


def proxy_command(setting: Setting, entry: dict, *flags: str) -> tuple[list, Path]:
    number = next(numbers)
    config, log = setting.place / f"config-{number}.json", setting.place / f"audit-{number}.jsonl"
    config.write_text(json.dumps({"mcpServers": {"dual": entry}, "approvalProxy": ANSWERS_AT_ONCE}))
    return [str(setting.proxy), "--upstream", str(config), "--audit-log", str(log), "--engine", "elicitation", *flags], log


def listening_proxy(setting: Setting, entry: dict, *flags: str, **environment: str) -> tuple[Listener, Path]:
    """Returns a proxy that serves HTTP, and its log."""
    command, log = proxy_command(setting, entry, *flags)
    command += ["--transport", "streamable-http", "--port", "0"]
    return Listener(setting, command, environment), log


@contextlib.contextmanager
def stage(setting: Setting, upstream: str, *flags: str, token: str | None = TOKEN):
    """A proxy that serves HTTP, in front of a server over stdio, streamable HTTP or HTTP+SSE.

    Without a token, it is configured to ask every client.
    """
    setting.refill()
    with contextlib.ExitStack() as stack:
        server = None
        command, *arguments = server_command(setting)
        entry = {"command": command, "args": arguments}
        if upstream != "stdio":
            server = Listener(setting, server_command(setting, f"--{upstream}", "0"))
            stack.enter_context(server)
            entry = {"type": upstream, "url": server.url}
        environment = {"APPROVAL_AUTH_TOKEN": token} if token else {}
        flags = flags if token else (*flags, "--insecure-no-auth")
        proxy, log = listening_proxy(setting, entry, *flags, **environment)
        stack.enter_context(proxy)
        yield Stage(proxy.url, log, server, token)


def client(place: Stage, how: str, human=None, **callbacks):
    import httpx2
    import mcp
    from mcp.client.sse import sse_client
    from mcp.client.streamable_http import streamable_http_client

    # The SDK logs messages that arrive for a client that has left.
    logging.getLogger("mcp.client").setLevel(logging.CRITICAL)

    headers = {"Authorization": f"Bearer {place.token}"} if place.token else {}
    if how == "sse":
        transport, how = sse_client(place.url.replace("/mcp", "/sse"), headers=headers), "legacy"
    else:
        http = httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(30, read=300))
        transport = streamable_http_client(place.url, http_client=http)
    return mcp.Client(transport, mode=how, elicitation_callback=human, **callbacks)


def notes(setting: Setting) -> list[str]:
    return (content(setting.files / "notes.txt") or "").splitlines()


async def approvals(checks: Checks, setting: Setting) -> None:
    """Calls that pass, yes, no and the server's own questions, for each client and server."""
    for upstream in UPSTREAMS:
        with stage(setting, upstream) as place:
            for how, era in CLIENTS.items():
                # The server over HTTP+SSE knows only legacy revisions, and the proxy does not translate.
                if upstream != "sse" or era == LEGACY:
                    await approve_and_refuse(checks, setting, place, how, f"{how} to {upstream}")


async def approve_and_refuse(checks: Checks, setting: Setting, place: Stage, how: str, name: str) -> None:
    era = CLIENTS[how]
    setting.refill()
    human = Human(APPROVE, DECLINE)
    async with client(place, how, human, **ABLE) as session:
        checks.equal(f"{name}: the revision", str(session.protocol_version), era)
        names = [tool["name"] for tool in wire(await session.list_tools())["tools"]]
        checks.check(f"{name}: the tools", {"read", "wipe", "note", "count"} <= set(names), names)
        poem = await call(session, "read", {"name": "poem.txt"})
        checks.equal(f"{name}: a free call", text(poem), "one\ntwo\nthree\n")
        checks.equal(f"{name}: nobody was asked about it", human.asked, [])

        noted = await call(session, "note", {"line": "yes"})
        checks.equal(f"{name}: after a yes the result is the server's", text(noted), "noted yes")
        checks.equal(f"{name}: it ran once", notes(setting), ["yes"])
        prompt = human.asked[0]["message"] if human.asked else ""
        shown = all(word in prompt for word in ("`dual`", "`note`", "yes"))
        checks.check(f"{name}: the prompt shows the call", shown, human.asked)
        is_refusal(checks, f"{name}: a no", await call(session, "note", {"line": "no"}), "note")
        checks.equal(f"{name}: after it nothing ran", notes(setting), ["yes"])
        wanted = [("read", "passed", True), ("note", "approved", True), ("note", "denied", False)]
        checks.equal(f"{name}: the audit log has it", place.news(), wanted)

        human.asked.clear()
        human.answers += [APPROVE, accept("name", "Ada"), accept("percent", 70)]
        quiz = await call(session, "quiz", {"topic": "birds"})
        checks.equal(f"{name}: two rounds after a yes", text(quiz), "quiz on birds: Ada, 70")
        order = ["Tool: quiz", "Who are you?", "How sure are you?"]
        checks.equal(f"{name}: all three questions, ours first", titles(human.asked), order)
        human.answers += [APPROVE, accept("size", "XL")]
        ordered = await call(session, "order", {})
        wanted = "order: XL, forty-two, file:///one"
        checks.equal(f"{name}: questions to person, model and client", text(ordered), wanted)
        rounds = {MODERN: [("quiz", "approved", True)] * 3 + [("order", "approved", True)] * 2}
        rounds[LEGACY] = [("quiz", "approved", True), ("order", "approved", True)]
        checks.equal(f"{name}: the log has the rounds", place.news(), rounds[era])


SECTIONS = [approvals]
