#!/usr/bin/env python3
"""Drives the engine `email` with a mail server that is not our code: PyPI's `aiosmtpd`, with TLS and logins.

    .ci/mail.py PATH/TO/approval-proxy PATH/TO/scripted_upstream [--cache DIR]

What arrives is read with Python's own `email` package, which knows every defect of a mail. No check believes what the
proxy says: each looks at what the server got and at what the agent is answered.

Needs python3 with venv, and openssl. Installs aiosmtpd once into the cache folder (default: approval-proxy-mail in the
user's cache). Prints a line per check. Exits 1 if a check failed, 2 if nothing could be checked.
"""

import argparse
import asyncio
import contextlib
import email
import email.policy
import html.parser
import json
import logging
import os
import re
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PACKAGES = ["aiosmtpd==1.4.6"]
PATIENCE = 15
USER, PASSWORD = "bot@mail.example", "p@ss/w:rd 100%25"
PAGE = "http://127.0.0.1:47110"
HOSTILE = 'wipe\r\nBcc: eve@evil.example\r\n\r\n.\r\n<a href="https://evil.example">x</a> \u202e\u00e9' + "long " * 40
TOOLS = [
    {"name": name, "description": name, "inputSchema": {"type": "object"}, "annotations": {"destructiveHint": True}}
    for name in ("wipe", HOSTILE)
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("proxy", type=Path, help="the approval-proxy to check")
    parser.add_argument("upstream", type=Path, help="the scripted_upstream to guard")
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--cache", type=Path, default=user_cache / "approval-proxy-mail")
    arguments = parser.parse_args()
    proxy, upstream, cache = (path.resolve() for path in (arguments.proxy, arguments.upstream, arguments.cache))
    for program in (proxy, upstream):
        if not os.access(program, os.X_OK) or program.is_dir():
            print(f"mail: `{program}` is not a program", file=sys.stderr)
            return 2
    if Path(sys.prefix) == cache / "venv":
        # aiosmtpd logs each connection that the proxy gives up, as it should.
        logging.disable(logging.CRITICAL)
        return check_all(proxy, upstream)
    # The checks need aiosmtpd, so run this file again in the interpreter that has it.
    try:
        python = install(cache)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"mail: cannot install the mail server: {error}", file=sys.stderr)
        return 2
    return subprocess.run([python, "-B", "-W", "ignore", __file__, proxy, upstream, "--cache", cache]).returncode


