// Shared by the scenes of the TypeScript clients: the plan, both generations of the SDK, checks, and
// connections with and without the proxy.

import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";
import { isDeepStrictEqual, promisify } from "node:util";
import { join } from "node:path";

export const plan = JSON.parse(process.argv[2]);
const load = createRequire(join(plan.cache, "package.json"));
export const sdk = plan.generation === 1 ? firstGeneration() : secondGeneration();

function firstGeneration() {
  const { Client } = load("@modelcontextprotocol/sdk/client/index.js");
  const { StdioClientTransport } = load("@modelcontextprotocol/sdk/client/stdio.js");
  const { StreamableHTTPClientTransport } = load("@modelcontextprotocol/sdk/client/streamableHttp.js");
  const { SSEClientTransport } = load("@modelcontextprotocol/sdk/client/sse.js");
  const types = load("@modelcontextprotocol/sdk/types.js");
  const schemas = {
    "elicitation/create": types.ElicitRequestSchema,
    "sampling/createMessage": types.CreateMessageRequestSchema,
    "roots/list": types.ListRootsRequestSchema,
    "notifications/message": types.LoggingMessageNotificationSchema,
    "notifications/resources/updated": types.ResourceUpdatedNotificationSchema,
  };
  return {
    Client,
    SSEClientTransport,
    StdioClientTransport,
    StreamableHTTPClientTransport,
    handle: (client, method, act) =>
      client.setRequestHandler(schemas[method], (request, extra) => act(request.params, extra.signal)),
    notice: (client, method, act) =>
      client.setNotificationHandler(schemas[method], (notification) => act(notification.params)),
    call: (client, name, args, options) => client.callTool({ name, arguments: args }, undefined, options),
    modes: [{}],
  };
}

function secondGeneration() {
  const { Client, SSEClientTransport, StreamableHTTPClientTransport } = load("@modelcontextprotocol/client");
  const { StdioClientTransport } = load("@modelcontextprotocol/client/stdio");
  return {
    Client,
    SSEClientTransport,
    StdioClientTransport,
    StreamableHTTPClientTransport,
    handle: (client, method, act) =>
      client.setRequestHandler(method, (request, context) => act(request.params, context.mcpReq.signal)),
    notice: (client, method, act) =>
      client.setNotificationHandler(method, (notification) => act(notification.params)),
    call: (client, name, args, options) => client.callTool({ name, arguments: args }, options),
    // With `auto`, it first asks a second process of the server for the newest revision.
    modes: [{}, { versionNegotiation: { mode: "auto" } }],
  };
}

let part = "";

/** Sets the prefix of the following checks. */
export function begin(name) {
  part = name;
}

export function check(sentence, holds, found) {
  console.log(`${holds ? "ok" : "not ok"} - ${part}${sentence}`);
  if (!holds && found !== undefined) console.log(`    found: ${JSON.stringify(found)}`);
}

export function equal(sentence, found, wanted) {
  check(sentence, isDeepStrictEqual(found, wanted), { found, wanted });
}

export async function until(holds, milliseconds = 8000) {
  const end = Date.now() + milliseconds;
  while (!holds() && Date.now() < end) await new Promise((done) => setTimeout(done, 10));
  return Boolean(holds());
}

/** The eras that the second generation speaks, by the client's mode. */
export const MODES = {
  legacy: { era: plan.legacy, mode: "legacy" },
  auto: { era: plan.modern, mode: "auto" },
  [plan.modern]: { era: plan.modern, mode: { pin: plan.modern } },
};

const run = promisify(execFile);

/** Waits for the item of the inbox in `state` that has this mark, and decides about it. */
export async function decide(state, mark, verdict) {
  const place = ["--state-dir", state];
  for (let tries = 0; tries < 400; tries += 1) {
    const { stdout } = await run(plan.proxy, ["approvals", "list", "--json", ...place]);
    const item = JSON.parse(stdout).find((found) => JSON.stringify(found).includes(mark));
    if (item) return void (await run(plan.proxy, ["approvals", verdict, item.id, ...place]));
    await new Promise((done) => setTimeout(done, 20));
  }
  throw new Error(`nobody was asked about ${mark}`);
}

