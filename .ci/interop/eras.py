"""The Python SDK's clients in 2025-11-25 and 2026-07-28, with servers that speak both."""

import json
import re
import time
from pathlib import Path

import anyio

from interop.checks import APPROVE, DECLINE, FAIL, LATE, Checks, Human, Setting
from interop.checks import audit, call, content, failed, is_refusal, outcome, succeeded, text, wire

SERVER = "dual-python"
SERVERS = ["dual-python", "dual-typescript"]
MODERN, LEGACY = "2026-07-28", "2025-11-25"
# How `mcp.Client` finds the revision: by the handshake, by asking, or because it is given.
MODES = {"legacy": LEGACY, "auto": MODERN, MODERN: MODERN}
# A given revision changes only the first request, so one server is enough.
PAIRS = [(server, mode) for server in SERVERS for mode in MODES if (server, mode) != (SERVERS[1], MODERN)]


def accept(key: str, value: object) -> dict:
    return {"action": "accept", "content": {key: value}}


def ours(params: dict) -> bool:
    return "approved" in params.get("requestedSchema", {}).get("properties", {})


def titles(asked: list) -> list[str]:
    """Returns the questions in order. The proxy's prompts appear as the tool that they are about."""
    found = []
    for params in asked:
        tool = re.search(r"^Server `.*`, tool `(.*?)`", params["message"], re.MULTILINE)
        found.append(f"Tool: {tool[1]}" if ours(params) and tool else params["message"])
    return found


def settled(file: Path) -> str:
    """Returns a file's content once it stops growing, because `tee` writes it at the same time."""
    before = None
    for _ in range(100):
        text = file.read_text() if file.exists() else ""
        if text == before and (not text or text.endswith("\n")):
            break
        before = text
        time.sleep(0.05)
    return before or ""


class Recording:
    """A server, with every line of its input and output."""

    def __init__(self, setting: Setting, name: str, server: str) -> None:
        self.file = setting.place / f"recorded-{name}"
        script = 'tee -a "$0.in" | "$@" | tee -a "$0.out"'
        self.command = ["/bin/sh", "-c", script, str(self.file), *setting.servers[server]]

    def lines(self, way: str) -> list[dict]:
        return [json.loads(line) for line in settled(Path(f"{self.file}.{way}")).splitlines()]

    def received(self, method: str = "") -> list[dict]:
        """Returns what the server received, without the proxy's own requests for the tool list."""
        lines = [line for line in self.lines("in") if not is_catalogue(line)]
        return [line for line in lines if not method or line.get("method") == method]

    def called(self) -> list[str]:
        return [line["params"]["name"] for line in self.received("tools/call")]


def is_catalogue(line: dict) -> bool:
    """Returns whether the proxy asks for the list: its ids are 32 hexadecimal digits, a client's are numbers."""
    request_id = line.get("id")
    own = isinstance(request_id, str) and len(request_id) == 32
    return own and line.get("method") == "tools/list"


def recorded(setting: Setting, name: str, server: str, *flags: str) -> tuple[list, Path, Recording]:
    """Returns a proxy's command, its log, and the recorded server behind it."""
    recording = Recording(setting, name, server)
    setting.server, setting.direct = "dual", recording.command
    command, log = setting.proxied(*flags)
    return command, log, recording


def client(setting: Setting, command: list, mode: str, human=None, **callbacks):
    import mcp

    return mcp.Client(setting.transport(command), mode=mode, elicitation_callback=human, **callbacks)


async def sample(_context, _params):
    from mcp import types

    answer = types.TextContent(type="text", text="forty-two")
    return types.CreateMessageResult(role="assistant", content=answer, model="by hand")


async def roots(_context):
    from mcp import types

    return types.ListRootsResult(roots=[types.Root(uri="file:///one")])


ABLE = {"sampling_callback": sample, "list_roots_callback": roots}


async def approvals(checks: Checks, setting: Setting) -> None:
    """Yes, no and the servers' own questions after a yes, legacy and stateless."""
    for server, mode in PAIRS:
        await approve_and_refuse(checks, setting, server, mode)


