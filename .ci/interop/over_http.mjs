// The TypeScript clients with a proxy over HTTP. `over_http_typescript.py` starts it with one argument, a JSON
// object: the generation of the client, the folder of the packages, the server's directory, and the listening
// proxies with their audit logs. It plays the scenes of `over_http_scenes.py`.

import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { APPROVE, DECLINE, NEVER, begin, check, connect, decisions, denied, equal } from "./driver.mjs";
import { outcome, plan, sdk, succeeded, text, until } from "./driver.mjs";

const MODERN = "2026-07-28";
const LEGACY = "2025-11-25";
const NEGOTIATION = { legacy: "legacy", auto: "auto", [MODERN]: { pin: MODERN }, sse: "legacy" };
const CLIENTS = plan.generation === 1 ? ["legacy", "sse"] : Object.keys(NEGOTIATION);
const isModern = (how) => how === "auto" || how === MODERN;
const file = join(plan.files, "notes.txt");
const notes = () => (existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : []);

/** A client of a proxy. Its `news` leave out earlier records. */
async function enter(stage, how, answers = []) {
  const { url, log, token } = plan.stages[stage];
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const isSse = how === "sse";
  const way = { url: isSse ? url.replace("/mcp", "/sse") : url, isSse, headers, log };
  const mode = plan.generation === 1 ? {} : { versionNegotiation: { mode: NEGOTIATION[how] } };
  let read = decisions(way).length;
  const news = () => {
    const found = decisions(way).slice(read);
    read += found.length;
    return found;
  };
  const client = await connect(way, { answers, mode });
  const leave = async () => {
    await client.transport.terminateSession?.();
    await client.client.close();
  };
  return { ...client, news, leave };
}

const note = ({ call }, line, options) => call("note", { line }, options);

async function approvals(stage, how) {
  const guest = await enter(stage, how, [APPROVE, DECLINE]);
  const { client, seen, call, news } = guest;
  if (plan.generation === 2) equal("the revision", client.getNegotiatedProtocolVersion(), isModern(how) ? MODERN : LEGACY);
  const names = (await client.listTools()).tools.map((tool) => tool.name);
  check("the tools", ["read", "wipe", "note", "count"].every((name) => names.includes(name)), names);
  equal("a free call", text(await call("read", { name: "poem.txt" })), "one\ntwo\nthree\n");
  equal("nobody was asked about it", seen.asked, []);
  equal("after a yes the result is the server's", text(await note(guest, "yes")), "noted yes");
  equal("it ran once", notes(), ["yes"]);
  check("the prompt shows the call", seen.asked[0]?.message.includes("yes"), seen.asked);
  const refused = await note(guest, "no");
  check("a no is a refusal", denied(refused, "note"), refused);
  equal("after it nothing ran", notes(), ["yes"]);
  const wanted = [["read", "passed", true], ["note", "approved", true], ["note", "denied", false]];
  equal("the audit log has it", news(), wanted);

  guest.answers.push(APPROVE);
  seen.theirAnswer = ({ requestedSchema }) => {
    const content = "percent" in requestedSchema.properties ? { percent: 70 } : { name: "Ada" };
    return { action: "accept", content };
  };
  equal("two rounds after a yes", text(await call("quiz", { topic: "birds" })), "quiz on birds: Ada, 70");
  const questions = seen.theirs.map(({ message }) => message);
  equal("both questions arrive", questions, ["Who are you?", "How sure are you?"]);
  equal("the log has the rounds", news(), Array(isModern(how) ? 3 : 1).fill(["quiz", "approved", true]));
  await guest.leave();
}

async function late(stage, how) {
  const guest = await enter(stage, how, [NEVER, APPROVE]);
  const { seen, news } = guest;
  if (isModern(how)) {
    // A stateless prompt is a result, and the client decides how long it asks.
    const waiting = new AbortController();
    const held = outcome(note(guest, "late", { signal: waiting.signal }));
    const expired = await until(() => decisions(plan.stages[stage]).at(-1)?.[1] === "timeout");
    check("a call that nobody answers ends", expired);
    waiting.abort("enough");
    await held;
  } else {
    const refused = await note(guest, "late");
    check("a late call is refused", refused.isError && text(refused).includes("in time"), refused);
    check("its prompt is withdrawn", await until(() => seen.withdrawn === 1, 2000), seen.withdrawn);
  }
  equal("nothing ran", notes(), []);
  equal("the next one is asked about", text(await note(guest, "in time")), "noted in time");
  equal("it ran once", notes(), ["in time"]);
  equal("the audit log says so", news(), [["note", "timeout", false], ["note", "approved", true]]);
  await guest.leave();
}

