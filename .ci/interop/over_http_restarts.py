"""Servers that are killed and come back, behind a proxy over HTTP; a client over stdio with servers over HTTP."""

import os
import signal
from urllib.parse import urlsplit

import anyio

from interop.checks import APPROVE, DECLINE, Checks, Human, Setting
from interop.checks import audit, call, is_refusal, outcome, succeeded, text
from interop.eras import LEGACY, MODES
from interop.eras import client as client_over_stdio
from interop.over_http import Listener, client, notes, proxy_command, server_command, stage
from interop.over_http_scenes import EACH, Slow, until

SERVER = "dual-python"


async def command_killed(checks: Checks, setting: Setting) -> None:
    """A server over stdio is killed during a call: its session ends, others go on, a new session works."""
    for how in EACH:
        with stage(setting, "stdio") as place:
            human = Human(APPROVE, APPROVE)
            others = Human(APPROVE)
            async with client(place, "legacy", others) as other:
                await call(other, "whoami", {})
                await kill_while_it_works(checks, setting, place, how, human)
                noted = await call(other, "note", {"line": "other"})
                checks.equal(f"{how}: another session's server goes on", text(noted), "noted other")
            await works_again(checks, setting, place, how, "after the kill")


async def kill_while_it_works(checks: Checks, setting: Setting, place, how: str, human: Human) -> None:
    results = {}

    async def ask(session, tool: str, arguments: dict) -> None:
        with anyio.move_on_after(10):
            results[tool] = await outcome(session.call_tool(tool, arguments))

    async with client(place, how, human) as session:
        pid = int(text(await call(session, "whoami", {})))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, session, "linger", {})
            await until(lambda: notes(setting) == ["began"])
            # A call before the kill shows that the session worked.
            noted = await call(session, "note", {"line": "before"})
            checks.equal(f"{how}: a call before the kill", text(noted), "noted before")
            os.kill(pid, signal.SIGKILL)
        failed = "error" in results.get("linger", {})
        checks.check(f"{how}: the running call ends with an error", failed, results)
        with anyio.move_on_after(10):
            results["next"] = await outcome(session.call_tool("note", {"line": "dead"}))
        if EACH[how] == LEGACY:
            failed = "error" in results.get("next", {})
            checks.check(f"{how}: so does the next call in that session", failed, results)
        else:
            checks.equal(f"{how}: the next call starts a new server", text(results.get("next", {})), "noted dead")


async def works_again(checks: Checks, setting: Setting, place, how: str, when: str) -> None:
    human = Human(APPROVE, DECLINE)
    before = notes(setting)
    with anyio.fail_after(20):
        async with client(place, how, human) as session:
            noted = await call(session, "note", {"line": "again"})
            checks.equal(f"{how}: {when} a new session runs an approved call", text(noted), "noted again")
            is_refusal(checks, f"{how}: {when} a no", await call(session, "note", {"line": "no"}), "note")
    checks.equal(f"{how}: {when} nothing else ran", notes(setting), [*before, "again"])


async def held_when_killed(checks: Checks, setting: Setting) -> None:
    """A server over stdio is killed while a person is asked: the call ends at once."""
    for how in ("legacy", "sse"):
        with stage(setting, "stdio") as place:
            human, results = Slow(APPROVE), []
            async with client(place, how, human) as session:
                pid = int(text(await call(session, "whoami", {})))
                async with anyio.create_task_group() as tasks:

                    async def hold() -> None:
                        results.append(await outcome(session.call_tool("note", {"line": "held"})))
                        tasks.cancel_scope.cancel()

                    tasks.start_soon(hold)
                    await until(lambda: human.asked)
                    os.kill(pid, signal.SIGKILL)
                    await anyio.sleep(10)
                ended = results and ("error" in results[0] or not succeeded(results[0]))
                checks.check(f"{how}: a held call ends when its server dies", ended, results)
            checks.equal(f"{how}: it did not run", notes(setting), [])
            await works_again(checks, setting, place, how, "after a held call")


async def url_restarted(checks: Checks, setting: Setting) -> None:
    """A server over HTTP is killed, and another one comes up at its address."""
    for how in EACH:
        with stage(setting, "http") as place:
            await restart(checks, setting, place, how)


async def restart(checks: Checks, setting: Setting, place, how: str) -> None:
    results = {}

    async def ask(session, tool: str, arguments: dict) -> None:
        with anyio.move_on_after(10):
            results[tool] = await outcome(session.call_tool(tool, arguments))

    async with client(place, how, Human(*[APPROVE] * 4)) as session:
        noted = await call(session, "note", {"line": "before"})
        checks.equal(f"{how}: a call before the kill", text(noted), "noted before")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, session, "linger", {})
            await until(lambda: "began" in notes(setting))
            place.server.stop(by_force=True)
        checks.check(f"{how}: the running call ends with an error", "error" in results.get("linger", {}), results)
        # The proxy waits a while, because the server could come back.
        with anyio.move_on_after(30):
            results["dead"] = await outcome(session.call_tool("note", {"line": "dead"}))
        checks.check(f"{how}: so does a call to a dead server", "error" in results.get("dead", {}), results)
        port = str(urlsplit(place.server.url).port)
        with Listener(setting, server_command(setting, "--http", port)):
            with anyio.move_on_after(10):
                results["old"] = await outcome(session.call_tool("note", {"line": "old"}))
            noted = text(results.get("old", {}))
            checks.equal(f"{how}: the next call runs, in a new session", noted, "noted old")
            await works_again(checks, setting, place, how, "at the new server")


async def over_stdio(checks: Checks, setting: Setting) -> None:
    """A client over stdio, servers over HTTP."""
    for upstream in ("http", "sse"):
        with Listener(setting, server_command(setting, f"--{upstream}", "0")) as server:
            for mode in ("legacy",) if upstream == "sse" else MODES:
                await from_stdio(checks, setting, mode, upstream, server.url)


async def from_stdio(checks: Checks, setting: Setting, mode: str, upstream: str, url: str) -> None:
    setting.refill()
    name = f"stdio, {mode} to {upstream}"
    command, log = proxy_command(setting, {"type": upstream, "url": url})
    async with client_over_stdio(setting, command, mode, Human(APPROVE, DECLINE)) as session:
        checks.equal(f"{name}: the revision", str(session.protocol_version), MODES[mode])
        poem = await call(session, "read", {"name": "poem.txt"})
        checks.equal(f"{name}: a free call", text(poem), "one\ntwo\nthree\n")
        noted = await call(session, "note", {"line": "yes"})
        checks.equal(f"{name}: after a yes the result is the server's", text(noted), "noted yes")
        is_refusal(checks, f"{name}: a no", await call(session, "note", {"line": "no"}), "note")
    checks.equal(f"{name}: it ran once", notes(setting), ["yes"])
    wanted = [("read", "passed", True), ("note", "approved", True), ("note", "denied", False)]
    audit(checks, f"{name}: the audit log has it", log, wanted)


SECTIONS = [command_killed, held_when_killed, url_restarted, over_stdio]
