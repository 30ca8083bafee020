#!/usr/bin/env python3
"""Checks that no JSON reader sees an unapproved gated call in what the server received.

    .ci/differential.py PATH/TO/approval-proxy

Sends some hundred hostile lines, and two thousand mutations of them with a fixed seed, through the
real proxy to a server that records every byte. Then Python's json, Node's JSON.parse, a model of
Go's encoding/json and several readers between them read what the server received; each also splits
the lines in its own way. Every prompt is declined. So a reader that sees a `tools/call` of any tool
except the harmless one has found a way around the gate.

Needs Python 3.9 and node. Without node this fails, unless --without-node leaves its readers out.
"""

import base64
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import unicodedata

MARK = "B00M-7f3a"
HARMLESS = "read"
SEED = 20261121
MUTATIONS = 2000
DEADLINE = 120


# ---- the server

def serve(record):
    """Records everything, and answers the requests that it can read."""
    out = sys.stdout.buffer
    tools = [
        {"name": "read", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
        {"name": "wipe", "inputSchema": {"type": "object"}, "annotations": {"destructiveHint": True}},
    ]
    with open(record, "ab", buffering=0) as file:
        for line in sys.stdin.buffer:
            file.write(line)
            try:
                message = json.loads(line)
                method, id = message["method"], message["id"]
            except Exception:
                continue
            if method == "initialize":
                result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                          "serverInfo": {"name": "recorder", "version": "0"}}
            elif method == "tools/list":
                result = {"tools": tools}
            else:
                result = {"content": []}
            text = json.dumps({"jsonrpc": "2.0", "id": id, "result": result})
            out.write(text.encode() + b"\n")
            out.flush()


# ---- the lines

def call(id, params=None, method='"tools/call"'):
    params = params or '{"name":"wipe","arguments":{"m":"%s"}}' % MARK
    return '{"jsonrpc":"2.0","id":%s,"method":%s,"params":%s}' % (id, method, params)


PARAMS = '{"name":"wipe","arguments":{"m":"%s"}}' % MARK
READ = '{"name":"read","arguments":{"m":"%s"}}' % MARK
PING = '{"jsonrpc":"2.0","id":"@","method":"ping"}'


