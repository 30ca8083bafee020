// Takes the pictures for the documents from the real product.

import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";

import { aimAt, button, items, leave } from "./seen.mjs";

const LIMIT = 200 * 1000;
const DESK = { viewport: { width: 1200, height: 800 }, deviceScaleFactor: 1, reducedMotion: "reduce" };
const PHONE = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 1, isMobile: true, hasTouch: true, reducedMotion: "reduce" };

const PAIRED = { ...PHONE, viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 };

/** Saves them in `folder`. Returns 0 on success. */
export async function takeShots(tools, folder) {
  mkdirSync(folder, { recursive: true });
  await tools.play("shots", async (world, checks) => {
    const agent = await world.agent({ name: "desk-assistant", title: "Desk assistant", flags: ["--timeout", "600"] });
    await agent.ask("add_note", { name: "meeting-monday", text: "Ask Ada about the budget.\n  - bring the drafts\n  - book the room" });
    const page = await world.page({ ...DESK, colorScheme: "light" });
    void agent.call("rename_note", { from: "shopping", to: "errands" });
    await items(page, "errands").waitFor();
    void agent.call("delete_note", { name: "welcome" });
    await items(page, "welcome").waitFor();
    const shoot = async (name) => {
      const path = join(folder, name);
      await page.evaluate(() => scrollTo(0, 0));
      await page.screenshot({ path });
      const { size } = statSync(path);
      await checks.check(`${name} is taken, in less than 200 kB`, size < LIMIT, `${size} bytes`);
    };
    // The page as it first appears.
    await page.reload();
    await aimAt(button(items(page).first(), "Approve"));
    await leave(page);
    await shoot("inbox-light.png");
    await page.emulateMedia({ colorScheme: "dark", reducedMotion: "reduce" });
    await shoot("inbox-dark.png");
    // Many items: rows, one of them open.
    const desk = await world.context({ ...DESK, colorScheme: "light" });
    const phone = await world.context({ ...PHONE, colorScheme: "light" });
    await phone.addCookies(await page.context().cookies());
    const small = await phone.newPage();
    checks.page = small;
    await small.goto(page.url());
    const path = join(folder, "inbox-phone.png");
    await small.screenshot({ path });
    await checks.check("inbox-phone.png is taken, in less than 200 kB", statSync(path).size < LIMIT, statSync(path).size);
    for (let at = 1; at <= 24; at += 1) {
      if (at % 3 === 0) void agent.call("delete_note", { name: `draft-${at}` });
      else void agent.call("rename_note", { from: `draft-${at}`, to: `final-${at}` });
    }
    await desk.addCookies(await page.context().cookies());
    const many = await desk.newPage();
    checks.page = many;
    await many.goto(page.url());
    await many.locator(".compact").nth(20).waitFor();
    await items(many).nth(1).locator("summary").first().click();
    for (const at of [1, 3, 4]) await items(many).nth(at).locator(".pick input").check();
    await aimAt(button(items(many).nth(1), "Approve"));
    await leave(many);
    await many.evaluate(() => scrollTo(0, 0));
    const rows = join(folder, "inbox-many.png");
    await many.screenshot({ path: rows });
    await checks.check("inbox-many.png is taken, in less than 200 kB", statSync(rows).size < LIMIT, statSync(rows).size);
  });
  await tools.play("shots of a phone", async (world, checks) => {
    const agent = await world.agent({ name: "desk-assistant", title: "Desk assistant", flags: ["--timeout", "600"] });
    await agent.ask("delete_note", { name: "meeting-monday" });
    const page = await world.page({ ...PAIRED, colorScheme: "light" });
    await page.getByText("Your name").first().waitFor();
    await items(page, "meeting-monday").waitFor();
    await page.waitForTimeout(1200);
    const path = join(folder, "phone-page.png");
    await page.screenshot({ path });
    await checks.check("phone-page.png is taken, in less than 200 kB", statSync(path).size < LIMIT, statSync(path).size);
  }, { isRemote: true });
  return tools.checks.failed === 0 ? 0 : 1;
}
