// A TypeScript client through the proxy to all three servers. Started by `typescript.py` with one
// argument, a JSON object: which generation of the client, where the packages are, the proxy, the
// servers' commands, and a directory with files that is a Git repository too. Prints a line per check.

import { createRequire } from "node:module";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { isDeepStrictEqual } from "node:util";
import { join } from "node:path";

const plan = JSON.parse(process.argv[2]);
const load = createRequire(join(plan.cache, "package.json"));
const sdk = plan.generation === 1 ? firstGeneration() : secondGeneration();

function firstGeneration() {
  const { Client } = load("@modelcontextprotocol/sdk/client/index.js");
  const { StdioClientTransport } = load("@modelcontextprotocol/sdk/client/stdio.js");
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
    StdioClientTransport,
    handle: (client, method, act) =>
      client.setRequestHandler(schemas[method], (request, extra) => act(request.params, extra.signal)),
    notice: (client, method, act) =>
      client.setNotificationHandler(schemas[method], (notification) => act(notification.params)),
    call: (client, name, args, options) => client.callTool({ name, arguments: args }, undefined, options),
    modes: [{}],
  };
}

function secondGeneration() {
  const { Client } = load("@modelcontextprotocol/client");
  const { StdioClientTransport } = load("@modelcontextprotocol/client/stdio");
  return {
    Client,
    StdioClientTransport,
    handle: (client, method, act) =>
      client.setRequestHandler(method, (request, context) => act(request.params, context.mcpReq.signal)),
    notice: (client, method, act) =>
      client.setNotificationHandler(method, (notification) => act(notification.params)),
    call: (client, name, args, options) => client.callTool({ name, arguments: args }, options),
    // With `auto` it asks a second process of the server for the newest revision first.
    modes: [{}, { versionNegotiation: { mode: "auto" } }],
  };
}

let part = "";

function check(sentence, holds, found) {
  console.log(`${holds ? "ok" : "not ok"} - ${part}${sentence}`);
  if (!holds && found !== undefined) console.log(`    found: ${JSON.stringify(found)}`);
}

function equal(sentence, found, wanted) {
  check(sentence, isDeepStrictEqual(found, wanted), { found, wanted });
}

async function until(holds, milliseconds = 8000) {
  const end = Date.now() + milliseconds;
  while (!holds() && Date.now() < end) await new Promise((done) => setTimeout(done, 10));
  return Boolean(holds());
}

const text = (result) => (result.content ?? []).map((block) => block.text ?? "").join("\n");
const succeeded = (result) => Boolean(result.content) && !result.isError;
const denied = (result, tool) =>
  result.isError === true && text(result).includes(tool) && text(result).includes("denied");

async function outcome(promise) {
  try {
    return await promise;
  } catch (error) {
    return { error: String(error.message ?? error) };
  }
}

const APPROVE = { action: "accept", content: { approved: true } };
const DECLINE = { action: "decline" };
const NEVER = "no answer at all";

let logs = 0;

function direct(server) {
  const [command, ...args] = plan.servers[server];
  return { command, args };
}

function proxied(server, ...flags) {
  const config = join(plan.place, `ts-${server}.json`);
  writeFileSync(config, JSON.stringify({ mcpServers: { [server]: direct(server) } }));
  logs += 1;
  const log = join(plan.place, `ts-audit-${logs}.jsonl`);
  return { command: plan.proxy, args: ["--upstream", config, "--audit-log", log, ...flags], log };
}

function decisions(way) {
  const lines = readFileSync(way.log, "utf8").trim().split("\n").map((line) => JSON.parse(line));
  return lines.filter((line) => "tool" in line).map((line) => [line.tool, line.decision, line.forwarded]);
}

