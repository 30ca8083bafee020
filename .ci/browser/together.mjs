// Deciding about several calls at once: only calls that were shown in full, never risky ones, each with its own
// verdict.

import { aimAt, button, isEmpty, items, leave, settled } from "./seen.mjs";

const long = (name) => `begin of ${name}, ${"words, ".repeat(400)}end of ${name}`;
const box = (page, text) => items(page, text).first().locator(".pick input");
const bar = (page) => page.locator("#batch");
const press = async (page, name) => {
  await aimAt(page.getByRole("button", { name }));
  await page.getByRole("button", { name }).click();
};

export async function together(world, checks) {
  const agent = await world.agent({ flags: ["--timeout", "600"] });
  const { call: one } = await agent.ask("rename_note", { from: "ideas", to: "thoughts" });
  const two = agent.call("add_note", { name: "two", text: "short" });
  const three = agent.call("add_note", { name: "three", text: long("three") });
  const risky = agent.call("delete_note", { name: "welcome" });
  const page = await world.page();
  await items(page, "welcome").waitFor();
  await checks.check("without a selection there is no bar", !(await bar(page).isVisible()));
  const place = () => items(page, "two").boundingBox();
  const before = await place();
  await box(page, "thoughts").check();
  await checks.comes("with one selected call there is", () => bar(page).isVisible());
  await checks.equal("… and nothing has moved", await place(), before);
  await box(page, '"two"').check();
  await box(page, '"three"').check();
  const told = () => page.locator("#picked").innerText();
  await checks.check("a folded call cannot be approved", /3 calls selected. Only calls shown in full/.test(await told()), await told());
  await page.getByRole("button", { name: "Approve selected" }).click({ force: true });
  await page.waitForTimeout(300);
  await checks.check("… and pressing does nothing", new URL(page.url()).pathname === "/" && agent.decisions().length === 0, page.url());
  await items(page, '"three"').getByRole("button", { name: /^Unfold/ }).click();
  await checks.comes("… until it is unfolded", async () => (await told()) === "3 calls selected.", told);
  await box(page, "welcome").check();
  await checks.comes("a risky call cannot be approved with others", async () => /High-risk calls are approved one by one/.test(await told()), told);
  await box(page, "welcome").uncheck();
  await press(page, "Approve selected");
  await page.waitForURL(/\/decide$/);
  const main = page.locator("main");
  const list = await main.innerText();
  await checks.check("a page lists them, and decides nothing", /Approve 3 calls\?/.test(list) && agent.decisions().length === 0, list);
  await checks.check("… each in full, without a fold", ["thoughts", '"two"', "end of three\n"].every((part) => list.includes(part)) && (await main.locator("[data-fold]").count()) === 0, list);
  await checks.check("… and not the risky one", !list.includes('"welcome"'), list);
  await settled();
  await page.locator("[name=reason]").fill("all fine");
  await press(page, "Approve all 3");
  await page.waitForURL(/said=several/);
  await checks.check("it says how many were approved", (await main.innerText()).includes("3 calls approved."), await main.innerText());
  await checks.check("all three ran", (await Promise.all([one, two, three])).every((got) => !got.failed));
  await checks.equal("… each with its own record", agent.decisions().map((line) => [line.decision, line.forwarded, line.reason]), Array(3).fill(["approved", true, "all fine"]));
  await checks.check("the risky call still waits", risky.isOpen);

  // Deny by keys, risky or not.
  const other = agent.call("rename_note", { from: "shopping", to: "errands" });
  await items(page, "errands").waitFor();
  await settled();
  await page.evaluate(() => document.activeElement.blur());
  for (const key of ["j", "s", "j", "s"]) await page.keyboard.press(key);
  await checks.equal("s selects", await told(), "2 calls selected. High-risk calls are approved one by one: 1 of them is high-risk.");
  await page.keyboard.press("D");
  await page.waitForURL(/\/decide$/);
  await page.keyboard.press("d");
  await page.keyboard.press("Enter");
  await checks.check("keys do nothing in the first second on the next page", risky.isOpen && other.isOpen && agent.decisions().length === 3);
  await settled();
  await press(page, "Deny all 2");
  await checks.check("both are denied", (await Promise.all([risky, other])).every((got) => got.failed) && agent.decisions().slice(3).every((line) => line.decision === "denied"), agent.decisions());
  await checks.comes("nothing is waiting any more", () => isEmpty(page));

  // A forged form: the server checks too.
  const last = agent.call("delete_note", { name: "welcome" });
  await items(page, "welcome").waitFor();
  const forged = await page.evaluate(async () => {
    const card = document.querySelector("#cards .card");
    const pick = card.querySelector(".pick input");
    const csrf = document.querySelector("#batch [name=csrf]").value;
    const body = new URLSearchParams({ csrf, choice: "approve", confirm: "yes", [pick.name]: pick.value });
    const response = await fetch("/decide", { method: "POST", body });
    return [response.status, (await response.text()).includes("one by one")];
  });
  await checks.equal("the server approves no risky call among several", forged, [400, true]);
  await checks.check("… which still waits", last.isOpen);

  // A call that is decided elsewhere in the meantime.
  const late = agent.call("rename_note", { from: "shopping", to: "errands" });
  await items(page, "errands").waitFor();
  await leave(page);
  await box(page, "errands").check();
  await box(page, "welcome").check();
  await press(page, "Deny selected");
  await page.waitForURL(/\/decide$/);
  world.decideInTerminal("approve", "errands");
  await late;
  await settled();
  await press(page, "Deny all 2");
  await page.waitForURL(/said=several/);
  const words = await page.locator("#said").innerText();
  await checks.equal("a call that was decided in the meantime stays so, and the page says it", words, "1 call denied. For 1 call your decision came too late: see the history.");
  await last;
  void button;
}
