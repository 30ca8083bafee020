"""Each server gives the same answers with and without the proxy, byte by byte, in each revision."""

import json
import subprocess
import threading

from interop.checks import Checks, Setting, decisions
from interop.git import make_repository

SERVER = "filesystem"
REVISIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]
STATELESS = "2026-07-28"
CAPABILITIES = {"elicitation": {}, "roots": {"listChanged": True}, "sampling": {}}


async def filesystem_byte_by_byte(checks: Checks, setting: Setting) -> None:
    """The filesystem server."""
    poem, missing = str(setting.files / "poem.txt"), str(setting.files / "missing")
    calls = [
        ("read_text_file", {"path": poem}),
        ("read_text_file", {"path": missing}),
        ("write_file", {"path": poem, "content": "Grüße \u2028 🎈 \\ \" \x7f"}),
        ("read_text_file", {"path": poem, "tail": 1}),
        ("no_such_tool", {}),
    ]
    compare(checks, setting, "filesystem", requests_for(calls))


async def everything_byte_by_byte(checks: Checks, setting: Setting) -> None:
    """The everything server."""
    calls = [
        ("echo", {"message": "Grüße \u0000 \ud83c\udf88"}),
        ("echo", {}),
        ("get-sum", {"a": 0.1, "b": 12345678901234567890}),
        ("get-tiny-image", {}),
        ("get-annotated-message", {"messageType": "error", "includeImage": True}),
        ("get-structured-content", {"location": "New York"}),
        ("get-resource-links", {"count": 3}),
        ("trigger-long-running-operation", {"duration": 0.1, "steps": 2}),
        ("no_such_tool", {"n": 5.0}),
    ]
    others = [
        ("resources/templates/list", {}),
        ("prompts/get", {"name": "args-prompt", "arguments": {"city": "Bern"}}),
        ("prompts/get", {"name": "no_such_prompt"}),
        ("resources/read", {"uri": "demo://resource/static/document/features.md"}),
        ("resources/read", {"uri": "demo://no/such"}),
        ("resources/subscribe", {"uri": "demo://resource/dynamic/text/1"}),
        ("logging/setLevel", {"level": "warning"}),
        ("logging/setLevel", {"level": "no such level"}),
        ("tasks/list", {}),
        ("x/no_such_method", {"5.0": [5.0, 1e300, -0.0]}),
    ]
    prompt = {"type": "ref/prompt", "name": "completable-prompt"}
    others.append(("completion/complete", {"ref": prompt, "argument": {"name": "department", "value": "M"}}))
    compare(checks, setting, "everything", requests_for(calls) + others)


async def git_byte_by_byte(checks: Checks, setting: Setting) -> None:
    """The git server."""
    make_repository(setting)
    repository = {"repo_path": str(setting.files)}
    calls = [
        ("git_status", repository),
        ("git_log", repository | {"max_count": 1}),
        ("git_show", repository | {"revision": "HEAD"}),
        ("git_show", repository | {"revision": "no-such"}),
        ("git_create_branch", repository | {"branch_name": "main"}),
        ("no_such_tool", {}),
    ]
    compare(checks, setting, "git", requests_for(calls))
    compare(checks, setting, "git", [("server/discover", {}), *requests_for(calls)], [STATELESS])


def requests_for(calls: list) -> list:
    lists = [(f"{what}/list", {}) for what in ("tools", "resources", "prompts")]
    return [("ping", {}), *lists, *(("tools/call", {"name": n, "arguments": a}) for n, a in calls)]


def compare(checks: Checks, setting: Setting, server: str, requests: list, revisions=REVISIONS) -> None:
    setting.server, setting.direct = server, setting.servers[server]
    for revision in revisions:
        command, log = setting.proxied("--mode", "none")
        compare_ways(checks, setting, server, (setting.direct, command), revision, requests)
        called = [params["name"] for method, params in requests if method == "tools/call"]
        checks.equal(f"{server} in {revision}: each call has a record", [d["tool"] for d in decisions(log)], called)


def compare_ways(checks: Checks, setting: Setting, what: str, ways: tuple, revision: str, requests: list) -> None:
    """Compares the answers of a server and of a proxy in front of it."""
    answers = []
    for way in ways:
        (setting.files / "poem.txt").write_text("one\ntwo\n")
        answers.append(exchange(way, revision, requests))
    direct, proxied = answers
    lines = [line for request in requests_of(revision, requests) for line in direct[request]]
    differences = [request for request in direct if direct[request] != proxied[request]]
    found = [(request, proxied[request], direct[request]) for request in differences[:2]]
    sentence = f"{what} in {revision}: {len(lines)} lines are the same, byte by byte"
    checks.check(sentence, not differences and len(lines) >= len(requests), found or lines)


def requests_of(revision: str, requests: list) -> list[str]:
    """Returns the requests as lines, after the handshake."""
    if revision == STATELESS:
        prefix = "io.modelcontextprotocol/"
        meta = {f"{prefix}protocolVersion": revision, f"{prefix}clientCapabilities": {}}
        meta |= {f"{prefix}clientInfo": {"name": "interop", "version": "1"}}
        requests = [(method, params | {"_meta": meta}) for method, params in requests]
    else:
        client = {"name": "interop", "version": "1"}
        hello = {"protocolVersion": revision, "capabilities": CAPABILITIES, "clientInfo": client}
        requests = [("initialize", hello), *requests]
    lines = []
    for number, (method, params) in enumerate(requests):
        # Ids are numbers and words in turn.
        request_id = number if number % 2 else f"r{number}"
        lines.append(json.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}))
    return lines


def exchange(command: list, revision: str, requests: list) -> dict[str, list[bytes]]:
    """Returns the server's answers to each request in turn, with the messages between them."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        # Kill a silent server before CI times out.
        alarm = threading.Timer(30, server.kill)
        alarm.start()
        answers = {}
        for request in requests_of(revision, requests):
            server.stdin.write(request.encode() + b"\n")
            server.stdin.flush()
            answers[request] = read_answer(server, json.loads(request)["id"])
            if '"initialize"' in request:
                server.stdin.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        alarm.cancel()
        server.stdin.close()
    return answers


def read_answer(server: subprocess.Popen, request_id: object) -> list[bytes]:
    lines = []
    for line in server.stdout:
        message = json.loads(line)
        if "method" in message and "id" in message:
            # The server asks for roots at any time.
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": {"roots": []}}
            server.stdin.write(json.dumps(answer).encode() + b"\n")
            server.stdin.flush()
        elif "method" in message:
            # List changes and log messages depend on timing.
            continue
        else:
            lines.append(line)
        if message.get("id") == request_id and "method" not in message:
            return lines
    raise EOFError(f"the server closed before it answered {request_id}")


SECTIONS = [filesystem_byte_by_byte, everything_byte_by_byte, git_byte_by_byte]