/** A connected client that can do everything, with what came to it. */
async function connect(way, { answers = [], mode = {} } = {}) {
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
      return params.mode === "url" ? { action: "accept" } : seen.theirAnswer;
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
  const { command, args } = way;
  const transport = new sdk.StdioClientTransport({ command, args, stderr: "inherit" });
  // The client chains to what is set before it connects, so this sees every message as it came.
  transport.onmessage = (message) => seen.wire.push(message);
  await client.connect(transport);
  return { client, seen, call: (name, input, options) => sdk.call(client, name, input, options) };
}

/** With everything allowed, all that a client can read is the same with and without the proxy. */
async function same(server, mode, calls) {
  const found = [];
  for (const way of [direct(server), proxied(server, "--mode", "none")]) {
    const { client, seen, call } = await connect(way, { mode });
    const capabilities = client.getServerCapabilities();
    const answers = {
      capabilities,
      server: client.getServerVersion(),
      instructions: client.getInstructions() ?? null,
      ping: await outcome(client.ping()),
      tools: await outcome(client.listTools()),
      resources: await outcome(client.listResources()),
      templates: await outcome(client.listResourceTemplates()),
      prompts: await outcome(client.listPrompts()),
    };
    if (capabilities.completions) {
      const ref = { type: "ref/prompt", name: "completable-prompt" };
      answers.completion = await client.complete({ ref, argument: { name: "department", value: "S" } });
      answers.prompt = await client.getPrompt({ name: "args-prompt", arguments: { city: "Bern" } });
      answers.resource = await client.readResource({ uri: answers.resources.resources[0].uri });
      answers["missing resource"] = await outcome(client.readResource({ uri: "demo://no/such" }));
    }
    for (const [name, input] of calls) answers[`call ${name}`] = await outcome(call(name, input));
    // Requests and notifications of the server's come when it likes.
    answers["answers on the wire"] = seen.wire.filter((message) => !("method" in message));
    found.push(answers);
    await client.close();
  }
  const [without, with_] = found;
  check(`there are tools`, without.tools.tools?.length > 5, without.tools);
  for (const what of Object.keys(without)) {
    equal(`the same with and without the proxy: ${what}`, with_[what], without[what]);
  }
}

async function filesystem(mode) {
  const yes = join(plan.files, "yes.txt");
  const no = join(plan.files, "no.txt");
  const way = proxied("filesystem");
  const { client, seen, call } = await connect(way, { answers: [APPROVE, DECLINE], mode });
  const read = await call("read_text_file", { path: join(plan.files, "poem.txt") });
  equal("a file is read", text(read), "one\ntwo\nthree\n");
  equal("nobody was asked about reading", seen.asked, []);
  const wrote = await call("write_file", { path: yes, content: "kept\n" });
  check("after a yes the result is the server's", succeeded(wrote), wrote);
  equal("after a yes the file is there", readFileSync(yes, "utf8"), "kept\n");
  check("the prompt shows what is written", seen.asked[0]?.message.includes("kept"), seen.asked);
  check("a no is a refusal", denied(await call("write_file", { path: no, content: "x" }), "write_file"));
  check("after a no there is no file", !existsSync(no));
  await client.close();
  const wanted = [["read_text_file", "passed", true], ["write_file", "approved", true]];
  equal("the audit log tells it", decisions(way), [...wanted, ["write_file", "denied", false]]);
  rmSync(yes);
}

async function git(mode) {
  const run = (...args) => execFileSync("git", ["-C", plan.files, ...args], { encoding: "utf8" }).trim();
  const way = proxied("git");
  const { client, seen, call } = await connect(way, { answers: [DECLINE, APPROVE, DECLINE], mode });
  const repository = { repo_path: plan.files };
  const status = await call("git_status", repository);
  check("the status is read", text(status).includes("new.txt"), status);
  const stateless = client.getNegotiatedProtocolVersion?.() === "2026-07-28";
  const add = { ...repository, files: ["new.txt"] };
  const refused = await call("git_add", add);
  check("a no is a refusal", !succeeded(refused), refused);
  equal("after a no nothing is staged", run("diff", "--cached", "--name-only"), "");
  const added = await call("git_add", add);
  const staged = run("diff", "--cached", "--name-only");
  if (stateless && seen.asked.length === 0) {
    console.log("# the proxy does not ask in this revision yet");
    equal("what nobody was asked about did not run", staged, "");
  } else {
    check("after a yes the result is the server's", succeeded(added), added);
    equal("after a yes it is staged", staged, "new.txt");
  }
  const committed = await call("git_commit", { ...repository, message: "second" });
  check("a no to a commit is a refusal", !succeeded(committed), committed);
  equal("there is no commit", run("log", "--format=%s"), "first");
  await client.close();
  run("reset", "--quiet");
}

