"""A hand-written client that speaks legacy and stateless revisions over one pair of pipes."""

import json
import os
import signal
import subprocess
import threading

from interop.checks import Checks, Setting, audit, content
from interop.eras import LEGACY, MODERN, SERVERS, Recording, recorded, without_states

SERVER = "dual-both"
CAPABILITIES = {"elicitation": {"form": {}}}
INFO = {"name": "by hand", "version": "1"}
PREFIX = "io.modelcontextprotocol/"
META = {
    f"{PREFIX}protocolVersion": MODERN,
    f"{PREFIX}clientInfo": INFO,
    f"{PREFIX}clientCapabilities": CAPABILITIES,
}
HELLO = {"protocolVersion": LEGACY, "capabilities": CAPABILITIES, "clientInfo": INFO}


class ByHand:
    """Sends requests under given ids. Numbers are legacy requests, words stateless ones."""

    def __init__(self, command: list) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, **pipes, start_new_session=True)
        # Kill a silent peer, and everything that holds its pipes, before CI times out.
        self.alarm = threading.Timer(30, os.killpg, (self.process.pid, signal.SIGKILL))
        self.alarm.start()
        self.answers, self.questions = {}, []

    def __enter__(self) -> "ByHand":
        return self

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        self.ended = self.process.wait()
        self.alarm.cancel()

    def send(self, *messages: dict) -> None:
        """Sends all of them with one write."""
        lines = [json.dumps({"jsonrpc": "2.0"} | message) + "\n" for message in messages]
        self.process.stdin.write("".join(lines).encode())
        self.process.stdin.flush()

    def read(self) -> None:
        line = self.process.stdout.readline()
        if not line:
            raise EOFError(f"it closed after answering {sorted(map(str, self.answers))}")
        message = json.loads(line)
        if "method" not in message:
            self.answers[message["id"]] = message
        elif "id" in message:
            self.questions.append(message)

    def answer(self, request_id: object) -> dict:
        while request_id not in self.answers:
            self.read()
        return self.answers[request_id]

    def result(self, request_id: object) -> dict:
        message = self.answer(request_id)
        return message.get("result") or message

    def question(self) -> dict:
        while not self.questions:
            self.read()
        return self.questions.pop(0)

    def reply(self, question: dict, answer: dict) -> None:
        self.send({"id": question["id"], "result": answer})


def request(request_id: object, method: str, params: dict | None = None, **more) -> dict:
    params = (params or {}) | more
    if isinstance(request_id, str):
        params["_meta"] = META
    return {"id": request_id, "method": method, "params": params}


def tool(request_id: object, name: str, arguments: dict | None = None, **more) -> dict:
    return request(request_id, "tools/call", {"name": name, "arguments": arguments or {}}, **more)


def retry(request_id: str, name: str, arguments: dict, question: dict, answers: dict) -> dict:
    state = {"requestState": question["requestState"]} if "requestState" in question else {}
    return tool(request_id, name, arguments, inputResponses=answers, **state)


def accept(key: str, value: object) -> dict:
    return {"action": "accept", "content": {key: value}}


YES, NO = accept("approved", True), {"action": "decline"}
OURS = "approval-proxy"


def said(result: dict) -> str:
    return "\n".join(block.get("text", "") for block in result.get("content", []))


