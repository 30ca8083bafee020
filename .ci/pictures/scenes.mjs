// What the pictures show.

import { aimAt, button, items, leave } from "../browser/seen.mjs";
import { pause } from "./machine.mjs";
import { startModel } from "./model.mjs";
import { tell } from "./terminal.mjs";

const SERVER = ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/home/me/work"];
const TEXT = "Ask Ada about the budget.";
const WISH = `Use the filesystem server to write plan.md: "${TEXT}"`;
const LOG = ".local/state/approval-proxy/audit/filesystem.jsonl";
const DOWN = "\u001b[B";
const KEY = "no-key-is-needed-for-a-model-of-our-own";
const DESKTOP = JSON.stringify({ mcpServers: { filesystem: { command: SERVER[0], args: SERVER.slice(1) } } }, null, 2);
const VSCODE = `{
\t"servers": {
\t\t// My files.
\t\t"filesystem": {
\t\t\t"type": "stdio",
\t\t\t"command": "npx",
\t\t\t"args": ["-y", "@modelcontextprotocol/server-filesystem", "/home/me/work"],
\t\t\t"env": { "API_KEY": "\${input:api-key}" }
\t\t}
\t},
\t"inputs": [{ "id": "api-key", "type": "promptString", "description": "API key", "password": true }]
}
`;

/** `wrap CLIENT`, as a user types it. */
async function wrap(machine, client) {
  const shell = await machine.terminal(["sh"], { env: { PS1: "$ " }, columns: 104, rows: 30 });
  await shell.shows("$");
  shell.type(`approval-proxy wrap ${client}\n`);
  await shell.shows("add --write");
  await shell.shoot(machine.picture(`guide-wrap-${client}.png`));
}

async function wrapInClaudeCode(machine) {
  machine.run("claude", "mcp", "add", "--scope", "user", "filesystem", "--", ...SERVER);
  await wrap(machine, "claude-code");
}

async function wrapInClaudeDesktop(machine) {
  machine.write(".config/Claude/claude_desktop_config.json", DESKTOP);
  await wrap(machine, "claude-desktop");
}

async function wrapInVsCode(machine) {
  machine.write(".config/Code/User/mcp.json", VSCODE);
  await wrap(machine, "vscode");
}

/** Types the wish once the client has started the server. */
async function wish(machine, client) {
  const before = machine.read(LOG) ?? "";
  await machine.until(() => (machine.read(LOG) ?? "") !== before, "the client has not started the server");
  await pause(4000);
  client.type(WISH);
  await pause(300);
  client.type("\r");
}

/** Types keys as slowly as a person. */
async function press(client, keys) {
  for (const key of keys) {
    client.type(key);
    await pause(300);
  }
}

/** A question in Claude Code. It does not show the whole call, so the inbox has it after five seconds. */
async function claudeCode(machine) {
  const model = await startModel("write_file", { path: "/home/me/work/plan.md", content: TEXT });
  machine.open.push(model.end);
  const accepted = { hasTrustDialogAccepted: true, hasCompletedProjectOnboarding: true };
  const settings = { hasCompletedOnboarding: true, theme: "dark", customApiKeyResponses: { approved: [KEY.slice(-20)] } };
  machine.write(".claude.json", JSON.stringify({ ...settings, projects: { "/home/me/work": accepted } }, null, 2));
  machine.run("claude", "mcp", "add", "--scope", "user", "filesystem", "--", ...SERVER);
  machine.run("approval-proxy", "wrap", "claude-code", "--write");
  // Lets npx fetch the server, as the guide does.
  machine.run("claude", "mcp", "list");
  const env = { ANTHROPIC_BASE_URL: model.url, ANTHROPIC_API_KEY: KEY };
  const words = ["claude", "--allowedTools", "mcp__filesystem__write_file"];
  const claude = await machine.terminal(words, { env, columns: 100, rows: 36 });
  await wish(machine, claude);
  await claude.shows("Allow this tool call?", 60);
  await claude.shoot(machine.picture("guide-claude-code.png"), { from: WISH });
  const page = await machine.inbox();
  await page.getByText(TEXT).first().waitFor();
  await page.reload();
  // The buttons become active once the pointer has rested there.
  await aimAt(button(items(page).first(), "Approve"));
  await leave(page);
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    const path = machine.picture(`guide-inbox-${colorScheme}.png`);
    await page.screenshot({ path });
    tell(path);
  }
  // Ticks *Approve*, and goes to *Accept*.
  await press(claude, [" ", DOWN, DOWN, "\r"]);
  await machine.until(() => machine.read("work/plan.md") === TEXT, "the call has not run");
}

/** A question in Codex. */
async function codex(machine) {
  const model = await startModel("write_file", { path: "/home/me/work/plan.md", content: TEXT });
  machine.open.push(model.end);
  const provider = `{ name = "ours", base_url = "${model.url}/v1", wire_api = "responses" }`;
  const trusted = '[projects."/home/me/work"]\ntrust_level = "trusted"\n';
  machine.write(".codex/config.toml", `model = "ours"\nmodel_provider = "ours"\nmodel_providers.ours = ${provider}\n\n${trusted}\n`);
  machine.run("codex", "mcp", "add", "filesystem", "--", ...SERVER);
  const settings = 'tool_timeout_sec = 600\ndefault_tools_approval_mode = "approve"\n';
  machine.write(".codex/config.toml", machine.read(".codex/config.toml") + settings);
  machine.run("approval-proxy", "wrap", "codex", "--write");
  machine.run("sh", "-c", "npx -y @modelcontextprotocol/server-filesystem /home/me/work </dev/null 2>&1");
  const codex = await machine.terminal(["codex", "--no-daemon"], { columns: 100, rows: 40 });
  await wish(machine, codex);
  await codex.shows("Allow this tool call?", 60);
  await codex.shoot(machine.picture("guide-codex.png"), { from: WISH });
  await press(codex, ["\r", ..."for Monday", "\r"]);
  await machine.until(() => machine.read("work/plan.md") === TEXT, "the call has not run");
}

/** `inbox --pair`, as a user types it. */
async function pairing(machine) {
  const inbox = { pageUrl: "https://laptop.tail1234.ts.net", listen: "127.0.0.1:8767", behindProxy: ["127.0.0.1"] };
  machine.write(".config/approval-proxy/config.json", JSON.stringify({ approvalProxy: { inbox } }));
  const shell = await machine.terminal(["sh"], { env: { PS1: "$ " }, columns: 100, rows: 34, lineHeight: 1 });
  await shell.shows("$");
  shell.type("approval-proxy inbox --pair\n");
  await shell.shows("It works once");
  await shell.shoot(machine.picture("phone-pair.png"));
}

export const SCENES = [
  ["inbox --pair", pairing],
  ["wrap in Claude Code", wrapInClaudeCode],
  ["wrap in Claude Desktop", wrapInClaudeDesktop],
  ["wrap in VS Code", wrapInVsCode],
  ["Claude Code", claudeCode],
  ["Codex", codex],
];
