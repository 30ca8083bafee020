"""The targets of the suite: the server itself, or the proxy in front of it."""

import json
import re
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

# How long a program may take until it listens, in seconds.
PATIENCE = 20

DIRECT = "direct"
OVER_HTTP = "HTTP→HTTP"
OVER_STDIO = "HTTP→stdio"
COLUMNS = [DIRECT, OVER_HTTP, OVER_STDIO]


class NotListening(Exception):
    """A program did not print its URL in time."""


@contextmanager
def target(column: str, proxy: Path, server: Path):
    """Yields the URL of a column's target, and ends its processes afterwards."""
    if column == OVER_STDIO:
        with proxied(proxy, {"command": str(server), "args": ["--stdio"]}) as url:
            yield url
        return
    with listening([server, "--http", "127.0.0.1:0"]) as url:
        if column == DIRECT:
            yield url
            return
        with proxied(proxy, {"type": "http", "url": url}) as proxy_url:
            yield proxy_url


@contextmanager
def proxied(proxy: Path, upstream: dict):
    with tempfile.TemporaryDirectory(prefix="conformance-") as place:
        config = Path(place) / "upstream.json"
        config.write_text(json.dumps({"mcpServers": {"everything": upstream}}))
        listen = ["--transport", "streamable-http", "--host", "127.0.0.1", "--port", "0"]
        with listening([proxy, "--upstream", config, *listen, "--mode", "none"]) as url:
            yield url


@contextmanager
def listening(command: list):
    """Starts a program and yields the URL that it prints on stderr."""
    with tempfile.NamedTemporaryFile("r+", prefix="conformance-") as stderr:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
        )
        try:
            yield named_url(process, Path(stderr.name))
            if process.poll() is not None:
                print(f"`{command[0]}` ended unexpectedly: {last_words(process, Path(stderr.name))}")
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def named_url(process: subprocess.Popen, stderr: Path) -> str:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:\d+/mcp", stderr.read_text(errors="replace"))
        if found:
            return found[0]
        time.sleep(0.02)
    raise NotListening(f"`{process.args[0]}` prints no URL: {last_words(process, stderr)}")


def last_words(process: subprocess.Popen, stderr: Path) -> str:
    said = stderr.read_text(errors="replace").strip()[-2000:]
    return f"exit code {process.poll()}, {said or 'nothing on stderr'}"
