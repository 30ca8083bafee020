"""Hand-written HTTP clients that do what no SDK does: answer, listen and end for each other."""

import contextlib
import json
import os
import signal
from urllib.parse import urlsplit

import anyio

from interop.at_once import HELLO, META
from interop.checks import APPROVE, DECLINE, Checks, Setting
from interop.eras import LEGACY, MODERN
from interop.over_http import Listener, Stage, notes, server_command, stage
from interop.over_http_scenes import until

SERVER = "dual-python"
ACCEPT = {"Accept": "application/json, text/event-stream"}


class Guest:
    """A client with one session, or with none."""

    def __init__(self, http, place: Stage) -> None:
        self.http, self.url, self.last_event = http, place.url, None
        self.headers = ACCEPT | {"Authorization": f"Bearer {place.token}"}

    async def begin(self) -> "Guest":
        response = await self.post({"id": "hello", "method": "initialize", "params": HELLO})
        self.headers |= {"Mcp-Session-Id": response.headers["mcp-session-id"], "MCP-Protocol-Version": LEGACY}
        await self.post({"method": "notifications/initialized"})
        return self

    async def post(self, message: dict, **headers: str):
        return await self.http.post(self.url, json={"jsonrpc": "2.0"} | message, headers=self.headers | headers)

    async def reply(self, question: dict, answer: dict) -> int:
        return (await self.post({"id": question["id"], "result": answer})).status_code

    @contextlib.asynccontextmanager
    async def asking(self, message: dict):
        """Sends a request, and yields the messages on its stream one by one."""
        body = {"jsonrpc": "2.0"} | message
        async with self.http.stream("POST", self.url, json=body, headers=self.headers) as response:
            yield self.messages(response)

    @contextlib.asynccontextmanager
    async def listening(self, **headers: str):
        async with self.http.stream("GET", self.url, headers=self.headers | headers) as response:
            self.status = response.status_code
            yield self.messages(response)

    async def messages(self, response):
        async for line in response.aiter_lines():
            field, _, value = line.partition(":")
            if field == "id":
                self.last_event = value.strip()
            elif field == "data" and value.strip():
                yield json.loads(value)


def note(request_id: object, line: str, **more) -> dict:
    params = {"name": "note", "arguments": {"line": line}} | more
    return {"id": request_id, "method": "tools/call", "params": params}


@contextlib.asynccontextmanager
async def guests(place: Stage):
    """Yields two sessions."""
    import httpx2

    async with httpx2.AsyncClient(timeout=20) as http:
        yield await Guest(http, place).begin(), await Guest(http, place).begin()


def said(message: dict) -> str:
    return "\n".join(block.get("text", "") for block in message.get("result", {}).get("content", []))


async def answers_of_others(checks: Checks, setting: Setting) -> None:
    """A yes in another session, or in none, approves nothing."""
    for upstream in ("stdio", "http"):
        with stage(setting, upstream) as place:
            async with guests(place) as (victim, thief), victim.asking(note(7, "mine")) as told:
                question = await anext(told)
                method = question.get("method")
                checks.equal(f"{upstream}: the prompt is on the call's stream", method, "elicitation/create")
                await thief.reply(question, APPROVE)
                outsider = Guest(thief.http, place)
                status = await outsider.reply(question, APPROVE)
                checks.equal(f"{upstream}: an answer without a session is refused", status, 400)
                outsider.headers["Mcp-Session-Id"] = "0" * 32
                status = await outsider.reply(question, APPROVE)
                checks.equal(f"{upstream}: an answer in an unknown session is not found", status, 404)
                # Cancel the other session's request under its id.
                await thief.post({"method": "notifications/cancelled", "params": {"requestId": 7}})
                await anyio.sleep(0.3)
                found = (notes(setting), place.news())
                checks.equal(f"{upstream}: nothing ran, nothing was decided", found, ([], []))
                await victim.reply(question, DECLINE)
                answer = await anext(told)
                checks.check(f"{upstream}: the session's own no counts", "denied" in said(answer), answer)
            checks.equal(f"{upstream}: nothing ran", notes(setting), [])
            checks.equal(f"{upstream}: the audit log has the no", place.news(), [("note", "denied", False)])