async def gated_in_both(checks: Checks, setting: Setting) -> None:
    """Held legacy calls and stateless questions do not mix."""
    files = {name: setting.files / name for name in ("m1", "m2", "l1", "l2")}
    for file in files.values():
        file.write_text("here\n")
    command, log, recording = recorded(setting, "gated", SERVER)
    with ByHand(command) as client:
        client.send(request(1, "initialize", HELLO), request("discover", "server/discover"))
        checks.equal("the old era answers", client.result(1).get("protocolVersion"), LEGACY)
        checks.equal("the new one too", client.result("discover").get("supportedVersions"), [MODERN])
        client.send({"method": "notifications/initialized"})

        # A yes to one and a no to the other at the same time, then the reverse.
        first, second = {"name": "m1"}, {"name": "l1"}
        client.send(tool("a", "wipe", first), tool(2, "wipe", second))
        asked, prompt = client.result("a"), client.question()
        checks.equal("the new era is asked by a result", list(asked.get("inputRequests", {})), [OURS])
        checks.equal("the old era is asked by a request", prompt["method"], "elicitation/create")
        shown = asked["inputRequests"][OURS]["params"]["message"]
        both = "m1" in shown and "l1" not in shown and "l1" in prompt["params"]["message"]
        checks.check("each is asked about its own call", both, (shown, prompt))
        client.send(tool(3, "read", {"name": "l1"}), tool("b", "read", {"name": "m1"}))
        checks.equal("meanwhile others pass", [said(client.result(3)), said(client.result("b"))], ["here\n"] * 2)
        client.reply(prompt, NO)
        client.send(retry("c", "wipe", first, asked, {OURS: YES}))
        checks.equal("the yes counts for the one", said(client.result("c")), "wiped m1")
        refused = client.result(2)
        checks.check("the no for the other", refused.get("isError") and "denied" in said(refused), refused)

        first, second = {"name": "m2"}, {"name": "l2"}
        client.send(tool(4, "wipe", second), tool("d", "wipe", first))
        asked, prompt = client.result("d"), client.question()
        client.send(retry("e", "wipe", first, asked, {OURS: NO}))
        client.reply(prompt, YES)
        checks.equal("and the other way round", said(client.result(4)), "wiped l2")
        refused = client.result("e")
        checks.check("with a refusal", refused.get("isError") and "denied" in said(refused), refused)

        # A stateless `requestState` is worth nothing in a legacy call.
        client.send(tool("f", "wipe", first))
        asked = client.result("f")
        stolen = {"inputResponses": {OURS: YES}, "requestState": asked["requestState"]}
        client.send(tool(5, "wipe", first, **stolen))
        refused = client.result(5)
        checks.check("a state counts only in a stateless call", refused.get("isError") is True, refused)
        client.send(retry("g", "wipe", first, asked, {OURS: NO}))
        client.result("g")

        # The server's own questions after an approval, legacy and stateless.
        birds, fish = {"topic": "birds"}, {"topic": "fish"}
        client.send(tool("h", "quiz", birds), tool(6, "quiz", fish))
        prompt, asked = client.question(), client.result("h")
        client.send(retry("i", "quiz", birds, asked, {OURS: YES}))
        client.reply(prompt, YES)
        theirs, question = client.result("i"), client.question()
        checks.equal("the server asks by a result", list(theirs.get("inputRequests", {})), ["who"])
        checks.equal("and by a request", question["params"]["message"], "Who are you?")
        client.reply(question, accept("name", "Lee"))
        client.send(retry("j", "quiz", birds, theirs, {"who": accept("name", "Mo")}))
        theirs, question = client.result("j"), client.question()
        client.send(retry("k", "quiz", birds, theirs, {"sure": accept("percent", 1)}))
        client.reply(question, accept("percent", 2))
        results = [said(client.result("k")), said(client.result(6))]
        checks.equal("each gets its own answers", results, ["quiz on birds: Mo, 1", "quiz on fish: Lee, 2"])
        checks.equal("nothing else was asked", client.questions, [])
    checks.equal("it ends with its client", client.ended, 0)
    there = {name: content(file) for name, file in files.items()}
    wanted = {"m1": None, "m2": "here\n", "l1": "here\n", "l2": None}
    checks.equal("what was approved is gone, what was refused is there", there, wanted)
    calls = ["read", "read", "wipe", "wipe", "quiz", "quiz", "quiz", "quiz"]
    checks.equal("the server got what was let through", sorted(recording.called()), sorted(calls))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    decided = {line["request_id"]: (line["decision"], line["forwarded"]) for line in lines if "tool" in line}
    approved, denied, passed = ("approved", True), ("denied", False), ("passed", True)
    wanted = {"c": approved, 2: denied, 3: passed, "b": passed, 4: approved, "e": denied, 5: denied, "g": denied}
    wanted |= {"i": approved, 6: approved, "j": approved, "k": approved}
    checks.equal("the audit log has each under its id", decided, wanted)


