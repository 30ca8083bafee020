"""A legacy and stateless server, made with the Python SDK: `python dual_server.py DIRECTORY [--both]`.

It has the tools of `dual_server.mjs`. The SDK serves only the kind of client that opens the connection.
With `--both`, two instances of the server serve both kinds at once.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import anyio
from mcp import types
from mcp.server.mcpserver import Context, Elicit, ListRoots, MCPServer, Resolve, Sample
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.stdio import stdio_server
from pydantic import BaseModel

MODERN = "2026-07-28"
PLACE = Path(sys.argv[1])
FREE = types.ToolAnnotations(read_only_hint=True)
GATED = types.ToolAnnotations(destructive_hint=True)


class Who(BaseModel):
    name: str


class Sure(BaseModel):
    percent: int


class Colour(BaseModel):
    colour: str


class Size(BaseModel):
    size: str


def said(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


def asks(key: str, message: str, schema: type[BaseModel], state: str | None) -> types.InputRequiredResult:
    form = {"type": "object", "properties": {}, "required": []}
    for name, field in schema.model_fields.items():
        form["properties"][name] = {"type": "integer" if field.annotation is int else "string"}
        form["required"].append(name)
    params = types.ElicitRequestFormParams(message=message, requested_schema=form)
    return types.InputRequiredResult(
        input_requests={key: types.ElicitRequest(params=params)}, request_state=state
    )


def answer(response: object) -> str:
    """Returns a person's answer in one word."""
    action, content = response.action, getattr(response, "content", None) or getattr(response, "data", None)
    content = content.model_dump() if isinstance(content, BaseModel) else content
    return str(next(iter(content.values()))) if action == "accept" else action


async def in_rounds(ctx: Context, questions: dict, keeps_state: bool = True):
    """Returns the answers to `questions`, or the result that asks the next one."""
    if ctx.protocol_version != MODERN:
        found = {}
        for key, (message, schema) in questions.items():
            found[key] = answer(await ctx.elicit(message, schema))
        return found
    found = json.loads(ctx.request_state or "{}")
    found |= {key: answer(response) for key, response in (ctx.input_responses or {}).items()}
    for key, (message, schema) in questions.items():
        if key not in found:
            return asks(key, message, schema, json.dumps(found) if keeps_state else None)
    return found


def make_server() -> MCPServer:
    server = MCPServer("dual", version="1.0.0", instructions="Speaks both eras.", log_level="ERROR")

    @server.tool(annotations=FREE)
    async def read(name: str) -> types.CallToolResult:
        """Reads a file."""
        if not (PLACE / name).exists():
            raise ToolError(f"there is no {name}")
        return said((PLACE / name).read_text())

    @server.tool(annotations=GATED)
    async def wipe(name: str) -> types.CallToolResult:
        """Removes a file."""
        (PLACE / name).unlink()
        return said(f"wiped {name}")

    @server.tool(annotations=FREE)
    async def guess(ctx: Context) -> types.CallToolResult | types.InputRequiredResult:
        """Asks one question, and needs no approval."""
        found = await in_rounds(ctx, {"who": ("Who guesses?", Who)})
        return said(f"guess of {found['who']}") if isinstance(found, dict) else found

    @server.tool(annotations=GATED)
    async def quiz(topic: str, ctx: Context) -> types.CallToolResult | types.InputRequiredResult:
        """Asks two questions, one after the other, and keeps the first answer in its state."""
        questions = {"who": ("Who are you?", Who), "sure": ("How sure are you?", Sure)}
        found = await in_rounds(ctx, questions)
        return said(f"quiz on {topic}: {found['who']}, {found['sure']}") if isinstance(found, dict) else found

    @server.tool(annotations=GATED)
    async def survey(ctx: Context) -> types.CallToolResult | types.InputRequiredResult:
        """Asks one question without any state."""
        found = await in_rounds(ctx, {"colour": ("Which colour?", Colour)}, keeps_state=False)
        return said(f"survey: {found['colour']}") if isinstance(found, dict) else found

    @server.tool(annotations=GATED)
    async def wait(ctx: Context) -> types.CallToolResult | types.InputRequiredResult:
        """Sends the client away once with a state and no question."""
        if ctx.protocol_version == MODERN and ctx.request_state is None:
            return types.InputRequiredResult(request_state="waited")
        return said(ctx.request_state or "waited")

    async def ask_size() -> Elicit[Size]:
        return Elicit("Which size?", Size)

    async def ask_model() -> Sample:
        content = types.TextContent(type="text", text="6 × 7")
        return Sample([types.SamplingMessage(role="user", content=content)], max_tokens=5)

    async def ask_roots() -> ListRoots:
        return ListRoots()

    @server.tool(annotations=GATED)
    async def order(
        size: Annotated[Size, Resolve(ask_size)],
        sample: Annotated[types.CreateMessageResult, Resolve(ask_model)],
        roots: Annotated[types.ListRootsResult, Resolve(ask_roots)],
    ) -> types.CallToolResult:
        """Asks the human, the model and for roots, all at once."""
        return said(f"order: {size.size}, {sample.content.text}, {roots.roots[0].uri}")

    @server.tool(annotations=FREE)
    async def grow(ctx: Context) -> types.CallToolResult:
        """Adds a tool."""

        @server.tool(annotations=GATED)
        async def grown() -> types.CallToolResult:
            """Was not there at first."""
            return said("grown")

        if ctx.protocol_version == MODERN:
            await ctx.notify_tools_changed()
        else:
            await ctx.session.send_tool_list_changed()
        return said("there is one more")

    @server.prompt()
    async def greet(ctx: Context) -> str | types.InputRequiredResult:
        """Asks for a name in the words of 2026-07-28, and has one otherwise."""
        found = {"who": "you"}
        if ctx.protocol_version == MODERN:
            found = await in_rounds(ctx, {"who": ("Who is greeted?", Who)})
        return f"Greet {found['who']}." if isinstance(found, dict) else found

    @server.resource("note://one", name="one", mime_type="text/plain")
    async def one() -> str:
        return "the first note"

    return server


async def serve_both() -> None:
    """Two connections of the SDK on one pair of pipes. Each line shows which one it belongs to."""
    async with stdio_server() as (lines, out), out, anyio.create_task_group() as tasks:
        inputs = {}
        for era in ("modern", "legacy"):
            inputs[era], lines_of_era = anyio.create_memory_object_stream(100)
            server = make_server()._lowlevel_server
            options = server.create_initialization_options()
            tasks.start_soon(server.run, lines_of_era, out.clone(), options)
        eras = {}
        async for line in lines:
            message = line.message.model_dump(by_alias=True)
            params = message.get("params") or {}
            era = "legacy"
            if message.get("method") == "notifications/cancelled":
                era = eras.get(params["requestId"], era)
            elif "io.modelcontextprotocol/protocolVersion" in (params.get("_meta") or {}):
                era = "modern"
            if "id" in message:
                eras[message["id"]] = era
            await inputs[era].send(line)
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    if "--both" in sys.argv:
        anyio.run(serve_both)
    else:
        make_server().run("stdio")
