// Clients that open URLs are sent to the inbox's page: the second-generation TypeScript client. It plays the
// scenes of `urls.py`.

import { execFile } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { check, decisions, denied, equal, plan, proxied, sdk, text } from "./driver.mjs";

const MODES = { legacy: "legacy", auto: "auto", "2026-07-28": { pin: "2026-07-28" } };
const ACCEPT = { action: "accept" };
const DECLINE = { action: "decline" };
const poem = () => join(plan.files, "poem.txt");
const refill = () => writeFileSync(poem(), "one\ntwo\nthree\n");

async function visits(how, mode) {
  refill();
  const state = join(plan.place, `ts-state-${how}`);
  const way = proxied("dual-typescript", "--state-dir", state, "--inbox-port", "0", "--no-browser");
  way.args[way.args.indexOf("--engine") + 1] = "inbox";
  const decide = async ({ url }, verb, ...more) => {
    const words = ["approvals", "--state-dir", state, verb, url.split("/").at(-1), ...more];
    await promisify(execFile)(plan.proxy, words);
  };

  const asked = [];
  let planned;
  const client = new sdk.Client(
    { name: "interop", version: "1" },
    { capabilities: { elicitation: { url: {} } }, versionNegotiation: { mode } },
  );
  sdk.handle(client, "elicitation/create", async (params) => {
    asked.push(params);
    return planned(params);
  });
  const { command, args } = way;
  await client.connect(new sdk.StdioClientTransport({ command, args, stderr: "inherit" }));
  const wipe = () => sdk.call(client, "wipe", { name: "poem.txt" });

  planned = async (params) => {
    await decide(params, "deny", "--reason", "not on a Friday");
    return ACCEPT;
  };
  const refused = await wipe();
  check("a no before the client comes back", denied(refused, "wipe"), refused);
  check("its reason arrives", text(refused).includes("not on a Friday"), refused);
  planned = () => DECLINE;
  check("a page that is not opened", denied(await wipe(), "wipe"));
  check("after both the file is there", existsSync(poem()));
  planned = (params) => {
    // Once the client is back and waiting.
    setTimeout(() => decide(params, "approve"), 300);
    return ACCEPT;
  };
  equal("a yes after the client is back", text(await wipe()), "wiped poem.txt");
  refill();
  planned = async (params) => {
    await decide(params, "approve");
    return ACCEPT;
  };
  equal("a yes before the client is back", text(await wipe()), "wiped poem.txt");
  check("the file is gone", !existsSync(poem()));
  await client.close();

  const pages = asked.filter(({ mode, url }) => mode === "url" && /^http:\/\/127\.0\.0\.1:\d+\/item\/[0-9a-f]{32}$/.test(url));
  equal("each call has its own page", new Set(pages.map(({ url }) => url)).size, 4);
  const [no, yes] = [["wipe", "denied", false], ["wipe", "approved", true]];
  equal("the log has all four", decisions(way), [no, no, yes, yes]);
  const engines = readFileSync(way.log, "utf8").match(/"engine":"[a-z]+"/g);
  equal("and the engine of each", engines.map((found) => found.slice(10, -1)), ["inbox", "elicitation", "inbox", "inbox"]);
  refill();
}

/** Pairs of a name and a section. */
export function urls() {
  return Object.entries(MODES).map(([how, mode]) => [`${how}, by URL`, () => visits(how, mode)]);
}