async def approve_and_refuse(checks: Checks, setting: Setting, server: str, mode: str) -> None:
    era, how = MODES[mode], f"{server}, {mode}"
    modern = era == MODERN
    setting.refill()
    yes, no = setting.files / "yes.txt", setting.files / "no.txt"
    yes.write_text("yes\n"), no.write_text("no\n")
    not_today = {"action": "accept", "content": {"approved": False, "reason": "not today"}}
    human = Human(APPROVE, DECLINE, not_today, accept("name", "Bo"))
    command, log, recording = recorded(setting, f"approve-{server}-{mode}", server, "--mode", "destructive")
    async with client(setting, command, mode, human, **ABLE) as session:
        checks.equal(f"{how}: the revision", str(session.protocol_version), era)
        names = [tool["name"] for tool in wire(await session.list_tools())["tools"]]
        checks.equal(f"{how}: the tools", names, "read wipe guess quiz survey wait order grow".split())

        poem = await call(session, "read", {"name": "poem.txt"})
        checks.equal(f"{how}: a free call", text(poem), "one\ntwo\nthree\n")
        checks.equal(f"{how}: nobody was asked about it", human.asked, [])

        wiped = await call(session, "wipe", {"name": "yes.txt"})
        checks.check(f"{how}: after a yes the result is the server's", text(wiped) == "wiped yes.txt", wiped)
        checks.check(f"{how}: after a yes the file is gone", not yes.exists())
        prompt = human.asked[0]["message"] if human.asked else ""
        shown = all(word in prompt for word in ("`dual`", "`wipe`", "yes.txt", "high"))
        checks.check(f"{how}: the prompt shows the call", shown, human.asked)
        refused = await call(session, "wipe", {"name": "no.txt"})
        is_refusal(checks, f"{how}: a no", refused, "wipe")
        refused = await call(session, "wipe", {"name": "no.txt"})
        is_refusal(checks, f"{how}: `approved: false`", refused, "wipe")
        checks.check(f"{how}: its reason arrives", "not today" in text(refused), refused)
        checks.equal(f"{how}: after a no the file is there", content(no), "no\n")
        checks.equal(f"{how}: one prompt for each", titles(human.asked), ["Tool: wipe"] * 3)

        human.asked.clear()
        guessed = await call(session, "guess", {})
        checks.equal(f"{how}: a free call's own question", text(guessed), "guess of Bo")
        checks.equal(f"{how}: only the server asked it", titles(human.asked), ["Who guesses?"])

        # Our prompt first, then the server's questions.
        human.asked.clear()
        human.answers += [APPROVE, accept("name", "Ada"), accept("percent", 70)]
        quiz = await call(session, "quiz", {"topic": "birds"})
        checks.equal(f"{how}: two rounds after a yes", text(quiz), "quiz on birds: Ada, 70")
        order = ["Tool: quiz", "Who are you?", "How sure are you?"]
        checks.equal(f"{how}: all three questions, ours first", titles(human.asked), order)
        human.asked.clear()
        human.answers += [APPROVE, DECLINE, accept("percent", 5)]
        quiz = await call(session, "quiz", {"topic": "fish"})
        checks.equal(f"{how}: a no to the server reaches the server", text(quiz), "quiz on fish: decline, 5")
        human.asked.clear()
        human.answers += [DECLINE]
        is_refusal(checks, f"{how}: a no to us", await call(session, "quiz", {"topic": "cats"}), "quiz")
        checks.equal(f"{how}: after it the server asks nothing", titles(human.asked), ["Tool: quiz"])

        human.asked.clear()
        human.answers += [APPROVE, accept("colour", "blue")]
        survey = await call(session, "survey", {})
        checks.equal(f"{how}: a round without a state", text(survey), "survey: blue")
        checks.equal(f"{how}: both questions", titles(human.asked), ["Tool: survey", "Which colour?"])
        human.answers += [APPROVE]
        checks.equal(f"{how}: a round with nothing but a state", text(await call(session, "wait", {})), "waited")
        human.answers += [APPROVE, accept("size", "XL")]
        ordered = await call(session, "order", {})
        checks.equal(f"{how}: three questions in one round", text(ordered), "order: XL, forty-two, file:///one")

        # A client that gives up after the question: nothing runs, and the log says so at the end.
        human.answers += [FAIL] * (1 if modern else 3)
        broken = await outcome(session.call_tool("wipe", {"name": "no.txt"}))
        checks.check(f"{how}: an error instead of an answer approves nothing", not succeeded(broken), broken)
        checks.equal(f"{how}: nothing was wiped", content(no), "no\n")
        checks.equal(f"{how}: every answer was used", human.answers, [])

    # In the stateless revision, each round is a separate call.
    wanted = [("read", "passed", True), ("wipe", "approved", True)] + [("wipe", "denied", False)] * 2
    wanted += [("guess", "passed", True)] * (2 if modern else 1)
    wanted += [("quiz", "approved", True)] * (6 if modern else 2) + [("quiz", "denied", False)]
    for tool in ("survey", "wait", "order"):
        wanted += [(tool, "approved", True)] * (2 if modern else 1)
    wanted += [("wipe", "cancelled" if modern else "error", False)]
    lines = audit(checks, f"{how}: the audit log has it in order", log, wanted)
    rounds_said = [line["reason"] for line in lines if line["tool"] == "quiz" and line["forwarded"]]
    later = ["round 2 of an approved call", "round 3 of an approved call"] if modern else []
    checks.equal(f"{how}: the log counts the rounds", rounds_said, ["approved", *later] * 2)
    forwarded = [line["tool"] for line in lines if line["forwarded"]]
    checks.equal(f"{how}: the server received what was forwarded", recording.called(), forwarded)
    if modern:
        answers_are_its_own(checks, how, recording)