def table():
    """Returns the hostile lines; `@` stands for a new id."""
    one = call('"@"')
    env = lambda members: '{"jsonrpc":"2.0","id":"@",%s}' % members
    par = lambda members: env('"method":"tools/call","params":{%s}' % members)
    lines = [one, call('"@"', READ), PING, call('"@"', '{"name":"wipe"}')]
    # Spellings of the method.
    for method in [r'"tools\/call"', r'"\u0074ools\u002fcal\u006C"', '"TOOLS/CALL"', '"Tools/Call"',
                   '"tool\u017f/call"', r'"tool\u017f/call"', '["tools/call"]', '{"tools/call":1}',
                   'null', '1', r'"tools/call\u0000"', r'"tools/call\u0000x"', '" tools/call"',
                   '"tools/call "', r'"tools/call\n"', r'"tools\u200b/call"', r'"\ufefftools/call"',
                   '"tools//call"', '"/tools/call"', '"tools/call/"', r'"tools\u2215call"',
                   r'"tools/call\ud800"', '"tools\\\\call"', '"tools.call"', '"tools%2Fcall"',
                   '"tools/ca\u217cl"', '"\uff54ools/call"', '"tools\uff0fcall"', '"TOOLS\uff0f\uff23ALL"', '"tools/call\u0301"', '"tools/list"']:
        lines.append(call('"@"', method=method))
    # Ids.
    for id in ['null', 'true', '[1]', '{}', '1.5', '1e-999', '1e300', '1e999', '-0', '-1', '0',
               '123456789012345678901234567890', '""', r'"\u0000"', r'"\ud800"', '01', '+1', 'NaN',
               '9007199254740993', '"@","id":1', '1,"ID":"@"']:
        lines.append(call(id))
    lines.append('{"jsonrpc":"2.0","method":"tools/call","params":%s}' % PARAMS)
    # Duplicate keys.
    for members in ['"method":"ping","method":"tools/call","params":%s', '"method":"tools/call","method":"ping","params":%s',
                    r'"method":"ping","m\u0065thod":"tools/call","params":%s', r'"m\u0065thod":"tools/call","method":"ping","params":%s',
                    '"method":"tools/call","params":{"name":"read"},"params":%s', '"method":"tools/call","params":%s,"params":{"name":"read"}',
                    r'"method":"tools/call","params":{"name":"read"},"p\u0061rams":%s',
                    '"method":"ping","params":{},"method":null,"params":%s', '"method":"ping","x":1,"x":{"method":"tools/call"},"params":%s',
                    '"result":{},"method":"tools/call","params":%s', '"error":{},"method":"tools/call","params":%s',
                    '"method":"ping","__proto__":{"method":"tools/call"},"params":%s',
                    '"__proto__":{"method":"tools/call","params":%s}', '"method":"ping","constructor":{"method":"tools/call"},"params":%s']:
        lines.append(env(members % PARAMS))
    for members in ['"name":"read","name":"wipe"', '"name":"wipe","name":"read"', r'"name":"read","n\u0061me":"wipe"',
                    '"name":"read","Name":"wipe"', '"NAME":"wipe","name":"read"', '"Name":"wipe"',
                    r'"name":"read","name\u0000":"wipe"', '"name":"read","n\u00e4me":"wipe"', '"name":["wipe"]', '"name":null',
                    '"name":"read","name ":"wipe"', r'"name":"read","na\u200bme":"wipe"', '"name":"read","\u3000name":"wipe"', r'"name":"read","\uff4eame":"wipe"',
                    '"name":"read","name\u0301":"wipe"', '"name":"read ","x":1', r'"name":"read\u0000wipe"', '"name":"READ"',
                    '"name":"re\u0430d"', r'"name":"\u202edaer"', r'"name":"read\ud800"', '"name":"read","x":{"a":1,"a":2}']:
        lines.append(par(members + ',"arguments":{"m":"%s"}' % MARK))
    # Keys that are equal when folded.
    for key in ['Method', 'METHOD', r'\u004dethod', 'metho\u0501', r'method\u0000', 'method ', ' method', r'\ufeffmethod',
                'method\u200b', r'me\u00adthod', r'\tmethod', 'method\u00a0', 'METHOD\u3000', '\uff4dethod', r'\uff2dethod ', 'm\u00e9thod', 'met\u04bbod']:
        lines.append(env('"%s":"tools/call","params":%s' % (key, PARAMS)))
        lines.append(env('"method":"ping","%s":"tools/call","params":%s' % (key, PARAMS)))
        lines.append(env('"%s":"tools/call","method":"ping","params":%s' % (key, PARAMS)))
    for key in ['Params', 'PARAMS', 'param\u017f', r'param\u017f', r'params\u0000', 'params ', r'par\u2060ams', '\uff50arams']:
        lines.append(env('"method":"tools/call","params":{"name":"read"},"%s":%s' % (key, PARAMS)))
        lines.append(env('"method":"tools/call","%s":%s,"params":{"name":"read"}' % (key, PARAMS)))
        lines.append(env('"method":"tools/call","%s":%s' % (key, PARAMS)))
    for key in ['ID', 'Id', 'iD', '\u0131d', '\u0130d', 'i\u0307d', 'json\u017frpc', 'j\u017fonrpc', 'JSONRPC', 'Result', 'ERROR']:
        lines.append('{"jsonrpc":"2.0","%s":"@","method":"tools/call","params":%s}' % (key, PARAMS))
        lines.append('{"jsonrpc":"2.0","id":"@","%s":1,"method":"tools/call","params":%s}' % (key, PARAMS))
    for key in ['Arguments', 'argument\u017f', r'argument\u017f', '_META', 'Task', 'tas\u212a', r'tas\u212a', 'TASK']:
        lines.append(par('"name":"read","arguments":{},"%s":{"m":"%s"}' % (key, MARK)))
    # Batches.
    for text in ['[%s]', '[@P,%s]', '[%s,@P]', '[[%s]]', '[[[%s],@P]]', '[1,%s,null]', '[%s,]', '[%s', '[%s]]', '[]%s', '[@P]%s',
                 '\t [%s]', '{"jsonrpc":"2.0","id":"@","method":"ping","params":[%s]}', '{"jsonrpc":"2.0","id":"@","method":"ping","params":%s}',
                 '{"jsonrpc":"2.0","id":"@","result":%s}', '[@P,{"x":%s}]', '{"jsonrpc":"2.0","id":"@","method":"x","params":{"a":%s}}']:
        lines.append(text.replace("@P", PING) % one)
    # Two values, with text between or around them.
    between = ["", " ", ",", "\r", "\r\r", "\x0b", "\x0c", "\x1c", "\x1e", "\x85", "\u2028", "\u2029", "\x00", "\ufeff", "//", "#", "/**/",
               ";", "\x1b[2J", "\u00a0", "\\n", "\t", "data: ", "\u180e", "\u200b", "\x7f"]
    for text in between:
        lines += [PING + text + one, text + one, one + text, PING + text + one + text + PING]
        # Characters inside a string at which a reader splits the line.
        lines.append('{"jsonrpc":"2.0","id":"@","method":"ping","params":{"x":"%s%s%s"}}' % (text, one.replace('"', '\\"'), text))
        lines.append('{"jsonrpc":"2.0","id":"@","method":"ping","params":{"x":"%s{","method":"tools/call","y":"}%s"}}' % (text, text))
        lines.append('{"jsonrpc":"2.0","id":"@","method":"pi%sng","params":%s}' % (text, PARAMS))
        lines.append(par('"name":"wi%spe","arguments":{"m":"%s"}' % (text, MARK)))
        lines.append(par('"name":"read","arguments":{"m":"%s","x":"%s"}' % (MARK, text)))
    # What only lenient readers accept as JSON.
    for text in ['[1,]', 'NaN', '-Infinity', '007', '+1', '0x10', '1.', '.5', 'True', '{a:1}', '1/*x*/', r'"\x41"', r'"\u41"', r'"\ud800"',
                 r'{"\udc00":1}', r'{"a\u0000":1}', r'"\ud83d\ude00"', '[' * 120 + ']' * 120, '[' * 130 + ']' * 130, '[' * 1100 + ']' * 1100, '1e999', '9' * 5000,
                 '{"a":1,"a":2}', r'{"a":1,"\u0061":2}', '"' + "x" * 3000 + '"']:
        for name in ["wipe", "read"]:
            lines.append(par('"name":"%s","arguments":{"m":"%s","x":%s}' % (name, MARK, text)))
        lines.append(env('"method":"ping","params":{"x":%s,"m":"%s"}' % (text, MARK)))
        lines.append(env('"x":%s,"method":"tools/call","params":%s' % (text, PARAMS)))
    lines += [one.replace('"', "'"), one[:-1], one + "}", one.replace('"2.0"', "2.0"), one.replace('"2.0"', '"1.0"'),
              one.replace('"jsonrpc"', '"x"'), call('"@"', '["wipe",{"m":"%s"}]' % MARK), call('"@"', '"%s"' % MARK), call('"@"', "null")]
    lines = [line.encode("utf-8", "surrogatepass") for line in lines]
    # Bytes that are not UTF-8.
    one = one.encode()
    for bad in [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\x80", b"\xc1\xa2", b"\xf8\x88\x80\x80\x80", b"\xfe\xff", b"\xe2\x80"]:
        lines += [bad + one, one + bad, one.replace(b"/call", b"/call" + bad), one.replace(b"tools/call", b"tools" + bad + b"call"),
                  one.replace(b'"method"', b'"method' + bad + b'"'), one.replace(b'"m"', b'"m' + bad + b'"'), one.replace(b"7f3a", bad),
                  PING.encode().replace(b"ping", bad + b"ping"), PING.encode().replace(b"}", b',"' + bad + b'":' + PARAMS.encode() + b"}")]
    lines += [one.decode().encode("utf-16-le"), one.decode().encode("utf-16-be"), one.decode().encode("utf-16"), one.decode().encode("utf-32-le"), b"\xef\xbb\xbf" + one]
    return [line for line in lines if b"\n" not in line]


def mutate(rng, lines):
    """Makes a line from another one, or from two."""
    line = bytearray(rng.choice(lines))
    if MARK.encode() not in line or len(line) > 1500:
        line = bytearray(call('"@"').encode())
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3])):
        line = rng.choice(MUTATORS)(rng, line, lines)
    return bytes(line).replace(b"\n", b"\r")


