#!/usr/bin/env node
// Takes the pictures of docs/engines/slack.md and docs/engines/telegram.md: a question, and what its message becomes.
//
//     .ci/chat_pictures.mjs PATH/TO/approval-proxy FOLDER [--cache DIR] [--only WORD]
//
// The messages are the proxy's own: it asks a stand-in for Slack or Telegram, where somebody decides. A headless
// Chromium then draws them about as these services show them, with a style of our own. Installs `playwright-core` and
// `ws` once into the cache folder (default: approval-proxy-pictures in the user's cache).

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { slack } from "./pictures/slack.mjs";
import { telegram } from "./pictures/telegram.mjs";

const CHROMIUM = process.env.CHROMIUM || "/usr/bin/chromium";
const PACKAGES = ["playwright-core", "ws"];
const PICTURES = [
  ["slack-question.png", slack],
  ["telegram-question.png", telegram],
];

function install(cache) {
  mkdirSync(cache, { recursive: true });
  if (!PACKAGES.every((name) => existsSync(join(cache, "node_modules", name, "package.json")))) {
    const flags = ["install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix", cache];
    execFileSync("npm", [...flags, ...PACKAGES], { stdio: ["ignore", "ignore", "inherit"] });
  }
  return createRequire(join(cache, "package.json"));
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { cache: { type: "string" }, only: { type: "string", default: "" } },
});
if (positionals.length !== 2) throw new Error("name the approval-proxy and a folder");
const [proxy, folder] = positionals.map((path) => resolve(path));
const users = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
const load = install(resolve(values.cache ?? join(users, "approval-proxy-pictures")));
const { WebSocketServer } = load("ws");
const browser = await load("playwright-core").chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
try {
  for (const [name, take] of PICTURES) {
    if (name.includes(values.only)) await take({ browser, proxy, WebSocketServer, path: join(folder, name) });
  }
} finally {
  await browser.close();
}
