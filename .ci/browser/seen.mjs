// What a person sees on the page, by text and role, and what they press.

import { pause, until } from "./checks.mjs";

/** The page ignores keys in the first second after it appears or a card changes. */
export const settled = () => pause(1100);

/** Returns the items of the list, or those that show `text`. */
export function items(page, text) {
  const all = page.locator("main").getByRole("article");
  return text === undefined ? all : all.filter({ hasText: text });
}

export const button = (item, name) => item.getByRole("button", { name, exact: true });

/** Returns the middle of an element. */
export async function middle(element) {
  await element.scrollIntoViewIfNeeded();
  const { x, y, width, height } = await element.boundingBox();
  return { x: x + width / 2, y: y + height / 2 };
}

/** Returns whether a button can be pressed now. */
export const isActive = async (button) => (await button.getAttribute("aria-disabled")) === null;

/** Moves the pointer onto a button, like a hand, until the page accepts a click there. */
export async function aimAt(button) {
  const page = button.page();
  // A person presses nothing in a hidden tab.
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

/** Leaves the list. It does not move while the pointer or the focus is in it. */
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

/** Unfolds text that must be read before approval. */
export async function unfold(item) {
  const button = item.getByRole("button", { name: /^Unfold/ });
  if ((await button.count()) > 0) await button.click();
}

/** Approves by mouse. For `minutes`, the same call may run again. */
export async function approve(item, { minutes } = {}) {
  if (minutes !== undefined) await item.locator("[name=minutes]").selectOption(String(minutes));
  await press(item, "Approve");
}

export async function deny(item, reason = "") {
  await item.locator("[name=reason]").fill(reason);
  await press(item, "Deny");
}

export const isEmpty = (page) => page.getByText("Nothing is waiting for you.").isVisible();

/** Sets a mark that a reload would remove. */
export const mark = (page) => page.evaluate(() => void (window.marked = true));
export const isMarked = (page) => page.evaluate(() => window.marked === true);