async function takenBack(stage, how) {
  const guest = await enter(stage, how, [NEVER, APPROVE, NEVER]);
  const { seen, news } = guest;
  const waiting = new AbortController();
  const held = outcome(note(guest, "cancelled", { signal: waiting.signal }));
  check("a person is asked", await until(() => seen.asked.length === 1));
  waiting.abort("enough");
  check("a held call can be cancelled", "error" in (await held));
  if (!isModern(how)) {
    check("its prompt is withdrawn", await until(() => seen.withdrawn === 1, 2000), seen.withdrawn);
    equal("the audit log says so", news(), [["note", "cancelled", false]]);
  }
  equal("the next one is asked about", text(await note(guest, "next")), "noted next");
  equal("only that call ran", notes(), ["next"]);
  const left = outcome(note(guest, "left"));
  check("a person is asked again", await until(() => seen.asked.length === 3));
  news();
  await guest.leave();
  // A stateless client continues with its question by itself.
  if (!isModern(how)) {
    // The answer may still reach it.
    const ended = await left;
    check("a call whose client leaves ends", "error" in ended || ended.isError === true, ended);
    const found = [];
    await until(() => found.push(...news()) || found.length, 3000);
    equal("the log has it as cancelled", found, [["note", "cancelled", false]]);
  }
  equal("it did not run", notes(), ["next"]);
}

async function sideBySide(stage, first, second) {
  const [yes, no] = [await enter(stage, first, Array(4).fill(APPROVE)), await enter(stage, second)];
  const both = [0, 1, 2, 3].flatMap((n) => [note(yes, `yes ${n}`), note(no, `no ${n}`)]);
  const results = await Promise.all(both);
  const noted = results.filter((_, index) => index % 2 === 0).map(text);
  equal("each yes has its own result", noted, [0, 1, 2, 3].map((n) => `noted yes ${n}`));
  check("each no is a refusal", results.filter((_, index) => index % 2).every((r) => denied(r, "note")), results);
  const own = (guest, word) => guest.seen.asked.every(({ message }) => message.includes(`"${word} `));
  check("each is asked about its own calls", own(yes, "yes") && own(no, "no"), [yes.seen.asked, no.seen.asked]);
  equal("only what was approved ran", notes().sort(), [0, 1, 2, 3].map((n) => `yes ${n}`));
  const count = (decision) => no.news().filter((line) => line[1] === decision).length;
  equal("the audit log has the yeses", count("approved"), 4);
  await yes.leave();
  await no.leave();
}

async function notices(stage, how) {
  const guest = await enter(stage, how);
  const { seen, call } = guest;
  const steps = [];
  const onprogress = ({ progress, total }) => void steps.push([progress, total]);
  check("the call ends", succeeded(await call("count", {}, { onprogress })));
  await until(() => steps.length === 3 && seen.logs.length === 3, 2000);
  equal("its progress arrived", steps, [[1, 3], [2, 3], [3, 3]]);
  // Stateless clients must ask for log messages, and this one cannot.
  if (!isModern(how)) equal("its log messages arrived", seen.logs.map(({ data }) => data), ["at 1", "at 2", "at 3"]);
  const running = new AbortController();
  const long = outcome(call("linger", {}, { signal: running.signal }));
  check("a long call runs", await until(() => notes().at(-1) === "began"), notes());
  running.abort("enough");
  check("it can be cancelled", "error" in (await long));
  check("the server learns of it", await until(() => notes().at(-1) === "cancelled"), notes());
  check("the session goes on", succeeded(await call("whoami", {})));
  await guest.leave();
}

async function run(name, section) {
  begin(`ts ${plan.generation} to ${plan.upstream}, ${name}: `);
  rmSync(file, { force: true });
  try {
    await section();
  } catch (error) {
    check("finishes", false, String(error.stack ?? error));
  }
}

for (const how of CLIENTS) {
  await run(`${how}, approvals`, () => approvals("open", how));
  await run(`${how}, taken back`, () => takenBack("open", how));
  await run(`${how}, notices`, () => notices("open", how));
  await run(`${how}, late`, () => late("late", how));
  await run(`${how}, with a token`, () => approvals("token", how));
  begin(`ts ${plan.generation} to ${plan.upstream}, ${how} with a wrong token: `);
  const came = await outcome(enter("wrong token", how));
  check("it is refused", "error" in came && /401|token is needed|nauthorized/.test(came.error), came.error);
}
// A given revision changes only the first request.
const side = CLIENTS.filter((how) => how !== MODERN);
for (const [how, other] of side.flatMap((how) => side.map((other) => [how, other]))) {
  await run(`${how} beside ${other}`, () => sideBySide("open", how, other));
}
process.exit(0);
