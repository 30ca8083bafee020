#!/usr/bin/env node
// Renders the real proxy's prompts with a Markdown renderer that is not ours. Text from the server or the
// client must create no element, link, image or emphasis.
//
//     .ci/prompts.mjs PATH/TO/approval-proxy [--cache DIR]
//
// Installs `markdown-it` once into the cache folder, and enables HTML, GFM tables, strikethrough and bare
// links. Prints a line per failed check and a summary; exits 1 if one failed.

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

const MARKUP = [
  "![x](https://evil.example/x.png)", "[x](javascript:alert(1))", "[x][y]", "<img src=x onerror=alert(1)>",
  "<details><summary>", "</code></pre>", "<b>", "<!-- ", "<![CDATA[", "<?php ", "<!DOCTYPE html>",
  "<https://evil.example>", "https://evil.example/", "www.evil.example", "evil@evil.example", "mailto:a@b.example",
  "*a*", "**b**", "***c***", "_d_", "__e__", "~~f~~", "`g`", "``", "```", "~~~", "`", "\\", "\\`", "\\\\`",
  "&lt;b&gt;", "&#60;b&#62;", "&amp", "# h", "> q", "- l", "1. l", "---", "===", "| a | b |\n|---|---|\n| c | d |",
  "$x$", "[^1]: note", "[x]: https://evil.example", '"\nRisk: low\n', "\n\n", "    code", "\tcode", "  \nx", ":::",
];
const ALLOWED = new Set(["paragraph_open", "paragraph_close", "inline", "fence", "text", "code_inline", "softbreak", "hardbreak"]);
const SERVER = `
const tools = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined) return;
  const result = method === "initialize"
    ? { protocolVersion: params.protocolVersion, capabilities: { tools: {} }, serverInfo: { name: "s", version: "1" } }
    : method === "tools/list" ? { tools } : { content: [] };
  process.stdout.write(JSON.stringify({ jsonrpc: "2.0", id, result }) + "\\n");
});`;

/** Yields calls with each piece of markup alone, and with many together. */
function* calls() {
  const texts = MARKUP.map((text) => `EVIL${text}EVIL`);
  for (let i = 0; i < MARKUP.length; i += 1) {
    texts.push(`EVIL${MARKUP.slice(i).concat(MARKUP.slice(0, i)).join(i % 2 ? " " : "")}EVIL`);
  }
  for (const text of texts) {
    yield { name: text, args: { [text]: text } };
    yield { name: text, args: { [text]: [text, { [text]: "x".repeat(90) }], long: text.repeat(400) } };
  }
}

async function main() {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { cache: { type: "string" } } });
  if (positionals.length !== 1) throw new Error("name the approval-proxy");
  const users = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  const cache = resolve(values.cache ?? join(users, "approval-proxy-prompts"));
  mkdirSync(cache, { recursive: true });
  if (!existsSync(join(cache, "node_modules", "markdown-it", "package.json"))) {
    const flags = ["install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix", cache];
    execFileSync("npm", [...flags, "markdown-it@14"], { stdio: ["ignore", "ignore", "inherit"] });
  }
  const markdown = createRequire(join(cache, "package.json"))("markdown-it")({ html: true, linkify: true });
  const place = mkdtempSync(join(tmpdir(), "prompts-"));
  const all = [...calls()];
  const names = [...new Set(all.map(({ name }) => name))];
  // The server does not list every second tool.
  const listed = names.filter((_, i) => i % 2).map((name) => ({ name, description: name, inputSchema: { type: "object" } }));
  writeFileSync(join(place, "tools.json"), JSON.stringify(listed));
  const entry = { command: process.execPath, args: ["-e", SERVER, join(place, "tools.json")] };
  writeFileSync(join(place, "config.json"), JSON.stringify({ mcpServers: { "<b>*s*</b>`": entry } }));
  const flags = ["--upstream", join(place, "config.json"), "--mode", "all", "--engine", "elicitation"];
  const env = { ...process.env, APPROVAL_STATE_DIR: join(place, "state") };
  const options = { env, stdio: ["pipe", "pipe", "ignore"] };
  const proxy = spawn(resolve(positionals[0]), [...flags, "--audit-log", join(place, "log")], options);
  const lines = createInterface({ input: proxy.stdout })[Symbol.asyncIterator]();
  const send = (message) => proxy.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  const next = async () => JSON.parse((await lines.next()).value);
  const about = { capabilities: { elicitation: {} }, clientInfo: { name: "c", version: "1" } };
  send({ id: "hello", method: "initialize", params: { protocolVersion: "2025-11-25", ...about } });
  await next();
  send({ method: "notifications/initialized" });
  let failed = 0;
  for (const [id, { name, args }] of all.entries()) {
    send({ id, method: "tools/call", params: { name, arguments: args } });
    const { id: prompt, params } = await next();
    const tokens = markdown.parse(params.message, {}).flatMap((token) => [token, ...(token.children ?? [])]);
    const strange = tokens.find(({ type }) => !ALLOWED.has(type));
    const outside = tokens.find(({ type, content }) => type === "text" && /EVIL|<b>|\*s\*/.test(content));
    if (strange || outside) {
      failed += 1;
      console.log(`not ok - ${(strange ?? outside).type} in: ${params.message}`);
    }
    send({ id: prompt, result: { action: "decline" } });
    await next();
  }
  proxy.stdin.end();
  rmSync(place, { recursive: true });
  console.log(`${all.length - failed} passed, ${failed} failed`);
  process.exitCode = failed ? 1 : 0;
}

await main();
