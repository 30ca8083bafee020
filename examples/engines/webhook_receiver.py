#!/usr/bin/env python3
"""A receiver for the engine `webhook` that asks in its own terminal. docs/engines/webhook.md explains it.

usage: webhook_receiver.py [PORT]
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers["Content-Length"])
        question = json.loads(self.rfile.read(length))
        print(question["message"], "\n", sep="", flush=True)
        approved = input("Approve? [y/N] ").strip() == "y"
        content = {"approved": approved and question["request"]["approvable"]}
        answer = json.dumps({"action": "accept", "content": content}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
HTTPServer(("127.0.0.1", port), Receiver).serve_forever()
