"""The Python SDK through the proxy to `mcp-server-git`."""

import subprocess

from interop.checks import APPROVE, DECLINE, Checks, Human, Setting
from interop.checks import audit, call, is_refusal, succeeded, text, wire

SERVER = "git"


def git(setting: Setting, *arguments: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(setting.files), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def make_repository(setting: Setting) -> None:
    git(setting, "init", "--quiet", "--initial-branch", "main")
    git(setting, "config", "user.name", "A")
    git(setting, "config", "user.email", "a@example.org")
    git(setting, "add", ".")
    git(setting, "commit", "--quiet", "--message", "first")
    (setting.files / "new.txt").write_text("new\n")


def commits(setting: Setting) -> list[str]:
    return git(setting, "log", "--format=%s").splitlines()


def staged(setting: Setting) -> str:
    return git(setting, "diff", "--cached", "--name-only")


async def asks_before_it_commits(checks: Checks, setting: Setting) -> None:
    """Reads pass. Only approved calls stage and commit."""
    make_repository(setting)
    command, log = setting.proxied()
    human = Human(DECLINE, APPROVE, DECLINE, APPROVE, DECLINE)
    repository = {"repo_path": str(setting.files)}
    add = repository | {"files": ["new.txt"]}
    commit = repository | {"message": "second"}
    async with setting.session(command, human) as session:
        status = await call(session, "git_status", repository)
        checks.check("the status is read", "new.txt" in text(status), status)
        history = await call(session, "git_log", repository)
        checks.check("the log is read", "first" in text(history), history)
        checks.equal("nobody was asked about reading", human.asked, [])

        is_refusal(checks, "a no to `git_add`", await call(session, "git_add", add), "git_add")
        checks.equal("after a no nothing is staged", staged(setting), "")
        checks.check("after a yes the result is the server's", succeeded(await call(session, "git_add", add)))
        checks.equal("after a yes the file is staged", staged(setting), "new.txt")
        is_refusal(checks, "a no to `git_commit`", await call(session, "git_commit", commit), "git_commit")
        checks.equal("after a no there is no commit", commits(setting), ["first"])
        committed = await call(session, "git_commit", commit)
        checks.check("after a yes it is committed", succeeded(committed), committed)
        checks.equal("there is one more commit", commits(setting), ["second", "first"])
        is_refusal(checks, "a no to `git_reset`", await call(session, "git_reset", repository), "git_reset")
    wanted = [
        ("git_status", "passed", True),
        ("git_log", "passed", True),
        ("git_add", "denied", False),
        ("git_add", "approved", True),
        ("git_commit", "denied", False),
        ("git_commit", "approved", True),
        ("git_reset", "denied", False),
    ]
    lines = audit(checks, "the audit log has it in order", log, wanted)
    risks = [line["risk"] for line in lines if line["tool"] == "git_reset"]
    checks.equal("tools that the server marks as destructive are high risk", risks, ["high"])


async def stateless_client(checks: Checks, setting: Setting) -> None:
    """The SDK's `Client`, which speaks 2026-07-28 with this server."""
    import mcp

    make_repository(setting)
    command, log = setting.proxied()
    human = Human(APPROVE, DECLINE)
    repository = {"repo_path": str(setting.files)}
    seen = []
    for way in (setting.direct, command):
        async with mcp.Client(setting.transport(way), elicitation_callback=human) as client:
            found = [wire(await client.list_tools()), await call(client, "git_status", repository)]
            found += [str(client.protocol_version), wire(client.server_capabilities)]
            seen.append(found)
            if way is setting.direct:
                continue
            added = await call(client, "git_add", repository | {"files": ["new.txt"]})
            checks.check("after a yes the result is the server's", succeeded(added), added)
            checks.equal("after a yes the file is staged", staged(setting), "new.txt")
            before = commits(setting)
            committed = await call(client, "git_commit", repository | {"message": "second"})
            is_refusal(checks, "a no to `git_commit`", committed, "git_commit")
            checks.equal("nothing is committed", commits(setting), before)
            checks.equal("a person was asked about both", len(human.asked), 2)
    direct, proxied = seen
    checks.equal("both speak the newest revision", proxied[2], "2026-07-28")
    for name, one, other in zip(["tools", "a call's result", "revision", "capabilities"], proxied, direct):
        checks.equal(f"the same with and without the proxy: {name}", one, other)
    wanted = [("git_status", "passed", True), ("git_add", "approved", True), ("git_commit", "denied", False)]
    audit(checks, "the audit log agrees", log, wanted)


SECTIONS = [asks_before_it_commits, stateless_client]
