"""The Python SDK through the proxy to `@modelcontextprotocol/server-everything`."""

import re

import anyio

from interop.checks import APPROVE, DECLINE, LATE, Checks, Human, Setting
from interop.checks import audit, call, failed, is_refusal, succeeded, text, wire

SERVER = "everything"
# The tools that are asked about here. The server marks none as destructive.
ASKED = ["--mode", "all", "--allow", "get-*,toggle-*,trigger-long-running-operation"]


class Client:
    """The callbacks of a client with all capabilities, and what they received."""

    def __init__(self, *answers: object) -> None:
        # Answers to the proxy. `their_answer` answers the server's own questions.
        self.human = Human(*answers)
        self.their_answer = {"action": "accept", "content": {"name": "Ada", "check": True}}
        self.theirs, self.samples, self.logs, self.updated = [], [], [], []
        self.roots = ["file:///one"]

    async def elicit(self, context, params):
        from mcp import types

        said = wire(params)
        if "approved" in said.get("requestedSchema", {}).get("properties", {}):
            return await self.human(context, params)
        self.theirs.append(said)
        return types.ElicitResult(**self.their_answer)

    async def sample(self, _context, params):
        from mcp import types

        self.samples.append(wire(params))
        answer = types.TextContent(type="text", text="forty-two")
        return types.CreateMessageResult(role="assistant", content=answer, model="by hand")

    async def list_roots(self, _context):
        from mcp import types

        return types.ListRootsResult(roots=[types.Root(uri=uri, name="a root") for uri in self.roots])

    async def log(self, params) -> None:
        self.logs.append(wire(params))

    async def message(self, message) -> None:
        # A notification. SDK 1.x wraps it.
        message = getattr(message, "root", message)
        if getattr(message, "method", None) == "notifications/resources/updated":
            self.updated.append(str(message.params.uri))

    def session(self, setting: Setting, command: list):
        callbacks = {"sampling_callback": self.sample, "list_roots_callback": self.list_roots}
        callbacks |= {"logging_callback": self.log, "message_handler": self.message}
        return setting.session(command, self.elicit, **callbacks)


async def until(holds, seconds: float = 8) -> bool:
    with anyio.move_on_after(seconds):
        while not holds():
            await anyio.sleep(0.01)
    return bool(holds())


async def lists_and_reads(checks: Checks, setting: Setting) -> None:
    """Tools, resources, templates, prompts, completion and ping are the same as without the proxy."""
    from mcp import types

    seen = []
    command, _ = setting.proxied()
    for way in (setting.direct, command):
        async with Client().session(setting, way) as session:
            # Some tools appear a little later, once the server knows the client's capabilities.
            await session.send_ping()
            found = {
                "handshake": session.hello,
                "tools": wire(await session.list_tools()),
                "resources": wire(await session.list_resources()),
                "templates": wire(await session.list_resource_templates()),
                "prompts": wire(await session.list_prompts()),
                "prompt": wire(await session.get_prompt("args-prompt", {"city": "Bern", "state": "BE"})),
                "ping": wire(await session.send_ping()),
            }
            document = found["resources"]["resources"][0]["uri"]
            found["resource"] = wire(await session.read_resource(document))
            prompt = types.PromptReference(type="ref/prompt", name="completable-prompt")
            department = {"name": "department", "value": "S"}
            found["completion"] = wire(await session.complete(prompt, department))
        seen.append(found)
    direct, proxied = seen
    for what in direct:
        checks.equal(f"the same with and without the proxy: {what}", proxied[what], direct[what])
    checks.equal("there is a completion", direct["completion"]["completion"]["values"], ["Sales", "Support"])
    names = {tool["name"] for tool in direct["tools"]["tools"]}
    conditional = {"trigger-sampling-request", "trigger-elicitation-request", "get-roots-list"}
    checks.check("the server knows the client's capabilities", conditional <= names, sorted(names))


async def asks_here_too(checks: Checks, setting: Setting) -> None:
    """A yes runs the call, a no does not."""
    command, log = setting.proxied(*ASKED)
    client = Client(APPROVE, DECLINE)
    async with client.session(setting, command) as session:
        echo = await call(session, "echo", {"message": "yes"})
        checks.equal("an approved call has the server's result", text(echo), "Echo: yes")
        refused = await call(session, "echo", {"message": "no"})
        is_refusal(checks, "a no to `echo`", refused, "echo")
    audit(checks, "the audit log has both", log, [("echo", "approved", True), ("echo", "denied", False)])


