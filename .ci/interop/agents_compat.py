"""The official clients drive `approval-proxy mcp --compat`: the tools of sesame-mcp and of @looppause/mcp, in both eras.

The person decides at the terminal. A mail server that takes everything stands for the mail of LoopPause's recipients.
"""

import contextlib
import json
import shutil
import socketserver
import threading
from pathlib import Path

import anyio

from interop.agents import Desk
from interop.checks import Checks, Setting, call, failed, text, wire
from interop.eras import LEGACY, MODERN, MODES

SERVER = "filesystem"
SCRIPT = Path(__file__).with_name("agents_compat.mjs")
RECIPIENT = "olga@people.example"
SECRET = "signing-secret-of-decisions"
DETAILS = {"iban": "DE00", "Zweck": "Miete ü"}
SESAME = ["--compat", "sesame"]
LOOPPAUSE = ["--compat", "looppause"]


class Mail(socketserver.StreamRequestHandler):
    """Takes every mail (RFC 5321)."""

    def handle(self) -> None:
        self.say("220 ready")
        for line in self.rfile:
            match line.split(b" ")[0].strip().upper():
                case b"DATA":
                    self.say("354 go on")
                    while self.rfile.readline() not in (b".\r\n", b""):
                        pass
                    self.say("250 taken")
                case b"QUIT":
                    return self.say("221 bye")
                case _:
                    self.say("250 yes")

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@contextlib.contextmanager
def mail_server():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"smtp://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def looppause_desk(setting: Setting, smtp: str) -> Desk:
    email = {"type": "email", "smtp": smtp, "from": "bot@mail.example", "to": RECIPIENT}
    page = {"pageUrl": "http://127.0.0.1:47110"}
    section = {"engines": [email, "inbox"], "inbox": page, "allowedRecipients": [RECIPIENT]}
    return Desk(setting, **section)


async def sesame(checks: Checks, setting: Setting) -> None:
    """`mcp --compat sesame`, Python."""
    import mcp

    for mode, era in MODES.items():
        how = f"sesame, {mode}"
        desk = Desk(setting)
        async with mcp.Client(setting.transport(desk.command(*SESAME)), mode=mode) as session:
            checks.equal(f"{how}: the revision", str(session.protocol_version), era)
            listed = wire(await session.list_tools())["tools"]
            checks.equal(f"{how}: the tools", [tool["name"] for tool in listed], ["request_approval"])
            for verdict, status in [("approve", "approved"), ("deny", "denied")]:
                mark = f"{how}: {verdict}"
                async with anyio.create_task_group() as group:
                    group.start_soon(anyio.to_thread.run_sync, desk.decide, mark, verdict)
                    found = await call(session, "request_approval", {"action": mark, "summary": "s"})
                answer = found.get("structuredContent", {})
                shape = {"approval_id": answer.get("approval_id"), "status": status, "decided": True}
                checks.equal(f"{how}: {verdict}", answer, shape)
                checks.equal(f"{how}: the text says the same", json.loads(text(found)), answer)
            heard = []
            await session.call_tool(
                "request_approval",
                {"action": "nobody", "summary": "s", "timeout_seconds": 6},
                progress_callback=keep(heard),
            )
            checks.check(f"{how}: progress while the call waits", len(heard) >= 1, heard)
            wrong = await call(session, "request_approval", {"action": "x"})
            checks.check(f"{how}: a missing summary is an error", failed(wrong) and "summary" in text(wrong), wrong)


def keep(heard: list):
    async def note(progress: float, *_) -> None:
        heard.append(progress)

    return note


async def looppause(checks: Checks, setting: Setting) -> None:
    """`mcp --compat looppause`, Python."""
    import mcp

    with mail_server() as smtp:
        for mode, era in MODES.items():
            how = f"looppause, {mode}"
            desk = looppause_desk(setting, smtp)
            async with mcp.Client(setting.transport(desk.command(*LOOPPAUSE)), mode=mode) as session:
                checks.equal(f"{how}: the revision", str(session.protocol_version), era)
                listed = wire(await session.list_tools())["tools"]
                names = [tool["name"] for tool in listed]
                checks.equal(f"{how}: the tools", names, ["request_approval", "check_approval"])
                for verdict, decision in [("approve", "approved"), ("deny", "rejected")]:
                    await looppause_once(checks, desk, session, f"{how}: {verdict}", verdict, decision)
                arguments = {"action_description": "x", "action_details": {}, "recipient_email": "me@evil.example"}
                wrong = await call(session, "request_approval", arguments)
                checks.check(f"{how}: no recipient of its own", failed(wrong) and "recipient_email" in text(wrong), wrong)


async def looppause_once(checks: Checks, desk: Desk, session, mark: str, verdict: str, decision: str) -> None:
    arguments = {"action_description": mark, "action_details": DETAILS, "recipient_email": RECIPIENT}
    asked = (await call(session, "request_approval", arguments)).get("structuredContent", {})
    members = ["MANDATORY_NEXT_STEP", "expires_at", "pause_id", "status"]
    checks.equal(f"{mark}: what comes at once", sorted(asked), members)
    name = {"pause_id": asked.get("pause_id")}
    checks.check(f"{mark}: the next step names it", str(asked.get("pause_id")) in str(asked.get("MANDATORY_NEXT_STEP")))
    pending = (await call(session, "check_approval", name)).get("structuredContent")
    checks.equal(f"{mark}: pending", pending, {"status": "pending"})
    await anyio.to_thread.run_sync(desk.decide, mark, verdict)
    answer = pending
    with anyio.move_on_after(10):
        while answer == pending:
            await anyio.sleep(0.02)
            answer = (await call(session, "check_approval", name)).get("structuredContent")
    response = answer.get("response", {})
    checks.equal(f"{mark}: {decision}", (answer["status"], response.get("decision")), ("responded", decision))
    members = ["channel", "comment", "decision", "fields", "nonce", "responded_at", "responder", "signature"]
    checks.equal(f"{mark}: the members", sorted(response), members)


async def first_generation(checks: Checks, setting: Setting) -> None:
    """`mcp --compat`, `@modelcontextprotocol/sdk`."""
    await drive(checks, setting, 1)


async def second_generation(checks: Checks, setting: Setting) -> None:
    """`mcp --compat`, `@modelcontextprotocol/client`, legacy and stateless."""
    await drive(checks, setting, 2)


async def drive(checks: Checks, setting: Setting, generation: int) -> None:
    with mail_server() as smtp:
        desks = {"sesame": (Desk(setting), SESAME), "looppause": (looppause_desk(setting, smtp), LOOPPAUSE)}
        plan = {"generation": generation, "cache": str(setting.cache), "proxy": str(setting.proxy), "modern": MODERN}
        plan |= {"legacy": LEGACY, "secret": SECRET, "recipient": RECIPIENT, "details": DETAILS}
        plan["products"] = {
            product: {"args": desk.command(*flags)[1:], "state": str(desk.state)} for product, (desk, flags) in desks.items()
        }
        with open(setting.place / "stderr.txt", "ab") as stderr:
            script = [shutil.which("node"), str(SCRIPT), json.dumps(plan)]
            result = await anyio.run_process(script, check=False, stderr=stderr)
    for line in result.stdout.decode().splitlines():
        if line.startswith(("ok - ", "not ok - ", "    found: ")):
            checks.take_over(line)
    checks.equal(f"the compat script for generation {generation} finishes", result.returncode, 0)


SECTIONS = [sesame, looppause, first_generation, second_generation]