def install(cache: Path) -> Path:
    """Installs the server into `cache`, if it is not there. Returns its python."""
    python = cache / "venv" / "bin" / "python"
    if not python.exists() or subprocess.run([python, "-c", "import aiosmtpd"], capture_output=True).returncode:
        subprocess.run([sys.executable, "-m", "venv", "--clear", cache / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def until(what, is_so):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := is_so():
            return found
        time.sleep(0.02)
    raise TimeoutError(f"not in time: {what}")


def certificate(place: Path):
    """Makes a certificate for localhost that vouches for itself. Returns it and its key."""
    cert, key = place / "cert.pem", place / "key.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    kind = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run(["openssl", *kind, *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


class Box:
    """Keeps the mails that a server takes, and refuses one recipient."""

    def __init__(self):
        self.mails, self.logins, self.commands = [], [], []

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        self.commands.append("EHLO")
        session.host_name = hostname
        return responses

    async def handle_MAIL(self, server, session, envelope, address, options):
        self.commands.append("MAIL")
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("gone@"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append((mail, envelope.mail_from, list(envelope.rcpt_tos)))
        return "250 OK"

    def log_in(self, server, session, envelope, mechanism, data):
        from aiosmtpd.smtp import AuthResult

        self.logins.append((mechanism, server.transport.get_extra_info("sslcontext") is not None))
        right = (data.login, data.password) == (USER.encode(), PASSWORD.replace("%25", "%").encode())
        return AuthResult(success=right, handled=False)


@contextlib.contextmanager
def serving(box, ssl_context=None, **options):
    """Runs a server on a free port."""
    from aiosmtpd.smtp import SMTP

    loop = asyncio.new_event_loop()
    # aiosmtpd's own controller cannot choose a free port.
    session = lambda: SMTP(box, hostname="fake.example", loop=loop, **options)
    server = loop.run_until_complete(loop.create_server(session, "127.0.0.1", 0, ssl=ssl_context))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)


class Agent:
    """An MCP client over stdio without prompts."""

    def __init__(self, proxy, upstream, place, smtp, to="olga@people.example", more=(), cert=None):
        engine = {"type": "email", "smtp": "${MAIL}", "from": "Gr\u00fc\u00dfe <bot@mail.example>", "to": to}
        (place / "tools.json").write_text(json.dumps(TOOLS))
        entry = {"command": str(upstream), "args": [str(place / "record"), "--tools", str(place / "tools.json")]}
        section = {
            "engines": [engine, *more],
            "inbox": {"pageUrl": PAGE},
            "approvalRetryAttempts": 1,
            "approvalRetryInitialBackoffSeconds": 0.05,
        }
        config = place / "config.json"
        config.write_text(json.dumps({"mcpServers": {"box": entry}, "approvalProxy": section}))
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(place), "MAIL": smtp}
        self.environment["APPROVAL_STATE_DIR"] = str(place / "state")
        if cert:
            self.environment["SSL_CERT_FILE"] = str(cert)
        self.proxy, self.audit = proxy, place / "audit.jsonl"
        flags = ["--upstream", config, "--audit-log", self.audit, "--inbox-port", "0"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.child = subprocess.Popen([proxy, *flags], env=self.environment, **pipes)
        self.answers, self.stderr, self.next = {}, "", 0
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._read_stderr, daemon=True).start()
        info = {"name": "probe", "version": "0"}
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info}
        self.answer(self.request("initialize", hello))
        self._send({"method": "notifications/initialized"})
        self.answer(self.request("tools/list", {}))

    def _read(self):
        for line in self.child.stdout:
            message = json.loads(line)
            if "id" in message:
                self.answers[message["id"]] = message

    def _read_stderr(self):
        for line in self.child.stderr:
            self.stderr += line

    def _send(self, message):
        self.child.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.child.stdin.flush()

    def request(self, method, params):
        self.next += 1
        self._send({"id": self.next, "method": method, "params": params})
        return self.next

    def call(self, name="wipe", **arguments):
        return self.request("tools/call", {"name": name, "arguments": arguments})

    def answer(self, call):
        return until(f"the answer to {call}; stderr: {self.stderr}", lambda: self.answers.get(call))

    def decide(self, choice):
        """Decides the one open item in the terminal."""
        run = lambda *words: subprocess.run(
            [self.proxy, "approvals", *words], env=self.environment, capture_output=True, text=True, timeout=PATIENCE
        )
        items = until("an item", lambda: json.loads(run("list", "--json").stdout or "[]"))
        decided = run(choice, items[0]["id"], "--reason", "seen in the mail")
        assert decided.returncode == 0, decided.stderr
        return items[0]["id"]

    def end(self):
        self.child.stdin.close()
        code = self.child.wait(PATIENCE)
        return code == 0 and "panicked" not in self.stderr

    def said(self):
        return self.stderr + self.audit.read_text()


