// A passphrase, without which no verdict counts.

import { spawn } from "node:child_process";
import { once } from "node:events";

import { aimAt, approve, button, isEmpty, items, press } from "./seen.mjs";

// Trying a passphrase is slow on purpose, and much slower in a debug build.
const SLOW = 40_000;
const PASSPHRASE = "correct horse battery staple ü";

/** 13: a wrong passphrase decides nothing and loses nothing. The right one raises the assurance. */
export async function passphrase(world, checks) {
  // Without a terminal it reads stdin. A session of its own has no terminal.
  const setter = spawn(world.tools.proxy, ["inbox", "--set-passphrase"], { env: world.env, detached: true, stdio: ["pipe", "ignore", "pipe"] });
  setter.stdin.end(`${PASSPHRASE}\n${PASSPHRASE}\n`);
  let said = "";
  setter.stderr.on("data", (bytes) => (said += bytes));
  const [code] = await once(setter, "exit");
  await checks.check("a passphrase is set", code === 0, said);
  world.passphrase = PASSPHRASE;

  const agent = await world.agent();
  const { call: first } = await agent.ask("delete_note", { name: "ideas" });
  const page = await world.page();
  const item = items(page, "ideas");
  const field = item.locator("[name=passphrase]");
  await checks.check("the item has a field for it", (await field.getAttribute("type")) === "password");
  await approve(item);
  await checks.check("without a passphrase nothing is sent", first.isOpen && (await item.isVisible()));
  await item.locator("[name=reason]").fill("because I say so");
  await field.fill("wrong");
  await aimAt(button(item, "Deny"));
  await button(item, "Deny").click();
  await checks.comes("a wrong passphrase is reported", () => item.getByText(/Wrong passphrase/).isVisible(), () => item.innerText(), SLOW);
  await checks.equal("… and the reason is kept", await item.locator("[name=reason]").inputValue(), "because I say so");
  await checks.equal("… and the field is empty", await field.inputValue(), "");
  await checks.check("… and nothing is decided", first.isOpen && agent.decisions().length === 0);
  await field.fill(PASSPHRASE);
  const pressed = performance.now();
  await approve(item);
  await checks.equal("the right one lets the call run", (await first).text, "Deleted the note `ideas`.");
  checks.note(`the agent had its answer ${Math.round(performance.now() - pressed)} ms after the click`);
  await checks.equal("the audit log says so", await agent.lastDecision(1), ["approved", true, "inbox", "inbox-passphrase"]);
  await checks.comes("nothing is waiting any more", () => isEmpty(page));

  // The page asks for it once and keeps it nowhere else.
  const again = agent.call("rename_note", { from: "shopping", to: "errands" });
  const next = items(page, "errands");
  await next.waitFor();
  await checks.check("the next item does not ask for it again", (await next.locator("[name=passphrase]").getAttribute("required")) === null);
  await approve(next);
  await checks.check("… and its verdict is signed too", !(await again).failed && (await agent.lastDecision(2)).at(-1) === "inbox-passphrase", agent.decisions());
  const kept = await page.evaluate(() => [document.documentElement.innerHTML, JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie].join());
  await checks.check("it is nowhere in the page or in storage", !kept.includes(PASSPHRASE.slice(0, 13)));
  const third = agent.call("rename_note", { from: "errands", to: "shopping" });
  await items(page, "errands").waitFor();
  await page.getByRole("button", { name: "Forget the passphrase" }).click();
  const required = () => items(page, "errands").locator("[name=passphrase]").getAttribute("required");
  await checks.check("after \"Forget\" the page asks for it again", (await required()) !== null);
  await items(page, "errands").locator("[name=passphrase]").fill(PASSPHRASE);
  await approve(items(page, "errands"));
  await third;
  const fourth = agent.call("rename_note", { from: "shopping", to: "errands" });
  await items(page, "errands").waitFor();
  await checks.check("… and keeps it again", (await required()) === null);
  await items(page, "errands").locator("[name=passphrase]").fill("wrong");
  await press(items(page, "errands"), "Deny");
  await checks.comes("a wrong passphrase decides nothing", () => items(page, "errands").getByText(/Wrong passphrase/).isVisible(), undefined, SLOW);
  await checks.check("… and makes the page forget the right one", (await required()) !== null && fourth.isOpen);
  await items(page, "errands").locator("[name=passphrase]").fill(PASSPHRASE);
  await approve(items(page, "errands"));
  await fourth;
  await page.reload();
  await checks.check("a reloaded page does not know it", await page.locator("#forget").isHidden());

  // The same on the item's own page, with a form without a script.
  const second = agent.call("delete_note", { name: "welcome" });
  await items(page, "welcome").getByRole("heading").getByRole("link").click();
  await page.waitForURL(/\/item\//);
  const form = page.getByRole("article");
  await form.locator("[name=reason]").fill("keep it, please");
  await form.locator("[name=passphrase]").fill("wrong again");
  await aimAt(button(form, "Deny"));
  await button(form, "Deny").click({ noWaitAfter: true });
  await checks.comes("the item's page reports a wrong passphrase", () => page.getByText(/Wrong passphrase/).isVisible(), undefined, SLOW);
  await checks.equal("… and the reason is kept", await form.locator("[name=reason]").inputValue(), "keep it, please");
  await form.locator("[name=passphrase]").fill(PASSPHRASE);
  await aimAt(button(form, "Deny"));
  await button(form, "Deny").click();
  const got = await second;
  await checks.check("… and the right one denies with it", got.failed && got.text.includes("keep it, please"), got);
  await checks.equal("the audit log says so", await agent.lastDecision(5), ["denied", false, "inbox", "inbox-passphrase"]);
}