def answers_are_its_own(checks: Checks, how: str, recording: Recording) -> None:
    """Checks that the server gets answers to its own questions, with its own state."""
    results = {line["id"]: line["result"] for line in recording.lines("out") if "result" in line}
    asked, wrong, states = {}, [], 0
    for line in recording.received("tools/call"):
        params = line["params"]
        question = asked.pop(params["name"], {})
        wanted = (set(question.get("inputRequests") or {}), question.get("requestState"))
        if (set(params.get("inputResponses") or {}), params.get("requestState")) != wanted:
            wrong.append((line, wanted))
        states += "requestState" in params
        result = results.get(line["id"], {})
        if result.get("resultType") == "input_required":
            asked[params["name"]] = result
    checks.equal(f"{how}: the server gets its own answers and states", wrong, [])
    # Two from each quiz, one from `wait`, one from `guess`; those of `order` are the server's choice.
    checks.check(f"{how}: there were states", states >= 6, states)
    strange = [line for line in recording.received() if "approval-proxy" in json.dumps(line)]
    checks.equal(f"{how}: none of our ids or states reach it", strange, [])


async def cannot_be_asked(checks: Checks, setting: Setting) -> None:
    """A client without elicitation can make calls that pass, and no others."""
    for server in SERVERS:
        for mode in ("legacy", "auto"):
            how = f"{server}, {mode}"
            setting.refill()
            command, log, recording = recorded(setting, f"unasked-{server}-{mode}", server)
            async with client(setting, command, mode) as session:
                poem = await call(session, "read", {"name": "poem.txt"})
                checks.check(f"{how}: a client that cannot be asked may read", succeeded(poem), poem)
                for tool, arguments in (("wipe", {"name": "poem.txt"}), ("quiz", {"topic": "birds"})):
                    refused = await call(session, tool, arguments)
                    why = failed(refused) and "elicitation" in text(refused)
                    checks.check(f"{how}: `{tool}` is refused, with the reason", why, refused)
            checks.check(f"{how}: nothing is wiped unasked", (setting.files / "poem.txt").exists())
            checks.equal(f"{how}: the server received one call", recording.called(), ["read"])
            denied = [("wipe", "denied", False), ("quiz", "denied", False)]
            audit(checks, f"{how}: the audit log says so", log, [("read", "passed", True), *denied])


