// The second-generation TypeScript client in 2025-11-25 and 2026-07-28, with servers that speak both. It plays
// the scenes of `eras.py`.

import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { APPROVE, DECLINE, check, decisions, denied, equal, outcome, plan } from "./driver.mjs";
import { proxied, sdk, succeeded, text, until } from "./driver.mjs";

const MODERN = "2026-07-28";
const LEGACY = "2025-11-25";
const SERVERS = ["dual-python", "dual-typescript"];
// How it finds the revision: by the handshake, by asking a second process of the server, or because it is given.
const MODES = {
  legacy: { era: LEGACY, mode: "legacy" },
  auto: { era: MODERN, mode: "auto" },
  [MODERN]: { era: MODERN, mode: { pin: MODERN } },
};

const accept = (key, value) => ({ action: "accept", content: { [key]: value } });
const poem = () => join(plan.files, "poem.txt");

/** Returns a file's content once it stops growing, because `tee` writes it at the same time. */
function settled(path) {
  let before;
  for (let tries = 0; tries < 100; tries += 1) {
    const text = existsSync(path) ? readFileSync(path, "utf8") : "";
    if (text === before && (text === "" || text.endsWith("\n"))) return text;
    before = text;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
  }
  return before;
}

/** A server's command that records its input and output in files. */
function recorded(server, name) {
  const file = join(plan.place, `ts-recorded-${name}`);
  const script = 'tee -a "$0.in" | "$@" | tee -a "$0.out"';
  const read = (way) => {
    const lines = settled(`${file}.${way}`).split("\n");
    return lines.filter((line) => line !== "").map((line) => JSON.parse(line));
  };
  // The proxy asks for the list under its own ids: 32 hexadecimal digits.
  const own = ({ id }) => typeof id === "string" && id.length === 32;
  const received = () => read("in").filter((line) => !(own(line) && line.method === "tools/list"));
  const answered = () => read("out").filter((line) => !own(line));
  const called = () => received().filter((line) => line.method === "tools/call");
  plan.servers.dual = ["/bin/sh", "-c", script, file, ...plan.servers[server]];
  return { command: plan.servers.dual[0], args: plan.servers.dual.slice(1), received, answered, called };
}

/** Returns two commands: the recorded server, and the proxy in front of it. */
function ways(server, name, ...flags) {
  const direct = recorded(server, `direct-${name}`);
  const recording = recorded(server, `proxied-${name}`);
  return [direct, { ...recording, ...proxied("dual", ...flags) }];
}

const around = (server, name, ...flags) => ways(server, name, ...flags)[1];

/** Returns a client that answers from `answers`, and records the questions in order. */
async function connect(way, { mode }, answers = [], { able = true } = {}) {
  const capabilities = able ? { elicitation: {}, sampling: {}, roots: {} } : {};
  const client = new sdk.Client(
    { name: "interop", version: "1" },
    { capabilities, versionNegotiation: { mode } },
  );
  const seen = { asked: [], told: 0 };
  if (able) {
    sdk.handle(client, "elicitation/create", async (params) => {
      seen.asked.push(params);
      const answer = answers.shift() ?? DECLINE;
      if (answer instanceof Error) throw answer;
      return answer;
    });
    const content = { type: "text", text: "forty-two" };
    const sampled = { role: "assistant", model: "by hand", content };
    sdk.handle(client, "sampling/createMessage", async () => sampled);
    sdk.handle(client, "roots/list", async () => ({ roots: [{ uri: "file:///one" }] }));
  }
  sdk.notice(client, "notifications/tools/list_changed", () => void (seen.told += 1));
  const { command, args } = way;
  await client.connect(new sdk.StdioClientTransport({ command, args, stderr: "inherit" }));
  /** Returns the questions since the last call. The proxy's prompts appear as the tool that they are about. */
  const asked = () =>
    seen.asked.splice(0).map(({ message, requestedSchema }) => {
      const tool = /^Server `.*`, tool `(.*?)`/m.exec(message)?.[1];
      return requestedSchema?.properties?.approved && tool ? `Tool: ${tool}` : message;
    });
  const call = (name, input = {}) => sdk.call(client, name, input);
  return { client, seen, asked, call, answer: (...more) => void answers.push(...more), answers };
}

