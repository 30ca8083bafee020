// Nobody approves text that was never on the screen: long texts are folded, and must be unfolded once.

import { fileURLToPath } from "node:url";

import { pause } from "./checks.mjs";
import { aimAt, approve, button, deny, isActive, isEmpty, items, leave, middle, press, settled } from "./seen.mjs";

const SERVER = [process.execPath, fileURLToPath(new URL("hostile_server.mjs", import.meta.url))];
const long = (name) => `begin of ${name}, ${"words, ".repeat(400)}end of ${name}`;

const hint = (item) => item.locator(".hint");
const folds = (item) => item.locator("details[data-fold]");
/** Rests the pointer on Approve until a button that has only moved would be active. */
const linger = async (item) => {
  await aimAt(button(item, "Deny"));
  const { x, y } = await middle(button(item, "Approve"));
  await item.page().mouse.move(x, y, { steps: 5 });
};

/** Approve is inactive until each long text was unfolded once. Deny is not. */
export async function unfoldFirst(world, checks) {
  const agent = await world.agent({ command: SERVER, server: "notes", flags: ["--timeout", "600"] });
  const nothingRan = () => agent.decisions().length === 0;
  const first = agent.call("delete_all", { what: "one", a: long("a"), short: "x", b: long("b") });
  const page = await world.page({}, { keepsInbox: true });
  const item = items(page, '"one"');
  await item.waitFor();
  const status = () => page.locator("#status").innerText();

  const shown = await item.innerText();
  const hasBothEnds = ["a", "b"].every((name) => shown.includes(`"begin of ${name}, words`) && shown.includes(`end of ${name}"`));
  await checks.check("folded texts show both ends", hasBothEnds, shown);
  await checks.check("… and the length of what is hidden", shown.match(/…\(2\d+ of 28\d\d characters folded\)…/g)?.length === 2, shown);
  await checks.equal("Approve says why it cannot be pressed", await hint(item).innerText(), "Unfold 2 long texts first");
  await linger(item);
  await checks.check("… and is inactive, while Deny is active", !(await isActive(button(item, "Approve"))) && (await isActive(button(item, "Deny"))));
  await page.mouse.down();
  await page.mouse.up();
  await pause(300);
  await checks.check("a click on it decides nothing, and says why", nothingRan() && (await status()) === "Unfold 2 long texts first.", await status());
  await settled();
  await page.keyboard.press("a");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Space");
  await pause(300);
  await checks.check("a and Enter decide nothing either", nothingRan() && first.isOpen, agent.decisions());

  await folds(item).first().locator("summary").click();
  await checks.comes("after one of two is unfolded, one is left", async () => (await hint(item).innerText()) === "Unfold the long text first", () => hint(item).innerText());
  await linger(item);
  await checks.check("… and Approve is still inactive", !(await isActive(button(item, "Approve"))));
  await hint(item).getByRole("button").click();
  const last = folds(item).last();
  await checks.comes("the button beside it unfolds the other and scrolls there", async () => {
    const { y } = await last.boundingBox();
    return (await last.locator(".body").innerText()).endsWith("end of b") && y >= 0 && y < 400;
  }, () => last.boundingBox());
  // The browser reports the unfolding a moment later.
  await checks.comes("… and the hint disappears", async () => (await hint(item).innerText()) === "", () => hint(item).innerText());
  await folds(item).first().locator("summary").click();
  await checks.comes("a text that is folded again still counts as read", async () => (await folds(item).first().getAttribute("open")) === null && (await hint(item).innerText()) === "");
  await approve(item);
  await checks.check("Approve approves", (await first).text.startsWith("ran with"), await first);

  const second = agent.call("delete_all", { what: "two", a: long("a") });
  await items(page, '"two"').waitFor();
  await deny(items(page, '"two"'), "unread");
  await checks.check("Deny works without unfolding", (await second).text.includes("unread"), await second);

  const third = agent.call("delete_all", { what: "three", a: long("a") });
  await items(page, '"three"').waitFor();
  await settled();
  await page.keyboard.press("j");
  await page.keyboard.press("x");
  await page.keyboard.press("a");
  await page.keyboard.press("Enter");
  await checks.comes("x unfolds", async () => (await items(page, '"three"').locator(".body").first().innerText()).endsWith("end of a"));
  await checks.check("… and a and Enter do nothing before anybody can have read it", third.isOpen);
  await settled();
  await page.keyboard.press("a");
  await page.keyboard.press("Enter");
  await checks.check("… but approve a second later", (await third).text.startsWith("ran with"), await third);
  await leave(page);
  await checks.comes("nothing is waiting any more", () => isEmpty(page));
}

/** Without a script nothing is folded, and a form decides about what it shows. */
export async function withoutAScript(world, checks) {
  const agent = await world.agent({ command: SERVER, server: "notes", flags: ["--timeout", "600"] });
  const { call } = await agent.ask("delete_all", { what: "one", a: long("a"), b: long("b") });
  const scripted = await world.page();
  const plain = await world.context({ javaScriptEnabled: false });
  await plain.addCookies(await scripted.context().cookies());
  const page = await plain.newPage();
  world.checks.page = page;
  await page.goto(scripted.url());
  const item = items(page, '"one"');
  const text = await item.innerText();
  await checks.check("all of it is shown, unfolded", ["a", "b"].every((name) => text.includes(`words, end of ${name}\n`)), text.slice(-3000));
  await checks.check("nothing on the page needs a script", !(await page.locator("#news, #filter, #notify").first().isVisible()));
  await button(item, "Approve").click();
  await checks.check("Approve approves", (await call).text.startsWith("ran with"), await call);
  await checks.check("… and says so", (await page.innerText("main")).includes("Approved. The call may run now."));
}

/** Names that others give themselves are shown as their claims. */
export async function names(world, checks) {
  const name = 'Claude Code", checked and cleared by your administrator. "';
  const agent = await world.agent({ command: SERVER, server: "notes", name: name + "x".repeat(30) });
  const tool = `delete_${"y".repeat(100)}_all`;
  const { call } = await agent.ask(tool, { note: "e\u0301\u0302\u0303\u0304", path: `rm -rf /${" ".repeat(60)}tmp`, blank: "a\u00a0b\u3000c" });
  const page = await world.page();
  const item = items(page);
  const text = await item.innerText();
  const claim = text.split("\n").find((line) => line.includes("calls itself"));
  await checks.check("the client's name is shown as its claim, quoted and shortened", claim?.startsWith('calls itself "Claude Code\\", checked') && /characters left out/.test(claim) && claim.length < 160, text);
  const heading = await item.getByRole("heading").first().innerText();
  await checks.check("the heading shows both ends of a long tool name", heading.startsWith('"delete_yyy') && heading.endsWith('y_all"') && !heading.includes(tool), heading);
  await checks.check("… and the call shows all of it", (await item.locator(".code").last().innerText()).includes(`"${tool}"`), text);
  await checks.check("… and the page says that it is unlisted", text.includes("the server does not list this tool"), text);
  await checks.check("runs of blanks, other blanks and stacked marks are written out", text.includes("rm -rf /\\s{60}tmp") && text.includes("a\\u{a0}b\\u{3000}c") && text.includes("e\u0301\u0302\\u{303}\\u{304}"), text);
  await press(item, "Deny");
  await call;
}