class Links(html.parser.HTMLParser):
    """Finds what HTML links to, and what it would load."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "a":
            self.links.append(attributes["href"])
        if tag in ("img", "script", "link", "iframe", "form") or "src" in attributes:
            self.loads.append(tag)

    def handle_data(self, data):
        if "url(" in data or "@import" in data:
            self.loads.append(data)


def parts_of(mail):
    return tuple(mail.get_body((kind,)).get_content() for kind in ("plain", "html"))


def defects(mail):
    return [defect for part in mail.walk() for defect in part.defects] + [
        defect for header in mail.values() for defect in header.defects
    ]


def check_all(proxy, upstream) -> int:
    failed = 0

    def report(what, holds):
        nonlocal failed
        print(f"{'ok  ' if holds else 'FAIL'} {what}")
        failed += not holds

    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        cert, key = certificate(place)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        world = World(proxy, upstream, place, cert, context, report)
        for check in (asks, strangers, refusals, hostile, tests):
            try:
                check(world)
            except Exception as error:  # one check must not hide the others
                report(f"{check.__name__}: {type(error).__name__}: {error}", False)
    return 1 if failed else 0


class World:
    def __init__(self, proxy, upstream, place, cert, context, report):
        self.proxy, self.upstream, self.cert, self.context, self.report = proxy, upstream, cert, context, report
        self.place, self.count = place, 0

    def folder(self):
        self.count += 1
        folder = self.place / str(self.count)
        folder.mkdir()
        return folder

    def agent(self, smtp, **options):
        return Agent(self.proxy, self.upstream, self.folder(), smtp, **options)

    def kinds(self, box):
        """Each way to protect the connection: its name, the options of the server, and the URL."""
        login = {"authenticator": box.log_in, "auth_required": True}
        user = f"{USER}:{PASSWORD}@localhost"
        yield "smtps", {"ssl_context": self.context, "auth_require_tls": False, **login}, f"smtps://{user}:PORT"
        starttls = {"tls_context": self.context, "require_starttls": True, **login}
        yield "STARTTLS", starttls, f"smtp://{user}:PORT?starttls=required"


def deny_next():
    """An engine that refuses whatever it is asked."""
    answer = json.dumps({"action": "accept", "content": {"approved": False, "reason": "asked next"}})
    return [{"type": "command", "command": sys.executable, "args": ["-c", f"print({answer!r})"]}]


def asks(world):
    for number in range(2):
        box = Box()
        kind, options, url = list(world.kinds(box))[number]
        with serving(box, **options) as port:
            agent = world.agent(url.replace("PORT", str(port)), cert=world.cert)
            call = agent.call(mark="orders-7Q", password="hunter2-XK")
            mail, sender, to = until(f"a mail; {agent.stderr}", lambda: box.mails and box.mails[0])
            world.report(f"{kind}: the login is sent over TLS only", bool(box.logins) and all(tls for _, tls in box.logins))
            world.report(f"{kind}: the mail has no defect", not defects(mail))
            world.report(f"{kind}: sender and recipient", (sender, to) == ("bot@mail.example", ["olga@people.example"]))
            world.report(f"{kind}: a name of other letters", mail["From"].addresses[0].display_name == "Gr\u00fc\u00dfe")
            text, markup = parts_of(mail)
            for name, part in (("text", text), ("HTML", markup)):
                shown = "orders-7Q" in part and "wipe" in part and "hunter2" not in part
                world.report(f"{kind}: {name} shows the call without its secret", shown)
            item = agent.decide("deny")
            found = Links(markup)
            world.report(f"{kind}: one link, to the item's page", found.links == [f"{PAGE}/item/{item}"])
            world.report(f"{kind}: nothing is loaded", not found.loads)
            world.report(f"{kind}: the text has the same link", re.findall(r"https?://\S+", text) == found.links)
            answer = json.dumps(agent.answer(call))
            world.report(f"{kind}: the denial arrives", "seen in the mail" in answer)
            told = until("the second mail", lambda: len(box.mails) > 1 and box.mails[1][0])
            thread = (told["In-Reply-To"], told["References"]) == (mail["Message-ID"], mail["Message-ID"])
            world.report(f"{kind}: the second mail is in the thread and has no defect", thread and not defects(told))
            world.report(f"{kind}: it says how it ended", "Denied" in parts_of(told)[0] and "seen in the mail" in parts_of(told)[1])
            world.report(f"{kind}: the proxy ends as usual", agent.end())
            world.report(f"{kind}: the password is nowhere", "p@ss" not in agent.said())


def strangers(world):
    """Servers to which nothing may be said."""
    for number in range(2):
        box = Box()
        kind, options, url = list(world.kinds(box))[number]
        with serving(box, **options) as port:
            agent = world.agent(url.replace("PORT", str(port)), more=deny_next())
            refused = "asked next" in json.dumps(agent.answer(agent.call()))
            quiet = not box.mails and not box.logins and "MAIL" not in box.commands
            world.report(f"{kind}: a certificate that nobody vouches for gets nothing", refused and quiet)
            world.report(f"{kind}: and the reason is said", "certificate" in agent.said() and "p@ss" not in agent.said())
            agent.end()
    box = Box()
    login = {"authenticator": box.log_in, "auth_require_tls": False}
    with serving(box, **login) as port:
        agent = world.agent(f"smtp://{USER}:{PASSWORD}@localhost:{port}?starttls=required", more=deny_next())
        refused = "asked next" in json.dumps(agent.answer(agent.call()))
        quiet = not box.mails and not box.logins and box.commands == ["EHLO"]
        world.report("a server without STARTTLS gets nothing", refused and quiet and "STARTTLS" in agent.said())
        agent.end()


def refusals(world):
    box = Box()
    with serving(box) as port:
        agent = world.agent(f"smtp://127.0.0.1:{port}", to="gone@people.example", more=deny_next())
        refused = "asked next" in json.dumps(agent.answer(agent.call()))
        world.report("a refused recipient fails the engine", refused and "no such user" in agent.said() and not box.mails)
        agent.end()
        agent = world.agent(f"smtp://127.0.0.1:{port}", to=["gone@people.example", "Olga <olga@people.example>"])
        agent.call()
        mail = until("a mail", lambda: box.mails and box.mails[0])
        world.report("one of two recipients is enough", mail[2] == ["olga@people.example"])
        world.report("the other one is named", until("a warning", lambda: "gone@people.example" in agent.stderr))
        agent.end()


def hostile(world):
    box = Box()
    with serving(box) as port:
        agent = world.agent(f"smtp://127.0.0.1:{port}")
        agent.call(HOSTILE, text=HOSTILE + "\r\n.\r\n")
        mail, _, to = until(f"a mail; {agent.stderr}", lambda: box.mails and box.mails[0])
        names = {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"}
        world.report("a hostile name adds no header and no recipient", set(mail.keys()) == names and len(to) == 1)
        world.report("the mail has no defect", not defects(mail))
        subject = str(mail["Subject"])
        world.report("the subject is one line of visible text", subject.startswith("Risk high: \"wipe\\r\\nBcc:") and subject.isprintable())
        text, markup = parts_of(mail)
        world.report("the text shows what is invisible", "\\u{202e}" in text and "\u202e" not in text)
        world.report("the HTML has no link but ours", len(Links(markup).links) == 1)
        agent.end()


def tests(world):
    """`engines test`."""
    box = Box()
    kind, options, url = list(world.kinds(box))[1]
    with serving(box, **options) as port:
        for what, smtp, code, words in (
            ("accepts the login", url.replace("PORT", str(port)), 0, "accepts the login"),
            ("says that a password is wrong", url.replace("PORT", str(port)).replace("p@ss", "p@st"), 3, "535"),
        ):
            folder = world.folder()
            engine = {"type": "email", "smtp": "${MAIL}", "from": "bot@mail.example", "to": "olga@people.example"}
            config = {"approvalProxy": {"engines": [engine], "inbox": {"pageUrl": PAGE}}}
            (folder / "config.json").write_text(json.dumps(config))
            environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "MAIL": smtp, "SSL_CERT_FILE": str(world.cert)}
            environment["APPROVAL_CONFIG"] = str(folder / "config.json")
            run = subprocess.run([world.proxy, "engines", "test"], env=environment, capture_output=True, text=True, timeout=30)
            said = run.stdout + run.stderr
            world.report(f"engines test {what}", run.returncode == code and words in said and "p@s" not in said)
        world.report("engines test sends nothing", not box.mails and "MAIL" not in box.commands)


if __name__ == "__main__":
    sys.exit(main())