async function approvals(server, { era, mode }) {
  const modern = era === MODERN;
  const [yes, no] = ["yes.txt", "no.txt"].map((name) => join(plan.files, name));
  writeFileSync(yes, "yes\n");
  writeFileSync(no, "no\n");
  const way = around(server, `approvals-${server}-${JSON.stringify(mode)}`, "--mode", "destructive");
  const { client, seen, asked, call, answer, answers } = await connect(way, { mode });
  equal("the revision", client.getNegotiatedProtocolVersion(), era);
  const names = (await client.listTools()).tools.map((tool) => tool.name);
  equal("the tools", names, ["read", "wipe", "guess", "quiz", "survey", "wait", "order", "grow"]);
  equal("a free call", text(await call("read", { name: "poem.txt" })), "one\ntwo\nthree\n");
  equal("nobody was asked about it", asked(), []);

  answer(APPROVE);
  equal("after a yes the result is the server's", text(await call("wipe", { name: "yes.txt" })), "wiped yes.txt");
  check("after a yes the file is gone", !existsSync(yes));
  const prompt = seen.asked[0]?.message ?? "";
  const shown = ["`dual`", "`wipe`", "yes.txt", "high"].every((word) => prompt.includes(word));
  check("the prompt shows the call", shown, prompt);
  equal("there was one prompt", asked(), ["Tool: wipe"]);
  answer(DECLINE, { action: "accept", content: { approved: false, reason: "not today" } });
  let refused = await call("wipe", { name: "no.txt" });
  check("a no is a refusal", denied(refused, "wipe"), refused);
  refused = await call("wipe", { name: "no.txt" });
  check("`approved: false` is a refusal", denied(refused, "wipe"), refused);
  check("its reason arrives", text(refused).includes("not today"), refused);
  equal("after a no the file is there", readFileSync(no, "utf8"), "no\n");
  equal("one prompt for each", asked(), ["Tool: wipe", "Tool: wipe"]);

  answer(accept("name", "Bo"));
  equal("a free call's own question", text(await call("guess")), "guess of Bo");
  equal("only the server asked it", asked(), ["Who guesses?"]);
  answer(APPROVE, accept("name", "Ada"), accept("percent", 70));
  equal("two rounds after a yes", text(await call("quiz", { topic: "birds" })), "quiz on birds: Ada, 70");
  equal("all three questions, ours first", asked(), ["Tool: quiz", "Who are you?", "How sure are you?"]);
  answer(APPROVE, DECLINE, accept("percent", 5));
  const declined = text(await call("quiz", { topic: "fish" }));
  equal("a no to the server reaches the server", declined, "quiz on fish: decline, 5");
  asked();
  answer(DECLINE);
  check("a no to us is a refusal", denied(await call("quiz", { topic: "cats" }), "quiz"));
  equal("after it the server asks nothing", asked(), ["Tool: quiz"]);
  answer(APPROVE, accept("colour", "blue"));
  equal("a round without a state", text(await call("survey")), "survey: blue");
  equal("both questions", asked(), ["Tool: survey", "Which colour?"]);
  answer(APPROVE);
  equal("a round with nothing but a state", text(await call("wait")), "waited");
  answer(APPROVE, accept("size", "XL"));
  equal("three questions in one round", text(await call("order")), "order: XL, forty-two, file:///one");
  // A client that gives up after the question: nothing runs, and the log says so at the end.
  answer(...Array(modern ? 1 : 3).fill(new Error("the dialogue broke")));
  const broken = await outcome(call("wipe", { name: "no.txt" }));
  check("an error instead of an answer approves nothing", !succeeded(broken), broken);
  equal("nothing was wiped", readFileSync(no, "utf8"), "no\n");
  equal("every answer was used", answers, []);
  await client.close();
  rmSync(no);

  const rounds = (tool, number) => Array(modern ? number : 1).fill([tool, "approved", true]);
  equal("the audit log has it in order", decisions(way), [
    ["read", "passed", true],
    ["wipe", "approved", true],
    ["wipe", "denied", false],
    ["wipe", "denied", false],
    ...Array(modern ? 2 : 1).fill(["guess", "passed", true]),
    ...rounds("quiz", 3),
    ...rounds("quiz", 3),
    ["quiz", "denied", false],
    ...rounds("survey", 2),
    ...rounds("wait", 2),
    ...rounds("order", 2),
    ["wipe", modern ? "cancelled" : "error", false],
  ]);
  const forwarded = decisions(way).filter(([, , went]) => went).map(([tool]) => tool);
  equal("the server received what was forwarded", way.called().map(({ params }) => params.name), forwarded);
  if (modern) answersAreItsOwn(way);
}

