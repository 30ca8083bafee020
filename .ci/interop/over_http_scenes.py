"""Concurrent HTTP clients: prompts that time out, cancelled calls, many clients, notifications."""

import http.client
import json
from urllib.parse import urlsplit

import anyio

from interop.checks import APPROVE, DECLINE, LATE, Checks, Human, Setting
from interop.checks import call, failed, outcome, succeeded, text
from interop.eras import LEGACY, MODERN
from interop.over_http import CLIENTS, TOKEN, UPSTREAMS, Stage, client, notes, stage

SERVER = "dual-python"
# Asking for the revision changes only the first request.
EACH = {how: era for how, era in CLIENTS.items() if how != MODERN}


def pairs():
    """Yields each possible pair of server and client."""
    for upstream in UPSTREAMS:
        yield upstream, [how for how, era in EACH.items() if upstream != "sse" or era == LEGACY]


async def until(holds, seconds: float = 8) -> bool:
    with anyio.move_on_after(seconds):
        while not holds():
            await anyio.sleep(0.01)
    return bool(holds())


class Slow(Human):
    """Answers when told to."""

    def __init__(self, *answers: object) -> None:
        super().__init__(*answers)
        self.may_answer = anyio.Event()

    async def __call__(self, context, params):
        answer = await super().__call__(context, params)
        await self.may_answer.wait()
        return answer


async def late(checks: Checks, setting: Setting) -> None:
    """A yes after `--timeout 1` does not count."""
    for upstream, clients in pairs():
        with stage(setting, upstream, "--timeout", "1") as place:
            for how in clients:
                await answer_too_late(checks, setting, place, how, f"{how} to {upstream}")


async def answer_too_late(checks: Checks, setting: Setting, place: Stage, how: str, name: str) -> None:
    setting.refill()
    human = Human(LATE, APPROVE)
    async with client(place, how, human) as session:
        refused = await call(session, "note", {"line": "late"})
        why = failed(refused) and ("has expired" in text(refused) or "in time" in text(refused))
        checks.check(f"{name}: a late call is refused, with the reason", why, refused)
        if EACH[how] == LEGACY:
            checks.check(f"{name}: its prompt is withdrawn", await until(lambda: human.withdrawn == 1, 2))
        checks.equal(f"{name}: nothing ran", notes(setting), [])
        noted = await call(session, "note", {"line": "in time"})
        checks.equal(f"{name}: the next one is asked about", text(noted), "noted in time")
    checks.equal(f"{name}: it ran once", notes(setting), ["in time"])
    # A stateless late answer is a call of its own.
    refusals = [("note", "timeout", False)] + [("note", "denied", False)] * (EACH[how] == MODERN)
    checks.equal(f"{name}: the audit log says so", place.news(), [*refusals, ("note", "approved", True)])


async def taken_back(checks: Checks, setting: Setting) -> None:
    """A call never runs if its client cancels it, or leaves, while a person is asked."""
    for upstream, clients in pairs():
        for how in clients:
            with stage(setting, upstream) as place:
                await cancel_and_leave(checks, setting, place, how, f"{how} to {upstream}")
            if EACH[how] == MODERN:
                # A stateless prompt is a result. Only at the end it shows that no answer came.
                wanted = [("note", "approved", True)] + [("note", "error", False)] * 2
                checks.equal(f"{how} to {upstream}: in the end the log has both", place.news(), wanted)


