// A call that is asked about in a chat: a stand-in for the chat's service, the proxy, and an agent that calls.

import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Agent } from "../browser/agent.mjs";
import { tell } from "./terminal.mjs";

const SERVER = [process.execPath, new URL("database.mjs", import.meta.url).pathname];
const WIDTH = 700;
export const SANS = "'Liberation Sans', Arial, sans-serif";
export const MONO = "'DejaVu Sans Mono', monospace";
const PAGE = `
  body { margin: 0; padding: 10px; background: #fff; color: #1d1e20; font: 17px/25px ${SANS}; }
  p { margin: 16px 4px 8px; color: #5c5d61; font-size: 16px; }
  b { font-weight: bold; }
`;

/** Serves what `answer` returns for a method and its JSON, on loopback. Returns the server and its address. */
export async function serve(answer) {
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = JSON.parse(Buffer.concat(chunks).toString() || "{}");
    const said = await answer(request.url.split("/").pop(), body);
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(said));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, address: `127.0.0.1:${server.address().port}` };
}

/** Calls a tool through a proxy that asks `engine`. `decide` answers. Returns what the agent is told. */
export async function play(proxy, engine, decide) {
  const place = mkdtempSync(join(tmpdir(), "pictures-"));
  try {
    const config = join(place, "config.json");
    const [command, ...args] = SERVER;
    const section = { engines: [engine], approvalRetryAttempts: 0 };
    writeFileSync(config, JSON.stringify({ mcpServers: { db: { command, args } }, approvalProxy: section }), { mode: 0o600 });
    const log = join(place, "audit.jsonl");
    const env = { PATH: process.env.PATH, HOME: place, APPROVAL_STATE_DIR: join(place, "state") };
    const agent = new Agent(proxy, ["--upstream", config, "--audit-log", log], { env, log, name: "desk-assistant" });
    try {
      await agent.ready;
      const call = agent.call("drop_table", { schema: "shop", table: "orders_2019" });
      await decide();
      return await call;
    } catch (error) {
      console.error(agent.said);
      throw error;
    } finally {
      await agent.end();
    }
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

/** Waits until `look` returns something, and returns it. */
export async function until(look, otherwise) {
  for (let tries = 0; tries < 600; tries += 1) {
    const found = look();
    if (found) return found;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(otherwise);
}

/** Returns text as HTML. */
export function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** Draws HTML, and saves the picture. */
export async function shoot(browser, path, style, html) {
  const page = await browser.newPage({ viewport: { width: WIDTH, height: 600 }, deviceScaleFactor: 1 });
  await page.setContent(`<!doctype html><meta charset="utf-8"><style>${PAGE}${style}</style>${html}`);
  await page.screenshot({ path, fullPage: true });
  await page.close();
  tell(path);
}