/** Checks that the server gets answers to its own questions, with its own state. */
function answersAreItsOwn(way) {
  const results = new Map(way.answered().filter((line) => line.result).map((line) => [line.id, line.result]));
  const open = {};
  const wrong = [];
  let states = 0;
  for (const { id, params } of way.called()) {
    const question = open[params.name] ?? {};
    delete open[params.name];
    const keys = (object) => Object.keys(object ?? {}).sort().join();
    const sameKeys = keys(params.inputResponses) === keys(question.inputRequests);
    if (!sameKeys || params.requestState !== question.requestState) wrong.push([params, question]);
    states += "requestState" in params;
    if (results.get(id)?.resultType === "input_required") open[params.name] = results.get(id);
  }
  equal("the server gets its own answers and states", wrong, []);
  check("there were states", states >= 6, states);
  const strange = way.received().filter((line) => JSON.stringify(line).includes("approval-proxy"));
  equal("none of our ids or states reach it", strange, []);
}

async function cannotBeAsked(server, { mode }) {
  const way = around(server, `unasked-${server}-${JSON.stringify(mode)}`);
  const { client, call } = await connect(way, { mode }, [], { able: false });
  check("a client that cannot be asked may read", succeeded(await call("read", { name: "poem.txt" })));
  for (const [tool, input] of [["wipe", { name: "poem.txt" }], ["quiz", { topic: "birds" }]]) {
    const refused = await call(tool, input);
    const why = refused.isError === true && text(refused).includes("elicitation");
    check(`\`${tool}\` is refused, with the reason`, why, refused);
  }
  await client.close();
  check("nothing is wiped unasked", existsSync(poem()));
  equal("the server received one call", way.called().map(({ params }) => params.name), ["read"]);
  const wanted = [["read", "passed", true], ["wipe", "denied", false], ["quiz", "denied", false]];
  equal("the audit log says so", decisions(way), wanted);
}

async function aToolThatComesLater(server, { era, mode }) {
  const way = around(server, `grown-${server}-${JSON.stringify(mode)}`);
  const { client, seen, call } = await connect(way, { mode }, [DECLINE, APPROVE]);
  await client.listTools();
  const subscription = era === MODERN ? await client.listen({ toolsListChanged: true }) : undefined;
  await call("grow");
  check("the client is told", await until(() => seen.told > 0), seen.told);
  await subscription?.close();
  const names = (await client.listTools()).tools.map((tool) => tool.name);
  check("the list has the new tool", names.includes("grown"), names);
  check("a no to it is a refusal", denied(await call("grown"), "grown"));
  equal("a yes to it runs it", text(await call("grown")), "grown");
  await client.close();
  const wanted = [["grow", "passed", true], ["grown", "denied", false], ["grown", "approved", true]];
  equal("the audit log has it", decisions(way), wanted);
}

/** Returns the message without its states: the servers seal them, so no two are equal. */
function withoutStates(value) {
  return JSON.parse(JSON.stringify(value), (key, inner) => (key === "requestState" ? "a state" : inner));
}

function compare([direct, proxied]) {
  for (const what of Object.keys(direct)) {
    equal(`the same with and without the proxy: ${what}`, proxied[what], direct[what]);
  }
}

