// A TypeScript client through the proxy to all servers. `typescript.py` starts it with one argument, a JSON
// object: the generation of the client, the folder of the packages, the proxy, the servers' commands, and a
// directory with files that is also a Git repository. Prints a line per check.

import { existsSync, readFileSync, rmSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { APPROVE, DECLINE, NEVER, begin, check, connect, decisions, denied, direct, equal } from "./driver.mjs";
import { outcome, plan, proxied, sdk, succeeded, text, until } from "./driver.mjs";
import { eras } from "./eras.mjs";
import { urls } from "./urls.mjs";

/** With everything allowed, a client reads the same with and without the proxy. */
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
    // The server sends requests and notifications at any time.
    answers["answers on the wire"] = seen.wire.filter((message) => !("method" in message));
    found.push(answers);
    await client.close();
  }
  const [without, with_] = found;
  check("there are tools", without.tools.tools?.length > 5, without.tools);
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
  equal("the audit log has it", decisions(way), [...wanted, ["write_file", "denied", false]]);
  rmSync(yes);
}

async function git(mode) {
  const run = (...args) => execFileSync("git", ["-C", plan.files, ...args], { encoding: "utf8" }).trim();
  const way = proxied("git");
  const { client, seen, call } = await connect(way, { answers: [DECLINE, APPROVE, DECLINE], mode });
  const repository = { repo_path: plan.files };
  const status = await call("git_status", repository);
  check("the status is read", text(status).includes("new.txt"), status);
  const add = { ...repository, files: ["new.txt"] };
  check("a no is a refusal", denied(await call("git_add", add), "git_add"));
  equal("after a no nothing is staged", run("diff", "--cached", "--name-only"), "");
  const added = await call("git_add", add);
  const staged = run("diff", "--cached", "--name-only");
  check("after a yes the result is the server's", succeeded(added), added);
  equal("after a yes it is staged", staged, "new.txt");
  const committed = await call("git_commit", { ...repository, message: "second" });
  check("a no to a commit is a refusal", denied(committed, "git_commit"), committed);
  equal("there is no commit", run("log", "--format=%s"), "first");
  equal("a person was asked about each", seen.asked.length, 3);
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
  check("the person's words are in the result", text(without.elicitation).includes("Ada"), without.elicitation);
}

async function progressAndCancellation(mode) {
  const way = proxied("everything", "--mode", "all", "--allow", "trigger-long-running-operation");
  const { client, seen, call } = await connect(way, { answers: [NEVER, APPROVE], mode });
  const steps = [];
  const onprogress = ({ progress, total }) => void steps.push([progress, total]);
  const long = "trigger-long-running-operation";
  const result = await call(long, { duration: 0.6, steps: 3 }, { onprogress });
  check("the long call ends", succeeded(result), result);
  // SDK 1.x drops the callback if the result arrives in the same read as the last step, even without a
  // proxy. So check the wire, and the callback for all steps but the last.
  const told = seen.wire.filter((message) => message.method === "notifications/progress");
  const wireSteps = told.map(({ params }) => [params.progress, params.total]);
  equal("its progress arrives in order", wireSteps, [[1, 3], [2, 3], [3, 3]]);
  equal("the callback gets it", steps.slice(0, 2), [[1, 3], [2, 3]]);

  const running = new AbortController();
  setTimeout(() => running.abort("enough"), 300);
  const aborted = await outcome(call(long, { duration: 20, steps: 2 }, { signal: running.signal }));
  check("a running call can be cancelled", "error" in aborted, aborted);
  await client.ping();

  const held = new AbortController();
  const waiting = outcome(call("echo", { message: "held" }, { signal: held.signal }));
  check("a gated call leads to a prompt", await until(() => seen.asked.length === 1));
  check("other calls pass while it waits", succeeded(await call(long, { duration: 0.1, steps: 1 })));
  held.abort("enough");
  check("a call that waits for a person can be cancelled", "error" in (await waiting));
  check("its prompt is withdrawn", await until(() => seen.withdrawn === 1, 3000), seen.withdrawn);
  equal("the next one is asked about and runs", text(await call("echo", { message: "x" })), "Echo: x");

  const short = await outcome(call("echo", { message: "slow" }, { timeout: 300 }));
  check("a no or the client's own time limit ends a call", "error" in short || short.isError, short);
  await client.close();
  const wanted = [[long, "passed", true], [long, "passed", true], [long, "passed", true]];
  wanted.push(["echo", "cancelled", false], ["echo", "approved", true], ["echo", "denied", false]);
  equal("the audit log has the cancelled call", decisions(way).slice(0, 6), wanted);
}

async function loggingAndSubscriptions(mode) {
  // Nobody can be asked here, so allow the toggles.
  const { client, seen, call } = await connect(proxied("everything", "--allow", "toggle-*"), { mode });
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

/** An unanswered prompt times out. */
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
async function run(name, section) {
  begin(name);
  try {
    await section();
  } catch (error) {
    check("finishes", false, String(error.stack ?? error));
  }
}

const others = { eras, urls };
for (const mode of plan.scenes in others ? [] : sdk.modes) {
  for (const [name, section] of Object.entries(sections)) {
    const how = mode.versionNegotiation?.mode ?? "as it is";
    await run(`ts ${plan.generation}, ${how}, ${name}: `, () => section(mode));
  }
}
for (const [name, section] of others[plan.scenes]?.() ?? []) await run(`ts ${name}: `, section);
process.exit(0);
