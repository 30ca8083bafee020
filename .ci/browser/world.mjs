// The world of one scene: folders, proxies, and a logged-in browser. Or a paired one: in a remote world, the browser
// reaches the page through a reverse proxy with TLS.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Agent } from "./agent.mjs";
import { pause, until } from "./checks.mjs";
import { HOST, ask, freePort, startFront } from "./front.mjs";

export class Tools {
  constructor(all) {
    Object.assign(this, all);
  }

  /** Plays a scene in its own world. An exception is a failed check. */
  async play(name, scene, { isRemote = false } = {}) {
    this.checks.scene = name;
    const began = performance.now();
    const world = new World(this);
    try {
      if (isRemote) await world.openToPhones();
      await scene(world, this.checks);
    } catch (error) {
      await this.checks.check("the scene finishes", false, String(error.stack ?? error));
    } finally {
      await world.end();
      this.checks.page = null;
    }
    this.checks.note(`${((performance.now() - began) / 1000).toFixed(1)} s`);
  }
}

export class World {
  constructor(tools) {
    this.tools = tools;
    this.checks = tools.checks;
    this.place = mkdtempSync(join(tmpdir(), "approvals-"));
    this.state = join(this.place, "state");
    this.notes = join(this.place, "notes");
    mkdirSync(this.state, { mode: 0o700 });
    mkdirSync(this.notes);
    const ours = ["DISPLAY", "WAYLAND_DISPLAY", "XDG_STATE_HOME"];
    const inherited = Object.entries(process.env).filter(([name]) => !ours.includes(name));
    this.env = { ...Object.fromEntries(inherited), APPROVAL_STATE_DIR: this.state, BROWSER: "" };
    this.agents = [];
    this.contexts = [];
    this.inboxes = [];
    /** Events that none of our pages may cause. */
    this.alarms = [];
    /** What `inbox --pair` is told, if a passphrase is set. */
    this.passphrase = undefined;
  }

  /** Lets phones reach the page, behind a reverse proxy. From then on, `page` returns a paired one. */
  async openToPhones() {
    this.listen = await freePort();
    this.front = await startFront(this.tools.certificate, this.listen);
    this.home = `https://${HOST}:${this.front.port}/`;
    const page = { pageUrl: this.home, listen: `127.0.0.1:${this.listen}`, behindProxy: ["127.0.0.1"] };
    this.env.APPROVAL_INBOX = JSON.stringify(page);
  }

  /** Starts `approval-proxy inbox --pair`. Returns it with the link that it shows. It serves the page if nobody does. */
  async startPairing() {
    // A session of its own has no terminal, so it reads its stdin.
    const inbox = spawn(this.tools.proxy, ["inbox", "--pair"], { env: this.env, detached: true, stdio: ["pipe", "pipe", "pipe"] });
    inbox.ended = once(inbox, "exit");
    inbox.said = "";
    inbox.stdin.on("error", () => {});
    inbox.stdin.end(this.passphrase === undefined ? "" : `${this.passphrase}\n`);
    for (const pipe of [inbox.stdout, inbox.stderr]) pipe.on("data", (bytes) => (inbox.said += bytes));
    this.inboxes.push(inbox);
    const code = await until(() => inbox.said.match(/^ {2}(\w{4}-\w{4})$/m)?.[1], 40_000);
    if (!code) throw new Error(`no code is shown: ${inbox.said}`);
    return { inbox, code, link: `${this.home}pair#${code}` };
  }

  /** Sends exactly this request to the page for paired devices, without a browser's rules. */
  ask(path, options = {}) {
    return ask(new URL(path, this.home), { certificate: this.tools.certificate, ...options });
  }

  /** Returns the answer to a request that the browser is about to send. */
  async fetch(route) {
    if (!this.front) return { response: await route.fetch() };
    // Only the browser knows where the page's host is.
    const { status, headers, text } = await this.ask(route.request().url(), { headers: await route.request().allHeaders() });
    return { status, headers, body: text };
  }

  /** Runs `approval-proxy inbox --devices` with these arguments, and returns what it prints. */
  devices(...args) {
    return execFileSync(this.tools.proxy, ["inbox", "--devices", ...args], { env: this.env, encoding: "utf8" });
  }

  /** Starts an agent with a proxy in front of the notes server or of `command`. */
  async agent({ flags = [], name, title, answers, server = "notes", command = [this.tools.notes, this.notes] } = {}) {
    const number = this.agents.length + 1;
    const config = join(this.place, `upstream-${number}.json`);
    const [program, ...args] = command;
    writeFileSync(config, JSON.stringify({ mcpServers: { [server]: { command: program, args } } }));
    const log = join(this.place, `audit-${number}.jsonl`);
    const settings = ["--upstream", config, "--audit-log", log, "--no-browser", "--inbox-port", "0", ...flags];
    const agent = new Agent(this.tools.proxy, settings, { env: this.env, log, name, title, answers });
    this.agents.push(agent);
    await agent.ready;
    return agent;
  }

