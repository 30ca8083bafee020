// What a person sees on the page, by its words and roles, and what they press.

/** The items on the list; `text` is something that one of them shows. */
export function items(page, text) {
  const all = page.locator("main").getByRole("article");
  return text === undefined ? all : all.filter({ hasText: text });
}

export const button = (item, name) => item.getByRole("button", { name, exact: true });

/** The page takes no verdict for a moment after its list has moved. */
export const settled = (page) => page.locator("body:not(.settling)").waitFor({ state: "attached" });

/** Presses a button of an item, and again where the page says that its list has just moved. */
async function press(item, name) {
  const page = item.page();
  const status = page.locator("#status");
  do {
    await settled(page);
    if ((await status.count()) > 0) await status.evaluate((element) => void (element.textContent = ""));
    await button(item, name).click();
  } while ((await status.count()) > 0 && (await status.innerText()).includes("has just moved"));
}

/** Approves by mouse; `minutes` is how long the same call may be made again. */
export async function approve(item, { minutes } = {}) {
  if (minutes !== undefined) await item.locator("[name=minutes]").selectOption(String(minutes));
  await press(item, "Approve");
}

export async function deny(item, reason = "") {
  await item.locator("[name=reason]").fill(reason);
  await press(item, "Deny");
}

export const isEmpty = (page) => page.getByText("Nothing waits for you.").isVisible();

/** A mark that a reload would take away. */
export const mark = (page) => page.evaluate(() => void (window.marked = true));
export const isMarked = (page) => page.evaluate(() => window.marked === true);
