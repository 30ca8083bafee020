// The AI agent: an MCP client over stdio without prompts, with the proxy as its server.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";

import { until } from "./checks.mjs";

const LONGEST = 60_000;

/** Limits every wait. */
const late = () => pause(LONGEST, { error: { message: `no answer within ${LONGEST} ms` } }, { ref: false });

export class Agent {
  constructor(command, args, { env, log, name = "agent", title, answers }) {
    this.log = log;
    this.said = "";
    this.waiting = new Map();
    this.next = 1;
    this.process = spawn(command, args, { env, stdio: ["pipe", "pipe", "pipe"] });
    this.ended = once(this.process, "exit");
    this.process.stdin.on("error", () => {});
    this.process.stderr.on("data", (bytes) => (this.said += bytes));
    createInterface({ input: this.process.stdout }).on("line", (line) => this.hear(JSON.parse(line)));
    this.process.on("exit", () => {
      for (const answer of this.waiting.values()) answer({ error: { message: "the proxy has ended" } });
      this.waiting.clear();
    });
    /** Its person's answers to prompts, in order. Without answers it declares no prompts. */
    this.answers = answers;
    this.ready = this.shakeHands(name, title);
  }

  async shakeHands(name, title) {
    const clientInfo = { name, title, version: "1" };
    const capabilities = this.answers ? { elicitation: {} } : {};
    await this.request("initialize", { protocolVersion: "2025-06-18", capabilities, clientInfo });
    this.send({ method: "notifications/initialized" });
    await this.request("tools/list", {});
  }

  send(message) {
    this.process.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  }

  hear(message) {
    if (message.method === "elicitation/create") {
      // A person takes at least this long.
      return void setTimeout(() => this.send({ id: message.id, result: this.answers.shift() }), 1500);
    }
    this.waiting.get(message.id)?.(message);
    this.waiting.delete(message.id);
  }

  request(method, params) {
    const id = this.next++;
    const answer = new Promise((done) => this.waiting.set(id, done));
    this.send({ id, method, params });
    return answer;
  }

  /** Calls a tool. The result has `text` and `failed`. `.isOpen` of the promise says whether it is pending. */
  call(tool, input) {
    const id = this.next;
    const open = this.outcome(this.request("tools/call", { name: tool, arguments: input }));
    return Object.assign(open, { id });
  }

  /** Cancels a call. */
  withdraw(call) {
    this.send({ method: "notifications/cancelled", params: { requestId: call.id } });
  }

  outcome(request) {
    const open = Promise.race([request, late()]).then((message) => {
      open.isOpen = false;
      const { result, error } = message;
      if (error) return { text: error.message, failed: true };
      const text = (result.content ?? []).map((block) => block.text ?? "").join("\n");
      return { text, failed: result.isError === true };
    });
    open.isOpen = true;
    return open;
  }

  /** Calls a tool in 2026-07-28, as a client that opens URLs and shows no forms. Returns the question, and a
   * function that retries with an answer. */
  async stateless(tool, input) {
    const params = { name: tool, arguments: input };
    params._meta = {
      "io.modelcontextprotocol/protocolVersion": "2026-07-28",
      "io.modelcontextprotocol/clientInfo": { name: "agent", version: "1" },
      "io.modelcontextprotocol/clientCapabilities": { elicitation: { url: {} } },
    };
    const { result } = await Promise.race([this.request("tools/call", params), late()]);
    const [[key, { params: question }]] = Object.entries(result.inputRequests);
    const retry = (answer) => {
      const again = { ...params, inputResponses: { [key]: answer }, requestState: result.requestState };
      return this.outcome(this.request("tools/call", again));
    };
    return { question, retry };
  }

  /** Waits until one of its calls is in the inbox and the page is served. */
  async isAsking() {
    if (await until(() => this.said.includes("waits for your approval at"))) return;
    throw new Error(`no call is waiting: ${this.said}`);
  }

  /** Calls a tool, and waits until it is asked about. Returns `{ call }` instead of a promise of the result. */
  async ask(tool, input) {
    const call = this.call(tool, input);
    await this.isAsking();
    return { call };
  }

  /** Returns the decisions in the audit log. */
  decisions() {
    if (!existsSync(this.log)) return [];
    const lines = readFileSync(this.log, "utf8").split("\n").filter(Boolean);
    return lines.map((line) => JSON.parse(line)).filter((line) => "tool" in line);
  }

  /** Returns the last decision, as `[decision, forwarded, engine, assurance]`. */
  async lastDecision(count) {
    await until(() => this.decisions().length >= count, 2000);
    const line = this.decisions().at(-1) ?? {};
    return [line.decision, line.forwarded, line.engine, line.assurance];
  }

  get pid() {
    return this.process.pid;
  }

  /** Ends the proxy as a client does. */
  async end() {
    this.process.stdin.end();
    await this.ended;
  }

  async kill() {
    this.process.kill("SIGKILL");
    await this.ended;
  }
}