def keys_of(line):
    words = [b"jsonrpc", b"id", b"method", b"params", b"name", b"arguments", b"_meta", b"tools/call", b"wipe", b"read"]
    return [word for word in words if word in line]


def change_word(change):
    def mutator(rng, line, _):
        words = keys_of(line)
        if not words:
            return line
        word = rng.choice(words)
        at = rng.choice(range(len(word)))
        starts = [i for i in range(len(line)) if line.startswith(word, i)]
        start = rng.choice(starts)
        new = word[:at] + change(rng, chr(word[at])).encode("utf-8", "surrogatepass") + word[at + 1:]
        return line[:start] + new + line[start + len(word):]
    return mutator


def like(rng, char):
    alike = {"s": "\u017f\uff53\u0455", "k": "\u212a", "i": "\u0131\u0130\u0456", "a": "\u0430\u00e0\uff41", "e": "\u0435\u00e9", "o": "\u043e\u00f6",
             "/": "\u2044\u2215\uff0f", "c": "\u0441", "p": "\u0440", "m": "\uff4d", "l": "\u217c1I", "d": "\u217e\u0501", "n": "\u0578", "t": "\uff54", "r": "\uff52"}
    return rng.choice(alike.get(char, char.upper()))


ODD = ["\r", "\0", "\ufeff", "\u2028", "\u2029", "\x85", "\u200b", "\t", " ", "\x0c", "\x0b", "\x1e", "\u00ad", "\u0301", "\ud800", "\udfff", "\x7f", "\u00a0",
       '"', "\\", "{", "}", "[", "]", ",", ":", "\\u0000", "\\ud800", "\\udc00", "\\r", "\\u2028", "\\/", "//", "'", "-", "0", "."]


