"""Shared by both ends of the proxy: the form of lines, and the expected result of a call."""

import hashlib
import json
import random

MIB = 1024 * 1024
PAD = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz \u00fc", k=MIB))
# The proxy's `--timeout`, and the delays of answers that are in time, at the limit, and too late.
TIMEOUT = 3.0
IN_TIME, AT_THE_EDGE, TOO_LATE = (0.0, 0.3), (2.9, 3.1), (3.3, 3.8)
# More time than a healthy proxy needs for anything.
PATIENCE = 20.0
PROTOCOL = "2025-06-18"
# Marks requests of the upstream itself.
FROM_UPSTREAM = "the upstream itself asks: "


def digest(line: bytes) -> str:
    return hashlib.blake2b(line, digest_size=8).hexdigest()


def pack(message: dict) -> bytes:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def result_of(n: int, arguments: dict) -> dict:
    seen = digest(json.dumps(arguments, sort_keys=True).encode())
    text = f"{n} {seen} " + PAD[: arguments.get("size", 0)]
    return {"content": [{"type": "text", "text": text}]}
