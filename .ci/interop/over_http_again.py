"""Scenes of other parts with the Python SDK again, over HTTP instead of pipes."""

import contextlib
import socket

from interop import eras, everything
from interop.checks import Checks, Setting
from interop.over_http import Listener, listening_proxy

SERVER = "everything"


class OverHttp(Setting):
    """A setting with addresses instead of commands: the server's and a proxy's."""

    def __init__(self, setting: Setting, stack: contextlib.ExitStack, kind: str = "http") -> None:
        super().__init__(setting.proxy, setting.cache, setting.place, setting.server)
        self.stack, self.kind = stack, kind

    def proxied(self, *flags: str):
        if isinstance(self.direct, str):
            entry = {"type": self.kind, "url": self.direct}
        else:
            entry = {"command": self.direct[0], "args": self.direct[1:]}
        # The clients of these scenes send no token, but must still be asked.
        proxy, log = listening_proxy(self, entry, *flags, "--insecure-no-auth")
        return self.stack.enter_context(proxy).url, log

    def transport(self, way):
        from mcp.client.sse import sse_client
        from mcp.client.streamable_http import streamable_http_client

        if not isinstance(way, str):
            return super().transport(way)
        return sse_client(way) if way.endswith("/sse") else streamable_http_client(way)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


async def everything_over(checks: Checks, setting: Setting, kind: str, scenes: list) -> None:
    """Plays all scenes with the everything server, over HTTP on both sides."""
    word, path = {"http": ("streamableHttp", "mcp"), "sse": ("sse", "sse")}[kind]
    for scene in scenes:
        port = free_port()
        url = f"http://127.0.0.1:{port}/{path}"
        command = [*setting.servers["everything"], word]
        with contextlib.ExitStack() as stack:
            stack.enter_context(Listener(setting, command, {"PORT": str(port)}, url))
            over = OverHttp(setting, stack, kind)
            over.direct = url
            await scene(checks, over)


async def everything_over_http(checks: Checks, setting: Setting) -> None:
    """The everything server over streamable HTTP."""
    await everything_over(checks, setting, "http", everything.SECTIONS)


async def everything_over_sse(checks: Checks, setting: Setting) -> None:
    """The everything server over HTTP+SSE."""
    await everything_over(checks, setting, "sse", everything.SECTIONS)


async def eras_over_http(checks: Checks, setting: Setting) -> None:
    """Legacy and stateless clients over HTTP, with recorded servers over stdio."""
    for scene in (eras.cannot_be_asked, eras.twice_and_late, eras.a_tool_that_comes_later):
        with contextlib.ExitStack() as stack:
            await scene(checks, OverHttp(setting, stack))


SECTIONS = [everything_over_http, everything_over_sse, eras_over_http]