def insert_odd(rng, line, _):
    at = rng.randrange(len(line) + 1)
    return line[:at] + rng.choice(ODD).encode("utf-8", "surrogatepass") + line[at:]


def insert_odd_beside_mark(rng, line, _):
    places = [i for i in range(len(line)) if line[i] in b'"{}[],:']
    at = rng.choice(places or [0]) + rng.randrange(2)
    return line[:at] + rng.choice(ODD).encode("utf-8", "surrogatepass") + line[at:]


def insert_bytes(rng, line, _):
    at = rng.randrange(len(line) + 1)
    return line[:at] + bytes(rng.randrange(128, 256) for _ in range(rng.choice([1, 2, 3]))) + line[at:]


def double_member(rng, line, _):
    extra = rng.choice([b'"method":"ping"', b'"method":"tools/call"', b'"METHOD":"tools/call"', b'"params":' + PARAMS.encode(), b'"Params":' + PARAMS.encode(),
                        b'"name":"read"', b'"name":"wipe"', b'"Name":"wipe"', b'"id":7', b'"ID":7', b'"jsonrpc":"2.0"', b'"result":{}', b'"x":1', b'"":0',
                        rb'"m\u0065thod":"tools/call"', rb'"n\u0061me":"wipe"', '"param\u017f":'.encode() + PARAMS.encode(), b'"arguments":{}', b'"_meta":{}', b'"__proto__":' + PARAMS.encode()])
    places = [i for i in range(len(line)) if line[i] in b"{,}"]
    at = rng.choice(places or [0])
    if line[at:at + 1] == b"}":
        return line[:at] + b"," + extra + line[at:]
    return line[:at + 1] + extra + b"," + line[at + 1:]


def two_values(rng, line, lines):
    other = rng.choice([PING.encode(), rng.choice(lines)[:400], call('"@"').encode()])
    joint = rng.choice(ODD + ["", "", " "]).encode("utf-8", "surrogatepass")
    return bytearray(rng.choice([other + joint + line, line + joint + other]))