async def twice_and_late(checks: Checks, setting: Setting) -> None:
    """Two yeses if two are needed, and a late yes, stateless."""
    for server in SERVERS:
        setting.refill()
        poem = {"name": "poem.txt"}
        human = Human(APPROVE, DECLINE, APPROVE, APPROVE)
        command, log, recording = recorded(setting, f"twice-{server}", server, "--high-risk-double-confirm")
        async with client(setting, command, "auto", human) as session:
            is_refusal(checks, f"{server}: a yes and a no", await call(session, "wipe", poem), "wipe")
            checks.check(f"{server}: after them nothing is wiped", (setting.files / "poem.txt").exists())
            wiped = await call(session, "wipe", poem)
            checks.equal(f"{server}: two yeses", text(wiped), "wiped poem.txt")
            checks.equal(f"{server}: four prompts", titles(human.asked), ["Tool: wipe"] * 4)
        checks.equal(f"{server}: the server received one call", recording.called(), ["wipe"])
        audit(checks, f"{server}: a record for each call", log, [("wipe", "denied", False), ("wipe", "approved", True)])

        setting.refill()
        command, log, recording = recorded(setting, f"late-{server}", server, "--timeout", "1")
        async with client(setting, command, "auto", Human(LATE, APPROVE)) as session:
            late = await call(session, "wipe", poem)
            said = failed(late) and "has expired" in text(late)
            checks.check(f"{server}: a late yes is refused, with the reason", said, late)
            checks.check(f"{server}: nothing is wiped late", (setting.files / "poem.txt").exists())
            wiped = await call(session, "wipe", poem)
            checks.equal(f"{server}: the next one is asked about", text(wiped), "wiped poem.txt")
        checks.equal(f"{server}: the server received only the call in time", recording.called(), ["wipe"])
        wanted = [("wipe", "timeout", False), ("wipe", "denied", False), ("wipe", "approved", True)]
        audit(checks, f"{server}: the log has the timeout and the late answer", log, wanted)


async def a_tool_that_comes_later(checks: Checks, setting: Setting) -> None:
    """The notification of a changed list arrives, and the new tool is gated."""
    for server in SERVERS:
        for mode, era in {"legacy": LEGACY, "auto": MODERN}.items():
            how = f"{server}, {mode}"
            told = []

            async def on_message(message) -> None:
                told.append(getattr(message, "method", None))

            human = Human(DECLINE, APPROVE)
            command, log, _ = recorded(setting, f"grown-{server}-{mode}", server)
            async with client(setting, command, mode, human, message_handler=on_message) as session:
                await session.list_tools()
                if era == MODERN:
                    async with session.listen(tools_list_changed=True) as changes:
                        await call(session, "grow", {})
                        with anyio.move_on_after(8):
                            told.append(type(await anext(changes)).__name__)
                else:
                    await call(session, "grow", {})
                    with anyio.move_on_after(8):
                        while "notifications/tools/list_changed" not in told:
                            await anyio.sleep(0.01)
                arrived = any("ist_changed" in str(what) or "ListChanged" in str(what) for what in told)
                checks.check(f"{how}: the client is told", arrived, told)
                names = [tool.name for tool in (await session.list_tools()).tools]
                checks.check(f"{how}: the list has the new tool", "grown" in names, names)
                is_refusal(checks, f"{how}: a no to it", await call(session, "grown", {}), "grown")
                checks.equal(f"{how}: a yes to it", text(await call(session, "grown", {})), "grown")
            wanted = [("grow", "passed", True), ("grown", "denied", False), ("grown", "approved", True)]
            audit(checks, f"{how}: the audit log has it", log, wanted)


async def same_with_everything_allowed(checks: Checks, setting: Setting) -> None:
    """With `--mode none`, client and server see the same as without the proxy, legacy and stateless."""
    for server, mode in PAIRS:
        era, how, seen = MODES[mode], f"{server}, {mode}", []
        for way in ("direct", "proxied"):
            name = f"same-{way}-{server}-{mode}"
            command, log, recording = recorded(setting, name, server, "--mode", "none")
            command = recording.command if way == "direct" else command
            seen.append(await everything(setting, command, mode, recording))
        direct, proxied = seen
        # Two empty results would be equal too.
        checks.equal(f"{how}: the revision without the proxy", direct["era"], era)
        discovers = any(line.get("method") == "server/discover" for line in direct["received"])
        checks.equal(f"{how}: the client discovers if it can", discovers, mode == "auto")
        checks.equal(f"{how}: the quiz without the proxy", text(direct["quiz"]), "quiz on birds: Ada, 70")
        questions = 5 if server == "dual-python" and era == LEGACY else 6
        checks.equal(f"{how}: the questions without the proxy", len(direct["asked"]), questions)
        for what in direct:
            checks.equal(f"{how}: the same with and without the proxy: {what}", proxied[what], direct[what])
        calls = [line["params"]["name"] for line in direct["received"] if line.get("method") == "tools/call"]
        audit(checks, f"{how}: each call has a record", log, [(tool, "passed", True) for tool in calls])


