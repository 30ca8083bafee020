// Counts checks, and waits for expected results.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";

/** More time than anything that works needs. */
export const PATIENCE = 8000;

export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** Waits until `look` finds something. Returns its last result. */
export async function until(look, milliseconds = PATIENCE) {
  const end = performance.now() + milliseconds;
  for (;;) {
    let found;
    try {
      found = await look();
    } catch (error) {
      if (performance.now() >= end) throw error;
    }
    if (found || performance.now() >= end) return found;
    await pause(20);
  }
}

/** Counts the checks and prints a line for each. */
export class Checks {
  constructor(failures) {
    this.failures = failures;
    this.passed = this.failed = 0;
    this.scene = "";
    /** The page to take a screenshot of if a check fails. */
    this.page = null;
  }

  async check(sentence, holds, found) {
    console.log(`${holds ? "ok" : "not ok"} - ${this.scene}: ${sentence}`);
    if (holds) {
      this.passed += 1;
      return;
    }
    this.failed += 1;
    if (found !== undefined) console.log(`    found: ${typeof found === "string" ? found : JSON.stringify(found)}`);
    await this.photograph();
  }

  async equal(sentence, found, wanted) {
    await this.check(sentence, isDeepStrictEqual(found, wanted), { found, wanted });
  }

  /** Passes if `look` finds something in time. */
  async comes(sentence, look, found = () => undefined, milliseconds = PATIENCE) {
    const came = await until(look, milliseconds).catch(() => false);
    await this.check(sentence, Boolean(came), came ? undefined : await found());
  }

  async photograph() {
    if (!this.page || this.page.isClosed()) return;
    mkdirSync(this.failures, { recursive: true });
    const path = join(this.failures, `${this.failed}-${this.scene.replace(/\W+/g, "-")}.png`);
    try {
      await this.page.screenshot({ path, timeout: 5000 });
      console.log(`    at ${this.page.url().replace(/#.*/, "#…")}, see ${path}`);
    } catch (error) {
      console.log(`    no screenshot: ${error.message.split("\n")[0]}`);
    }
  }

  note(text) {
    console.log(`# ${this.scene}: ${text}`);
  }
}