def wrap(rng, line, _):
    before, after = rng.choice([("[", "]"), ("[[", "]]"), ("[1,", "]"), ("[" + PING + ",", "]"), ("[", "," + PING + "]"), ("[{},", ",[]]"), ("[", ""), ('{"x":', "}"),
                                ('{"jsonrpc":"2.0","id":"@","method":"ping","params":', "}"), ('{"jsonrpc":"2.0","id":"@","result":', "}")])
    return before.encode() + line + after.encode()


def change_id(rng, line, _):
    id = rng.choice(["1", "1.0", "1e0", "-0", "null", "[]", "1e999", "12345678901234567890123", '"\\u0040"', '"\\ud800"', "true", "0.1", '"\\u0000"', '""'])
    return line.replace(b'"@"', id.encode(), 1)


def flip(rng, line, _):
    at = rng.randrange(len(line))
    return line[:at] + bytes([line[at] ^ (1 << rng.randrange(8))]) + line[at + 1:]


def cut(rng, line, _):
    at = rng.randrange(len(line))
    return line[:at] + line[at + rng.choice([1, 2, 5]):]


def swap_halves(rng, line, _):
    body = line.strip(b"{}")
    parts = body.split(b",")
    rng.shuffle(parts)
    return bytearray(b"{" + b",".join(parts) + b"}")


MUTATORS = [
    change_word(lambda rng, c: c.upper()), change_word(like), change_word(lambda rng, c: "\\u%04x" % ord(c)), change_word(lambda rng, c: c + rng.choice(ODD)),
    insert_odd, insert_odd_beside_mark, insert_bytes, double_member, double_member, two_values, wrap, change_id, flip, cut, swap_halves,
]


def all_lines():
    lines = table()
    rng = random.Random(SEED)
    made = [mutate(rng, lines) for _ in range(MUTATIONS)]
    return [line.replace(b"@", b"L%d" % n) for n, line in enumerate(lines + made)]


# ---- the run

class Run:
    """The proxy, with a client that declines every prompt."""

    def __init__(self, proxy, folder):
        self.record = os.path.join(folder, "record")
        config = os.path.join(folder, "config.json")
        with open(config, "w") as file:
            json.dump({"mcpServers": {"box": {"command": sys.executable, "args": [os.path.abspath(__file__), "--serve", self.record]}}}, file)
        env = {name: value for name, value in os.environ.items() if not name.startswith("APPROVAL_")}
        self.stderr = open(os.path.join(folder, "stderr"), "w+b")
        self.child = subprocess.Popen([proxy, "--upstream", config, "--engine", "elicitation", "--audit-log", os.path.join(folder, "audit")],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr, env=env)
        self.watchdog = threading.Timer(DEADLINE, self.child.kill)
        self.watchdog.daemon = True
        self.watchdog.start()

    def send(self, line):
        self.child.stdin.write(line + b"\n")
        self.child.stdin.flush()

    def until(self, id):
        """Reads up to the answer with this id, and returns the number of prompts before it."""
        asked = 0
        while True:
            line = self.child.stdout.readline()
            if not line:
                self.stderr.seek(0)
                raise SystemExit("the proxy ended or hung: %s" % self.stderr.read()[-2000:].decode("utf-8", "replace"))
            message = json.loads(line)
            if message.get("method") == "elicitation/create":
                asked += 1
                self.send(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"action": "decline"}}).encode())
            elif "method" not in message and message.get("id") == id:
                return asked

    def all(self, lines):
        """Returns what the server received for each line and after the last, the number of prompts, and the exit code."""
        self.send(b'{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{"elicitation":{}},"clientInfo":{"name":"d","version":"0"}}}')
        self.until("init")
        self.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
        self.send(b'{"jsonrpc":"2.0","id":"first","method":"tools/call","params":{"name":"read"}}')
        self.until("first")
        got, asked, start = [], 0, os.path.getsize(self.record)
        for n, line in enumerate(lines):
            sentinel = "sentinel-%d" % n
            text = '{"jsonrpc":"2.0","id":"%s","method":"ping"}' % sentinel
            self.send(line)
            self.send(text.encode())
            asked += self.until(sentinel)
            with open(self.record, "rb") as file:
                file.seek(start)
                new = file.read()
            start += len(new)
            end = text.encode() + b"\n"
            # Nothing may follow from a prompt of an earlier line: it was declined.
            if end not in new:
                raise SystemExit("the sentinel after line %d did not arrive: %r" % (n, new))
            got.append(new.replace(end, b""))
        self.child.stdin.close()
        code = self.child.wait()
        self.watchdog.cancel()
        with open(self.record, "rb") as file:
            file.seek(start)
            rest = file.read()
        return got, rest, asked, code


