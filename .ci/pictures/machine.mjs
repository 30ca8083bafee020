// A user's machine: an empty home folder that its programs see as /home/me.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync } from "node:fs";
import { rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { Terminal } from "./terminal.mjs";

// Mounts the home folder in a namespace of the program's own.
const AT_HOME = 'mount -t tmpfs none /home && mkdir /home/me && mount --bind "$0" /home/me && cd /home/me/work && exec "$@"';
const DESK = { viewport: { width: 1000, height: 870 }, deviceScaleFactor: 1, reducedMotion: "reduce" };

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export class Machine {
  constructor({ proxy, cache, packages, folder, browser }) {
    Object.assign(this, { packages, folder, browser });
    this.home = mkdtempSync(join(tmpdir(), "pictures-"));
    this.open = [];
    this.terminals = [];
    const bin = join(this.home, ".cargo", "bin");
    for (const path of [bin, join(this.home, "work")]) mkdirSync(path, { recursive: true });
    // `wrap` writes where its program really is, so a link would show.
    copyFileSync(proxy, join(bin, "approval-proxy"));
    const modules = join(cache, "clients", "node_modules");
    const claude = readdirSync(join(modules, "@anthropic-ai")).find((name) => name.startsWith("claude-code-linux-"));
    symlinkSync(join(modules, "@anthropic-ai", claude, "claude"), join(bin, "claude"));
    symlinkSync(join(modules, ".bin", "codex"), join(bin, "codex"));
    this.proxy = join(bin, "approval-proxy");
    this.env = { LANG: "C.UTF-8", PATH: `/home/me/.cargo/bin:${process.env.PATH}`, HOME: "/home/me", BROWSER: "true" };
    // No updates, and the server's tools are listed from the start.
    Object.assign(this.env, { DISABLE_AUTOUPDATER: "1", CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1", ENABLE_TOOL_SEARCH: "false" });
  }

  command(words) {
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", AT_HOME, this.home, ...words];
  }

  /** Runs a program to its end. Returns what it prints. */
  run(...words) {
    const [program, ...rest] = this.command(words);
    return execFileSync(program, rest, { env: this.env, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  }

  async terminal(words, { env, ...options } = {}) {
    const all = { env: { ...this.env, ...env }, ...options };
    const terminal = await Terminal.start(this.browser, this.packages, this.command(words), all);
    this.terminals.push(terminal);
    this.open.push(() => terminal.end());
    return terminal;
  }

  read(path) {
    const file = join(this.home, path);
    return existsSync(file) ? readFileSync(file, "utf8") : null;
  }

  write(path, text) {
    const file = join(this.home, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }

  picture(name) {
    return join(this.folder, name);
  }

  /** Opens the inbox in a browser that is logged in like a user's. */
  async inbox() {
    const seen = join(this.home, "opened");
    const script = join(this.home, "browser.sh");
    writeFileSync(script, `#!/bin/sh\nprintf '%s' "$1" >'${seen}.new' && mv '${seen}.new' '${seen}'\n`, { mode: 0o700 });
    const env = { ...this.env, HOME: this.home, BROWSER: script };
    const inbox = spawn(this.proxy, ["inbox"], { env, stdio: "ignore" });
    const ended = once(inbox, "exit");
    await this.until(() => existsSync(seen), "the inbox opens no browser");
    const context = await this.browser.newContext(DESK);
    const page = await context.newPage();
    await page.goto(readFileSync(seen, "utf8"));
    await page.waitForURL(/^http:\/\/127\.0\.0\.1:\d+\/$/);
    this.open.push(async () => {
      await context.close();
      inbox.kill("SIGTERM");
      await ended;
    });
    return page;
  }

  /** Waits until `holds` returns true. */
  async until(holds, otherwise) {
    for (let tries = 0; !holds(); tries += 1) {
      if (tries > 600) throw new Error(otherwise);
      await pause(50);
    }
  }

  async end() {
    for (const close of this.open.reverse()) await close();
    rmSync(this.home, { recursive: true, force: true });
  }
}
