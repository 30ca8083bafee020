"""The server of `dual_server.py`, with more tools: `python http_server.py DIRECTORY [--http PORT | --sse PORT]`.

It speaks stdio, streamable HTTP or HTTP+SSE through the Python SDK, and prints its address on stderr. Port 0
means any free port.
"""

import os
import socket
import sys

import anyio
from dual_server import FREE, GATED, PLACE, make_server, said
from mcp import types
from mcp.server.mcpserver import Context, MCPServer


def write(line: str) -> None:
    with open(PLACE / "notes.txt", "a") as notes:
        notes.write(f"{line}\n")


def add_tools(server: MCPServer) -> None:
    @server.tool(annotations=GATED)
    async def note(line: str) -> types.CallToolResult:
        """Adds a line to the notes, so that running twice shows."""
        write(line)
        return said(f"noted {line}")

    @server.tool(annotations=FREE)
    async def whoami() -> types.CallToolResult:
        """Tells the number of the server's process."""
        return said(str(os.getpid()))

    @server.tool(annotations=FREE)
    async def count(ctx: Context) -> types.CallToolResult:
        """Counts to three, with progress and a log message for each step."""
        for step in (1, 2, 3):
            await ctx.report_progress(step, 3, f"step {step}")
            await ctx.info(f"at {step}")
            await anyio.sleep(0.05)
        return said("counted")

    @server.tool(annotations=FREE)
    async def linger(ctx: Context) -> types.CallToolResult:
        """Says that it has begun, and takes long."""
        write("began")
        await ctx.report_progress(0, 1, "began")
        try:
            await anyio.sleep(30)
        except anyio.get_cancelled_exc_class():
            write("cancelled")
            raise
        return said("lingered")


async def listen(app, port: int, path: str) -> None:
    import uvicorn

    listener = socket.create_server(("127.0.0.1", port))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}{path}"
    print(f"http_server: listening on {url}", file=sys.stderr, flush=True)
    await uvicorn.Server(uvicorn.Config(app, log_level="error")).serve(sockets=[listener])


def main() -> None:
    server = make_server()
    add_tools(server)
    how, port = sys.argv[2:] or ("stdio", 0)
    if how == "--http":
        anyio.run(listen, server.streamable_http_app(), int(port), "/mcp")
    elif how == "--sse":
        anyio.run(listen, server.sse_app(), int(port), "/sse")
    else:
        server.run("stdio")


main()