# ---- the readers: each yields what it reads as a message

def objects(value, depth=0):
    """Yields a message, or those in a batch at any depth."""
    if isinstance(value, list) and depth < 50:
        for item in value:
            yield from objects(item, depth + 1)
    elif isinstance(value, dict):
        yield value


def is_gated(message):
    """Returns whether a reader that sees this dict would run another tool than the harmless one."""
    if message.get("method") != "tools/call":
        return False
    params = message.get("params")
    return not isinstance(params, dict) or params.get("name") != HARMLESS


def tolerant(parse):
    def reader(text):
        try:
            return list(objects(parse(text)))
        except (ValueError, RecursionError):
            return []
    return reader


def first_wins(pairs):
    result = {}
    for key, value in pairs:
        result.setdefault(key, value)
    return result


def python_text(data):
    """TextIOWrapper with universal newlines, like `for line in sys.stdin`."""
    for errors in ["replace", "surrogateescape"]:
        for line in io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors=errors, newline=None):
            yield from tolerant(json.loads)(line)


def python_bytes(data):
    """bytes.splitlines, and json.loads, which detects the encoding."""
    for line in data.splitlines():
        yield from tolerant(json.loads)(line)
    for line in data.split(b"\n"):
        yield from tolerant(json.loads)(line)


def python_splitlines(data):
    """str.splitlines, which splits at eleven characters."""
    for line in data.decode("utf-8", "replace").splitlines():
        yield from tolerant(json.loads)(line)


def python_lenient(data):
    """Accepts control characters (strict=False), skips a BOM, and keeps the first of equal keys."""
    for text in [data.decode("utf-8-sig", "replace"), data.decode("latin-1")]:
        for line in text.split("\n"):
            yield from tolerant(lambda text: json.loads(text, strict=False))(line)
            yield from tolerant(lambda text: json.loads(text, object_pairs_hook=first_wins, strict=False))(line)


def python_stream(data):
    """Reads one value after the other, whatever separates them."""
    text = data.decode("utf-8", "replace")
    decoder, at = json.JSONDecoder(strict=False), 0
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at = min((i for i in (text.find(c, at + 1) for c in "{[") if i > 0), default=len(text))
            # Inside an unreadable value, only what starts a line matters.
            at = max(at, text.find("\n", at) + 1) if "\n" in text[at:] else len(text)
            continue
        yield from objects(value)
        while at < len(text) and text[at] in " \t\r\n\x0b\x0c,;\0\x1e\u2028\u2029\ufeff":
            at += 1


# Go's encoding/json: https://pkg.go.dev/encoding/json#Unmarshal: "preferring exact matches but
# also accepting a case-insensitive match"; "invalid UTF-8 or invalid UTF-16 surrogate pairs are
# not treated as an error. Instead, they are replaced by the Unicode replacement character".
# Keys are read in order, so the last match wins, exact or folded. Objects for one struct are merged,
# and null changes nothing.

def go_fold(text):
    fold = {"\u017f": "s", "\u212a": "k"}
    return "".join(fold.get(c, c.lower() if c < "\x80" else c) for c in text)


def other_fold(text):
    """Folds as much as any library does: full case folding with the Turkish i's, up to a NUL, without
    white space and invisible characters, and with full-width forms as ASCII."""
    text = "".join(c for c in text.split("\0")[0] if not c.isspace() and unicodedata.category(c) != "Cf")
    text = "".join(chr(ord(c) - 0xFEE0) if "\uff01" <= c <= "\uff5e" else c for c in text)
    text = text.replace("\u0130", "i").replace("\u0131", "i")
    return text.casefold().replace("\u0307", "")


class Pairs(list):
    """An object with all its members."""


