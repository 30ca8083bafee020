// A program in a terminal that a browser draws: xterm.js shows what it prints, and answers its questions.

import { spawn } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";

const LIMIT = 150 * 1000;
const FONT = "'DejaVu Sans Mono', monospace";

/** Prints the size of a picture. Throws if it is too large. */
export function tell(path) {
  const { size } = statSync(path);
  if (size > LIMIT) throw new Error(`${path} has ${size} bytes; the maximum is ${LIMIT}`);
  console.log(`${path}: ${size} bytes`);
}

export class Terminal {
  /** Starts `command` in a terminal of `columns` by `rows`. */
  static async start(browser, packages, command, { cwd, env, columns = 100, rows = 40, lineHeight = 1.15 }) {
    const terminal = new Terminal();
    const viewport = { width: columns * 10 + 60, height: rows * 22 + 60 };
    terminal.page = await browser.newPage({ viewport, deviceScaleFactor: 1 });
    const find = createRequire(packages).resolve;
    await terminal.page.setContent('<body style="margin:0"><div id="screen" style="padding:12px;display:inline-block"></div>');
    await terminal.page.addStyleTag({ path: find("@xterm/xterm/css/xterm.css") });
    await terminal.page.addScriptTag({ content: readFileSync(find("@xterm/xterm/lib/xterm.js"), "utf8") });
    await terminal.page.exposeFunction("typed", (text) => terminal.type(text));
    await terminal.page.evaluate(([columns, rows, fontFamily, lineHeight]) => {
      const theme = { background: "#16181d", foreground: "#d6d8de", cursor: "#16181d" };
      globalThis.term = new Terminal({ cols: columns, rows, fontFamily, fontSize: 14, lineHeight, theme, allowProposedApi: true });
      term.onData(typed);
      document.body.style.background = theme.background;
      term.open(document.querySelector("#screen"));
    }, [columns, rows, FONT, lineHeight]);
    // Node has no pseudo-terminals; `script` makes one.
    const words = command.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
    const line = `stty rows ${rows} cols ${columns}; exec ${words}`;
    const options = { cwd, env: { TERM: "xterm-256color", COLORTERM: "truecolor", ...env }, stdio: ["pipe", "pipe", "ignore"] };
    terminal.process = spawn("script", ["-qfec", line, "/dev/null"], options);
    terminal.ended = new Promise((resolve) => terminal.process.once("exit", resolve));
    terminal.process.stdin.on("error", () => {});
    terminal.process.stdout.on("data", (bytes) => {
      const write = (text) => term.write(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)));
      terminal.page.evaluate(write, bytes.toString("base64")).catch(() => {});
    });
    return terminal;
  }

  type(text) {
    this.process.stdin.write(text);
  }

  /** Returns the lines on the screen. */
  async lines() {
    return this.page.evaluate(() => {
      const { active } = term.buffer;
      return Array.from({ length: term.rows }, (_, row) => active.getLine(active.viewportY + row)?.translateToString(true) ?? "");
    });
  }

  /** Waits until the screen shows `text`. */
  async shows(text, seconds = 30) {
    const end = performance.now() + seconds * 1000;
    while (!(await this.lines()).join("\n").includes(text)) {
      if (performance.now() > end) throw new Error(`the terminal does not show \`${text}\``);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** Saves the screen from the first to the last line with text, or from the line that contains `from`. */
  async shoot(path, { from } = {}) {
    const lines = await this.lines();
    const first = lines.findIndex((line) => (from ? line.includes(from) : line.trim()));
    const last = lines.findLastIndex((line) => line.trim());
    const box = await this.page.locator(".xterm-screen").boundingBox();
    const height = box.height / lines.length;
    const clip = { x: 0, y: box.y + first * height - 12, width: box.width + 24, height: (last - first + 1) * height + 24 };
    await this.page.screenshot({ path, clip });
    tell(path);
  }

  async end() {
    this.process.kill("SIGTERM");
    await this.ended;
    await this.page.close();
  }
}
