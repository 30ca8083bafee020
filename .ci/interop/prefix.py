"""Servers from npm and PyPI without a config file: behind `--`, by several launchers, and at a URL."""

import json
import shutil
import sys

from interop.checks import APPROVE, DECLINE, Checks, Human, Setting
from interop.checks import audit, call, content, decisions, is_refusal, outcome, succeeded, text, wire
from interop.git import make_repository
from interop.over_http import Listener
from interop.over_http_again import free_port
from interop.same import REVISIONS, compare_ways, requests_for

SERVER = "filesystem"
EVERYTHING = "@modelcontextprotocol/server-everything"
# A folder whose name a shell, and other configurations, would change.
ODD = "a $HOME ${NOPE} ${X:-y} 'b' -- \u00fc"


def launchers(setting: Setting) -> list[tuple[str, list[str], list]]:
    """Each way to start a server: its name, the command, and calls."""
    programs, scripts = setting.cache / "node_modules" / ".bin", setting.cache / "venv" / "bin"
    node, files = shutil.which("node"), str(setting.files)
    npx = ["npx", "--no-install", "--prefix", str(setting.cache)]
    read = [("list_allowed_directories", {}), ("read_text_file", {"path": f"{files}/poem.txt"}), ("no_such_tool", {})]
    echo = [("echo", {"message": "$HOME ${X}"}), ("get-sum", {"a": 0.1, "b": 2}), ("get-tiny-image", {})]
    status = [("git_status", {"repo_path": files}), ("git_log", {"repo_path": files, "max_count": 1})]
    repository = ["--repository", files]
    return [
        ("filesystem", [*npx, "mcp-server-filesystem", files], read),
        ("filesystem", [str(programs / "mcp-server-filesystem"), files], read),
        ("everything", ["env", "-C", str(setting.cache), "npx", "--offline", "-y", EVERYTHING], echo),
        ("everything", [node, str(programs / "mcp-server-everything"), "stdio"], echo),
        ("everything", ["env", "X=1", node, "--no-warnings", str(programs / "mcp-server-everything")], echo),
        ("git", [sys.executable, "-B", "-m", "mcp_server_git", *repository], status),
        ("git", [str(scripts / "mcp-server-git"), *repository], status),
    ]


async def launched(checks: Checks, setting: Setting) -> None:
    """Each launcher gives the same answers with the proxy in front of it, and the server gets a name."""
    make_repository(setting)
    for number, (name, server, calls) in enumerate(launchers(setting)):
        revision, what = REVISIONS[number % len(REVISIONS)], f"`{server[0].rsplit('/', 1)[-1]} \u2026` ({name})"
        command, log = setting.prefixed(server, "--mode", "none")
        compare_ways(checks, setting, what, (server, command), revision, requests_for(calls))
        found = [(line["server"], line["tool"]) for line in decisions(log)]
        checks.equal(f"{what}: the log has its name", found, [(name, tool) for tool, _ in calls])


async def odd_arguments(checks: Checks, setting: Setting) -> None:
    """A folder with `$`, spaces and quotes in its name reaches the filesystem server as it is."""
    odd = setting.files / ODD
    odd.mkdir()
    (odd / "in it.txt").write_text("found\n")
    server = [*setting.servers["filesystem"], str(odd)]
    calls = [("list_allowed_directories", {}), ("read_text_file", {"path": str(odd / "in it.txt")})]
    for revision in REVISIONS:
        command, _ = setting.prefixed(server, "--mode", "none")
        compare_ways(checks, setting, "an odd folder", (server, command), revision, requests_for(calls))
    command, _ = setting.prefixed(server)
    async with setting.session(command) as session:
        allowed = text(await call(session, *calls[0]))
    checks.check("the server is allowed to read it", str(odd) in allowed, allowed)