def no_constant(_):
    raise ValueError("not JSON")


def clean(text):
    return "".join("\ufffd" if 0xD800 <= ord(c) <= 0xDFFF else c for c in text)


def struct(pairs, fields, fold):
    result = {}
    for key, value in pairs:
        name = fold(clean(key))
        if name not in fields or value is None:
            continue
        if isinstance(value, Pairs) and name == "params":
            value = {**result.get(name, {}), **struct(value, {"name"}, fold)}
        elif isinstance(value, str):
            value = clean(value).split("\0")[0] if fold is other_fold else clean(value)
        result[name] = value
    return result


def folding(fold):
    def reader(data):
        decoder = json.JSONDecoder(object_pairs_hook=Pairs, parse_constant=no_constant)
        text = data.decode("utf-8", "replace")
        for line in [text, *text.split("\n")]:
            at = 0
            # Unlike json.Unmarshal, json.Decoder continues after a value, so it sees more.
            while at < len(line):
                try:
                    value, at = decoder.raw_decode(line, at)
                except (ValueError, RecursionError):
                    break
                for pairs in pairs_in(value):
                    yield struct(pairs, {"method", "params"}, fold)
                while at < len(line) and line[at] in " \t\r\n":
                    at += 1
    return reader


def pairs_in(value):
    if isinstance(value, Pairs):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from pairs_in(item)


def is_gated_folded(message):
    message = dict(message)
    method = message.get("method")
    if isinstance(method, str):
        method = other_fold(method)
        message["method"] = method
    return is_gated(message)


READERS = {
    "Python, text mode": (python_text, is_gated),
    "Python, bytes": (python_bytes, is_gated),
    "Python, str.splitlines": (python_splitlines, is_gated),
    "Python, lenient": (python_lenient, is_gated),
    "Python, a stream": (python_stream, is_gated),
    "Go": (folding(go_fold), is_gated),
    "any folding": (folding(other_fold), is_gated_folded),
}

NODE = r"""
const readline = require('readline');
const { Readable } = require('stream');
const harmless = process.argv[1];
function* objects(value, depth) {
  if (Array.isArray(value) && depth < 50) for (const item of value) yield* objects(item, depth + 1);
  else if (value !== null && typeof value === 'object') yield value;
}
function gated(text) {
  let value;
  try { value = JSON.parse(text); } catch { return false; }
  for (const message of objects(value, 0)) {
    const assigned = Object.assign({}, message);
    for (const m of [message, assigned]) {
      if (m.method === 'tools/call' && !(m.params && m.params.name === harmless)) return true;
    }
  }
  return false;
}
async function main() {
  const input = JSON.parse(require('fs').readFileSync(0, 'utf8'));
  const out = [];
  for (const item of input) {
    const bytes = Buffer.from(item, 'base64');
    const found = [];
    if (bytes.toString('utf8').split('\n').some(gated)) found.push('JSON.parse');
    // The SDK drops a carriage return before the newline.
    if (bytes.toString('utf8').split('\n').some((line) => gated(line.replace(/\r$/, '')))) found.push('the SDK');
    if (bytes.toString('latin1').split('\n').some(gated)) found.push('JSON.parse of latin1');
    if (gated(new TextDecoder('utf-8').decode(bytes))) found.push('TextDecoder');
    const lines = readline.createInterface({ input: Readable.from([bytes]), crlfDelay: Infinity });
    for await (const line of lines) if (gated(line)) found.push('readline');
    out.push(found);
  }
  process.stdout.write(JSON.stringify(out));
}
main();
"""