async def everything(setting: Setting, command: list, mode: str, recording: Recording) -> dict:
    setting.refill()
    answers = ["name", "Bo"], ["name", "Ada"], ["percent", 70], ["colour", "blue"], ["size", "XL"], ["name", "Cy"]
    human = Human(*(accept(*answer) for answer in answers))
    async with client(setting, command, mode, human, **ABLE) as session:
        discover, hello = session.session.discover_result, session.session.initialize_result
        found = {
            "era": str(session.protocol_version),
            "discover": discover and wire(discover),
            "handshake": hello and wire(hello),
            "capabilities": wire(session.server_capabilities),
            "instructions": session.instructions,
            "tools": await outcome(session.list_tools()),
            "resources": await outcome(session.list_resources()),
            "templates": await outcome(session.list_resource_templates()),
            "prompts": await outcome(session.list_prompts()),
            "read": await outcome(session.call_tool("read", {"name": "poem.txt"})),
            "read of what is not there": await outcome(session.call_tool("read", {"name": "missing"})),
            "wipe": await outcome(session.call_tool("wipe", {"name": "poem.txt"})),
            "a call without its arguments": await outcome(session.call_tool("wipe", {})),
            "an unknown tool": await outcome(session.call_tool("no_such_tool", {"n": 5.0})),
            "guess": await outcome(session.call_tool("guess", {})),
            "quiz": await outcome(session.call_tool("quiz", {"topic": "birds"})),
            "survey": await outcome(session.call_tool("survey", {})),
            "wait": await outcome(session.call_tool("wait", {})),
            "order": await outcome(session.call_tool("order", {})),
            "prompt": await outcome(session.get_prompt("greet")),
            "resource": await outcome(session.read_resource("note://one")),
            "unknown resource": await outcome(session.read_resource("note://two")),
        }
    found |= {"asked": human.asked, "files": setting.tree()}
    found["received"] = [without_states(line) for line in recording.received()]
    answers = [line for line in recording.lines("out") if not is_catalogue_answer(line)]
    found["answered"] = [without_states(line) for line in answers]
    return found


def is_catalogue_answer(line: dict) -> bool:
    return isinstance(line.get("id"), str) and len(line["id"]) == 32


def without_states(value: object) -> object:
    """Returns the message without its states: the servers seal them, so no two are equal."""
    if isinstance(value, list):
        return [without_states(item) for item in value]
    if isinstance(value, dict):
        return {k: "a state" if k == "requestState" else without_states(v) for k, v in value.items()}
    return value


async def server_of_the_old_era(checks: Checks, setting: Setting) -> None:
    """A server that knows only `initialize`: each client gets the same as without the proxy."""
    for mode, works in {"legacy": True, "auto": True, MODERN: None}.items():
        seen = []
        poem = {"path": str(setting.files / "poem.txt")}
        for way in ("direct", "proxied"):
            command, log, recording = recorded(setting, f"old-{way}-{mode}", "filesystem", "--mode", "none")
            command = recording.command if way == "direct" else command
            async with client(setting, command, mode, Human()) as session:
                found = {
                    "era": str(session.protocol_version),
                    "capabilities": wire(session.server_capabilities),
                    "tools": await outcome(session.list_tools()),
                    "call": await outcome(session.call_tool("read_text_file", poem)),
                }
            seen.append(found | {"received": recording.received(), "answered": recording.lines("out")})
        direct, proxied = seen
        methods = [line["method"] for line in direct["received"]]
        if works:
            checks.equal(f"{mode}: the revision is legacy", direct["era"], LEGACY)
            checks.equal(f"{mode}: the call works", text(direct["call"]), "one\ntwo\nthree\n")
            opening = ["server/discover", "initialize"] if mode == "auto" else ["initialize"]
            checks.equal(f"{mode}: the client asks for the stateless revision first if it can", methods[: len(opening)], opening)
        else:
            checks.check(f"{mode}: no handshake follows", "initialize" not in methods, methods)
        for what in direct:
            checks.equal(f"{mode}: the same with and without the proxy: {what}", proxied[what], direct[what])


SECTIONS = [
    approvals,
    cannot_be_asked,
    twice_and_late,
    a_tool_that_comes_later,
    same_with_everything_allowed,
    server_of_the_old_era,
]