async def same_id_in_two(checks: Checks, setting: Setting) -> None:
    """Two sessions call under one id at the same time. Each gets its own prompt and answer."""
    for upstream in ("stdio", "http"):
        with stage(setting, upstream) as place:
            async with guests(place) as (one, other):
                async with one.asking(note(1, "one")) as told, other.asking(note(1, "other")) as others:
                    question, another = await anext(told), await anext(others)
                    message, others_message = question["params"]["message"], another["params"]["message"]
                    own = '"one"' in message and '"other"' in others_message
                    checks.check(f"{upstream}: each is asked about its own call", own, (message, others_message))
                    await other.reply(another, APPROVE)
                    checks.equal(f"{upstream}: the yes runs its call", said(await anext(others)), "noted other")
                    checks.equal(f"{upstream}: nothing else ran", notes(setting), ["other"])
                    await one.reply(question, DECLINE)
                    refused = await anext(told)
                    checks.check(f"{upstream}: the no refuses its own call", "denied" in said(refused), refused)
            checks.equal(f"{upstream}: nothing else ran", notes(setting), ["other"])


async def ended_by_others(checks: Checks, setting: Setting) -> None:
    """A session ends only by its own DELETE. Then it is unknown, and its held calls never run."""
    with stage(setting, "stdio") as place:
        async with guests(place) as (one, other), one.asking(note(1, "held")) as told:
            question = await anext(told)
            response = await other.http.delete(place.url, headers=other.headers)
            checks.equal("a session can be ended", response.status_code, 204)
            checks.equal("then it is not found", (await other.post({"id": 2, "method": "ping"})).status_code, 404)
            async with other.listening():
                checks.equal("and has no stream", other.status, 404)
            pong = await one.post({"id": 3, "method": "ping"})
            checks.equal("the other session goes on", pong.status_code, 200)
            await one.http.delete(place.url, headers=one.headers)
            checks.equal("a late yes finds no session", await one.reply(question, APPROVE), 404)
        found = []
        await until(lambda: found.extend(place.news()) or found, 3)
        checks.equal("its held call is cancelled", found, [("note", "cancelled", False)])
        checks.equal("and never runs", notes(setting), [])


async def stream_taken_up(checks: Checks, setting: Setting) -> None:
    """A client loses its connection while a person is asked, and comes back for the answer."""
    for upstream in ("stdio", "http"):
        with stage(setting, upstream) as place:
            async with guests(place) as (one, other):
                async with one.asking(note(1, "kept")) as told:
                    question = await anext(told)
                last = one.last_event
                checks.check(f"{upstream}: the events have ids", bool(last))
                # Another session that knows the event's id gets nothing.
                async with other.listening(**{"Last-Event-ID": last or ""}) as stolen:
                    await one.reply(question, APPROVE)
                    checks.check(f"{upstream}: it runs", await until(lambda: notes(setting) == ["kept"]))
                    got = None
                    with anyio.move_on_after(0.5):
                        got = await anext(stolen, None)
                    checks.equal(f"{upstream}: nobody else gets the answer", got, None)
                async with one.listening(**{"Last-Event-ID": last or ""}) as again:
                    with anyio.fail_after(5):
                        answer = await anext(again)
                found = (answer.get("id"), said(answer))
                checks.equal(f"{upstream}: the client that comes back gets it", found, (1, "noted kept"))
            checks.equal(f"{upstream}: it ran once", notes(setting), ["kept"])


async def states_of_others(checks: Checks, setting: Setting) -> None:
    """A stateless approval covers only the call that was shown, once, from any client."""
    import httpx2

    for upstream in ("stdio", "http"):
        with stage(setting, upstream) as place:
            async with httpx2.AsyncClient(timeout=20) as http:
                await bring_states(checks, setting, Guest(http, place), upstream)


