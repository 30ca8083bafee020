// An MCP server over stdio with one tool, for pictures of a question about it. Does nothing.

import { createInterface } from "node:readline";

const TOOL = {
  name: "drop_table",
  description: "Drops a table with all of its rows",
  inputSchema: { type: "object", properties: { schema: { type: "string" }, table: { type: "string" } } },
};

function answer(method) {
  switch (method) {
    case "initialize":
      return { protocolVersion: "2025-06-18", capabilities: { tools: {} }, serverInfo: { name: "db", version: "1" } };
    case "tools/list":
      return { tools: [TOOL] };
    case "tools/call":
      return { content: [{ type: "text", text: "dropped" }] };
    default:
      return {};
  }
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method } = JSON.parse(line);
  if (id !== undefined) console.log(JSON.stringify({ jsonrpc: "2.0", id, result: answer(method) }));
});