async def cancel_and_leave(checks: Checks, setting: Setting, place: Stage, how: str, name: str) -> None:
    human = Human(LATE, APPROVE, LATE)
    legacy = EACH[how] == LEGACY
    async with client(place, how, human) as session:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, session, "note", {"line": "cancelled"})
            checks.check(f"{name}: the person is asked", await until(lambda: human.asked), human.asked)
            tasks.cancel_scope.cancel()
        checks.check(f"{name}: the prompt of a cancelled call ends", await until(lambda: human.withdrawn == 1, 2))
        if legacy:
            checks.check(f"{name}: the log has a record", await until(lambda: place.log.stat().st_size, 2))
            checks.equal(f"{name}: it is `cancelled`", place.news(), [("note", "cancelled", False)])
        noted = await call(session, "note", {"line": "next"})
        checks.equal(f"{name}: the next call runs", text(noted), "noted next")
        if legacy:
            place.news()
    async with anyio.create_task_group() as tasks:
        async with client(place, how, human) as session:
            tasks.start_soon(outcome, session.call_tool("note", {"line": "left"}))
            await until(lambda: len(human.asked) == 3)
        tasks.cancel_scope.cancel()
    if legacy:
        found = []
        await until(lambda: found.extend(place.news()) or found, 3)
        checks.equal(f"{name}: a call whose client leaves is cancelled", found, [("note", "cancelled", False)])
    await anyio.sleep(0.2)
    checks.equal(f"{name}: only the approved one ran", notes(setting), ["next"])


async def side_by_side(checks: Checks, setting: Setting) -> None:
    """One client's person says yes, the other's no, at the same time; then the reverse."""
    couples = [("legacy", "legacy"), ("auto", "auto"), ("sse", "sse"), ("legacy", "auto"), ("sse", "legacy")]
    for upstream in ("stdio", "http"):
        with stage(setting, upstream) as place:
            for first, second in couples:
                name = f"{first} beside {second} to {upstream}"
                await two_humans(checks, setting, place, (first, second), name)
                await two_humans(checks, setting, place, (second, first), f"{name}, in turn")


async def two_humans(checks: Checks, setting: Setting, place: Stage, hows: tuple, name: str) -> None:
    setting.refill()
    humans = Slow(*[APPROVE] * 4), Slow(*[DECLINE] * 4)
    words, results = ("yes", "no"), {}

    async def ask(session, word: str, number: int) -> None:
        results[word, number] = await call(session, "note", {"line": f"{word} {number}"})

    async with client(place, hows[0], humans[0]) as one, client(place, hows[1], humans[1]) as other:
        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(ask, one, "yes", number)
                tasks.start_soon(ask, other, "no", number)
            asked = await until(lambda: all(len(human.asked) == 4 for human in humans))
            checks.check(f"{name}: both are asked", asked, [human.asked for human in humans])
            # The one who says no is first.
            for human in reversed(humans):
                human.may_answer.set()
                await anyio.sleep(0.05)
    for human, word, other in zip(humans, words, reversed(words)):
        own = all(f'"{word} ' in params["message"] for params in human.asked)
        strange = any(f'"{other} ' in params["message"] for params in human.asked)
        checks.check(f"{name}: the one who says {word} sees only their own calls", own and not strange, human.asked)
    noted = [text(results["yes", number]) for number in range(4)]
    checks.equal(f"{name}: each yes has its own result", noted, [f"noted yes {number}" for number in range(4)])
    denied = [failed(results["no", number]) and "denied" in text(results["no", number]) for number in range(4)]
    checks.equal(f"{name}: each no is a refusal", denied, [True] * 4)
    checks.equal(f"{name}: only what was approved ran", sorted(notes(setting)), [f"yes {n}" for n in range(4)])
    wanted = [("note", "approved", True)] * 4 + [("note", "denied", False)] * 4
    checks.equal(f"{name}: the audit log agrees", sorted(place.news()), wanted)


async def notices(checks: Checks, setting: Setting) -> None:
    """Progress and log messages arrive during the call. A running call can be cancelled."""
    for upstream, clients in pairs():
        with stage(setting, upstream) as place:
            for how in clients:
                await count_and_linger(checks, setting, place, how, f"{how} to {upstream}")


