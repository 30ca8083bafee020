// A legacy and stateless server, made with the TypeScript SDK: `node dual_server.mjs PACKAGES DIRECTORY`. It
// has the tools of `dual_server.py`. The SDK serves only the kind of client that opens the connection.

import { createRequire } from "node:module";
import { randomBytes } from "node:crypto";
import { readFileSync, unlinkSync } from "node:fs";
import { join } from "node:path";

const [packages, place] = process.argv.slice(2);
const load = createRequire(join(packages, "package.json"));
const { McpServer, createRequestStateCodec, fromJsonSchema, inputRequired } = load("@modelcontextprotocol/server");
const { serveStdio } = load("@modelcontextprotocol/server/stdio");

const FREE = { readOnlyHint: true };
const GATED = { destructiveHint: true };
const said = (text) => ({ content: [{ type: "text", text }] });

function form(key, type) {
  return { type: "object", properties: { [key]: { type } }, required: [key] };
}

/** Returns a person's answer in one word. */
function answer(response) {
  return response.action === "accept" ? String(Object.values(response.content)[0]) : response.action;
}

function makeServer() {
  // States are signed and bound to the method. The server refuses states that are not its own.
  const codec = createRequestStateCodec({ key: randomBytes(32), bind: (ctx) => ctx.mcpReq.method });
  const server = new McpServer(
    { name: "dual", version: "1.0.0" },
    {
      instructions: "Speaks both eras.",
      capabilities: { tools: { listChanged: true } },
      requestState: { verify: codec.verify },
    },
  );

  function tool(name, description, annotations, parameters, act) {
    const properties = Object.fromEntries(parameters.map((parameter) => [parameter, { type: "string" }]));
    const inputSchema = fromJsonSchema({ type: "object", properties, required: parameters });
    server.registerTool(name, { description, annotations, inputSchema }, act);
  }

  /** Returns the answers to `questions`, or the result that asks the next one. */
  async function inRounds(ctx, questions, keepsState = true) {
    const found = { ...ctx.mcpReq.requestState() };
    for (const [key, response] of Object.entries(ctx.mcpReq.inputResponses ?? {})) found[key] = answer(response);
    for (const [key, [message, requestedSchema]] of Object.entries(questions)) {
      if (key in found) continue;
      const inputRequests = { [key]: inputRequired.elicit({ message, requestedSchema }) };
      const requestState = keepsState ? { requestState: await codec.mint(found, ctx) } : {};
      return { asks: inputRequired({ inputRequests, ...requestState }) };
    }
    return { found };
  }

  tool("read", "Reads a file.", FREE, ["name"], ({ name }) => said(readFileSync(join(place, name), "utf8")));

  tool("wipe", "Removes a file.", GATED, ["name"], ({ name }) => {
    unlinkSync(join(place, name));
    return said(`wiped ${name}`);
  });

  tool("guess", "Asks one question, and needs no approval.", FREE, [], async (_, ctx) => {
    const { asks, found } = await inRounds(ctx, { who: ["Who guesses?", form("name", "string")] });
    return asks ?? said(`guess of ${found.who}`);
  });

  const two = "Asks two questions, one after the other, and keeps the first answer in its state.";
  tool("quiz", two, GATED, ["topic"], async ({ topic }, ctx) => {
    const who = ["Who are you?", form("name", "string")];
    const sure = ["How sure are you?", form("percent", "integer")];
    const { asks, found } = await inRounds(ctx, { who, sure });
    return asks ?? said(`quiz on ${topic}: ${found.who}, ${found.sure}`);
  });

  tool("survey", "Asks one question without any state.", GATED, [], async (_, ctx) => {
    const { asks, found } = await inRounds(ctx, { colour: ["Which colour?", form("colour", "string")] }, false);
    return asks ?? said(`survey: ${found.colour}`);
  });

  const away = "Sends the client away once with a state and no question.";
  tool("wait", away, GATED, [], async (_, ctx) => {
    const state = ctx.mcpReq.requestState();
    return state ? said(state) : inputRequired({ requestState: await codec.mint("waited", ctx) });
  });

  tool("order", "Asks the human, the model and for roots, all at once.", GATED, [], async (_, ctx) => {
    const { size, sample, roots } = ctx.mcpReq.inputResponses ?? {};
    if (size && sample && roots) {
      return said(`order: ${answer(size)}, ${[sample.content].flat()[0].text}, ${roots.roots[0].uri}`);
    }
    const messages = [{ role: "user", content: { type: "text", text: "6 × 7" } }];
    return inputRequired({
      inputRequests: {
        size: inputRequired.elicit({ message: "Which size?", requestedSchema: form("size", "string") }),
        sample: inputRequired.createMessage({ messages, maxTokens: 5 }),
        roots: inputRequired.listRoots(),
      },
    });
  });

  tool("grow", "Adds a tool.", FREE, [], () => {
    // The SDK notifies all listeners.
    tool("grown", "Was not there at first.", GATED, [], () => said("grown"));
    return said("there is one more");
  });

  server.registerPrompt("greet", { description: "Asks for a name." }, async (ctx) => {
    const { asks, found } = await inRounds(ctx, { who: ["Who is greeted?", form("name", "string")] });
    const text = `Greet ${found?.who}.`;
    return asks ?? { messages: [{ role: "user", content: { type: "text", text } }] };
  });

  server.registerResource("one", "note://one", { mimeType: "text/plain" }, (uri) => ({
    contents: [{ uri: uri.href, mimeType: "text/plain", text: "the first note" }],
  }));
  return server;
}

serveStdio(makeServer);