async def asked(checks: Checks, setting: Setting) -> None:
    """A call that writes needs a yes, and the question names the server."""
    poem = setting.files / "poem.txt"
    write = {"path": str(poem), "content": "four\n"}
    npx = ["npx", "--no-install", "--prefix", str(setting.cache)]
    command, log = setting.prefixed([*npx, "mcp-server-filesystem", str(setting.files)])
    human = Human(DECLINE, APPROVE)
    async with setting.session(command, human) as session:
        is_refusal(checks, "a no", await call(session, "write_file", write), "write_file")
        checks.equal("after a no the file is as it was", content(poem), "one\ntwo\nthree\n")
        checks.check("after a yes the result is the server's", succeeded(await call(session, "write_file", write)))
        checks.equal("after a yes the file is written", content(poem), "four\n")
    named = ["filesystem" in question["message"] for question in human.asked]
    checks.equal("both questions name the server", named, [True, True])
    audit(checks, "the audit log agrees", log, [("write_file", "denied", False), ("write_file", "approved", True)])


async def hardly_any_environment(checks: Checks, setting: Setting) -> None:
    """Without HOME, and with almost no PATH, as some clients start their servers."""
    for name in ("filesystem", "everything", "git"):
        if name == "git":
            make_repository(setting)
        # Only the server for git looks for a program.
        path = "/usr/bin:/bin" if name == "git" else "/nonexistent"
        bare = [shutil.which("env"), "-i", f"PATH={path}"]
        server, state = setting.servers[name], str(setting.place / "state")
        calls = {"filesystem": ("list_allowed_directories", {}), "everything": ("echo", {"message": "x"})}
        calls["git"] = ("git_status", {"repo_path": str(setting.files)})
        command, log = setting.prefixed(server, "--mode", "none", "--state-dir", state)
        ways = ([*bare, *server], [*bare, *command])
        compare_ways(checks, setting, f"{name}, without HOME", ways, REVISIONS[-1], requests_for([calls[name]]))
        checks.equal(f"{name}, without HOME: the log has the call", len(decisions(log)), 1)


async def at_a_url(checks: Checks, setting: Setting) -> None:
    """The everything server by `--url` and `--url-env` gives the answers that it gives to a client at its address."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    secret = f"FAR_URL={url}?api_key=s3cret", "FAR_KEY=s3cret"
    ways = {
        "--url": ["--url", url, "--bearer-env", "FAR_KEY", "--header-env", "X-Key=FAR_KEY"],
        "--url-env": ["--url-env", "FAR_URL"],
    }
    command = [*setting.servers["everything"], "streamableHttp"]
    with Listener(setting, command, {"PORT": str(port)}, url):
        async with streamable_http_client(url) as streams, ClientSession(*streams[:2]) as session:
            hello = wire(await session.initialize())
            direct = await answers(session)
        for how, flags in ways.items():
            command, log = setting.alone("--mode", "none", *flags)
            async with setting.session([shutil.which("env"), *secret, *command]) as session:
                checks.equal(f"{how}: the same hello", session.hello, hello)
                found = await answers(session)
            for what, one, other in zip(ASKED, found, direct):
                checks.equal(f"{how}: the same answer to {what}", one, other)
            checks.equal(f"{how}: its name is the host", {line["server"] for line in decisions(log)}, {"127.0.0.1"})
            told = log.read_text() + (setting.place / "stderr.txt").read_text() + json.dumps(found)
            checks.check(f"{how}: no secret is told", "s3cret" not in told)


ASKED = ["tools/list", "resources/list", "prompts/list", "echo", "get-sum", "get-structured-content", "no_such_tool"]


async def answers(session) -> list:
    """Returns the answers to `ASKED`."""
    lists = [session.list_tools(), session.list_resources(), session.list_prompts()]
    found = [await outcome(each) for each in lists]
    arguments = [{"message": "$HOME \u00fc"}, {"a": 0.1, "b": 2}, {"location": "New York"}, {}]
    calls = [session.call_tool(tool, given) for tool, given in zip(ASKED[3:], arguments)]
    return found + [await outcome(each) for each in calls]


SECTIONS = [launched, odd_arguments, asked, hardly_any_environment, at_a_url]
