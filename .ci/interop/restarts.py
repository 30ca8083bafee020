"""Servers over HTTP that are killed between calls and come back: nothing fails, and nothing runs twice.

A FastMCP server and the official `everything`, over streamable HTTP and HTTP+SSE, behind a proxy over stdio.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time

import anyio

from interop.checks import APPROVE, HERE, Checks, Human, Setting
from interop.checks import call, decisions, outcome, text
from interop.eras import client
from interop.over_http import notes, proxy_command

SERVER = "dual-python"
PATHS = {"http": "/mcp", "sse": "/sse"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Restarted:
    """A program with its own port that can be killed and restarted."""

    def __init__(self, setting: Setting, command: list, port: int) -> None:
        self.setting, self.command, self.port = setting, command, port
        self.start()

    def start(self) -> None:
        environment = os.environ | {"PORT": str(self.port)}
        with open(self.setting.place / "stderr.txt", "ab") as said:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": said, "stderr": said}
            self.process = subprocess.Popen(self.command, env=environment, **pipes)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def wait(self) -> None:
        for _ in range(600):
            if self.listens():
                return
            time.sleep(0.05)
        raise EOFError("the server does not listen")


def fastmcp(setting: Setting, how: str, port: int) -> list:
    return [sys.executable, "-W", "ignore", str(HERE / "fastmcp_server.py"), str(setting.files), how, str(port)]


def everything(setting: Setting, how: str, _port: int) -> list:
    script = setting.cache / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
    return [shutil.which("node"), str(script), "streamableHttp" if how == "http" else "sse"]


async def killed_between_calls(checks: Checks, setting: Setting) -> None:
    """Servers are killed between calls and while a person is asked, and come back after the next call."""
    for make, free, gated in [
        (fastmcp, ("look", {"what": "it"}), ("note", "line")),
        (everything, ("echo", {"message": "it"}), ("get-sum", None)),
    ]:
        for how in PATHS:
            await restart(checks, setting, make, how, free, gated)


async def restart(checks: Checks, setting: Setting, make, how: str, free: tuple, gated: tuple) -> None:
    setting.refill()
    name, port = f"{make.__name__} over {how}", free_port()
    server = Restarted(setting, make(setting, how, port), port)
    entry = {"type": how, "url": f"http://127.0.0.1:{port}{PATHS[how]}"}
    # This server answers requests in unknown sessions with a 400.
    answers_400 = make is everything and how == "http"
    # The other server gives no hints.
    flags = ["--mode", "all", "--allow", "look,echo"]
    command, log = proxy_command(setting, entry, *flags)
    try:
        server.wait()
        human = Human(*[APPROVE] * 3)
        human.before_answer = None
        async with client(setting, command, "legacy", asks(human)) as session:
            await passes(checks, f"{name}: before", session, free)
            server.kill()
            server.start()
            server.wait()
            if answers_400:
                await fails(checks, f"{name}: restarted", session, free)
            await passes(checks, f"{name}: restarted", session, free)
            await runs(checks, f"{name}: approved", session, gated, 1)

            human.before_answer = lambda: (server.kill(), server.start(), server.wait())
            if answers_400:
                await fails(checks, f"{name}: restarted while a person is asked", session, ("get-sum", {"a": 2, "b": 0}))
            else:
                await runs(checks, f"{name}: restarted while a person is asked", session, gated, 2)
            checks.equal(f"{name}: the person was asked once per call", len(human.asked), 2)
            human.before_answer = None

            server.kill()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(passes, checks, f"{name}: away, and back", session, free)
                await anyio.sleep(1)
                server.start()
            await runs(checks, f"{name}: after that", session, gated, 3)
    finally:
        server.kill()
    if make is fastmcp:
        wanted = ["looked at it"] * 2 + ["1", "2", "looked at it", "3"]
        checks.equal(f"{name}: nothing ran twice", notes(setting), wanted)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    restarts = [line for line in lines if line.get("event") == "restarted"]
    checks.equal(f"{name}: the log has three restarts", len(restarts), 3)
    # A call that the server did not take has a record for each time that it was forwarded.
    returned = [line for line in lines if line.get("event") == "returned"]
    released = [line for line in decisions(log) if line["forwarded"]]
    checks.equal(f"{name}: each forwarded call has its own record", len(released), 6 + answers_400 + len(returned))


def asks(human: Human):
    async def answer(context, params):
        if human.before_answer:
            await anyio.to_thread.run_sync(human.before_answer)
        return await human(context, params)

    return answer


async def fails(checks: Checks, sentence: str, session, asked: tuple) -> None:
    """After a 400 the server may have run the call, so nothing is sent again."""
    tool, arguments = asked
    with anyio.fail_after(30):
        result = await outcome(session.call_tool(tool, arguments))
    checks.check(f"{sentence}: the server's own words", "session" in str(result.get("error")), result)


async def passes(checks: Checks, sentence: str, session, free: tuple) -> None:
    tool, arguments = free
    with anyio.fail_after(30):
        said = text(await call(session, tool, arguments))
    checks.check(f"{sentence}: a call that needs nobody", "it" in said, said)


async def runs(checks: Checks, sentence: str, session, gated: tuple, number: int) -> None:
    tool, key = gated
    arguments = {key: str(number)} if key else {"a": number, "b": 1000}
    with anyio.fail_after(30):
        said = text(await call(session, tool, arguments))
    checks.check(f"{sentence}: a call that is asked about", str(number if key else number + 1000) in said, said)


SECTIONS = [killed_between_calls]
