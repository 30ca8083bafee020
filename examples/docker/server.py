#!/usr/bin/env python3
"""A small MCP server over HTTP to try the proxy with: notes to list, add and delete. They live in memory.

    SERVER_ADDRESS=127.0.0.1:8000 ./server.py

It knows nothing about approvals, and trusts everybody who can reach it. Replace it with the server that you want to guard.
"""

import http.server
import json
import os
import threading

HOST, _, PORT = os.environ.get("SERVER_ADDRESS", "127.0.0.1:8000").rpartition(":")
MOST_BYTES = 1024 * 1024
MOST_NOTES = 1000

TITLE = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
TOOLS = [
    {
        "name": "list_notes",
        "description": "List the titles of all notes",
        "inputSchema": {"type": "object", "properties": {}},
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": "add_note",
        "description": "Add an empty note",
        "inputSchema": TITLE,
        "annotations": {"readOnlyHint": False, "destructiveHint": False},
    },
    {
        "name": "delete_note",
        "description": "Delete a note for good",
        "inputSchema": TITLE,
        "annotations": {"destructiveHint": True},
    },
]


class Notes:
    def __init__(self):
        self.lock = threading.Lock()
        self.titles = {"plan", "shopping"}

    def call(self, tool, arguments):
        """Returns a text, and whether it is an error."""
        title = arguments.get("title")
        with self.lock:
            match tool:
                case "list_notes":
                    return "\n".join(sorted(self.titles)) or "there are no notes", False
                case "add_note" if isinstance(title, str) and len(self.titles) < MOST_NOTES:
                    self.titles.add(title)
                    return f"added {title}", False
                case "delete_note" if title in self.titles:
                    self.titles.discard(title)
                    return f"deleted {title}", False
        return "that cannot be done", True


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    notes = Notes()
    timeout = 300

    def reply(self, status, body=None):
        body = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        if body:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def result(self, method, params):
        match method:
            case "initialize":
                return {
                    "protocolVersion": params.get("protocolVersion", "2025-06-18"),
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "notes", "version": "1"},
                }
            case "ping":
                return {}
            case "tools/list":
                return {"tools": TOOLS}
            case "tools/call":
                text, is_error = self.notes.call(params.get("name"), params.get("arguments") or {})
                return {"content": [{"type": "text", "text": text}], "isError": is_error}
        return None

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        if self.path != "/mcp" or not 0 < length <= MOST_BYTES:
            self.close_connection = True
            return self.reply(404)
        message = json.loads(self.rfile.read(length))
        if "id" not in message or "method" not in message:
            return self.reply(202)
        answer = {"jsonrpc": "2.0", "id": message["id"]}
        result = self.result(message["method"], message.get("params") or {})
        if result is None:
            answer["error"] = {"code": -32601, "message": "no such method"}
        else:
            answer["result"] = result
        return self.reply(200, answer)

    def do_GET(self):
        # There are no messages of the server's own.
        self.reply(405)

    def do_DELETE(self):
        self.reply(405)

    def log_message(self, format, *args):
        pass


if __name__ == "__main__":
    http.server.ThreadingHTTPServer((HOST, int(PORT)), Handler).serve_forever()
