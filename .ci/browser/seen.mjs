// What a person sees on the page, by its words and roles, and what they press.

import { pause, until } from "./checks.mjs";

/** The page takes no keys in the first second after it has come up or a card has changed. */
export const settled = () => pause(1100);

/** The items on the list; `text` is something that one of them shows. */
export function items(page, text) {
  const all = page.locator("main").getByRole("article");
  return text === undefined ? all : all.filter({ hasText: text });
}

export const button = (item, name) => item.getByRole("button", { name, exact: true });

/** Where the middle of an element is. */
export async function middle(element) {
  await element.scrollIntoViewIfNeeded();
  const { x, y, width, height } = await element.boundingBox();
  return { x: x + width / 2, y: y + height / 2 };
}

/** Whether the page lets a button be pressed now. */
export const isActive = async (button) => (await button.getAttribute("aria-disabled")) === null;

/** Moves the pointer onto a button, as a hand does, until the page takes a click there. */
export async function aimAt(button) {
  const page = button.page();
  // Nobody presses anything in a tab that is not seen.
  await page.bringToFront();
  let step = 0;
  const isAimed = async () => {
    const { x, y } = await middle(button);
    step += 1;
    await page.mouse.move(x + 20 * (step % 2), y, { steps: 3 });
    return isActive(button);
  };
  if (!(await until(isAimed))) throw new Error(`cannot be pressed: ${await button.innerText()}`);
}

/** Leaves the list: while the pointer or the focus is there, it does not move. */
export async function leave(page) {
  await page.mouse.move(2, 2, { steps: 3 });
  await page.evaluate(() => document.activeElement?.blur());
}

/** Presses a button of an item, and leaves it. */
export async function press(item, name) {
  await aimAt(button(item, name));
  await button(item, name).click();
  await leave(item.page());
}

/** Unfolds what has to be read before anybody approves. */
export async function unfold(item) {
  const button = item.getByRole("button", { name: /^Unfold/ });
  if ((await button.count()) > 0) await button.click();
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