async function same(server, { era, mode }) {
  const found = [];
  const both = ways(server, `same-${server}-${JSON.stringify(mode)}`, "--mode", "none");
  for (const way of both) {
    writeFileSync(poem(), "one\ntwo\nthree\n");
    const answers = [accept("name", "Bo"), accept("name", "Ada"), accept("percent", 70)];
    answers.push(accept("colour", "blue"), accept("size", "XL"), accept("name", "Cy"));
    const { client, asked, call } = await connect(way, { mode }, answers);
    const results = {
      era: client.getNegotiatedProtocolVersion(),
      discover: client.getDiscoverResult() ?? null,
      server: client.getServerVersion() ?? null,
      capabilities: client.getServerCapabilities(),
      instructions: client.getInstructions() ?? null,
      tools: await outcome(client.listTools()),
      resources: await outcome(client.listResources()),
      templates: await outcome(client.listResourceTemplates()),
      prompts: await outcome(client.listPrompts()),
      read: await outcome(call("read", { name: "poem.txt" })),
      "read of what is not there": await outcome(call("read", { name: "missing" })),
      wipe: await outcome(call("wipe", { name: "poem.txt" })),
      "a call without its arguments": await outcome(call("wipe")),
      "an unknown tool": await outcome(call("no_such_tool", { n: 5.5 })),
      guess: await outcome(call("guess")),
      quiz: await outcome(call("quiz", { topic: "birds" })),
      survey: await outcome(call("survey")),
      wait: await outcome(call("wait")),
      order: await outcome(call("order")),
      prompt: await outcome(client.getPrompt({ name: "greet" })),
      resource: await outcome(client.readResource({ uri: "note://one" })),
      "unknown resource": await outcome(client.readResource({ uri: "note://two" })),
      asked: asked(),
      "wiped file": existsSync(poem()),
    };
    await client.close();
    results.received = withoutStates(way.received());
    results.answered = withoutStates(way.answered());
    found.push(results);
  }
  // Two empty results would be equal too.
  const [direct] = found;
  equal("the revision without the proxy", direct.era, era);
  equal("the quiz without the proxy", text(direct.quiz), "quiz on birds: Ada, 70");
  const questions = server === "dual-python" && era === LEGACY ? 5 : 6;
  equal("the questions without the proxy", direct.asked.length, questions);
  const methods = direct.received.map((line) => line.method);
  equal("the client discovers if it can", methods.includes("server/discover"), era === MODERN);
  compare(found);
  const called = both[0].called().map(({ params }) => [params.name, "passed", true]);
  equal("each call has a record", decisions(both[1]), called);
  writeFileSync(poem(), "one\ntwo\nthree\n");
}

/** Checks a server that knows only `initialize`. */
async function oldServer(works, { mode }) {
  const found = [];
  for (const way of ways("filesystem", `old-${JSON.stringify(mode)}`, "--mode", "none")) {
    const connection = await outcome(connect(way, { mode }));
    const results = { connected: connection.error ?? "yes" };
    if (connection.client) {
      const { client, call } = connection;
      results.era = client.getNegotiatedProtocolVersion();
      results.capabilities = client.getServerCapabilities();
      results.tools = await outcome(client.listTools());
      results.call = await outcome(call("read_text_file", { path: poem() }));
      await client.close();
    }
    await until(() => way.received().length > 0, 500);
    results.received = way.received();
    results.answered = way.answered();
    found.push(results);
  }
  const [direct] = found;
  equal("without the proxy, the client connects only if it may fall back", direct.connected === "yes", works);
  if (works) {
    equal("the revision is legacy", direct.era, LEGACY);
    equal("the call works", text(direct.call), "one\ntwo\nthree\n");
  }
  compare(found);
}

/** Pairs of a name and a section. */
export function eras() {
  const scenes = { approvals, cannotBeAsked, aToolThatComesLater, same };
  const found = [];
  for (const [name, scene] of Object.entries(scenes)) {
    for (const server of SERVERS) {
      for (const [how, mode] of Object.entries(MODES)) {
        // A given revision changes only the first request, so one server and the two main scenes are
        // enough.
        if (how === MODERN && (server !== SERVERS[1] || ![approvals, same].includes(scene))) continue;
        found.push([`${how}, ${name}, ${server}`, () => scene(server, mode)]);
      }
    }
  }
  for (const [how, mode] of Object.entries(MODES)) {
    found.push([`${how}, old server`, () => oldServer(how !== MODERN, mode)]);
  }
  return found;
}