async def same_in_both(checks: Checks, setting: Setting) -> None:
    """With everything allowed, interleaved legacy and stateless requests get the same answers as without the proxy."""
    seen = []
    for way in ("direct", "proxied"):
        setting.refill()
        command, log, recording = recorded(setting, f"both-{way}", SERVER, "--mode", "none")
        with ByHand(recording.command if way == "direct" else command) as client:
            client.send(request("discover", "server/discover"), request(1, "initialize", HELLO))
            client.answer(1), client.answer("discover")
            client.send({"method": "notifications/initialized"})
            for number, method in enumerate(("tools/list", "resources/list", "prompts/list", "ping"), 2):
                client.send(request(number, method), request(f"m{number}", method))
            poem = {"name": "poem.txt"}
            client.send(tool("a", "read", poem), tool(10, "read", poem), tool("b", "nothing"), tool(11, "nothing"))
            for request_id in ("a", 10, "b", 11):
                client.answer(request_id)
            client.send(tool(12, "wipe", poem), tool("c", "guess"), tool(13, "guess"))
            question = client.question()
            client.send(retry("d", "guess", {}, client.result("c"), {"who": accept("name", "Mo")}))
            client.reply(question, accept("name", "Lee"))
            for request_id in (2, 3, 4, 5, "m2", "m3", "m4", "m5", 12, 13, "d"):
                client.answer(request_id)
        answers = {str(key): without_states(value) for key, value in client.answers.items()}
        received = sorted((without_states(line) for line in recording.received()), key=json.dumps)
        seen.append((answers, received, setting.tree()))
    (answers, received, files), (proxied_answers, proxied_received, proxied_files) = seen
    guesses = [said(answers[request_id]["result"]) for request_id in ("d", "13")]
    checks.equal("without the proxy both eras work", guesses, ["guess of Mo", "guess of Lee"])
    checks.check("the file is wiped", "poem.txt" not in files, files)
    for request_id in answers:
        what = f"the same with and without the proxy: the answer to {request_id}"
        checks.equal(what, proxied_answers.get(request_id), answers[request_id])
    checks.equal("the server got the same lines", proxied_received, received)
    checks.equal("the files are the same", proxied_files, files)
    called = [line["params"]["name"] for line in proxied_received if line.get("method") == "tools/call"]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    logged = sorted(line["tool"] for line in lines if "tool" in line)
    checks.equal("each call has its line", logged, sorted(called))


async def one_era_per_connection(checks: Checks, setting: Setting) -> None:
    """The SDKs' servers refuse the kind of client that the connection did not open with, as without the proxy."""
    read = {"name": "poem.txt"}
    scenes = {
        "legacy first": [
            request(1, "initialize", HELLO),
            tool(2, "read", read),
            tool("a", "read", read),
            request("b", "server/discover"),
            request("c", "tools/list"),
            tool(3, "read", read),
        ],
        "stateless first": [
            tool("a", "read", read),
            request(1, "initialize", HELLO),
            tool(2, "read", read),
            request("b", "server/discover"),
            tool("c", "read", read),
        ],
        "discovered, then legacy": [
            request("a", "server/discover"),
            request(1, "initialize", HELLO),
            tool(2, "read", read),
            tool("b", "read", read),
        ],
    }
    for server in SERVERS:
        for name, messages in scenes.items():
            seen = []
            for way in ("direct", "proxied"):
                place = f"pinned-{way}-{server}-{name.replace(' ', '-')}"
                command, _, recording = recorded(setting, place, server, "--mode", "none")
                with ByHand(recording.command if way == "direct" else command) as client:
                    for message in messages:
                        client.send(message)
                        client.answer(message["id"])
                        if message["method"] == "initialize":
                            client.send({"method": "notifications/initialized"})
                seen.append((client.answers, recording.received()))
            (answers, received), (proxied_answers, proxied_received) = seen
            refused = [key for key, answer in answers.items() if "error" in answer]
            # After a probe, the TypeScript SDK still accepts both.
            refuses = 0 < len(refused) < len(messages) or name.startswith("discovered")
            checks.check(f"{server}, {name}: one kind is refused", refuses, answers)
            checks.equal(f"{server}, {name}: the same answers with and without the proxy", proxied_answers, answers)
            checks.equal(f"{server}, {name}: the server received the same", proxied_received, received)


SECTIONS = [gated_in_both, same_in_both, one_era_per_connection]