def by_node(items):
    text = json.dumps([base64.b64encode(item).decode() for item in items])
    done = subprocess.run(["node", "-e", NODE, HARMLESS], input=text.encode(), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def seen_by(items, with_node):
    """Returns for each item the readers that see a gated call in it."""
    seen = []
    for item in items:
        seen.append([name for name, (reader, gated) in READERS.items() if any(gated(m) for m in reader(item))])
    if with_node:
        for found, names in zip(by_node(items), seen):
            names.extend("Node, " + name for name in found)
    return seen


def self_test(with_node):
    """Checks that each reader finds what it should: one that never sees anything would prove nothing."""
    plain = call("1").encode()
    names = list(READERS) + (["Node, " + n for n in ["JSON.parse", "the SDK", "readline", "TextDecoder"]] if with_node else [])
    cases = [(plain, names), (b"[" + plain + b"]", names),
             (PING.encode() + b"\r" + plain, ["Python, text mode", "Python, bytes", "Python, a stream"] + ["Node, readline"] * with_node),
             (PING.encode() + b"\xe2\x80\xa8" + plain, ["Python, str.splitlines"]),
             (plain.replace(b'"method"', b'"Method"'), ["Go", "any folding"]),
             (plain.replace(b'"params"', '"param\u017f"'.encode()), ["Go", "any folding"]),
             (plain.replace(b'"method"', b'"method":"ping","METHOD"'), ["Go", "any folding"]),
             (plain.replace(b"read", b"x").replace(b'"wipe"', b'"read","Name":"wipe"'), ["Go", "any folding"]),
             (plain.replace(b'"method"', b'"method "'), ["any folding"]), (plain.replace(b'"params"', b'"par\\u200bams"'), ["any folding"]),
             (plain.replace(b'"method"', '"\uff4dethod"'.encode()), ["any folding"]), (plain.replace(b'tools/', 'tools\uff0f'.encode()), ["any folding"]),
             (plain.replace(b'"method"', b'"method":"ping","method"'), ["Python, bytes", "Go"] + ["Node, JSON.parse"] * with_node),
             (plain.replace(b'}}}', b'}},"method":"ping"}'), ["Python, lenient"]),
             (PING.encode() + plain, ["Go", "Python, a stream"]), (b"\xef\xbb\xbf" + plain, ["Python, lenient"] + ["Node, TextDecoder"] * with_node),
             (plain.decode().encode("utf-16-le"), ["Python, bytes"])]
    seen = seen_by([data for data, _ in cases], with_node)
    for (data, expected), found in zip(cases, seen):
        missing = set(expected) - set(found)
        if missing:
            raise SystemExit("readers that should see a gated call but do not: %s, in %r" % (missing, data))


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--serve":
        return serve(sys.argv[2])
    args = [arg for arg in sys.argv[1:] if not arg.startswith("--")]
    if len(args) != 1:
        sys.exit(__doc__)
    sys.setrecursionlimit(5000)
    with_node = "--without-node" not in sys.argv
    self_test(with_node)
    lines = all_lines()
    with tempfile.TemporaryDirectory() as folder:
        got, rest, asked, code = Run(os.path.abspath(args[0]), folder).all(lines)
    passed, failed = 0, 0
    dangers = seen_by(lines, with_node)
    for n, (line, bytes_got, seen) in enumerate(zip(lines, got, seen_by(got, with_node))):
        # Every forwarded line is unchanged: the whole line, or an entry of a batch.
        foreign = [part for part in bytes_got.split(b"\n") if part and part not in line]
        if seen or foreign:
            failed += 1
            print("line %d: %r\n  the server received %r\n  readers that see a gated call: %s" % (n, line[:600], bytes_got[:600], ", ".join(seen) or "none, but the line was changed"))
        else:
            passed += 1
    # All lines together, for calls that form only across lines.
    everything = b"".join(got) + rest
    for seen in seen_by([everything], with_node):
        failed += bool(seen)
        passed += not seen
        if seen:
            print("readers that see a gated call in the whole record: %s" % ", ".join(seen))
    if rest or code != 0:
        failed += 1
        print("the proxy exited with %d; the server received after the last line: %r" % (code, rest))
    else:
        passed += 1
    forwarded = sum(1 for bytes_got in got if bytes_got)
    dangerous = sum(1 for seen in dangers if seen)
    lost = [line for line, bytes_got, seen in zip(lines, got, dangers) if not bytes_got and not seen]
    print("%d lines: the server received something for %d; some reader sees a gated call in %d; %d prompts, all declined; %d refused although no reader here sees a gated call"
          % (len(lines), forwarded, dangerous, asked, len(lost)))
    if "--show-refused" in sys.argv:
        for line in lost:
            print("  %r" % line[:200])
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
