"""Clients that open URLs are sent to the inbox's page: the Python SDK's, legacy and stateless."""

import json
import re
import urllib.error
import urllib.request

import anyio

from interop.checks import Checks, Setting, audit, call, content, is_refusal, text, wire
from interop.eras import MODES, PAIRS, recorded, client

SERVER = "dual-python"
ACCEPT, DECLINE = {"action": "accept"}, {"action": "decline"}


class Visitor:
    """A client's user, who agrees to open a page or not, and decides in a terminal."""

    def __init__(self, setting: Setting, state: str) -> None:
        self.setting, self.state = setting, state
        self.plan, self.asked, self.tasks = [], [], None

    async def __call__(self, _context, params):
        from mcp import types

        self.asked.append(wire(params))
        action, verdict, when = self.plan.pop(0)
        if verdict and when == "before":
            await self.decide(*verdict)
        if verdict and when == "after":
            # Once the client is back and waiting.
            self.tasks.start_soon(self.decide_later, verdict)
        return types.ElicitResult(**action)

    async def decide_later(self, verdict: list) -> None:
        await anyio.sleep(0.3)
        await self.decide(*verdict)

    async def decide(self, verb: str, *more: str) -> None:
        item = self.asked[-1]["url"].rsplit("/", 1)[1]
        words = ["approvals", "--state-dir", self.state, verb, item, *more]
        await anyio.run_process([str(self.setting.proxy), *words])


async def visits(checks: Checks, setting: Setting) -> None:
    """A yes and a no in the inbox, before and after the client comes back, and a page that is not opened."""
    for number, (server, mode) in enumerate(PAIRS):
        how = f"{server}, {mode}, by URL"
        setting.refill()
        poem, state = {"name": "poem.txt"}, str(setting.place / f"state-{number}")
        command, log, recording = recorded(setting, f"urls-{server}-{mode}", server)
        command[command.index("--engine") + 1] = "inbox"
        command += ["--state-dir", state, "--inbox-port", "0", "--no-browser"]
        human = Visitor(setting, state)
        async with anyio.create_task_group() as human.tasks, client(setting, command, mode, human) as session:
            human.plan = [(ACCEPT, ["deny", "--reason", "not on a Friday"], "before")]
            refused = await call(session, "wipe", poem)
            is_refusal(checks, f"{how}: a no before the client comes back", refused, "wipe")
            checks.check(f"{how}: its reason arrives", "not on a Friday" in text(refused), refused)
            human.plan = [(DECLINE, None, None)]
            is_refusal(checks, f"{how}: a page that is not opened", await call(session, "wipe", poem), "wipe")
            checks.equal(f"{how}: after both the file is there", content(setting.files / "poem.txt"), "one\ntwo\nthree\n")
            human.plan = [(ACCEPT, ["approve"], "after")]
            checks.equal(f"{how}: a yes after the client is back", text(await call(session, "wipe", poem)), "wiped poem.txt")
            setting.refill()
            human.plan = [(ACCEPT, ["approve"], "before")]
            checks.equal(f"{how}: a yes before the client is back", text(await call(session, "wipe", poem)), "wiped poem.txt")

            shown = [(params["mode"], bool(re.fullmatch(r"http://127\.0\.0\.1:\d+/item/[0-9a-f]{32}", params["url"])))
                     for params in human.asked]
            checks.equal(f"{how}: each call has its own page", shown, [("url", True)] * 4)
            checks.equal(f"{how}: four pages", len({params["url"] for params in human.asked}), 4)
            named = ["elicitationId" in params for params in human.asked]
            checks.equal(f"{how}: only legacy requests have an id", named, [MODES[mode] < "2026"] * 4)
            status, body = await anyio.to_thread.run_sync(fetch, human.asked[-1]["url"])
            checks.check(f"{how}: the page admits no stranger", status != 200 and "wipe" not in body, (status, body))
        denied, approved = ("wipe", "denied", False), ("wipe", "approved", True)
        lines = audit(checks, f"{how}: the log has all four", log, [denied, denied, approved, approved])
        by = [line["engine"] for line in lines]
        checks.equal(f"{how}: and the engine of each", by, ["inbox", "elicitation", "inbox", "inbox"])
        checks.equal(f"{how}: the server received two calls", recording.called(), ["wipe", "wipe"])
        strange = [line for line in recording.received() if "approval-proxy" in json.dumps(line)]
        checks.equal(f"{how}: none of our ids or states reach it", strange, [])


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


SECTIONS = [visits]
