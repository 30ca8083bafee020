#!/usr/bin/env node
// Drives the engine `slack` with a Socket Mode server that is not our code: npm's `ws`, over TLS.
//
//     .ci/slack_socket.mjs PATH/TO/approval-proxy PATH/TO/scripted_upstream [--cache DIR]
//
// A small Web API stands in for Slack's, on the same HTTPS port; what matters here is the WebSocket. The server offers
// HTTP/2 and permessage-deflate, as large services do, sends fragments and pings, and closes with the usual handshake.
// What ran is read from the agent's answers.
//
// Needs node, npm and openssl. Installs `ws` once into the cache folder (default: approval-proxy-slack in the user's
// cache). Prints a line per check. Exits 1 if a check failed, 2 if nothing could be checked.

import { execFileSync, spawn } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createSecureServer } from "node:http2";
import { createRequire } from "node:module";
import { homedir, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

const PACKAGE = "ws@8";
const OLGA = "U0OLGA001";
const PATIENCE = 15_000;

function install(cache) {
  mkdirSync(cache, { recursive: true });
  if (!existsSync(join(cache, "node_modules", "ws", "package.json"))) {
    const flags = ["install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix", cache];
    execFileSync("npm", [...flags, PACKAGE], { stdio: ["ignore", "ignore", "inherit"] });
  }
  return createRequire(join(cache, "package.json"))("ws");
}

async function until(what, isSo) {
  const end = Date.now() + PATIENCE;
  while (Date.now() < end) {
    const found = isSo();
    if (found) return found;
    await new Promise((done) => setTimeout(done, 20));
  }
  throw new Error(`not in time: ${what}`);
}

function certificate(place) {
  const [key, cert] = [join(place, "key.pem"), join(place, "cert.pem")];
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  const kind = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"];
  const flags = [...kind, ...subject, "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", cert];
  execFileSync("openssl", flags, { stdio: "ignore" });
  return { key, cert };
}

// What stands in for Slack.
class Service {
  constructor({ WebSocketServer }, { key, cert }) {
    this.cards = [];
    this.sockets = [];
    this.acknowledged = [];
    this.pongs = 0;
    const options = { key: readFileSync(key), cert: readFileSync(cert), allowHTTP1: true };
    this.server = createSecureServer(options, (request, response) => this.answer(request, response));
    const socketServer = new WebSocketServer({ server: this.server, path: "/link/", perMessageDeflate: true });
    socketServer.on("connection", (socket, request) => this.connected(socket, request));
  }

  async listen() {
    await new Promise((done) => this.server.listen(0, "127.0.0.1", done));
    this.port = this.server.address().port;
  }

  answer(request, response) {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      const method = request.url.split("/").pop();
      const body = JSON.parse(Buffer.concat(chunks).toString() || "{}");
      const ts = `1790000000.${String(this.cards.length + 1).padStart(6, "0")}`;
      let answer = { ok: true };
      if (method === "apps.connections.open") answer.url = `wss://localhost:${this.port}/link/?ticket=1`;
      if (method === "chat.postMessage") {
        this.cards.push({ ts, body, version: request.httpVersion });
        answer = { ok: true, channel: body.channel, ts };
      }
      if (method === "chat.update") this.cards.find((card) => card.ts === body.ts).settled = body;
      response.writeHead(200, { "content-type": "application/json" });
      response.end(JSON.stringify(answer));
    });
  }

  connected(socket, request) {
    this.sockets.push({ socket, request });
    socket.on("message", (data) => this.acknowledged.push(JSON.parse(data.toString()).envelope_id));
    socket.on("pong", () => (this.pongs += 1));
    socket.on("close", (code) => (socket.closedWith = code));
    socket.send(JSON.stringify({ type: "hello", num_connections: 1, connection_info: { app_id: "A1" } }));
    socket.ping("from ws");
  }

  click(card, text, id) {
    const actions = card.body.blocks.find((block) => block.type === "actions");
    const button = actions.elements.find((element) => element.text.text === text);
    const { action_id, value } = button;
    const payload = {
      type: "block_actions",
      user: { id: OLGA },
      channel: { id: "C024BE7LR" },
      trigger_id: "1.2.3",
      actions: [{ action_id, value, type: "button" }],
    };
    return JSON.stringify({ envelope_id: id, type: "interactive", accepts_response_payload: false, payload });
  }
}

// An MCP client over stdio without prompts.
class Agent {
  constructor(proxy, place, upstream, service, cert) {
    const secrets = { SLACK_BOT: "xoxb-1", SLACK_APP: "xapp-1" };
    const engine = {
      type: "slack",
      botToken: "${SLACK_BOT}",
      appToken: "${SLACK_APP}",
      channel: "C024BE7LR",
      approvers: [OLGA],
      apiUrl: `https://localhost:${service.port}/api/`,
    };
    const entry = { command: upstream, args: [join(place, "record")] };
    const config = { mcpServers: { box: entry }, approvalProxy: { engines: [engine] } };
    writeFileSync(join(place, "config.json"), JSON.stringify(config));
    const flags = ["--upstream", join(place, "config.json"), "--audit-log", join(place, "audit.jsonl")];
    const environment = { PATH: process.env.PATH, HOME: place, SSL_CERT_FILE: cert, ...secrets };
    environment.APPROVAL_STATE_DIR = join(place, "state");
    this.child = spawn(proxy, flags, { env: environment, stdio: ["pipe", "pipe", "pipe"] });
    this.stderr = "";
    this.child.stderr.on("data", (chunk) => (this.stderr += chunk));
    this.answers = new Map();
    this.next = 1;
    createInterface({ input: this.child.stdout }).on("line", (line) => {
      const message = JSON.parse(line);
      if (message.id !== undefined) this.answers.set(message.id, message);
    });
  }

