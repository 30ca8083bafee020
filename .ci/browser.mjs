#!/usr/bin/env node
// Drives the approval inbox as a person does: with a real browser, against the real proxy.
//
//     .ci/browser.mjs PATH/TO/approval-proxy PATH/TO/notes_server [--cache DIR] [--only WORD] [--shots DIR]
//         [--page local|remote]
//
// An agent (an MCP client over stdio without prompts) calls tools of `examples/notes_server` through the
// proxy. A headless Chromium shows the inbox and decides, by mouse and by keys. No check believes the page:
// what ran is read from the notes' files, from the agent's answers and from the audit log. The browser logs
// in like a user's, through `approval-proxy inbox`, which opens a file in `$BROWSER`.
//
// Then it plays the scenes of phones, and once more those of the local page that make sense there, at the page
// for paired devices behind a reverse proxy with TLS. `--page` plays only the one or the other.
//
// Each scene has its own folder, state folder and proxies. `--shots` takes the pictures for the
// documents instead.
//
// Needs node, npm, openssl and Debian's chromium. Installs `playwright-core` and `axe-core` once into the cache
// folder (default: approval-proxy-browser in the user's cache). Prints a line per check, and keeps a
// screenshot of each failure in the cache folder. Exits 1 if a check failed, 2 if nothing could be checked.

import { execFileSync } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { Checks } from "./browser/checks.mjs";
import { Tools } from "./browser/world.mjs";
import { EVIL, HOST, makeCertificate } from "./browser/front.mjs";
import { PHONE_SCENES, SCENES, WITHOUT_A_PHONE } from "./browser/scenes.mjs";
import { takeShots } from "./browser/shots.mjs";

const CHROMIUM = process.env.CHROMIUM || "/usr/bin/chromium";
const PACKAGES = ["playwright-core", "axe-core"];

function install(cache) {
  mkdirSync(cache, { recursive: true });
  if (!PACKAGES.every((name) => existsSync(join(cache, "node_modules", name, "package.json")))) {
    const flags = ["install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix", cache];
    execFileSync("npm", [...flags, ...PACKAGES], { stdio: ["ignore", "ignore", "inherit"] });
  }
  return createRequire(join(cache, "package.json"));
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { cache: { type: "string" }, only: { type: "string" }, shots: { type: "string" }, page: { type: "string" } },
  });
  if (positionals.length !== 2) throw new Error("name the approval-proxy and the notes_server");
  const [proxy, notes] = positionals.map((path) => resolve(path));
  for (const program of [proxy, notes, CHROMIUM]) accessSync(program, constants.X_OK);
  const users = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  const cache = resolve(values.cache ?? join(users, "approval-proxy-browser"));
  const load = install(cache);
  const failures = join(cache, "failures");
  rmSync(failures, { recursive: true, force: true });

  const { chromium } = load("playwright-core");
  const certificate = makeCertificate(cache);
  const args = ["--no-sandbox", `--host-resolver-rules=MAP ${HOST} 127.0.0.1, MAP ${EVIL} 127.0.0.1`,
    `--ignore-certificate-errors-spki-list=${certificate.hash}`];
  const browser = await chromium.launch({ executablePath: CHROMIUM, args });
  const checks = new Checks(failures);
  const tools = new Tools({ proxy, notes, browser, checks, certificate, axe: load("axe-core").source });
  try {
    if (values.shots) return await takeShots(tools, resolve(values.shots));
    const local = SCENES.map(([name, play]) => [name, play, { isRemote: false }]);
    const again = SCENES.filter(([, play]) => !WITHOUT_A_PHONE.includes(play)).map(([name, play]) => [`${name}, elsewhere`, play]);
    const remote = [...PHONE_SCENES, ...again].map(([name, play]) => [name, play, { isRemote: true }]);
    for (const [name, play, options] of [...local, ...remote]) {
      if (values.only && !name.includes(values.only)) continue;
      if (values.page && options.isRemote !== (values.page === "remote")) continue;
      await tools.play(name, play, options);
    }
  } finally {
    await browser.close();
  }
  console.log(`${checks.passed} passed, ${checks.failed} failed`);
  return checks.failed === 0 ? 0 : 1;
}

main().then(
  (code) => process.exit(code),
  (error) => {
    console.error(`browser: ${error.stack ?? error}`);
    process.exit(2);
  },
);