async def count_and_linger(checks: Checks, setting: Setting, place: Stage, how: str, name: str) -> None:
    setting.refill()
    steps, logs = [], []

    async def on_progress(progress, total, message) -> None:
        steps.append((progress, total, message))

    async def on_log(params) -> None:
        logs.append(params.data)

    level = {"log_level": "info"} if EACH[how] == MODERN else {}
    async with client(place, how, Human(), logging_callback=on_log, **level) as session:
        counted = await session.call_tool("count", {}, progress_callback=on_progress)
        checks.check(f"{name}: the call ends", not counted.is_error, counted)
        # Over stdio a log message does not name its call, so clients that share a server do not get it.
        told = [] if EACH[how] == MODERN and " to stdio" in name else ["at 1", "at 2", "at 3"]
        await until(lambda: len(steps) == 3 and len(logs) == len(told), 2)
        checks.equal(f"{name}: its progress arrived", steps, [(n, 3, f"step {n}") for n in (1, 2, 3)])
        checks.equal(f"{name}: its log messages arrived", logs, told)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, session, "linger", {})
            checks.check(f"{name}: a long call runs", await until(lambda: notes(setting) == ["began"]))
            tasks.cancel_scope.cancel()
        told = await until(lambda: notes(setting) == ["began", "cancelled"])
        checks.check(f"{name}: the server learns that it is cancelled", told, notes(setting))
        after = await call(session, "whoami", {})
        checks.check(f"{name}: the session goes on", succeeded(after), after)


async def at_the_door(checks: Checks, setting: Setting) -> None:
    """A wrong `Host` or `Origin` gets 403 and a wrong token 401. The right token is accepted."""
    for token in (None, TOKEN):
        with stage(setting, "stdio", token=token) as place:
            knock(checks, place, token)
            for how in EACH:
                human = Human(APPROVE)
                async with client(place, how, human) as session:
                    noted = await call(session, "note", {"line": how})
                    checks.equal(f"{how}, token {token}: it is accepted", text(noted), f"noted {how}")
            if token:
                wrong = Stage(place.url, place.log, None, "s3cret-of-theirs")
                for how in EACH:
                    came = await outcome_of_knocking(wrong, how)
                    turned_away = "401" in came or "bearer token is needed" in came
                    checks.check(f"{how}: a wrong token is refused", turned_away, came)
        checks.check("only accepted calls ran", notes(setting) == list(EACH), notes(setting))


async def outcome_of_knocking(place: Stage, how: str) -> str:
    try:
        async with client(place, how, Human(APPROVE)) as session:
            return str(await outcome(session.call_tool("note", {"line": "stolen"})))
    except BaseException as error:
        return repr(error) if not getattr(error, "exceptions", None) else repr(error.exceptions)


def knock(checks: Checks, place: Stage, token: str | None) -> None:
    params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    hello = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
    address = urlsplit(place.url).netloc
    right = {"Host": address, "Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    right |= {"Authorization": f"Bearer {token}"} if token else {}
    strangers = {
        "another Host": ({"Host": "evil.example"}, 403),
        "a Host that begins as ours": ({"Host": f"127.0.0.1.evil.example:{urlsplit(place.url).port}"}, 403),
        "another Origin": ({"Origin": "http://evil.example"}, 403),
        "the Origin null": ({"Origin": "null"}, 403),
        "our own Origin": ({"Origin": f"http://{address}"}, 200),
        "nothing strange": ({}, 200),
    }
    if token:
        strangers |= {
            "no token": ({"Authorization": None}, 401),
            "a wrong token": ({"Authorization": "Bearer s3cret-of-theirs"}, 401),
            "the token as a password": ({"Authorization": f"Basic {token}"}, 401),
            "a token that goes on": ({"Authorization": f"Bearer {token}."}, 401),
        }
    for what, (changed, status) in strangers.items():
        headers = {key: value for key, value in (right | changed).items() if value is not None}
        for method, path in (("POST", "/mcp"), ("GET", "/sse")):
            found = status_of(address, method, path, hello if method == "POST" else None, headers)
            checks.equal(f"{what}, token {token}, {method} {path}", found, status)


def status_of(address: str, method: str, path: str, body: str | None, headers: dict) -> int:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request(method, path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


SECTIONS = [late, taken_back, side_by_side, notices, at_the_door]