async def progress_and_cancellation(checks: Checks, setting: Setting) -> None:
    """Progress arrives. A cancelled call ends, whether it runs or waits for a person."""
    command, log = setting.proxied(*ASKED)
    client = Client(LATE)
    steps = []

    async def on_progress(progress: float, total: float | None, _message: str | None) -> None:
        steps.append((progress, total))

    async with client.session(setting, command) as session:
        slow = {"duration": 0.6, "steps": 3}
        result = await session.call_tool("trigger-long-running-operation", slow, progress_callback=on_progress)
        checks.check("the long call ends", succeeded(wire(result)), wire(result))
        checks.equal("its progress arrives in order", steps, [(1, 3), (2, 3), (3, 3)])

        with anyio.move_on_after(0.3):
            await session.call_tool("trigger-long-running-operation", {"duration": 30, "steps": 2})
        checks.check("after a cancelled call the session goes on", await session.send_ping() is not None)

        # An unanswered prompt, and a client that cancels its call.
        with anyio.move_on_after(1):
            await session.call_tool("echo", {"message": "cancelled"})
        withdrawn = await until(lambda: client.human.withdrawn == 1, 2)
        checks.check("the prompt of a cancelled call is withdrawn", withdrawn)
        await session.send_ping()
    wanted = [
        ("trigger-long-running-operation", "passed", True),
        ("trigger-long-running-operation", "passed", True),
        ("echo", "cancelled", False),
    ]
    audit(checks, "the audit log has the cancelled call", log, wanted)


async def logging_and_subscriptions(checks: Checks, setting: Setting) -> None:
    """Log messages and updates reach the client."""
    command, _ = setting.proxied(*ASKED)
    client = Client()
    uri = "demo://resource/dynamic/text/1"
    async with client.session(setting, command) as session:
        await session.set_logging_level("debug")
        await session.subscribe_resource(uri)
        said = await until(lambda: any(uri in str(log.get("data")) for log in client.logs))
        checks.check("a log message arrives", said, client.logs)
        await call(session, "toggle-simulated-logging", {})
        simulated = re.compile("(?i)-(level )?message|level-message")
        said = await until(lambda: any(simulated.search(str(log.get("data"))) for log in client.logs))
        checks.check("simulated logging arrives", said, client.logs)
        await call(session, "toggle-subscriber-updates", {})
        updated = await until(lambda: uri in client.updated)
        checks.check("the update of a subscribed resource arrives", updated, client.updated)
        await session.unsubscribe_resource(uri)
        before = len(client.logs)
        await session.set_logging_level("emergency")
        await session.subscribe_resource(uri)
        await session.send_ping()
        infos = [log for log in client.logs[before:] if log["level"] == "info"]
        checks.check("the level that was set counts", len(infos) <= 1, infos)


async def asked_by_both(checks: Checks, setting: Setting) -> None:
    """The server's own requests reach the client unchanged, beside the proxy's prompts."""
    seen = []
    command, log = setting.proxied(*ASKED)
    for way in (setting.direct, command):
        client = Client(APPROVE, APPROVE, APPROVE, DECLINE)
        async with client.session(setting, way) as session:
            await session.send_ping()
            sampled = await call(session, "trigger-sampling-request", {"prompt": "6 × 7", "maxTokens": 5})
            asked = await call(session, "trigger-elicitation-request", {})
            client.their_answer = {"action": "decline"}
            declined = await call(session, "trigger-elicitation-request", {})
            roots = await call(session, "get-roots-list", {})
            client.roots.append("file:///two")
            await session.send_roots_list_changed()
            told = await until(lambda: any("2 root" in str(log.get("data")) for log in client.logs))
            checks.check(f"the server reads changed roots ({'direct' if way is setting.direct else 'proxied'})", told)
            results = [sampled, asked, declined, roots, await call(session, "get-roots-list", {})]
            seen.append((results, client.theirs, client.samples))
            if way is command:
                before = len(client.theirs)
                refused = await call(session, "trigger-elicitation-request", {})
                is_refusal(checks, "a no to the proxy", refused, "trigger-elicitation-request")
                checks.equal("after a no the server asks nothing", len(client.theirs), before)
                checks.equal("the proxy asked four times", len(client.human.asked), 4)
    (results, theirs, samples), (proxied_results, proxied_theirs, proxied_samples) = seen
    checks.equal("sampling requests are the server's own", proxied_samples, samples)
    checks.equal("there was one", len(samples), 1)
    checks.equal("elicitations are the server's own", proxied_theirs, theirs)
    checks.equal("there were two", len(theirs), 2)
    names = ["sampling", "an accepted elicitation", "a declined elicitation", "roots", "changed roots"]
    for name, proxied, direct in zip(names, proxied_results, results):
        checks.equal(f"the result is the same: {name}", proxied, direct)
    checks.check("the client's sample is in the result", "forty-two" in text(results[0]), results[0])
    checks.check("the person's words are in the result", "Ada" in text(results[1]), results[1])
    checks.check("the roots are in the result", "file:///two" in text(results[4]), results[4])


async def client_that_can_nothing(checks: Checks, setting: Setting) -> None:
    """A client without capabilities gets no requests. Gated calls are refused."""
    command, log = setting.proxied(*ASKED)
    async with setting.session(command) as session:
        result = await call(session, "get-sum", {"a": 2, "b": 3})
        checks.check("calls that pass run", "5" in text(result), result)
        refused = await call(session, "echo", {"message": "x"})
        checks.check("a gated call is refused", failed(refused), refused)
    audit(checks, "the audit log says so", log, [("get-sum", "passed", True), ("echo", "denied", False)])


SECTIONS = [
    lists_and_reads,
    asks_here_too,
    progress_and_cancellation,
    logging_and_subscriptions,
    asked_by_both,
    client_that_can_nothing,
]