  /** Starts `approval-proxy inbox`, and returns the address that it gives to the browser. */
  async startInbox(flags = []) {
    const seen = join(this.place, `opened-${this.inboxes.length}`);
    const script = `${seen}.sh`;
    writeFileSync(script, `#!/bin/sh\nprintf '%s' "$1" >'${seen}.new' && mv '${seen}.new' '${seen}'\n`, { mode: 0o700 });
    const env = { ...this.env, BROWSER: script };
    const inbox = spawn(this.tools.proxy, ["inbox", "--inbox-port", "0", ...flags], { env, stdio: ["ignore", "ignore", "pipe"] });
    inbox.ended = once(inbox, "exit");
    inbox.said = "";
    inbox.stderr.on("data", (bytes) => (inbox.said += bytes));
    this.inboxes.push(inbox);
    if (!(await until(() => existsSync(seen)))) throw new Error(`no browser was opened: ${inbox.said}`);
    return { inbox, url: readFileSync(seen, "utf8") };
  }

  /** Opens a page that is logged in like a user's. `options` are for its browser context. Ends the inbox command
   * that opened it, because a proxy serves the page. */
  async page(options = {}, { keepsInbox = false, context, flags } = {}) {
    if (this.front) return this.pairedPage(options, { keepsInbox, context });
    const { inbox, url } = await this.startInbox(flags);
    context ??= await this.context(options);
    const page = await context.newPage();
    this.checks.page = page;
    await page.goto(url);
    await page.waitForURL(/^http:\/\/127\.0\.0\.1:\d+\/$/);
    if (!keepsInbox) {
      inbox.kill("SIGTERM");
      await inbox.ended;
    }
    return page;
  }

  /** Opens a page that is paired like a phone's. */
  async pairedPage(options, { keepsInbox, context }) {
    const { inbox, link } = await this.startPairing();
    context ??= await this.context(options);
    const page = await context.newPage();
    this.checks.page = page;
    await page.goto(link);
    await page.getByRole("button", { name: "Pair this device" }).click();
    await page.waitForURL(this.home);
    if (!keepsInbox) {
      if (!(await until(() => inbox.said.includes("Paired: ")))) throw new Error(inbox.said);
      inbox.kill("SIGTERM");
      await inbox.ended;
      // Perhaps it has served the page until now.
      await until(async () => (await this.ask("/pair")).status === 200);
    }
    return page;
  }

  /** Creates a separate browser context that records forbidden events. */
  async context(options = {}) {
    const context = await this.tools.browser.newContext({ viewport: { width: 1200, height: 800 }, ...options });
    this.contexts.push(context);
    context.setDefaultTimeout(8000);
    await context.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) => {
        console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`);
      });
    });
    context.on("page", (page) => {
      page.on("dialog", (dialog) => {
        this.alarms.push(`a dialog: ${dialog.message()}`);
        void dialog.dismiss();
      });
      page.on("pageerror", (error) => this.alarms.push(`an error of the script: ${error.message}`));
      page.on("console", (message) => {
        const isOurs = /CSP:|Content Security Policy/.test(message.text());
        if (isOurs) this.alarms.push(message.text());
      });
    });
    return context;
  }

  /** Decides in a terminal about the call that contains `text`. */
  decideInTerminal(choice, text) {
    const run = (...args) => execFileSync(this.tools.proxy, ["approvals", ...args], { env: this.env, encoding: "utf8" });
    const item = JSON.parse(run("list", "--json")).find((item) => JSON.stringify(item.call).includes(text));
    run(choice, item.id);
  }

  /** Returns the decisions that `approvals list --history --json` prints. */
  history() {
    const args = ["approvals", "list", "--history", "--json"];
    return JSON.parse(execFileSync(this.tools.proxy, args, { env: this.env, encoding: "utf8" }));
  }

  /** Returns the names of the notes in their folder. */
  noteNames() {
    return readdirSync(this.notes).map((file) => file.replace(/\.txt$/, "")).sort();
  }

  async end() {
    // A browser that hangs must not hold up everything: it is ended after the last scene.
    for (const context of this.contexts) await Promise.race([context.close(), pause(10_000)]);
    this.front?.end();
    for (const child of [...this.inboxes, ...this.agents.map((agent) => agent.process)]) child.kill("SIGKILL");
    await Promise.all([...this.inboxes, ...this.agents].map((child) => child.ended));
    rmSync(this.place, { recursive: true, force: true });
  }
}