async function everything(mode) {
  const ask = ["--mode", "all", "--allow", "get-*,toggle-*,trigger-long-running-operation"];
  const found = [];
  for (const way of [direct("everything"), proxied("everything", ...ask)]) {
    const isProxied = "log" in way;
    const { client, seen, call } = await connect(way, { answers: Array(5).fill(APPROVE), mode });
    await client.ping();
    const results = {
      echo: await call("echo", { message: "yes" }),
      sampling: await call("trigger-sampling-request", { prompt: "6 × 7" }),
      elicitation: await call("trigger-elicitation-request", {}),
    };
    const url = { url: "https://example.org/", elicitationId: "e1" };
    results["elicitation by url"] = await call("trigger-url-elicitation", url);
    seen.theirAnswer = DECLINE;
    results["declined elicitation"] = await call("trigger-elicitation-request", {});
    results.roots = await call("get-roots-list", {});
    seen.roots.push({ uri: "file:///two", name: "another" });
    await client.sendRootsListChanged();
    const told = await until(() => seen.logs.some((log) => String(log.data).includes("2 root")));
    check(`the server reads changed roots (${isProxied ? "proxied" : "direct"})`, told, seen.logs);
    results["changed roots"] = await call("get-roots-list", {});
    found.push({ ...results, "elicitations of the server": seen.theirs, "sampling requests": seen.samples });
    equal("the proxy asks once for each gated call", seen.asked.length, isProxied ? 5 : 0);
    if (isProxied) {
      const theirs = seen.theirs.length;
      check("a no is a refusal", denied(await call("trigger-elicitation-request", {}), "trigger-elicitation"));
      equal("after a no the server asks nothing", seen.theirs.length, theirs);
    }
    await client.close();
  }
  const [without, with_] = found;
  for (const what of Object.keys(without)) {
    equal(`the same with and without the proxy: ${what}`, with_[what], without[what]);
  }
  equal("the server asked for three things", without["elicitations of the server"].length, 3);
  check("the sample is in the result", text(without.sampling).includes("forty-two"), without.sampling);
  check("the human's words are in the result", text(without.elicitation).includes("Ada"), without.elicitation);
}