async def bring_states(checks: Checks, setting: Setting, guest: Guest, upstream: str) -> None:
    shown, yes = await shown_and_approved(guest)
    checks.equal(f"{upstream}: the prompt is a result", shown.get("resultType"), "input_required")
    other = await modern(guest, 2, "not shown", **yes)
    checks.check(f"{upstream}: a yes to one call does not approve another", not said(other).startswith("noted"), other)
    forged = yes | {"requestState": "x" + yes["requestState"][1:]}
    other = await modern(guest, 3, "shown", **forged)
    checks.check(f"{upstream}: nor does one with a forged state", not said(other).startswith("noted"), other)
    checks.equal(f"{upstream}: nothing ran", notes(setting), [])

    _, yes = await shown_and_approved(guest)
    results = []

    async def bring() -> None:
        results.append(await modern(guest, 4, "shown", **yes))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(bring)
    noted = [said(result) for result in results].count("noted shown")
    checks.equal(f"{upstream}: five clients bring the yes at once, one call runs", (noted, notes(setting)), (1, ["shown"]))


async def modern(guest: Guest, request_id: object, line: str, **more) -> dict:
    """Returns the answer to a stateless call."""
    routing = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "note"}
    response = await guest.post(note(request_id, line, _meta=META, **more), **routing)
    found = [message async for message in guest.messages(response)]
    return found[-1] if found else response.json()


async def shown_and_approved(guest: Guest) -> tuple[dict, dict]:
    """Returns a prompt, and the retry that brings its yes."""
    shown = (await modern(guest, 1, "shown"))["result"]
    (key,) = shown["inputRequests"]
    return shown, {"inputResponses": {key: APPROVE}, "requestState": shown["requestState"]}


async def over_with_their_server(checks: Checks, setting: Setting) -> None:
    """A session whose server is gone gets an answer, then a 404, so that clients start a new session."""
    with stage(setting, "stdio") as place:
        async with guests(place) as (one, other):
            os.kill(await pid_of(one, 1), signal.SIGKILL)
            await sees_it_gone(checks, one, "killed")
            checks.check("killed: the other session goes on", await pid_of(other, 1) > 0)
            checks.check("killed: a new session works", await pid_of(await Guest(one.http, place).begin(), 1) > 0)
    with stage(setting, "http") as place:
        async with guests(place) as (one, other):
            before = await pid_of(one, 1)
            place.server.stop(by_force=True)
            dead = await one.post(whoami(2))
            checks.check("at a dead server: an error", "cannot be reached" in dead.text, dead.text)
            port = str(urlsplit(place.server.url).port)
            with Listener(setting, server_command(setting, "--http", port)):
                for guest in (one, other):
                    went_on = await pid_of(guest, 10)
                    checks.check("restarted: its sessions go on", went_on not in (0, before), (before, went_on))
                after = await pid_of(await Guest(one.http, place).begin(), 1)
                checks.check("restarted: a new session works", after not in (0, before), (before, after))


def whoami(request_id: object) -> dict:
    return {"id": request_id, "method": "tools/call", "params": {"name": "whoami", "arguments": {}}}


async def pid_of(guest: Guest, request_id: object) -> int:
    response = await guest.post(whoami(request_id))
    found = [message async for message in guest.messages(response)]
    return int(said(found[-1]) or 0)


async def sees_it_gone(checks: Checks, guest: Guest, name: str) -> None:
    """Checks that requests get no result, and that the session is over within a few requests."""
    statuses, results = [], []
    for request_id in range(10, 20):
        response = await guest.post(whoami(request_id))
        statuses.append(response.status_code)
        results += [message async for message in guest.messages(response) if "result" in message]
        if response.status_code == 404:
            break
        await anyio.sleep(0.1)
    checks.equal(f"{name}: no request gets a result", results, [])
    checks.equal(f"{name}: in the end the session is not found", statuses[-1], 404)


SECTIONS = [answers_of_others, same_id_in_two, ended_by_others, stream_taken_up, states_of_others]
SECTIONS.append(over_with_their_server)
