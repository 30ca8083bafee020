// Deciding by keys alone.

import { isActive, isEmpty, items, settled } from "./seen.mjs";

const focused = (page) =>
  page.evaluate(() => {
    const element = document.activeElement;
    return { tag: element.tagName, name: element.name ?? "", value: element.value ?? "", text: element.textContent.trim() };
  });

/** 6: all decisions and the help without a mouse. */
export async function keysAlone(world, checks) {
  const agent = await world.agent();
  const { call: first } = await agent.ask("delete_note", { name: "ideas" });
  // One after the other, so that their order is known.
  const { call: second } = await agent.ask("delete_note", { name: "shopping" });
  const third = agent.call("delete_note", { name: "welcome" });
  const page = await world.page();
  await checks.comes("three calls are waiting", async () => (await items(page).count()) === 3);
  const { keyboard } = page;
  await settled();

  const help = page.getByRole("dialog");
  await keyboard.press("?");
  await checks.comes("? opens the help", () => help.isVisible());
  await keyboard.press("Escape");
  await checks.comes("Escape closes it", async () => !(await help.isVisible()));

  await keyboard.press("j");
  await checks.equal("j goes to the first item", (await focused(page)).tag, "ARTICLE");
  const oldest = await focused(page);
  await keyboard.press("j");
  const next = await focused(page);
  await checks.check("… and to the next", next.tag === "ARTICLE" && next.text !== oldest.text);
  await keyboard.press("k");
  await checks.equal("k goes back", (await focused(page)).text, oldest.text);
  const isSeen = await page.evaluate(() => {
    const { top, bottom } = document.activeElement.getBoundingClientRect();
    const style = getComputedStyle(document.activeElement);
    return { inView: bottom > 0 && top < innerHeight, marked: style.outlineStyle !== "none" || style.boxShadow !== "none" };
  });
  await checks.equal("the focused item is in view and marked", isSeen, { inView: true, marked: true });

  await keyboard.press("a");
  await checks.equal("a goes to its button", (await focused(page)).value, "approve");
  await checks.check("… and decides nothing", agent.decisions().length === 0);
  await keyboard.press("Enter");
  await checks.equal("Enter approves it", (await first).text, "Deleted the note `ideas`.");
  await checks.comes("its place says so", () => items(page, "ideas").getByText("Approved. The call may run now.").isVisible());
  await checks.equal("… and has no button any more", await page.getByRole("button", { name: "Approve" }).count(), 2);

  await settled();
  await keyboard.press("d");
  await checks.equal("d goes to the reason", (await focused(page)).name, "reason");
  await keyboard.type("by keys: a d j k ?");
  await settled();
  await keyboard.press("Enter");
  // Keys do nothing for a moment after the list has changed. Then a person presses once more.
  const isTold = await Promise.race([second.then(() => true), page.waitForTimeout(5000)]);
  if (!isTold) await keyboard.press("Enter");
  const told = await second;
  await checks.check("Enter denies with it", told.failed && told.text.includes("by keys: a d j k ?"), told);
  await checks.comes("one call is left", async () => (await page.getByRole("button", { name: "Approve" }).count()) === 1);

  await settled();
  await page.evaluate(() => document.activeElement.blur());
  let steps = 0;
  while (steps < 40 && (await focused(page)).value !== "approve") {
    await keyboard.press("Tab");
    steps += 1;
  }
  await checks.check("Tab alone reaches Approve too", steps < 40, `${steps} steps`);
  await keyboard.press("Space");
  await checks.equal("… and Space presses it", (await third).text, "Deleted the note `welcome`.");
  await checks.comes("the page is empty", () => isEmpty(page));
}

/** 6: on the item's own page. */
export async function keysOnAnItem(world, checks) {
  const agent = await world.agent();
  const { call } = await agent.ask("delete_note", { name: "ideas" });
  const page = await world.page();
  await settled();
  await page.keyboard.press("j");
  await page.keyboard.press("o");
  await page.waitForURL(/\/item\//);
  await checks.check("o opens the item's own page", await page.getByRole("heading", { name: "delete_note" }).isVisible());
  await page.keyboard.press("a");
  await page.keyboard.press("Enter");
  await checks.equal("a and Enter do nothing at once", (await focused(page)).tag, "BODY");
  await settled();
  await checks.check("… and still have decided nothing a second later", call.isOpen && agent.decisions().length === 0 && world.noteNames().includes("ideas"));
  // Press the button with the browser's own keys in the first second.
  await page.reload();
  await page.getByRole("button", { name: "Approve" }).focus();
  await page.keyboard.press("Enter");
  await checks.check("… nor does Enter on Approve itself in the first second", call.isOpen && agent.decisions().length === 0);
  await settled();
  await page.keyboard.press("a");
  await checks.check("after that second a goes to Approve", (await focused(page)).value === "approve" && (await isActive(page.getByRole("button", { name: "Approve" }))));
  await page.keyboard.press("Enter");
  await checks.equal("… and Enter approves it", (await call).text, "Deleted the note `ideas`.");
  await page.getByText("Approved. The call may run now.").waitFor();
}
