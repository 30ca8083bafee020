// With a passphrase, without which no verdict counts.

import { spawn } from "node:child_process";
import { once } from "node:events";

import { aimAt, approve, button, isEmpty, items } from "./seen.mjs";

// To try a passphrase takes long on purpose, and a build for debugging much longer.
const SLOW = 40_000;
const PASSPHRASE = "correct horse battery staple ü";

/** 13: the wrong one decides nothing and loses nothing; the right one makes the verdict surer. */
export async function passphrase(world, checks) {
  // Without a terminal it reads its stdin; a session of its own has none.
  const setter = spawn(world.tools.proxy, ["inbox", "--set-passphrase"], { env: world.env, detached: true, stdio: ["pipe", "ignore", "pipe"] });
  setter.stdin.end(`${PASSPHRASE}\n${PASSPHRASE}\n`);
  let said = "";
  setter.stderr.on("data", (bytes) => (said += bytes));
  const [code] = await once(setter, "exit");
  await checks.check("a passphrase is set", code === 0, said);

  const agent = await world.agent();
  const { call: first } = await agent.ask("delete_note", { name: "ideas" });
  const page = await world.page();
  const item = items(page, "ideas");
  const field = item.locator("[name=passphrase]");
  await checks.check("the item has a field for it", (await field.getAttribute("type")) === "password");
  await approve(item);
  await checks.check("without it nothing is sent", first.isOpen && (await item.isVisible()));
  await item.locator("[name=reason]").fill("because I say so");
  await field.fill("wrong");
  await aimAt(button(item, "Deny"));
  await button(item, "Deny").click();
  await checks.comes("the wrong one is called so", () => item.getByText(/not the passphrase/).isVisible(), () => item.innerText(), SLOW);
  await checks.equal("… and the reason is kept", await item.locator("[name=reason]").inputValue(), "because I say so");
  await checks.equal("… and the field is empty", await field.inputValue(), "");
  await checks.check("… and nothing is decided", first.isOpen && agent.decisions().length === 0);
  await field.fill(PASSPHRASE);
  const pressed = performance.now();
  await approve(item);
  await checks.equal("the right one lets the call run", (await first).text, "Deleted the note `ideas`.");
  checks.note(`the agent had its answer ${Math.round(performance.now() - pressed)} ms after the click`);
  await checks.equal("the audit log says so", await agent.lastDecision(1), ["approved", true, "inbox", "inbox-passphrase"]);
  await checks.comes("nothing waits any more", () => isEmpty(page));

  // The same on the item's own page, by a form without a script.
  const second = agent.call("delete_note", { name: "welcome" });
  await items(page, "welcome").getByRole("heading").getByRole("link").click();
  await page.waitForURL(/\/item\//);
  const form = page.getByRole("article");
  await form.locator("[name=reason]").fill("keep it, please");
  await form.locator("[name=passphrase]").fill("wrong again");
  await aimAt(button(form, "Deny"));
  await button(form, "Deny").click({ noWaitAfter: true });
  await checks.comes("on the item's page the wrong one is called so", () => page.getByText(/not the passphrase/).isVisible(), undefined, SLOW);
  await checks.equal("… and the reason is kept", await form.locator("[name=reason]").inputValue(), "keep it, please");
  await form.locator("[name=passphrase]").fill(PASSPHRASE);
  await aimAt(button(form, "Deny"));
  await button(form, "Deny").click();
  const got = await second;
  await checks.check("… and the right one denies with it", got.failed && got.text.includes("keep it, please"), got);
  await checks.equal("the audit log says so", await agent.lastDecision(2), ["denied", false, "inbox", "inbox-passphrase"]);
}
