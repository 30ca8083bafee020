#!/usr/bin/env node
// Takes the pictures of docs/guide.md and docs/phone.md from the real thing: `wrap` in a terminal, a question in Claude Code's and in
// Codex's own interface, and the same question in the inbox. Then answers each question, and looks at the file.
//
//     .ci/pictures.mjs PATH/TO/approval-proxy FOLDER [--cache DIR] [--only WORD]
//
// The clients run in an empty home folder, /home/me, with a model of ours (`pictures/model.mjs`) that makes one tool
// call. A headless Chromium draws the terminals with xterm.js. `--cache` is the folder in which `.ci/interop.py` has
// installed the clients (default: approval-proxy-interop in the user's cache). Needs `script` and `unshare`.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { Machine } from "./pictures/machine.mjs";
import { SCENES } from "./pictures/scenes.mjs";

const CHROMIUM = process.env.CHROMIUM || "/usr/bin/chromium";
const PACKAGES = ["playwright-core", "@xterm/xterm"];

function install(cache) {
  mkdirSync(cache, { recursive: true });
  if (!PACKAGES.every((name) => existsSync(join(cache, "node_modules", name, "package.json")))) {
    const flags = ["install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix", cache];
    execFileSync("npm", [...flags, ...PACKAGES], { stdio: ["ignore", "ignore", "inherit"] });
  }
  return join(cache, "package.json");
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { cache: { type: "string" }, only: { type: "string", default: "" } },
});
if (positionals.length !== 2) throw new Error("name the approval-proxy and a folder");
const [proxy, folder] = positionals.map((path) => resolve(path));
const users = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
const cache = resolve(values.cache ?? join(users, "approval-proxy-interop"));
const packages = install(join(cache, "pictures"));
const { chromium } = createRequire(packages)("playwright-core");
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
try {
  for (const [name, play] of SCENES) {
    if (!name.includes(values.only)) continue;
    const machine = new Machine({ proxy, cache, packages, folder, browser });
    try {
      await play(machine);
    } catch (error) {
      for (const terminal of machine.terminals) console.error((await terminal.lines()).join("\n"));
      throw error;
    } finally {
      await machine.end();
    }
  }
} finally {
  await browser.close();
}