async function progressAndCancellation(mode) {
  const way = proxied("everything", "--mode", "all", "--allow", "trigger-long-running-operation");
  const { client, seen, call } = await connect(way, { answers: [NEVER, APPROVE], mode });
  const steps = [];
  const onprogress = ({ progress, total }) => void steps.push([progress, total]);
  const long = "trigger-long-running-operation";
  const result = await call(long, { duration: 0.6, steps: 3 }, { onprogress });
  check("the long call ends", succeeded(result), result);
  // 1.x forgets the callback when the result comes in the same read as the last step, also without
  // a proxy; so the wire is what counts, and the callback for all but the last.
  const told = seen.wire.filter((message) => message.method === "notifications/progress");
  const wireSteps = told.map(({ params }) => [params.progress, params.total]);
  equal("its progress arrives in order", wireSteps, [[1, 3], [2, 3], [3, 3]]);
  equal("the callback hears of it", steps.slice(0, 2), [[1, 3], [2, 3]]);

  const running = new AbortController();
  setTimeout(() => running.abort("enough"), 300);
  const aborted = await outcome(call(long, { duration: 20, steps: 2 }, { signal: running.signal }));
  check("a running call can be cancelled", "error" in aborted, aborted);
  await client.ping();

  const held = new AbortController();
  const waiting = outcome(call("echo", { message: "held" }, { signal: held.signal }));
  check("a gated call leads to a prompt", await until(() => seen.asked.length === 1));
  check("while it waits, others pass", succeeded(await call(long, { duration: 0.1, steps: 1 })));
  held.abort("enough");
  check("a call that waits for a human can be cancelled", "error" in (await waiting));
  check("its prompt is withdrawn", await until(() => seen.withdrawn === 1, 3000), seen.withdrawn);
  equal("the next one is asked about and runs", text(await call("echo", { message: "x" })), "Echo: x");

  const short = await outcome(call("echo", { message: "slow" }, { timeout: 300 }));
  check("a no, or the client's own time limit, ends a call", "error" in short || short.isError, short);
  await client.close();
  const wanted = [[long, "passed", true], [long, "passed", true], [long, "passed", true]];
  wanted.push(["echo", "cancelled", false], ["echo", "approved", true], ["echo", "denied", false]);
  equal("the audit log has the cancelled call", decisions(way).slice(0, 6), wanted);
}

async function loggingAndSubscriptions(mode) {
  const { client, seen, call } = await connect(proxied("everything"), { mode });
  const uri = "demo://resource/dynamic/text/1";
  await client.setLoggingLevel("debug");
  await client.subscribeResource({ uri });
  const logged = await until(() => seen.logs.some((log) => String(log.data).includes(uri)));
  check("a log message arrives", logged, seen.logs);
  const before = seen.logs.length;
  await call("toggle-simulated-logging", {});
  check("simulated logging arrives", await until(() => seen.logs.length > before), seen.logs);
  await call("toggle-subscriber-updates", {});
  check("the update of a subscribed resource arrives", await until(() => seen.updated.includes(uri)));
  await client.unsubscribeResource({ uri });
  await client.close();
}

/** A prompt that nobody answers ends by itself. */
async function unanswered(mode) {
  const way = proxied("filesystem", "--timeout", "1");
  const { client, seen, call } = await connect(way, { answers: [NEVER], mode });
  const file = join(plan.files, "late.txt");
  const result = await call("write_file", { path: file, content: "late" });
  check("an unanswered call is refused", result.isError === true && /tim(e|ed)/.test(text(result)), result);
  check("its prompt is withdrawn", await until(() => seen.withdrawn === 1, 3000));
  check("nothing is written", !existsSync(file));
  await client.close();
  equal("the audit log says so", decisions(way), [["write_file", "timeout", false]]);
}

const poem = { path: join(plan.files, "poem.txt") };
const repository = { repo_path: plan.files };
const harmless = {
  filesystem: [["read_text_file", poem], ["read_text_file", {}], ["no_such_tool", { n: 1 }]],
  everything: [["echo", { message: "Grüße 🎈" }], ["get-sum", { a: 1, b: 2.5 }], ["get-tiny-image", {}]],
  git: [["git_status", repository], ["git_show", { ...repository, revision: "nowhere" }]],
};
harmless.everything.push(["get-structured-content", { location: "Chicago" }], ["get-sum", { a: "x" }]);

const sections = { filesystem, git, everything, progressAndCancellation, loggingAndSubscriptions, unanswered };
for (const server of Object.keys(harmless)) {
  sections[`same, ${server}`] = (mode) => same(server, mode, harmless[server]);
}
for (const mode of sdk.modes) {
  for (const [name, section] of Object.entries(sections)) {
    const how = mode.versionNegotiation?.mode ?? "as it is";
    part = `ts ${plan.generation}, ${how}, ${name}: `;
    try {
      await section(mode);
    } catch (error) {
      check(`runs to its end`, false, String(error.stack ?? error));
    }
  }
}
process.exit(0);