export const text = (result) => (result.content ?? []).map((block) => block.text ?? "").join("\n");
export const succeeded = (result) => Boolean(result.content) && !result.isError;
export const denied = (result, tool) =>
  result.isError === true && text(result).includes(tool) && text(result).includes("denied");

export async function outcome(promise) {
  try {
    return await promise;
  } catch (error) {
    return { error: String(error.message ?? error) };
  }
}

export const APPROVE = { action: "accept", content: { approved: true } };
export const DECLINE = { action: "decline" };
export const NEVER = "no answer at all";

let logs = 0;

export function direct(server) {
  const [command, ...args] = plan.servers[server];
  return { command, args };
}

export function proxied(server, ...flags) {
  const config = join(plan.place, `ts-${server}.json`);
  // The SDKs' handlers answer at once, but play a person who has read the question.
  const approvalProxy = { approvalInstantDeclineMs: 0 };
  writeFileSync(config, JSON.stringify({ mcpServers: { [server]: direct(server) }, approvalProxy }));
  logs += 1;
  const log = join(plan.place, `ts-audit-${logs}.jsonl`);
  return { command: plan.proxy, args: ["--upstream", config, "--audit-log", log, "--engine", "elicitation", ...flags], log };
}

export function decisions(way) {
  const lines = readFileSync(way.log, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line));
  return lines.filter((line) => "tool" in line).map((line) => [line.tool, line.decision, line.forwarded]);
}

/** Returns the transport to a program, or to a listening proxy. */
function transportFor({ command, args, url, isSse, headers = {} }) {
  if (!url) return new sdk.StdioClientTransport({ command, args, stderr: "inherit" });
  const Transport = isSse ? sdk.SSEClientTransport : sdk.StreamableHTTPClientTransport;
  return new Transport(new URL(url), { requestInit: { headers } });
}

/** Returns a connected client with all capabilities, and records what it receives. */
export async function connect(way, { answers = [], mode = {} } = {}) {
  const options = {
    capabilities: { elicitation: { form: {}, url: {} }, sampling: {}, roots: { listChanged: true } },
    ...mode,
  };
  const client = new sdk.Client({ name: "interop", version: "1" }, options);
  const seen = { asked: [], withdrawn: 0, theirs: [], samples: [], logs: [], updated: [], wire: [] };
  seen.theirAnswer = { action: "accept", content: { name: "Ada", check: true } };
  seen.roots = [{ uri: "file:///one", name: "a root" }];
  sdk.handle(client, "elicitation/create", async (params, signal) => {
    if (!params.requestedSchema?.properties?.approved) {
      seen.theirs.push(params);
      const { theirAnswer } = seen;
      if (typeof theirAnswer === "function") return theirAnswer(params);
      return params.mode === "url" ? { action: "accept" } : theirAnswer;
    }
    seen.asked.push(params);
    const answer = answers.shift() ?? DECLINE;
    if (answer !== NEVER) return answer;
    await new Promise((done) => signal.addEventListener("abort", done, { once: true }));
    seen.withdrawn += 1;
    return DECLINE;
  });
  sdk.handle(client, "sampling/createMessage", async (params) => {
    seen.samples.push(params);
    return { role: "assistant", model: "by hand", content: { type: "text", text: "forty-two" } };
  });
  sdk.handle(client, "roots/list", async () => ({ roots: seen.roots }));
  sdk.notice(client, "notifications/message", (params) => void seen.logs.push(params));
  sdk.notice(client, "notifications/resources/updated", (params) => void seen.updated.push(params.uri));
  const transport = transportFor(way);
  // The client calls handlers that were set before it connected, so this sees every raw message.
  transport.onmessage = (message) => seen.wire.push(message);
  await client.connect(transport);
  return { client, seen, transport, answers, call: (name, input, options) => sdk.call(client, name, input, options) };
}
