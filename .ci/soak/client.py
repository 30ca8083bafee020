"""The client: one run of the proxy, with everything that is sent and received."""

import heapq
import itertools
import json
import os
import queue
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from soak.words import AT_THE_EDGE, FROM_UPSTREAM, IN_TIME, MIB, PAD, PATIENCE, PROTOCOL, TIMEOUT, TOO_LATE
from soak.words import digest, pack, result_of


class Call:
    """A request of the client, and what happened to it."""

    __slots__ = ("n", "kind", "tool", "wanted", "at", "answers", "good", "text", "prompts", "cancelled")

    def __init__(self, n: int, kind: str, tool: str | None, wanted: str | None) -> None:
        self.n, self.kind, self.tool, self.wanted = n, kind, tool, wanted
        self.at = -1
        self.answers = 0
        # "result", "refused", "error" or "wrong".
        self.good = None
        self.text = ""
        self.prompts = []
        self.cancelled = False


class Prompt:
    """A prompt of the proxy."""

    __slots__ = ("call", "answered", "withdrawn")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.answered = None
        self.withdrawn = False


class Session:
    """One run of the proxy, with threads for a reader, a person and a writer."""

    def __init__(self, soak: "Soak", name: str) -> None:
        self.soak, self.name = soak, name
        self.random = random.Random(soak.random.random())
        self.record = soak.place / f"record-{name}.txt"
        config = soak.place / f"upstream-{name}.json"
        command = [sys.executable, "-B", "-S", str(Path(__file__).with_name("upstream.py")), str(self.record)]
        servers = {"soak": {"command": command[0], "args": command[1:]}}
        # Some answers come at once, and all count as a person's.
        settings = {"approvalInstantDeclineMs": 0}
        config.write_text(json.dumps({"mcpServers": servers, "approvalProxy": settings}))
        self.stderr = open(soak.place / f"stderr-{name}.txt", "w+b")
        self.process = subprocess.Popen(
            # This test is not about clients that cannot show prompts.
            [soak.proxy, "-u", config, "--audit-log", soak.log, "--timeout", str(int(TIMEOUT)), "--engine", "elicitation"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            bufsize=0,
        )
        self.calls = {}
        self.by_n = {}
        self.prompts = {}
        self.sent = []
        self.received = []
        self.problems = []
        self.upstream_requests = 0
        self.open = 0
        self.changed = threading.Condition()
        self.writing = threading.Lock()
        self.gone = threading.Event()
        self.plan = queue.Queue()
        self.killed = None
        self.exit_code = None
        self.ended_after = None
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self.read, self.be_human)]
        for thread in self.threads:
            thread.start()

    # Writing.

    def send(self, message: dict, order: str, call: Call | None = None) -> bool:
        """Writes a line. `order` says how it must arrive: in the sequence `call` or `other`, after a
        yes (`gated`), never (`answer`), or perhaps not at all (`cancel`)."""
        line = pack(message)
        with self.writing:
            if call is not None:
                call.at = len(self.sent)
            self.sent.append((digest(line), order, call))
            try:
                rest = memoryview(line)
                while rest:
                    rest = rest[self.process.stdin.write(rest) :]
            except (BrokenPipeError, ValueError):
                self.gone.set()
                return False
        return True

    def request(self, kind: str, method: str, params: dict, order: str) -> Call:
        n, wanted = next(self.soak.numbers), None
        if method == "tools/call":
            arguments = {"n": n} | params["arguments"]
            params = params | {"arguments": arguments}
            if kind not in ("ask", "wait"):
                wanted = result_of(n, arguments)["content"][0]["text"]
            if n % 5 == 0:
                params["_meta"] = {"progressToken": f"t{n}"}
        else:
            params = params | {"n": n}
            if kind == "other":
                wanted = json.dumps({"echo": params}, sort_keys=True)
        request_id = n if n % 3 else f"c-{n}"
        call = Call(n, kind, params.get("name"), wanted and digest(wanted.encode()))
        self.calls[request_id] = self.by_n[n] = call
        with self.changed:
            self.open += 1
        self.send({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}, order, call)
        return call

    def cancel(self, call: Call) -> None:
        with self.changed:
            if call.answers == 0 and not call.cancelled:
                self.open -= 1
            call.cancelled = True
        request_id = call.n if call.n % 3 else f"c-{call.n}"
        params = {"requestId": request_id, "reason": f"soak {call.n}"}
        self.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}, "cancel")

    # Reading.

    def read(self) -> None:
        buffer = bytearray()
        stdout = self.process.stdout.fileno()
        while True:
            if self.random.random() < 0.003:
                time.sleep(self.random.uniform(0.05, 0.5))
            chunk = os.read(stdout, self.random.choice((512, 65536, 262144)))
            if not chunk:
                break
            buffer += chunk
            if b"\n" in chunk:
                *lines, rest = bytes(buffer).split(b"\n")
                for line in lines:
                    self.take(line + b"\n")
                buffer = bytearray(rest)
        if buffer:
            self.problems.append(f"the last line is torn: {bytes(buffer[:80])}")
        self.gone.set()
        with self.changed:
            self.changed.notify_all()

    def take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            self.problems.append(f"not JSON: {line[:80]}")
            return
        mine = False
        if "method" not in message:
            mine = self.take_answer(message)
        elif "id" in message:
            mine = self.take_request(message)
        elif message["method"] == "notifications/cancelled":
            prompt = self.prompts.get(message["params"].get("requestId"))
            if prompt is None:
                self.problems.append(f"an unknown prompt is withdrawn: {line[:120]}")
            else:
                mine = prompt.withdrawn = True
        self.received.append((digest(line), mine))

    def take_answer(self, message: dict) -> bool:
        """Returns whether the proxy may have made this answer itself."""
        call = self.calls.get(message.get("id"))
        if call is None:
            self.problems.append(f"an answer to no request: {str(message)[:120]}")
            return False
        with self.changed:
            if call.answers == 0 and not call.cancelled:
                self.open -= 1
            call.answers += 1
            self.changed.notify_all()
        if "error" in message:
            call.good = "error"
            call.text = message["error"].get("message", "")
            return True
        result = message["result"]
        if result.get("isError"):
            call.good = "refused"
            call.text = result["content"][0]["text"]
            return True
        if "content" in result:
            text = result["content"][0]["text"]
        else:
            text = json.dumps(result, sort_keys=True)
        call.good = "result" if call.wanted in (None, digest(text.encode())) else "wrong"
        call.text = text[:80]
        return False

    def take_request(self, message: dict) -> bool:
        """Returns whether the request comes from the proxy."""
        request_id, params = message["id"], message["params"]
        words = params.get("message", "")
        if message["method"] == "sampling/createMessage" or words.startswith(FROM_UPSTREAM):
            self.upstream_requests += 1
            n = int(str(request_id).removeprefix("up-"))
            result = {"action": "accept", "content": {"approved": True, "n": n}}
            self.by_n[n].wanted = digest(json.dumps(result, sort_keys=True).encode())
            answer = {"jsonrpc": "2.0", "id": request_id, "result": result}
            self.later(*IN_TIME, lambda: self.send(answer, "other"))
            return False
        found = re.search(r'\bn"?: ?(\d+)', words)
        call = self.by_n.get(int(found[1])) if found else None
        if call is None or '`change`' not in words:
            self.problems.append(f"a prompt for no call: {words[:120]}")
            return True
        prompt = self.prompts[request_id] = Prompt(call)
        call.prompts.append(prompt)
        self.decide(request_id, prompt)
        return True

    # The person.

    def decide(self, request_id: str, prompt: Prompt) -> None:
        yes = {"action": "accept", "content": {"approved": True}}
        noes = [
            {"action": "decline"},
            {"action": "cancel"},
            {"action": "accept", "content": {"approved": False, "reason": "no"}},
        ]
        odd = [
            {"action": "accept"},
            {"action": "accept", "content": {"approved": "true"}},
        ]

        def answer(result: dict) -> None:
            prompt.answered = time.monotonic()
            self.send({"jsonrpc": "2.0", "id": request_id, "result": result}, "answer")

        match prompt.call.kind:
            case "yes":
                self.later(*IN_TIME, lambda: answer(yes))
            case "no":
                self.later(*IN_TIME, lambda: answer(self.random.choice(noes)))
            case "odd":
                self.later(*IN_TIME, lambda: answer(self.random.choice(odd)))
            case "late":
                self.later(*TOO_LATE, lambda: answer(yes))
            case "edge":
                self.later(*AT_THE_EDGE, lambda: answer(yes))
            case "cancel":
                self.later(*IN_TIME, lambda: self.cancel(prompt.call))
            case "race":
                self.later(0, 0.002, lambda: answer(yes))
                self.later(0, 0.002, lambda: self.cancel(prompt.call))

    def later(self, least: float, most: float, action) -> None:
        self.plan.put((time.monotonic() + self.random.uniform(least, most), action))

    def be_human(self) -> None:
        """Carries out each planned action when it is due."""
        waiting, ties = [], itertools.count()
        while not self.gone.is_set():
            delay = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 0.2
            try:
                at, action = self.plan.get(timeout=min(delay, 0.2)) if delay else self.plan.get_nowait()
                heapq.heappush(waiting, (at, next(ties), action))
                continue
            except queue.Empty:
                pass
            while waiting and waiting[0][0] <= time.monotonic():
                heapq.heappop(waiting)[2]()

    # The traffic.

    def hello(self) -> None:
        capabilities = {"elicitation": {}, "sampling": {}}
        info = {"name": "soak", "version": "1"}
        words = {"protocolVersion": PROTOCOL, "capabilities": capabilities, "clientInfo": info}
        self.request("hello", "initialize", words, "other")
        self.drain(PATIENCE)
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"}, "other")

    def traffic(self, until: float, pace: float, in_flight: int) -> None:
        """Sends about one message each `pace` seconds, with at most `in_flight` unanswered."""
        kinds = "read wait ask yes no odd late never edge cancel race list other note"
        weights = (50, 3, 8, 8, 4, 2, 1, 1, 2, 3, 3, 2, 8, 5)
        held = {"late", "never", "edge"}
        due = time.monotonic()
        while time.monotonic() < until and not self.gone.is_set():
            due = max(due + self.random.expovariate(1 / pace), time.monotonic() - 0.5)
            time.sleep(max(0.0, due - time.monotonic()))
            with self.changed:
                self.changed.wait_for(lambda: self.open < in_flight or self.gone.is_set(), 0.5)
                if self.open >= in_flight:
                    continue
            kind = self.random.choices(kinds.split(), weights)[0]
            if self.gone.is_set():
                return
            self.one(kind, {"pad": PAD} if self.random.random() < 0.04 and kind not in held else {})

    def one(self, kind: str, arguments: dict) -> None:
        match kind:
            case "read":
                if self.random.random() < 0.06:
                    arguments = arguments | {"size": MIB}
                self.request(kind, "tools/call", {"name": "look", "arguments": arguments}, "call")
            case "ask":
                self.request(kind, "tools/call", {"name": "ask", "arguments": {}}, "call")
            case "wait":
                call = self.request(kind, "tools/call", {"name": "wait", "arguments": {}}, "call")
                self.later(0, 0.3, lambda: self.cancel(call))
            case "list":
                # The client chose this id, so the answer must reach the client.
                self.request(kind, "tools/list", {}, "other")
            case "other":
                self.request(kind, self.random.choice(["resources/read", "x/unknown", "ping"]), {}, "other")
            case "note":
                params = {"n": next(self.soak.numbers)}
                self.send({"jsonrpc": "2.0", "method": "notifications/soak", "params": params}, "other")
            case _:
                self.request(kind, "tools/call", {"name": "change", "arguments": arguments}, "gated")

    def drain(self, patience: float) -> None:
        """Waits until everything is answered, or the proxy is gone."""
        with self.changed:
            self.changed.wait_for(lambda: self.open == 0 or self.gone.is_set(), patience)

    # The end.

    def kill_upstream(self) -> None:
        pid = int(re.search(r"^pid (\d+)$", self.record.read_text(), re.M)[1])
        # Only the proxy reaps its children, so this id still belongs to the upstream.
        self.killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)

    def wait(self) -> None:
        """Waits until the proxy and our own threads have ended."""
        began = time.monotonic()
        try:
            self.exit_code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.exit_code = "none: it hung"
            self.process.kill()
            self.process.wait()
        self.ended_after = time.monotonic() - (self.killed or began)
        self.gone.set()
        for thread in self.threads:
            thread.join(PATIENCE)
        with self.writing:
            self.process.stdin.close()
        self.process.stdout.close()

    def close(self) -> None:
        with self.writing:
            self.process.stdin.close()
        self.wait()

    def said_on_stderr(self) -> list[str]:
        self.stderr.seek(0)
        return self.stderr.read().decode(errors="replace").splitlines()
