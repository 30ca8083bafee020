#!/usr/bin/env python3
"""A stand-in for a WhatsApp bridge: it writes each question to its log, and you answer in a terminal.

    BRIDGE_ADDRESS=127.0.0.1:3002 BRIDGE_TOKEN_FILE=bridge.token ./bridge.py
    ./bridge.py yes ID      # in the same container, with the same variables; also: no ID
    ./bridge.py health

It speaks the API that the proxy's engine `whatsapp` uses with a real bridge, such as nanoclaw:

    POST /approvals {"message": …, "timeoutMs": …}  →  {"id": …}
    GET  /approvals/ID                              →  {"status": "pending" | "approved" | "denied"}

Both need the token. Answers are taken from this container only. It does not reach WhatsApp, and forgets everything
when it ends.
"""

import hmac
import http.client
import http.server
import json
import os
import secrets
import sys
import threading
import time

HOST, _, PORT = os.environ.get("BRIDGE_ADDRESS", "127.0.0.1:3002").rpartition(":")
MOST_QUESTIONS = 100
MOST_BYTES = 64 * 1024
LONGEST_S = 24 * 60 * 60
ANSWERS = {"yes": "approved", "no": "denied"}


def token():
    with open(os.environ["BRIDGE_TOKEN_FILE"], encoding="utf-8") as file:
        return file.read().strip()


class Questions:
    """The questions that wait, and those that were answered, each until its time is up."""

    def __init__(self):
        self.lock = threading.Lock()
        self.open = {}

    def _forget_old(self):
        now = time.monotonic()
        self.open = {id: question for id, question in self.open.items() if question["until"] > now}

    def ask(self, message, seconds):
        with self.lock:
            self._forget_old()
            if len(self.open) >= MOST_QUESTIONS:
                return None
            id = secrets.token_hex(4)
            self.open[id] = {"status": "pending", "until": time.monotonic() + seconds}
        print(f"\n── question {id} ──\n{message}\n── answer: bridge.py yes {id}, or: bridge.py no {id} ──", flush=True)
        return id

    def status(self, id):
        with self.lock:
            self._forget_old()
            question = self.open.get(id)
            return question and question["status"]

    def answer(self, id, status):
        with self.lock:
            self._forget_old()
            question = self.open.get(id)
            if question is None or question["status"] != "pending":
                return False
            question["status"] = status
            return True


class Handler(http.server.BaseHTTPRequestHandler):
    questions = Questions()
    token = ""
    timeout = 30

    def reply(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def is_allowed(self):
        sent = self.headers.get("Authorization", "")
        if hmac.compare_digest(sent.encode(), f"Bearer {self.token}".encode()):
            return True
        self.reply(401, {"error": "the token is missing or wrong"})
        return False

    def body(self):
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= MOST_BYTES:
            raise ValueError("the body is too long, or missing")
        body = json.loads(self.rfile.read(length))
        if not isinstance(body, dict):
            raise ValueError("the body is no object")
        return body

    def do_GET(self):
        if self.path == "/healthz":
            return self.reply(200, {"status": "ok"})
        if not self.is_allowed():
            return None
        status = self.questions.status(self.path.removeprefix("/approvals/"))
        return self.reply(200, {"status": status}) if status else self.reply(404, {"error": "no such question"})

    def do_POST(self):
        if not self.is_allowed():
            return None
        try:
            body = self.body()
            if self.path == "/approvals":
                seconds = min(float(body.get("timeoutMs", 120_000)) / 1000, LONGEST_S)
                id = self.questions.ask(str(body["message"]), seconds)
                return self.reply(201, {"id": id}) if id else self.reply(429, {"error": "too many questions"})
            # The proxy has the token too, but it does not decide.
            if self.path == "/answers" and self.client_address[0] in ("127.0.0.1", "::1"):
                is_taken = self.questions.answer(str(body["id"]), ANSWERS[body["answer"]])
                return self.reply(200 if is_taken else 404, {"taken": is_taken})
        except (KeyError, TypeError, ValueError):
            return self.reply(400, {"error": "that is not understood"})
        return self.reply(404, {"error": "no such path"})

    def log_message(self, format, *args):
        """Polls would bury the questions."""


def request(method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", int(PORT), timeout=5)
    headers = {"Authorization": f"Bearer {token()}", "Content-Type": "application/json"}
    connection.request(method, path, body and json.dumps(body), headers)
    return connection.getresponse().status


def main(arguments):
    match arguments:
        case []:
            Handler.token = token()
            if len(Handler.token) < 16:
                return "the token has fewer than 16 characters"
            http.server.ThreadingHTTPServer((HOST, int(PORT)), Handler).serve_forever()
        case ["health"]:
            return request("GET", "/healthz") != 200
        case ["yes" | "no" as answer, id]:
            status = request("POST", "/answers", {"id": id, "answer": answer})
            return None if status == 200 else "this question is not waiting"
        case _:
            return __doc__
    return None


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
    except (KeyError, OSError, ValueError) as error:
        sys.exit(f"bridge.py: {error!r}")