  send(message) {
    this.child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  }

  request(method, params) {
    const id = this.next++;
    this.send({ id, method, params });
    return id;
  }

  answer(id) {
    return until(`the answer to ${id}; stderr: ${this.stderr}`, () => this.answers.get(id));
  }

  async greet() {
    const clientInfo = { name: "probe", version: "0" };
    await this.answer(this.request("initialize", { protocolVersion: "2025-06-18", capabilities: {}, clientInfo }));
    this.send({ method: "notifications/initialized" });
  }

  call(n) {
    return this.request("tools/call", { name: "wipe", arguments: { n } });
  }
}

async function check(service, agent, report) {
  await agent.greet();
  let call = agent.call(1);
  await until("a question", () => service.cards.length === 1);
  const [first] = await until("a connection", () => service.sockets.length === 1 && service.sockets);
  report("the handshake is HTTP/1.1, although the server offers HTTP/2", first.request.httpVersion === "1.1");
  report("other requests may use HTTP/2", service.cards[0].version === "2.0");
  report("no extension is asked for", first.request.headers["sec-websocket-extensions"] === undefined);
  await until("a pong", () => service.pongs > 0);
  report("pings are answered", true);

  // One message in three frames, with a ping between them.
  const text = service.click(service.cards[0], "Approve", "e1");
  first.socket.send(text.slice(0, 20), { fin: false });
  first.socket.ping("between");
  first.socket.send(text.slice(20, 400), { fin: false });
  first.socket.send(text.slice(400), { fin: true });
  let answer = await agent.answer(call);
  report("a click in fragments runs the call", answer.result.content[0].text === "wipe ran");
  report("its envelope is acknowledged", service.acknowledged.includes("e1"));
  await until("the edit", () => service.cards[0].settled);
  report("the message names who decided", JSON.stringify(service.cards[0].settled).includes(`<@${OLGA}>`));

  call = agent.call(2);
  await until("another question", () => service.cards.length === 2);
  first.socket.send(JSON.stringify({ type: "disconnect", reason: "warning" }));
  const second = await until("another connection", () => service.sockets[1]);
  report("the old connection is still open then", first.socket.readyState === 1);
  first.socket.close(1000, "bye");
  await until("the old one's end", () => first.socket.closedWith === 1000);
  report("a close is answered", true);
  second.socket.send(service.click(service.cards[1], "Approve", "e2"));
  answer = await agent.answer(call);
  report("a click on the new connection runs the call", answer.result.content[0].text === "wipe ran");

  call = agent.call(3);
  await until("a third question", () => service.cards.length === 3);
  second.socket.terminate();
  const third = await until("a third connection", () => service.sockets[2]);
  // A message that is longer than we read ends the connection, and nothing else.
  third.socket.send(JSON.stringify({ type: "hello", x: "y".repeat(2 * 1024 * 1024) }));
  await until("its end", () => third.socket.closedWith !== undefined);
  const fourth = await until("a fourth connection", () => service.sockets[3]);
  fourth.socket.send(service.click(service.cards[2], "Approve", "e3"));
  answer = await agent.answer(call);
  report("a message that is too long costs the connection only", answer.result.content[0].text === "wipe ran");

  agent.child.stdin.end();
  const code = await until("the end", () => agent.child.exitCode !== null && [agent.child.exitCode]);
  report("the proxy ends as usual", code[0] === 0 && !agent.stderr.includes("panicked"));
}

async function main() {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { cache: { type: "string" } } });
  if (positionals.length !== 2) throw new Error("name the approval-proxy and the scripted_upstream");
  const [proxy, upstream] = positionals.map((path) => resolve(path));
  for (const program of [proxy, upstream]) accessSync(program, constants.X_OK);
  const users = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  const ws = install(resolve(values.cache ?? join(users, "approval-proxy-slack")));
  const place = mkdtempSync(join(tmpdir(), "slack-socket-"));
  const files = certificate(place);
  const service = new Service(ws, files);
  await service.listen();
  const agent = new Agent(proxy, place, upstream, service, files.cert);
  let failed = 0;
  const report = (what, holds) => {
    console.log(`${holds ? "ok  " : "FAIL"} ${what}`);
    if (!holds) failed += 1;
  };
  try {
    await check(service, agent, report);
  } catch (error) {
    report(`${error.message}; stderr: ${agent.stderr}`, false);
  } finally {
    agent.child.kill("SIGKILL");
    rmSync(place, { recursive: true, force: true });
  }
  process.exit(failed > 0 ? 1 : 0);
}

main().catch((error) => {
  console.error(`slack_socket: ${error.message}`);
  process.exit(2);
});
