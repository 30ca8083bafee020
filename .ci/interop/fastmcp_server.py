"""A FastMCP server over HTTP: `python fastmcp_server.py DIRECTORY http|sse PORT`.

Each call of `note` adds a line to the notes, so a call that runs twice shows.
"""

import sys
from pathlib import Path

from fastmcp import FastMCP

PLACE, HOW, PORT = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
server = FastMCP("restarted")


@server.tool(annotations={"readOnlyHint": True})
def look(what: str) -> str:
    """Looks at something."""
    with open(PLACE / "notes.txt", "a") as notes:
        notes.write(f"looked at {what}\n")
    return f"looked at {what}"


@server.tool(annotations={"destructiveHint": True})
def note(line: str) -> str:
    """Adds a line to the notes."""
    with open(PLACE / "notes.txt", "a") as notes:
        notes.write(f"{line}\n")
    return f"noted {line}"


server.run(transport=HOW, host="127.0.0.1", port=PORT, show_banner=False)
