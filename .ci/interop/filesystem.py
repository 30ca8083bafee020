"""The Python SDK through the proxy to `@modelcontextprotocol/server-filesystem`."""

import re
import stat
import time
from pathlib import Path

from interop.checks import APPROVE, DECLINE, FAIL, LATE, Checks, Human, Setting
from interop.checks import audit, call, content, decisions, failed, is_refusal, outcome, succeeded, text, wire


async def same_without_and_with(checks: Checks, setting: Setting) -> None:
    """The server's description of itself reaches the client unchanged."""
    seen = []
    command, log = setting.proxied()
    for way in (setting.direct, command):
        async with setting.session(way, Human()) as session:
            tools = wire(await session.list_tools())
            others = [await outcome(session.list_resources()), await outcome(session.list_prompts())]
            seen.append((session.hello, tools, others))
            closing = time.monotonic()
    # The SDK closes a server's stdin, waits two seconds, and kills the server.
    checks.check("the proxy ends soon after its client", time.monotonic() - closing < 1.5)
    (hello, tools, others), (proxied_hello, proxied_tools, proxied_others) = seen
    checks.equal("the server's information is the same", proxied_hello["serverInfo"], hello["serverInfo"])
    checks.equal("the capabilities are the same", proxied_hello["capabilities"], hello["capabilities"])
    checks.equal("the rest of the handshake is the same", proxied_hello, hello)
    checks.check("there are tools", len(tools["tools"]) > 5, tools)
    checks.equal("the tool list is the same", proxied_tools, tools)
    checks.equal("the answers to unknown methods are the same", proxied_others, others)
    audit(checks, "without a call, the audit log has no decision", log, [])


async def asks_before_it_writes(checks: Checks, setting: Setting) -> None:
    """The main job: reads pass, a yes writes, a no does not."""
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
        checks.check("nothing is preselected", not approved.get("default"), schema)

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
        checks.equal("each gated call had its own prompt", len(human.asked), 4)

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
    checks.equal("every record has every key", missing, [])
    checks.equal("every record names the server", {line.get("server") for line in lines}, {"filesystem"})
    stamp = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
    stamps = [line.get("ts", "") for line in lines]
    checks.check("times are UTC with milliseconds", all(stamp.fullmatch(ts) for ts in stamps), stamps)
    checks.equal("times never go backwards", stamps, sorted(stamps))
    written = [line.get("args") for line in lines if line["decision"] == "denied"][:1]
    checks.equal("a record has the arguments", written, [{"path": str(no), "content": "gone\n"}])
    checks.equal("only the user can read the log", stat.S_IMODE(log.stat().st_mode), 0o600)


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
            is_no = name in ("accept with approved false", "decline with approved true")
            checks.equal(f"{name}: only a no is reported as a person's", "denied by a person" in text(result), is_no)
            checks.check(f"{name} writes nothing", not file.exists())
            if name == "accept with approved false":
                checks.check("the reason reaches the client", "not on a Friday" in text(result), text(result))
    lines = decisions(log)
    checks.equal("each has a record", len(lines), len(answers) + 1)
    checks.check("none was forwarded", not any(line["forwarded"] for line in lines), lines)
    decided = [line["decision"] for line in lines]
    wanted = ["error", "denied", "error", "error", "denied", "denied", "error"]
    checks.equal("a no is a denial, an invalid answer is an error", decided, wanted)
    reasons = [line["reason"] for line in lines]
    checks.check("the person's reason is in the log", any("not on a Friday" in r for r in reasons), reasons)


async def gives_up_in_time(checks: Checks, setting: Setting) -> None:
    """An unanswered prompt times out, and delays no other call."""
    import anyio

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
            checks.check("a read passes while a prompt waits", passed, read)
        checks.check("an unanswered prompt times out in time", 0.9 < results["waited"] < 4, results["waited"])
        refused = results["write"]
        checks.check("an unanswered call is refused", failed(refused), refused)
        checks.check("the refusal mentions the time", re.search(r"tim(e|ed)", text(refused)), text(refused))
        await anyio.sleep(0.5)
        checks.check("the prompt is withdrawn", human.withdrawn == 1, human.withdrawn)
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
    """Gated calls of a client without elicitation are refused."""
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
    """With `--mode none` every call has the same result as without the proxy."""

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
    checks.check("the files have changed", "more/moved.txt" in tree, tree)
    checks.equal("nobody was asked", human.asked, [])
    expected = [(tool, "passed", True) for tool, _ in calls]
    audit(checks, "every call has a record", log, expected)


async def high_level_client(checks: Checks, setting: Setting) -> None:
    """The SDK's `Client`, which tries the newest revision before `initialize`."""
    import mcp

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


SERVER = "filesystem"
SECTIONS = [
    same_without_and_with,
    asks_before_it_writes,
    refuses_what_is_no_yes,
    gives_up_in_time,
    client_that_cannot_be_asked,
    mode_none_changes_nothing,
    high_level_client,
]
