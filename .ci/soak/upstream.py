"""The upstream: a single-threaded server that records everything to the file in its first argument."""

import json
import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from soak.words import FROM_UPSTREAM, PROTOCOL, digest, pack, result_of  # noqa: E402


class Upstream:
    """A single-threaded server that records everything and sometimes reads slowly."""

    TOOLS = [
        {"name": "look", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
        {"name": "ask", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
        {"name": "wait", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
        {"name": "change", "inputSchema": {"type": "object"}, "annotations": {"destructiveHint": True}},
    ]

    def __init__(self, record: Path) -> None:
        self.record = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.random = random.Random(os.getpid())
        self.asked = {}
        self.note("pid", str(os.getpid()))

    def note(self, *words: str) -> None:
        os.write(self.record, " ".join(words).encode() + b"\n")

    def send(self, message: dict) -> None:
        line = pack(message)
        # Only the proxy uses such ids. It keeps their answers.
        own = len(str(message.get("id", ""))) >= 32 and "method" not in message
        self.note("own-out" if own else "out", digest(line))
        while line:
            line = line[os.write(1, line) :]

    def run(self) -> None:
        for line in sys.stdin.buffer:
            message = json.loads(line)
            method, params = message.get("method", ""), message.get("params", {})
            number = str(params.get("arguments", {}).get("n", "-"))
            own = method == "tools/list" and len(str(message.get("id"))) >= 32
            self.note("own-in" if own else "in", digest(line), method or "answer", str(params.get("name", "-")), number)
            if self.random.random() < 0.005:
                time.sleep(self.random.uniform(0.05, 0.4))
            self.handle(message, method, params)

    def handle(self, message: dict, method: str, params: dict) -> None:
        answer = {"jsonrpc": "2.0", "id": message.get("id")}
        match method:
            case "initialize":
                capabilities = {"tools": {"listChanged": True}, "logging": {}}
                info = {"name": "soak", "version": "1"}
                words = {"protocolVersion": PROTOCOL, "capabilities": capabilities, "serverInfo": info}
                self.send(answer | {"result": words})
            case "tools/list":
                # Two pages.
                rest = params.get("cursor") == "rest"
                page = {"tools": self.TOOLS[2:]} if rest else {"tools": self.TOOLS[:2], "nextCursor": "rest"}
                self.send(answer | {"result": page})
            case "tools/call":
                self.call(answer, params)
            case "":
                self.answered(message)
            case _ if "id" in message:
                self.send(answer | {"result": {"echo": params}})

    def call(self, answer: dict, params: dict) -> None:
        arguments = params["arguments"]
        n = arguments["n"]
        token = params.get("_meta", {}).get("progressToken")
        if token is not None:
            progress = {"progressToken": token, "progress": 1}
            self.send({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})
        if n % 13 == 0:
            log = {"level": "info", "data": f"at {n}"}
            self.send({"jsonrpc": "2.0", "method": "notifications/message", "params": log})
        if n % 97 == 0:
            self.send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        if params["name"] == "wait":
            return
        if params["name"] == "ask":
            schema = {"type": "object", "properties": {"approved": {"type": "boolean"}}}
            request = {"jsonrpc": "2.0", "id": f"up-{n}"}
            if n % 2:
                request |= {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": n}}
            else:
                words = {"message": f"{FROM_UPSTREAM}{n}", "requestedSchema": schema}
                request |= {"method": "elicitation/create", "params": words}
            self.asked[request["id"]] = answer
            return self.send(request)
        self.send(answer | {"result": result_of(n, arguments)})

    def answered(self, message: dict) -> None:
        """Makes the client's answer the result of the call that asked for it."""
        answer = self.asked.pop(message.get("id"), None)
        if answer is not None:
            text = json.dumps(message.get("result"), sort_keys=True)
            self.send(answer | {"result": {"content": [{"type": "text", "text": text}]}})


if __name__ == "__main__":
    Upstream(Path(sys.argv[1])).run()
